"""`paceline run`, `show`, `compare` and `export`, as a user runs them."""

import os
import pty
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import paceline
from program import INTERRUPTED, Program

MODULE = """
import os, time
import paceline

def evaluate(alg, rep, seed):
    if alg == "broken":
        raise RuntimeError(f"no {rep}")
    return {"accuracy": (seed % 1000) / 1000, "kind": type(rep).__name__}

def slow(rep):
    open("began", "a").close()
    time.sleep(600 if rep else 0.05)
    return rep

experiment = paceline.Experiment(evaluate, "made.db", seed=3)
experiment.add_grid(alg={"one": "1", "two": "2"}, rep=range(2))
homeless = paceline.Experiment(evaluate)
"""
FILE = """
function = "study_here:evaluate"
store = "results.db"
seed = 5
workers = 2
[grid]
alg = ["svm", "forest"]
rep = "0..3"
[[exclude]]
alg = "svm"
rep = [1]
[[case]]
alg = "extra"
rep = 9
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "study_here.py").write_text(MODULE)
    return tmp_path


def run(here, *arguments):
    command = [sys.executable, "-m", "paceline", *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, timeout=150)


def run_grid(here, *more, algs="svm,forest", reps="0..4"):
    grid = ("--grid", f"alg={algs}", "--grid", f"rep={reps}")
    return run(here, "run", "study_here:evaluate", *grid, "--store", "results.db", "--workers", "2", *more)


def test_run_of_a_grid_then_of_more_of_it(here):
    ran = run_grid(here)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "10 cells: 10 ok\nshown by `paceline show results.db`\n"
    assert run_grid(here, reps="0..6").stdout.startswith("14 cells: 14 ok\n")
    results = paceline.open_store(here / "results.db").results(every_attempt=True)
    assert results["rep"] == [*range(7), *range(7)]
    assert set(results["attempt"]) == {1}
    assert set(results["kind"]) == {"int"}
    assert results["accuracy"][:7] == results["accuracy"][7:], "`alg` is a usual name of what is compared"


def test_run_with_failures_says_so_and_fails(here):
    ran = run_grid(here, algs="svm,broken", reps="0..4")
    assert ran.returncode == 1
    assert "10 cells: 5 ok, 5 error\n" in ran.stdout
    assert "failed: alg='broken', rep=0: error: RuntimeError: no 0\n" in ran.stdout
    assert "failed: ... (2 more)\nhint: `paceline show results.db --failures` has the tracebacks" in ran.stdout
    shown = run(here, "show", "results.db")
    assert shown.returncode == 0
    assert shown.stdout.startswith(
        "evaluate: 10 cells: 5 ok, 5 error\n\nalg     rep  accuracy  kind  status  seconds\n"
    )
    assert "    RuntimeError: no 0\n" in shown.stdout
    assert "2 more failed: `paceline show results.db --failures` has all" in shown.stdout
    all_failures = run(here, "show", "results.db", "--failures").stdout
    assert all_failures.count('raise RuntimeError(f"no {rep}")') == 5
    assert run_grid(here, "--rerun", "failed", algs="svm,broken", reps="0..4").returncode == 1
    assert "(attempt 2)" in run(here, "show", "results.db", "--failures").stdout


def test_run_of_a_file_and_its_options_overridden(here):
    (here / "experiment.toml").write_text(FILE)
    ran = run(here, "run", "experiment.toml")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("8 cells: 8 ok\n")
    results = paceline.open_store(here / "results.db").results()
    assert list(zip(results["alg"], results["rep"], strict=True))[-2:] == [("forest", 3), ("extra", 9)]
    assert run(here, "run", "experiment.toml", "--grid", "rep=0..1", "--store", "other.db").stdout.startswith("4 cells")


def test_run_of_an_experiment_that_a_module_has_made(here):
    assert run(here, "run", "study_here:experiment", "--backend", "threads").stdout.startswith("4 cells: 4 ok\n")
    assert paceline.open_store(here / "made.db").results()["alg"] == ["one", "one", "two", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study_here:evaluate"], "where are the results to be kept?\nhint: --store results.db"),
        (["study_here:evaluate", "--store", "x.db"], "there are no cells to run"),
        (["study_here:evaluate", "--store", "x.db", "--grid", "alg"], "`--grid alg` must be an axis"),
        (["study_here:evaluate", "--store", "x.db", "--grid", "alg=a"], "cannot be called with the axes alg"),
        (["study_here:evaluate", "--store", "x.db", "--grid", "alg=a", "--grid", "rep=0..x"], "must be a range"),
        (["study_here:evaluate", "--store", "x.db", "--grid", "alg=a", "--grid", "rep=5..1"], "must be a range"),
        (["study_here:nothing"], "the module `study_here` has no `nothing`"),
        (["study_here"], "must be `module:function`"),
        (["nowhere:f"], "there is no module `nowhere`"),
        (["study_here:os"], "is neither a function nor an `Experiment`"),
        (["study_here:homeless"], "has no store"),
        (["study_here:experiment", "--seed", "1"], "has its grid, its store and its seed already"),
        (["missing.toml"], "`missing.toml` cannot be read"),
        (["wrong.toml"], "has `wrokers`, which means nothing\nhint: there are accept_stale"),
        (["broken.toml"], "`broken.toml` is no TOML"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_told_and_exits_with_2(here, arguments, message):
    (here / "wrong.toml").write_text('function = "a:b"\nwrokers = 3\n')
    (here / "broken.toml").write_text("function = \n")
    ran = run(here, "run", *arguments)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_store_that_cannot_be_used_exits_with_1(here):
    (here / "results.db").write_text("no store")
    for ran in (run_grid(here), run(here, "show", "results.db"), run(here, "export", "results.db", "x.csv")):
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith("error: `results.db` is no store, nor any SQLite file\nhint: ")
    assert run(here, "show", "nothing.db").returncode == 1


def test_stale_cells_are_told_once_without_a_traceback(here):
    run_grid(here)
    (here / "study_here.py").write_text(MODULE.replace("/ 1000", "/ 2000"))
    ran = run_grid(here)
    assert ran.returncode == 0
    assert ran.stderr.startswith("warning: 10 of 10 cells are stale")
    assert "hint: `--rerun stale` computes them again" in ran.stderr
    assert run_grid(here, "--accept-stale").stderr == ""
    assert run_grid(here, "--rerun", "stale").stderr == ""
    assert run_grid(here).stderr == ""


def ended_cells(path):
    try:
        return paceline.open_store(path).status().ok
    except paceline.StoreError:  # It is being made.
        return 0


def test_ctrl_c_exits_with_130_and_the_same_command_goes_on(here):
    command = (
        "-m",
        "paceline",
        "run",
        "study_here:slow",
        "--grid",
        "rep=0,1",
        "--store",
        "results.db",
        "--workers",
        "1",
    )
    program = Program(*command, cwd=here)
    while ended_cells(here / "results.db") < 1:
        assert program.process.poll() is None
        time.sleep(0.01)
    program.interrupt()
    code, _, errors = program.finish()
    assert code in INTERRUPTED
    assert "1 cells of this run have ended, and are safe in `results.db`" in errors
    assert "Traceback" not in errors
    program.wait_until_nothing_is_left()
    assert paceline.open_store(here / "results.db").status().ok == 1


def test_progress_is_shown_on_a_terminal_alone(here):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "paceline", "run", "study_here:experiment"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL) as ran:
        os.close(theirs)
        assert ran.wait(60) == 0
    assert b"4 of 4 cells" in os.read(ours, 65536)
    os.close(ours)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "tex", "md"])
def test_export(here, suffix):
    run_grid(here)
    ran = run(here, "export", "results.db", f"out.{suffix}")
    assert (ran.returncode, ran.stdout) == (0, f"10 rows in out.{suffix}\n")
    assert (here / f"out.{suffix}").stat().st_size > 200


def test_export_of_an_unknown_kind_or_to_nowhere(here):
    run_grid(here)
    assert run(here, "export", "results.db", "out.xls").returncode == 2
    ran = run(here, "export", "results.db", "nowhere/out.csv")
    assert (ran.returncode, ran.stdout) == (1, "")


def test_compare(here):
    pytest.importorskip("paceline.experiments.comparisons", reason="the statistics are not there")
    run_grid(here)
    ran = run(here, "compare", "results.db", "--metric", "accuracy", "--treatment", "alg", "--reference", "svm")
    assert ran.returncode == 0, ran.stderr
    assert "forest" in ran.stdout
    more = ("--resampled", "0.25", "--correction", "holm", "--rope", "0.01", "--lower-is-better")
    again = run(here, "compare", "results.db", "--metric", "accuracy", "--treatment", "alg", *more)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout != ran.stdout
    assert run(here, "compare", "results.db", "--metric", "nothing", "--treatment", "alg").returncode == 1


def test_compare_draws_the_ranks(here):
    pytest.importorskip("matplotlib")
    run_grid(here)
    asked = ("compare", "results.db", "--metric", "accuracy", "--treatment", "alg", "--plot")
    ran = run(here, *asked, "ranks.svg")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("\ncritical-difference diagram: ranks.svg\n")
    assert "forest" in (here / "ranks.svg").read_text(encoding="utf-8")
    assert (run(here, *asked, "ranks.doc").returncode, run(here, *asked, "nowhere/ranks.svg").returncode) == (2, 1)


def test_store_made_by_the_command_line_is_that_of_the_program(here):
    """A program with the same function, names and seed finds everything done."""
    run_grid(here)
    program = (
        "import paceline, study_here\n"
        "exp = paceline.Experiment(study_here.evaluate, 'results.db')\n"
        "exp.add_grid(alg=['svm', 'forest'], rep=range(5))\n"
        "print(exp.status()); exp.run()"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=here, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "10 cells: 10 ok\n"
    connection = sqlite3.connect(Path(here, "results.db"))
    assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (10,)
    connection.close()
