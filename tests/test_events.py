"""What happens in a pool is told while it happens: everything once, in order, to the end, and at nobody's expense."""

import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from pathlib import Path

import pytest

import paceline
import tasks
from paceline import Event, Pool, TaskTimeout, ThreadPoolExecutor, WorkerDied, WorkerStartError
from program import Program, run_script


class Told(list):
    """Remembers the events, and can be waited on for one of a kind."""

    def __init__(self):
        super().__init__()
        self._came = threading.Condition()

    def __call__(self, event):
        with self._came:
            self.append(event)
            self._came.notify_all()

    def wait_for(self, kind, timeout_s=30.0, **fields):
        def found():
            return next((one for one in self if one.kind == kind and matches(one, fields)), None)

        with self._came:
            event = self._came.wait_for(found, timeout_s)
        assert event, f"no event {kind} {fields} in {self}"
        return event

    def of(self, kind, **fields):
        return [one for one in self if one.kind == kind and matches(one, fields)]


def matches(event, fields):
    return all(getattr(event, name) == value for name, value in fields.items())


def items_of(events):
    """How often each item was told."""
    return Counter(item for event in events for item in range(event.first_item, event.first_item + event.items))


@pytest.fixture
def told():
    return Told()


# -- what is told ------------------------------------------------------------------------------------------------------


def test_call_is_told_from_its_submission_to_its_end(pool, told):
    before = time.time()
    with pool.subscribe(told):
        pid = pool.apply(tasks.pid)
    submitted, ended = told.of("submitted")[0], told.of("ended")[0]
    assert (submitted.function, submitted.first_item, submitted.items) == ("pid", 0, 1)
    assert (ended.function, ended.first_item, ended.items, ended.attempt) == ("pid", 0, 1, 1)
    assert (ended.ending, ended.failures, ended.exception, ended.pid) == ("done", 0, None, pid)
    assert ended.submitted == submitted.time <= ended.began <= ended.time
    assert ended.time == pytest.approx(ended.began + ended.seconds, abs=1e-6)
    assert before - 5 < ended.time < time.time() + 5, "it is the time of the day"
    assert {event.version for event in told} == {1}
    assert told.index(submitted) < told.index(ended)


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_each_item_of_a_map_is_told_exactly_once(pool, told, chunksize):
    with pool.subscribe(told):
        assert pool.map(tasks.identity, range(20_000 if chunksize is None else 2_000), chunksize) is not None
        assert list(pool.imap_unordered(tasks.square, range(500), chunksize or 1))
    submitted, ended = told.of("submitted"), told.of("ended")
    assert items_of(ended) == items_of(submitted)
    assert set(items_of(ended).values()) == {1}
    assert sum(event.items for event in ended) == sum(event.items for event in submitted)
    assert not told.of("missed")


def test_items_sent_in_another_order_are_numbered_in_the_callers(pool, told):
    with pool.subscribe(told):
        pool.map(tasks.identity, range(50), cost=lambda item: item)
    assert items_of(told.of("ended")) == dict.fromkeys(range(50), 1)


def test_name_of_an_option_stands_for_the_function(pool, told):
    with pool.subscribe(told):
        pool.options(name="halving").map(tasks.identity, [1, 2])
        pool.apply(lambda: None)
    assert [event.function for event in told.of("submitted")] == ["halving", told.of("ended")[-1].function]
    assert {event.function for event in told.of("ended")} >= {"halving"}


def test_failures_are_told_with_the_name_of_the_first_exception(pool, told):
    with pool.subscribe(told):
        outcomes = pool.starmap(tasks.fail_on, [(3, number) for number in range(6)], 6, on_error="return")
        with pytest.raises(tasks.TwoArguments):
            pool.apply(tasks.raise_error, (tasks.TwoArguments, 1, 2))
        with pytest.raises(paceline.ResultNotPicklable):
            pool.apply(tasks.unpicklable_result)
    assert isinstance(outcomes[3], ValueError)
    first, second, third = told.of("ended")
    assert (first.ending, first.items, first.failures, first.exception) == ("raised", 6, 1, "ValueError")
    assert (second.items, second.failures, second.exception) == (1, 1, "tasks.TwoArguments")
    assert third.exception == "paceline.errors.ResultNotPicklable"


def raise_at_length():
    raise ValueError("x" * 100_000)


def test_exception_that_is_too_long_to_be_looked_at_has_no_name(pool, told):
    with pool.subscribe(told), pytest.raises(ValueError, match="xxx"):
        pool.apply(raise_at_length)
    assert [(event.ending, event.exception) for event in told.of("ended")] == [("raised", None)]


def test_worker_killed_from_outside_is_told_and_its_item_is_lost(told, gate):
    with Pool(1) as pool, pool.subscribe(told):
        future = pool.submit(tasks.through, gate.path)
        pid = gate.wait_for_arrival()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            future.result()
        other = pool.apply(tasks.pid)
    (lost,) = told.of("ended", ending="lost")
    (died,) = told.of("worker_ended", ending="died")
    assert (lost.items, lost.failures, lost.pid) == (1, 1, pid)
    assert (died.pid, died.signal, died.exit_code) == (pid, signal.SIGKILL, None)
    assert told.index(lost) < told.index(died) < told.index(told.of("worker_started", pid=other)[0])


def test_finished_items_of_a_lost_chunk_are_told_once_and_the_others_where_they_run(told):
    with Pool(2) as pool, pool.subscribe(told):
        outcomes = pool.starmap(tasks.die_on, [(5, number) for number in range(40)], 20, on_error="return")
    assert isinstance(outcomes[5], WorkerDied)
    assert items_of(told.of("ended")) == dict.fromkeys(range(40), 1)
    assert items_of(told.of("ended", ending="lost")) == {5: 1}
    assert sum(event.failures for event in told.of("ended")) == 1


def test_retries_are_told_with_their_attempts(told):
    with Pool(1, retries=2) as pool, pool.subscribe(told), pytest.raises(WorkerDied):
        pool.apply(tasks.die)
    story = [(event.kind, event.attempt) for event in told if event.kind in {"ended", "retried"}]
    assert story == [("ended", 1), ("retried", 2), ("ended", 2), ("retried", 3), ("ended", 3)]
    assert [event.ending for event in told.of("worker_ended")][:3] == ["died"] * 3


def test_retry_after_an_exception_with_backoff_is_told(told, tmp_path):
    with Pool(1) as pool, pool.subscribe(told):
        view = pool.options(retries=3, retry_on=FileExistsError, backoff=0.001)
        assert view.apply(fail_until, (str(tmp_path / "count"), 2)) == 2
    assert [event.attempt for event in told.of("retried")] == [2, 3]
    assert [event.ending for event in told.of("ended")] == ["raised", "raised", "done"]
    assert items_of(told.of("ended"))[0] - items_of(told.of("retried"))[0] == 1


def fail_until(path, times):
    with open(path, "a+") as file:  # noqa: PTH123
        file.write(".")
        file.seek(0)
        begun = len(file.read()) - 1
    if begun < times:
        raise FileExistsError(path)
    return begun


def test_call_over_its_time_is_told_as_stopped(told):
    with Pool(1, timeout=0.1) as pool, pool.subscribe(told):
        with pytest.raises(TaskTimeout):
            pool.apply(time.sleep, (60,))
        assert pool.apply(abs, (-1,)) == 1
    assert [event.ending for event in told.of("ended")] == ["stopped", "done"]
    assert 0.09 < told.of("ended")[0].seconds < 30


def test_workers_that_retire_are_told_apart_from_those_that_leave(told):
    with Pool(1, maxtasksperchild=2) as pool:
        subscription = pool.subscribe(told)
        for _ in range(4):
            pool.apply(abs, (-1,))
    subscription.close()
    endings = [event.ending for event in told.of("worker_ended")]
    assert endings[:2] == ["retired", "retired"]
    assert set(endings[2:]) <= {"left"}
    assert all(event.exit_code == 0 for event in told.of("worker_ended"))


def refuse():
    raise OSError("no licence")


def test_pool_that_cannot_be_set_up_says_that_it_broke(told):
    pool = Pool(1, refuse)
    with pool.subscribe(told), pytest.raises(WorkerStartError):
        pool.apply(abs, (-1,))
    pool.terminate()
    pool.join()
    with pool.subscribe(told):
        closed = told.wait_for("closed")
    assert closed.ending == "broken"


def test_executors_of_processes_tell_as_pools_do(executor, told):
    with executor.subscribe(told):
        assert executor.submit(pow, 2, 3).result() == 8
        assert list(executor.map(abs, [-1, -2], chunksize=2)) == [1, 2]
    assert items_of(told.of("ended")) == items_of(told.of("submitted")) == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("backend", ["threads", "serial", "executor"])
def test_pools_within_this_process_refuse_and_say_why(backend, told):
    made = ThreadPoolExecutor(1) if backend == "executor" else Pool(1, backend=backend)
    with made as pool, pytest.raises(ValueError, match=r"worker processes(.|\n)*hint: use `backend='processes'`"):
        pool.subscribe(told)


def test_callback_that_cannot_be_called_is_refused(pool):
    with pytest.raises(TypeError, match="callback must be callable, not str"):
        pool.subscribe("print")


def test_events_cannot_be_changed_and_compare_by_value():
    event = Event(1, "closed", 2.0, ending="done")
    with pytest.raises(AttributeError):
        event.kind = "ended"
    assert event == Event(1, "closed", 2.0, ending="done")
    assert not hasattr(event, "__dict__")


# -- from when to when -------------------------------------------------------------------------------------------------


def test_with_block_of_the_pool_has_told_everything(told):
    with Pool(2) as pool:
        subscription = pool.subscribe(told)
        pool.map(tasks.identity, range(1000))
    assert told[-1].kind == "closed", "the callback is fast, so it was waited for"
    assert told[-1].ending == "done"
    assert items_of(told.of("ended")) == dict.fromkeys(range(1000), 1)
    assert {event.pid for event in told.of("worker_started")} <= {event.pid for event in told.of("worker_ended")}
    subscription.close()
    assert subscription.closed


def test_what_nobody_waits_for_is_told_while_the_pool_goes_on(pool, told):
    with pool.subscribe(told):
        future = pool.submit(tasks.square, 3)
        assert told.wait_for("ended").ending == "done"
    assert future.result() == 9


def test_subscription_while_calls_run_hears_of_their_ends(pool, told, gate):
    future = pool.submit(tasks.through, gate.path, 5)
    gate.wait_for_arrival()
    with pool.subscribe(told):
        gate.let_through()
        assert future.result() == 5
        pool.apply(abs, (-1,))
    assert [(event.kind, event.first_item) for event in told if event.function] == [
        ("ended", 0), ("submitted", 1), ("ended", 1),
    ]  # fmt: skip


def test_closed_subscription_hears_nothing_more(pool, told):
    with pool.subscribe(told) as subscription:
        pool.apply(abs, (-1,))
    assert subscription.closed
    count = len(told)
    pool.map(abs, range(100))
    subscription.close()
    assert len(told) == count


def test_close_waits_for_what_was_answered_and_not_asked_for(pool, told):
    subscription = pool.subscribe(told)
    futures = [pool.submit(tasks.identity, number) for number in range(300)]
    paceline.as_completed(futures)
    for future in futures:
        future.wait()
    subscription.close()
    assert items_of(told.of("ended")) == dict.fromkeys(range(300), 1)


def test_two_subscribers_hear_the_same(pool):
    first, second = Told(), Told()
    with pool.subscribe(first), pool.subscribe(second):
        pool.map(tasks.identity, range(500), chunksize=3)
        threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("paceline-events")}
        assert threads
    works = [[event for event in told if event.function] for told in (first, second)]
    assert works[0] == works[1]


def test_subscription_after_the_end_hears_only_of_that(told):
    pool = Pool(1)
    pool.close()
    pool.join()
    with pool.subscribe(told):
        pass
    assert [event.kind for event in told] == ["closed"]


def test_terminated_pool_is_told_to_its_end(told, gate):
    pool = Pool(1)
    subscription = pool.subscribe(told)
    pool.submit(tasks.through, gate.path)
    pid = gate.wait_for_arrival()
    pool.terminate()
    pool.join()
    subscription.close()
    assert told[-1].kind == "closed"
    assert told.of("worker_ended", pid=pid)[0].signal == signal.SIGKILL


# -- callbacks ---------------------------------------------------------------------------------------------------------


def test_raising_callback_is_logged_once_and_goes_on(pool, caplog):
    seen = []

    def callback(event):
        seen.append(event)
        raise SystemExit("this callback wants to leave")

    with caplog.at_level(logging.ERROR, logger="paceline"), pool.subscribe(callback):
        assert pool.map(tasks.identity, range(100), chunksize=1) == list(range(100))
    assert items_of(event for event in seen if event.kind == "ended") == dict.fromkeys(range(100), 1)
    (record,) = [record for record in caplog.records if record.name == "paceline"]
    assert "callback of `subscribe`" in record.getMessage()
    assert "wants to leave" in str(record.exc_info[1])


def test_callbacks_come_one_at_a_time_in_one_thread_of_their_own(pool):
    threads = set()
    with pool.subscribe(lambda _: threads.add(threading.get_ident())):
        pool.map(tasks.identity, range(500), chunksize=1)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_callback_that_does_not_return_holds_up_no_call(pool):
    entered, goes_on = threading.Event(), threading.Event()

    def callback(_):
        entered.set()
        assert goes_on.wait(30)

    subscription = pool.subscribe(callback)
    pool.apply(abs, (-1,))
    assert entered.wait(30)
    assert pool.map(tasks.identity, range(10_000)) == list(range(10_000))
    goes_on.set()
    subscription.close()


def test_pool_ends_though_a_callback_does_not_return():
    entered, goes_on = threading.Event(), threading.Event()

    def callback(_):
        entered.set()
        assert goes_on.wait(30)

    with Pool(1) as pool:
        subscription = pool.subscribe(callback)
        pool.apply(abs, (-1,))
        assert entered.wait(30)
    assert not subscription.closed
    assert not goes_on.is_set(), "leaving the block has not waited for the callback"
    goes_on.set()
    subscription.close()
    assert subscription.closed


def test_what_does_not_fit_is_counted(pool):
    most, entered, goes_on = 1 << 16, threading.Event(), threading.Event()
    told = []

    def callback(event):
        told.append(event)
        entered.set()
        assert goes_on.wait(30)

    subscription = pool.subscribe(callback)
    pool.apply(abs, (-1,))
    assert entered.wait(30)
    for _ in range(2):
        pool.map(tasks.identity, range(50_000), chunksize=1)
    goes_on.set()
    subscription.close()
    (missed,) = [event for event in told if event.kind == "missed"]
    assert missed.items > 30_000
    heard = sum(event.kind in {"submitted", "ended"} for event in told)
    assert 0 <= missed.items + heard - 100_004 <= 2, "beside all of these only the births of two workers can be missed"
    assert most - 2 <= heard <= most + 1024
    assert told[-1] is missed


def test_callback_may_close_its_own_subscription(pool, told):
    is_known = threading.Event()

    def callback(event):
        assert is_known.wait(30)
        told(event)
        subscription.close()
        subscription.close()

    subscription = pool.subscribe(callback)
    is_known.set()
    pool.apply(abs, (-1,))
    told.wait_for("submitted")
    subscription.close()
    assert subscription.closed
    count = len(told)
    pool.apply(abs, (-1,))
    assert len(told) == count


def test_callback_may_use_and_end_the_pool():
    pool = Pool(1)
    results, ended = [], threading.Event()

    def callback(event):
        if event.kind == "ended" and not results:
            results.append(pool.apply(tasks.square, (4,)))
            pool.close()
            pool.join()
            ended.set()

    subscription = pool.subscribe(callback)
    pool.apply(tasks.identity, (1,))
    assert ended.wait(30)
    subscription.close()
    assert results == [16]


# -- nothing left behind -----------------------------------------------------------------------------------------------


def test_pool_that_nobody_holds_ends_and_with_it_the_subscription(told):
    pool = Pool(1)
    subscription = pool.subscribe(told)
    pool.apply(abs, (-1,))
    known = weakref.ref(pool)
    del pool
    gc.collect()
    assert known() is None, "a subscription does not keep its pool"
    assert told.wait_for("closed").ending == "done"
    subscription.close()


def test_dropped_subscription_goes_on(pool, told):
    pool.subscribe(told)
    gc.collect()
    pool.apply(abs, (-1,))
    told.wait_for("ended")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_neither_hears_nor_hangs(pool, told):
    with pool.subscribe(told) as subscription:
        pool.apply(abs, (-1,))
        told.wait_for("ended")
        before = len(told)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                subscription.close()
                try:
                    pool.subscribe(told)
                except RuntimeError as error:
                    code = 0 if "forked" in str(error) and subscription.closed and len(told) == before else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool.apply(abs, (-2,)) == 2
    assert len(told.of("ended")) == 2


def test_program_that_ends_has_heard_of_everything(tmp_path):
    source = (
        "from paceline import Pool\n"
        "count = 0\n"
        "def callback(event):\n"
        "    global count\n"
        "    count += event.items if event.kind == 'ended' else 0\n"
        "    if event.kind == 'closed':\n"
        "        print(count, event.ending, flush=True)\n"
        "with Pool(2) as pool:\n"
        "    pool.subscribe(callback)\n"
        "    pool.map(abs, range(1000))\n"
    )
    assert run_script(tmp_path, source) == "1000 done\n"


def test_program_with_an_open_pool_and_a_stuck_callback_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import threading, paceline\n"
        "entered = threading.Event()\n"
        "def callback(event):\n"
        "    entered.set()\n"
        "    threading.Event().wait()\n"
        "pool = paceline.Pool(1)\n"
        "pool.subscribe(callback)\n"
        "pool.apply(abs, (-1,))\n"
        "assert entered.wait(30)\n"
        "print('over')\n"
    )
    program = Program(str(script))
    code, out, err = program.finish()
    assert (code, out, err) == (0, "over\n", "")
    program.wait_until_nothing_is_left()


PAGE = Path(__file__).parent.parent / "docs" / "events.md"


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL), ids=["events", "spans"]
)
def test_block_of_the_page_prints_what_it_says(tmp_path, block):
    if "opentelemetry" in block:
        pytest.importorskip("opentelemetry.sdk")
    assert run_script(tmp_path, block) == "".join(f"{line}\n" for line in re.findall("#> (.*)", block))


def test_nothing_of_it_is_loaded_before_it_is_asked_for():
    program = (
        "import sys, paceline\n"
        "with paceline.Pool(1) as pool: pool.apply(abs, (-1,))\n"
        "print('paceline.events' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout == "False\n"
