"""Resources: what tasks have to share is never given out twice, and who waits for some holds nobody else up."""

import os
import time
from pathlib import Path

import pytest

import tasks
from paceline import Pool, ProcessPoolExecutor, WorkerDied, current_task


def note(log, amount=1.0):
    """Writes down that it begins and ends, each with its amount."""
    with Path(log).open("ab", buffering=0) as file:
        file.write(b"+%d\n" % (1000 * amount))
        time.sleep(0.02)
        file.write(b"-%d\n" % (1000 * amount))


def most_at_once(log):
    used = most = 0
    for line in Path(log).read_text().splitlines():
        used += int(line)
        most = max(most, used)
    return most


def seen():
    return current_task().devices, os.environ.get("CUDA_VISIBLE_DEVICES")


def hold(gate):
    tasks.through(gate)
    return current_task().devices


async def devices_of_coroutine():
    return current_task().devices


def test_no_more_is_out_than_there_is(tmp_path):
    log = str(tmp_path / "log")
    with Pool(4, resources={"mem_gb": 4}) as pool:
        large = [pool.options(resources={"mem_gb": 2.5}).submit(note, log, 2.5) for _ in range(4)]
        small = [pool.options(resources={"mem_gb": 1.5}).submit(note, log, 1.5) for _ in range(8)]
        for future in large + small:
            future.result(30)
    assert most_at_once(log) <= 4000


def test_map_takes_its_part_for_each_item_that_runs(tmp_path):
    log = str(tmp_path / "log")
    with Pool(4, resources={"licence": 2}) as pool:
        pool.options(resources={"licence": 1}).map(note, [log] * 30)
        assert pool.options(resources={"licence": 1}).map(tasks.square, range(1000)) == [n * n for n in range(1000)]
    assert most_at_once(log) <= 2000


def test_calls_that_need_nothing_pass_by_those_that_wait(gate):
    with Pool(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.options(resources={"gpu": 1})
        first, second = on_gpu.submit(hold, gate.path), on_gpu.submit(hold, gate.path)
        gate.wait_for_arrival()
        assert pool.map(tasks.square, range(100)) == [number * number for number in range(100)]
        assert not second.running()
        assert not second.done()
        gate.let_through(2)
        assert first.result(30) == second.result(30) == (0,)


def test_what_waits_for_resources_can_be_cancelled(gate):
    with Pool(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.options(resources={"gpu": 1})
        first, second, third = (on_gpu.submit(hold, gate.path) for _ in range(3))
        gate.wait_for_arrival()
        assert second.cancel()
        gate.let_through(2)
        assert first.result(30) == third.result(30) == (0,)


def test_devices_are_told_and_seen_while_the_call_runs(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Pool(1, resources={"gpu": 3}) as pool:
        assert pool.options(resources={"gpu": 2}).apply(seen) == ((0, 1), "0,1")
        assert pool.options(resources={"gpu": 0.25}).apply(seen) == ((0,), "0")
        assert pool.apply(seen) == ((), None)
        told = pool.options(resources={"gpu": 1}).map(lambda _: seen(), range(9))
        assert all(len(devices) == 1 and shown == str(devices[0]) for devices, shown in told)
        assert pool.options(resources={"gpu": 1}).apply(devices_of_coroutine) == (0,)


def test_devices_are_counted_among_those_that_the_program_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7c1f")
    with Pool(1, resources={"gpu": 2}, start_method="spawn") as pool:
        assert pool.options(resources={"gpu": 2}).apply(seen) == ((0, 1), "5,GPU-7c1f")
        assert pool.options(resources={"gpu": 1}).apply(seen) == ((0,), "5")
        assert pool.apply(seen) == ((), "5,GPU-7c1f")


def test_two_calls_never_have_the_same_device(gate):
    with Pool(2, resources={"gpu": 2}) as pool:
        futures = [pool.options(resources={"gpu": 1}).submit(hold, gate.path) for _ in range(2)]
        gate.wait_for_arrival()
        gate.wait_for_arrival()
        gate.let_through(2)
        assert {future.result(30) for future in futures} == {(0,), (1,)}


def test_death_gives_resources_back():
    with Pool(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.options(resources={"gpu": 1})
        futures = [on_gpu.submit(os._exit, 3), on_gpu.submit(seen), on_gpu.submit(os._exit, 3), on_gpu.submit(seen)]
        outcomes = [future.exception(30) for future in futures]
        assert [type(outcome) for outcome in outcomes] == [WorkerDied, type(None)] * 2
        assert futures[3].result()[0] == (0,)


def test_call_that_is_run_again_waits_for_resources_anew():
    with Pool(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.options(resources={"gpu": 1}, retries=2)
        futures = [on_gpu.submit(os._exit, 3), on_gpu.submit(seen)]
        assert isinstance(futures[0].exception(30), WorkerDied)
        assert futures[1].result(30)[0] == (0,)


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"gpu": 3}, ValueError, "3 of `gpu` can never be had: this pool has 2"),
        ({"gpu": 1.5}, ValueError, "a part of one `gpu`, or whole ones"),
        ({"disk": 1}, ValueError, r"this pool has no `disk`\nhint: .*resources={\"disk\": ...}"),
        ({"mem": 0}, ValueError, "`mem` must be from 0.001"),
        ({"mem": float("nan")}, ValueError, "`mem` must be from 0.001"),
        ({"mem": "1"}, TypeError, "numbers by name"),
        ({"mem": True}, TypeError, "numbers by name"),
        ([("mem", 1)], TypeError, "must be a dict such as"),
    ],
)
def test_demand_that_can_never_be_met_is_refused_at_the_call(wanted, error, said):
    with Pool(1, resources={"gpu": 2, "mem": 4}) as pool:
        with pytest.raises(error, match=said):
            pool.options(resources=wanted).submit(tasks.square, 1)
        assert pool.apply(tasks.square, (3,)) == 9


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"gpu": 1.5}, ValueError, "whole number"),
        ({"gpu": 33}, ValueError, "at most 32"),
        ({"mem": -1}, ValueError, "must be from 0.001"),
        ({f"r{number}": 1 for number in range(8)}, ValueError, "7 others at most"),
        ({1: 1}, TypeError, "numbers by name"),
        ("gpu", TypeError, "must be a dict such as"),
    ],
)
def test_resources_that_cannot_be_are_refused_when_the_pool_is_opened(given, error, said):
    with pytest.raises(error, match=said):
        Pool(1, resources=given)


def test_threads_have_no_resources():
    with pytest.raises(ValueError, match="for worker processes"):
        Pool(2, backend="threads", resources={"gpu": 1})
    with Pool(2, backend="threads") as pool, pytest.raises(ValueError, match="for worker processes"):
        pool.options(resources={"gpu": 1}).submit(tasks.square, 1)


def test_executor_has_resources_too(tmp_path):
    log = str(tmp_path / "log")
    with ProcessPoolExecutor(4, resources={"licence": 1}) as executor:
        list(executor.options(resources={"licence": 1}).map(note, [log] * 6))
    assert most_at_once(log) == 1000


def test_options_show_and_replace_resources():
    from paceline.options import Options

    options = Options(resources={"gpu": 1})
    assert repr(options) == "Options(resources={'gpu': 1.0})"
    assert repr(options.replace(resources=None)) == "Options()"
    assert repr(options.replace(priority=2)) == "Options(priority=2, resources={'gpu': 1.0})"
