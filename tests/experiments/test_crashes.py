"""Runs that are killed or interrupted at any moment: what had ended is safe, is never run again, and nothing is left."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import study

import paceline
from program import Program

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
        process.kill()
    program.close()
    program.wait_until_nothing_is_left(5.0)


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


def killed_again_and_again(tmp_path, count, seconds, kills, longest_s):
    """Kills runs at random moments, then lets one come to its end; how many had begun and not ended when killed."""
    store, log = tmp_path / "results.db", tmp_path / "log"
    chance = random.Random(kills)
    moments = []
    for _ in range(kills):
        program = start(store, log, count, seconds)
        time.sleep(chance.uniform(0, longest_s))
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


@pytest.mark.timeout(300)
def test_run_killed_at_20_random_moments_is_completed_and_nothing_finished_runs_twice(tmp_path):
    lost, stored_at_kills = killed_again_and_again(tmp_path, 200, 0.02, KILLS, 0.2)
    assert sum(0 < count < 200 for count in stored_at_kills) >= KILLS // 2, "most kills must hit the middle of the run"
    assert lost <= KILLS * WORKERS, "a kill costs the cells that were running, and no more"


@pytest.mark.timeout(300)
def test_run_of_short_cells_killed_at_random_moments_is_completed_as_well(tmp_path):
    _, stored_at_kills = killed_again_and_again(tmp_path, 20_000, 0.0, 5, 0.4)
    assert any(0 < count < 20_000 for count in stored_at_kills)


def test_cell_is_stored_before_its_worker_begins_another(tmp_path):
    store = str(tmp_path / "results.db")

    def look(rep):
        """How many of the cells that this worker has ended before are not stored yet."""
        import builtins

        import paceline

        earlier = builtins.__dict__.setdefault("ended_before", [])
        done = set(paceline.open_store(store).results()["rep"]) if earlier else set()
        time.sleep(0.015)
        missing = len(set(earlier) - done)
        earlier.append(rep)
        return missing

    exp = paceline.Experiment(look, store)
    exp.add_grid(rep=range(40))
    assert exp.run(workers=2)["value"] == [0] * 40


@pytest.mark.parametrize("seconds", [0.05, 600], ids=["short", "endless"])
def test_ctrl_c_stops_cleanly_with_everything_finished_safe_and_says_how_to_go_on(tmp_path, seconds):
    store, log = tmp_path / "results.db", tmp_path / "log"
    program = start(store, log, 400, seconds)
    deadline = time.monotonic() + 30
    while seconds < 1 and len(executed(log)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while not store.exists() or not paceline.open_store(store).status().missing:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.interrupt()
    code, _, errors = program.finish()
    assert code in {-signal.SIGINT, 130}
    assert "KeyboardInterrupt" in errors
    assert f"of the 400 cells of this run have ended, and are safe in `{store}`" in errors
    assert "hint: the same run again does what is missing" in errors
    program.wait_until_nothing_is_left(5.0)
    status = paceline.open_store(store).status()
    assert status.ok == len(executed(log))
    assert status.ok + status.cancelled + status.missing == 400
    if seconds < 1:
        assert status.ok >= 5
        assert str(start(store, log, 400, seconds).finish()[1]) == "400 400 cells: 400 ok\n"
        # What was cut short is run again, and has a row of its own.
        assert len(executed(log)) == 400


def test_interrupted_in_the_callers_own_thread_what_ended_is_safe(tmp_path):
    def work(n):
        if n == 3:
            raise KeyboardInterrupt
        return n

    exp = paceline.Experiment(work, tmp_path / "results.db")
    exp.add_grid(n=range(6))
    with pytest.raises(KeyboardInterrupt) as caught:
        exp.run(backend="serial")
    assert "3 of the 6 cells of this run have ended" in caught.value.__notes__[0]
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
