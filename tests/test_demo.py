"""The demo as a user runs it: by its command, on real data, small enough for a test."""

import importlib.util
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

import paceline
from notebook import Notebook
from paceline import demo

needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="there is no matplotlib")

SMALL = ["--repetitions", "2", "--workers", "2"]
CELLS = 6 * 4 * 2
TABLE_ENTRY = re.compile(r"\d+\.\d ± \d+\.\d")


def run_demo(*arguments, **options):
    command = [sys.executable, "-m", "paceline", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=150, **options)


def attempts(store):
    """How often each cell of the store was run."""
    return paceline.open_store(store).results()["attempt"]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Of the test's own, so that the user's is never written to."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "paceline"


@needs_sklearn
def test_demo_gives_a_table_identical_to_the_serial_run_and_a_second_one_runs_nothing(cache_folder):
    ran = run_demo(*SMALL)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "no progress where nobody watches, and no warnings"
    assert f"store: {cache_folder / 'paceline-demo.db'}" in ran.stdout
    assert f"0 of {CELLS} evaluations were in the store already, and {CELLS} were run" in ran.stdout
    assert f"{CELLS} of {CELLS} results" in ran.stdout
    assert len(TABLE_ENTRY.findall(ran.stdout)) == 6 * 4
    assert "Total work done (s)" in ran.stdout
    assert re.search(r"speed-up \d+\.\d\d over the sum of task times, \d+\.\d\d over the serial run", ran.stdout)

    again = run_demo(*SMALL)
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    told = f"{CELLS} of {CELLS} evaluations were in the store already ({cache_folder / 'paceline-demo.db'})"
    assert f"{told}, and none was run again" in again.stdout
    assert TABLE_ENTRY.findall(again.stdout) == TABLE_ENTRY.findall(ran.stdout)
    assert "Total work done (s)" not in again.stdout
    assert attempts(cache_folder / "paceline-demo.db") == [1] * CELLS


@needs_sklearn
@needs_matplotlib
@pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="there is no nbclient")
def test_evaluation_of_the_demo_is_the_same_by_program_command_line_and_notebook(tmp_path):
    """Each runs all of it, with the table and the picture of the ranks."""
    ways = ("program", "commands", "notebook")
    program = (
        "import paceline\nfrom paceline.demo import ALGORITHMS, DATA_SETS, evaluate\n"
        "exp = paceline.Experiment(evaluate, '{0}.db', treatment='alg')\n"
        "exp.add_grid(alg=ALGORITHMS, dataset=DATA_SETS, rep=range(2))\n"
        "results = exp.run(workers=2)\n"
        "comparison = results.compare('accuracy', treatment='alg', resampled=0.43)\n"
        "comparison.plot('{0}.svg');"
    )
    axes = {"alg": demo.ALGORITHMS, "dataset": demo.DATA_SETS, "rep": range(2)}
    grid = [f"--grid={axis}={','.join(map(str, values))}" for axis, values in axes.items()]
    compared = ["--metric", "accuracy", "--treatment", "alg", "--resampled", "0.43", "--plot", "commands.svg"]
    for command in (
        ["-c", program.format("program")],
        ["-m", "paceline", "run", "paceline.demo:evaluate", *grid, "--store", "commands.db", "--workers", "2"],
        ["-m", "paceline", "compare", "commands.db", *compared],
    ):
        ran = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, timeout=150, cwd=tmp_path
        )
        assert (ran.returncode, ran.stderr) == (0, "")

    notebook = Notebook(tmp_path)
    try:
        notebook.run(program.format("notebook"))
        (shown,) = notebook.outputs("results")
        assert "<th>alg</th><th>dataset</th><th>rep</th><th>accuracy</th>" in shown["data"]["text/html"]
        (picture,) = notebook.outputs("comparison.plot()")
        assert "image/png" in picture["data"]
    finally:
        notebook.close()

    kept = [paceline.open_store(tmp_path / f"{way}.db").results() for way in ways]
    assert [set(results["status"]) for results in kept] == [{"ok"}] * 3
    assert kept[0]["accuracy"] == kept[1]["accuracy"] == kept[2]["accuracy"]
    assert len({(tmp_path / f"{way}.svg").stat().st_size for way in ways}) == 1


@needs_sklearn
def test_demo_with_more_repetitions_runs_only_the_new_ones_and_a_fresh_one_all(tmp_path):
    store = tmp_path / "mine.db"
    assert run_demo(*SMALL, "--repetitions", "1", "--store", str(store)).returncode == 0
    more = run_demo(*SMALL, "--store", str(store))
    assert more.returncode == 0, more.stderr
    assert f"{CELLS // 2} of {CELLS} evaluations were in the store already, and {CELLS // 2} were run" in more.stdout
    assert f"{CELLS} of {CELLS} results, those from the store too, are identical" in more.stdout
    assert attempts(store) == [1] * CELLS

    fresh = run_demo(*SMALL, "--store", str(store), "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert f"0 of {CELLS} evaluations were in the store already, and {CELLS} were run" in fresh.stdout
    assert attempts(store) == [2] * CELLS


@needs_sklearn
def test_demo_finds_a_stored_result_that_is_not_the_serial_one(tmp_path):
    store = tmp_path / "mine.db"
    assert run_demo(*SMALL, "--repetitions", "1", "--store", str(store)).returncode == 0
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE attempts SET result = '{\"accuracy\":0.5}' WHERE id = 1")
    more = run_demo(*SMALL, "--store", str(store))
    assert more.returncode == 1
    assert f"{CELLS - 1} of {CELLS} results" in more.stdout
    assert re.search(r"error: .*, split 1: 0\.5 in the store, ", more.stderr)


@needs_sklearn
@needs_matplotlib
def test_demo_compares_the_algorithms_and_draws_their_ranks(cache_folder):
    ran = run_demo(*SMALL)
    assert ran.returncode == 0, ran.stderr
    assert "Friedman chi-squared(5)" in ran.stdout
    assert "of 15 pairs over the data sets together" in ran.stdout
    assert "of 60 pairs on single data sets" in ran.stdout
    picture = cache_folder / "paceline-demo.svg"
    assert f"critical-difference diagram: {picture}" in ran.stdout
    assert "random forest" in picture.read_text()


@needs_sklearn
def test_demo_without_matplotlib_says_the_way_out_and_is_no_failure(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError('No module', name='matplotlib')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    ran = run_demo(*SMALL, "--repetitions", "1", env={**os.environ, "PYTHONPATH": path})
    assert ran.returncode == 0, ran.stderr
    assert "not shown: matplotlib is not installed; `pip install 'paceline[demo]'`" in ran.stdout
    assert "critical-difference diagram" not in ran.stdout


@needs_sklearn
def test_demo_with_a_killed_worker_loses_one_cell_each_time_and_says_why(cache_folder):
    for _ in range(2):
        ran = run_demo(*SMALL, "--kill-one")
        assert ran.returncode == 0, ran.stderr
        assert f"{CELLS - 1} of {CELLS} results" in ran.stdout
        assert ran.stdout.count("died: ") == 1
        assert "WorkerDied" in ran.stdout
        assert "SIGKILL" in ran.stdout
    assert not cache_folder.exists(), "its store is its own"


@needs_sklearn
def test_demo_with_a_broken_store_says_so_and_leaves_it(tmp_path):
    store = tmp_path / "broken.db"
    store.write_bytes(b"no database" * 100)
    ran = run_demo(*SMALL, "--store", str(store))
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error: `{store}` is no store")
    assert "hint: " in ran.stderr
    assert "Traceback" not in ran.stderr
    assert store.read_bytes() == b"no database" * 100


@needs_sklearn
def test_demo_on_a_terminal_shows_progress_on_one_line():
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "paceline", "demo", *SMALL]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other side is closed reads as an error, not as an end.
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
    assert process.returncode == 0
    *_, last = shown.decode().strip().split("\r")
    assert f"{CELLS} of {CELLS} evaluations" in last
    assert shown.count(b"\n") == 1


def test_demo_without_sklearn_says_the_way_out(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'sklearn' else find(name, *rest)\n"
    )
    ran = run_demo(env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 2
    assert "scikit-learn, which is not installed" in ran.stderr
    assert "hint: install it with `pip install 'paceline[demo]'`" in ran.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]], ids=["whole", "demo"])
def test_help_has_examples(arguments):
    ran = subprocess.run(
        [sys.executable, "-m", "paceline", *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert "examples:\n  paceline demo" in ran.stdout


@pytest.mark.parametrize("arguments", [[], ["demo", "--workers", "0"], ["nonsense"]], ids=["none", "zero", "unknown"])
def test_wrong_use_is_told_with_the_usage(arguments):
    ran = subprocess.run(
        [sys.executable, "-m", "paceline", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: paceline")


@needs_sklearn
def test_seeds_come_from_the_cell_alone_and_are_those_of_all_algorithms():
    from paceline.demo import experiment

    exp = experiment(":memory:", 100)
    seeds = [exp.seed_of(alg="decision tree", dataset="iris", rep=rep) for rep in range(100)]
    assert len(set(seeds)) == 100
    assert exp.seed_of(alg="naive Bayes", dataset="iris", rep=3) == seeds[3]
    # Held: a change of it would change every result that anybody ever noted down.
    assert seeds[3] == 3292155705
