"""Runs that are killed or interrupted at any moment: what had ended is safe and never runs again, nothing is left."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import numpy as np  # noqa: F401 - the threads that it starts are not those of a test.
import psutil
import pytest

import paceline
import study
from program import INTERRUPTED, Program
from tasks import note

HERE = Path(__file__).parent
KILLS = 20
WORKERS = 2


def start(store, log, count, seconds):
    program = Program(str(HERE / "study.py"), *map(str, (store, log, count, seconds, WORKERS)))
    assert program.read_line() == "begins"
    return program


def kill_everything(program):
    """The program and all that belong to it, at once."""
    os.killpg(program.pid, signal.SIGKILL)
    for process in program.survivors():
        # A worker whose program is gone may be ending by itself.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    program.close()
    program.wait_until_nothing_is_left()


def executed(log):
    """The cells of which an execution came to its end, in that order."""
    return log.read_text().split() if log.exists() else []


def stored(store):
    """The cells that have a row."""
    try:
        results = paceline.open_store(store).results()
    except paceline.StoreError:  # It was killed before its store was there.
        return set()
    return {f"{row['alg']}/{row['rep']}" for row in results.rows()}


def cells_known(store):
    try:
        return paceline.open_store(store).status().total
    except paceline.StoreError:  # It is being made.
        return 0


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def killed_again_and_again(tmp_path, count, seconds, kills, furthest):
    """Kills runs at random moments, then lets one come to its end.

    Each is killed when up to `furthest` more cells have ended, and a moment later; some before the first has begun.
    How many executions there were too many, and how many cells were stored at each kill.
    """
    store, log = tmp_path / "results.db", tmp_path / "log"
    chance = random.Random(kills)
    moments = []
    for _ in range(kills):
        program = start(store, log, count, seconds)
        target = len(executed(log)) + chance.randrange(furthest)
        wait_until(lambda target=target: len(executed(log)) >= min(target, count))
        time.sleep(chance.uniform(0, 0.03))
        kill_everything(program)
        moments.append((stored(store), len(executed(log))))
    code, out, errors = start(store, log, count, seconds).finish()
    assert (code, out, errors) == (0, f"{count} {count} cells: {count} ok\n", "")
    everything = executed(log)
    for safe, ended in moments:
        assert not safe.intersection(everything[ended:]), "what was stored was run again"
    assert everything_as_in_a_serial_run(store, log, count, seconds)
    return len(everything) - count, [len(safe) for safe, _ in moments]


def everything_as_in_a_serial_run(store, log, count, seconds):
    results = paceline.open_store(store).results()
    exp = paceline.Experiment(study.noted, seed=42)
    exp.add_grid(log=[str(log)], alg=["a", "b", "c", "d"], rep=range(count // 4), seconds=[float(seconds)])
    if seconds:
        # It need not take as long as it did, to give what it gave.
        study.time.sleep, sleep = (lambda _: None), study.time.sleep
    try:
        expected = exp.run(backend="serial")
    finally:
        if seconds:
            study.time.sleep = sleep
    return all(
        results[name] == expected[name] for name in (*expected.axes, *expected.metrics, "status", "attempt", "seed")
    )


def test_run_killed_at_20_random_moments_is_completed_and_nothing_finished_runs_twice(tmp_path):
    lost, stored_at_kills = killed_again_and_again(tmp_path, 200, 0.02, KILLS, 10)
    assert sum(0 < count < 200 for count in stored_at_kills) >= KILLS // 2, "most kills must hit the middle of the run"
    assert lost <= KILLS * WORKERS, "a kill costs the cells that were running, and no more"


def test_run_of_short_cells_killed_at_random_moments_is_completed_as_well(tmp_path):
    _, stored_at_kills = killed_again_and_again(tmp_path, 6000, 0.0, 5, 1200)
    assert any(0 < count < 6000 for count in stored_at_kills)


def test_no_more_cells_are_under_way_or_not_stored_than_there_are_workers(tmp_path):
    store, log = str(tmp_path / "results.db"), tmp_path / "log"

    def look(rep):
        note(log, rep)
        begun = len(executed(log))
        is_stored = len(paceline.open_store(store).results())
        time.sleep(0.015)
        return begun - is_stored

    exp = paceline.Experiment(look, store)
    exp.add_grid(rep=range(60))
    under_way = exp.run(workers=WORKERS)["value"]
    assert max(under_way) <= WORKERS


@pytest.mark.parametrize("seconds", [0.05, 600], ids=["short", "endless"])
def test_ctrl_c_stops_cleanly_with_everything_finished_safe_and_says_how_to_go_on(tmp_path, seconds):
    store, log = tmp_path / "results.db", tmp_path / "log"
    program = start(store, log, 100, seconds)
    if seconds < 1:
        wait_until(lambda: len(executed(log)) >= 5)
    wait_until(lambda: cells_known(store) == 100)
    program.interrupt()
    code, _, errors = program.finish()
    assert code in INTERRUPTED
    assert "KeyboardInterrupt" in errors
    assert f"cells of this run have ended, and are safe in `{store}`\n" in errors
    assert "hint: the same run again does what is missing" in errors
    program.wait_until_nothing_is_left()
    status = paceline.open_store(store).status()
    assert status.ok == len(executed(log))
    assert status.ok + status.cancelled + status.missing == 100
    if seconds < 1:
        assert status.ok >= 5
        assert str(start(store, log, 100, seconds).finish()[1]) == "100 100 cells: 100 ok\n"
        # What was cut short is run again, and has a row of its own.
        assert len(executed(log)) == 100


def test_cell_that_ctrl_c_has_stopped_is_noted_and_runs_again(tmp_path):
    store, begun = tmp_path / "results.db", tmp_path / "begun"
    program = Program(
        "-c",
        "import time, paceline\nfrom pathlib import Path\n"
        "def work(begun, n):\n"
        "    Path(begun).touch()\n"
        "    time.sleep(600)\n"
        f"exp = paceline.Experiment(work, {str(store)!r})\nexp.add_grid(begun=[{str(begun)!r}], n=range(3))\n"
        "exp.run(workers=1)",
    )
    wait_until(begun.exists)
    program.interrupt()
    _, _, errors = program.finish()
    assert "interrupted: 0 cells of this run have ended" in errors
    program.wait_until_nothing_is_left()
    results = paceline.open_store(store).results()
    assert (results["status"], results["n"]) == (["cancelled"], [0])
    assert str(paceline.open_store(store).status()) == "3 cells: 1 cancelled, 2 missing"
    exp = paceline.Experiment(lambda begun, n: n, store, name="work")
    exp.add_grid(begun=[str(begun)], n=range(3))
    assert exp.run(workers=1)["attempt"] == [2, 1, 1]


def test_interrupted_in_the_callers_own_thread_what_ended_is_safe(tmp_path):
    def work(n):
        if n == 3:
            raise KeyboardInterrupt
        return n

    exp = paceline.Experiment(work, tmp_path / "results.db")
    exp.add_grid(n=range(6))
    with pytest.raises(KeyboardInterrupt) as caught:
        exp.run(backend="serial")
    assert "3 cells of this run have ended" in caught.value.__notes__[0]
    assert paceline.open_store(exp.store).results()["value"] == [0, 1, 2]
    assert exp.status().ok == 3


def test_memory_limit_and_death_cost_one_cell(tmp_path):
    def work(n):
        if n == 5:
            return len(bytearray(2**30))
        if n == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    exp = paceline.Experiment(work, tmp_path / "results.db")
    exp.add_grid(n=range(10))
    results = exp.run(workers=2, memory_limit="400MB")
    assert [row["n"] for row in results.rows() if row["status"] == "died"] == [5, 7]
    assert results["status"].count("ok") == 8
    assert results["error"][5].startswith("MemoryLimitExceeded")
