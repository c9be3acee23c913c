"""Options of calls: what they refuse, and that a view passes them on."""

import os
import signal
import threading

import pytest

import paceline
from paceline.options import Options


def die_once(path):
    """Kills its worker the first time it is run."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@pytest.mark.parametrize(
    "wrong", [{"retries": 1.5}, {"retries": True}, {"priority": "high"}, {"name": 3}, {"unknown": 1}]
)
def test_options_of_a_wrong_kind_raise_type_error(pool, wrong):
    with pytest.raises(TypeError):
        pool.options(**wrong)


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"retries": 65536}, {"priority": 40000}, {"priority": -32769}])
def test_options_out_of_range_raise_value_error(pool, wrong):
    with pytest.raises(ValueError, match="must be from"):
        pool.options(**wrong)


def test_options_cannot_be_changed():
    with pytest.raises(AttributeError, match="replace"):
        Options().retries = 1


def test_options_of_a_view_reach_every_way_of_calling(pool, tmp_path):
    view = pool.options(retries=1)
    ways = {
        "submit": lambda path: view.submit(die_once, path).result(),
        "apply": lambda path: view.apply(die_once, (path,)),
        "map": lambda path: view.map(die_once, [path])[0],
        "starmap": lambda path: view.starmap(die_once, [(path,)])[0],
        "imap": lambda path: next(view.imap(die_once, [path])),
    }
    for name, way in ways.items():
        assert way(str(tmp_path / name)) == "survived", name


def test_view_of_a_view_keeps_the_options_of_both(pool, tmp_path):
    view = pool.options(retries=1).options(name="phoenix")
    assert view.apply(die_once, (str(tmp_path / "a"),)) == "survived"
    assert "retries=1, name='phoenix'" in repr(view)


def test_options_of_the_constructor_hold_for_every_call(tmp_path):
    with paceline.Pool(1, retries=1) as pool:
        assert pool.apply(die_once, (str(tmp_path / "a"),)) == "survived"


def test_view_of_a_closed_pool_refuses_calls(pool):
    view = pool.options(retries=1)
    pool.close()
    with pytest.raises(ValueError, match="Pool not running"):
        view.submit(abs, 1)


def test_name_stands_for_the_function_in_errors(pool):
    with pytest.raises(paceline.WorkerDied, match="`phoenix` was lost"):
        pool.options(name="phoenix").apply(os._exit, (3,))


# -- executors ---------------------------------------------------------------------------------------------------------


def test_options_of_an_executor_reach_every_way_of_calling(executor, tmp_path):
    view = executor.options(retries=1).options(name="phoenix")
    ways = {
        "submit": lambda path: view.submit(die_once, path).result(),
        "map": lambda path: next(view.map(die_once, [path])),
        "chunks": lambda path: next(view.map(die_once, [path], chunksize=2)),
        "unordered": lambda path: next(view.map_unordered(die_once, [path])),
    }
    for name, way in ways.items():
        assert way(str(tmp_path / name)) == "survived", name
    assert "retries=1, name='phoenix'" in repr(view)


def test_options_of_an_executors_constructor_hold_for_every_call(tmp_path):
    with paceline.ProcessPoolExecutor(1, retries=1) as executor:
        assert executor.submit(die_once, str(tmp_path / "a")).result() == "survived"


def test_view_of_an_executor_goes_without_ending_it(executor):
    executor.options(retries=1).submit(abs, -1).result()
    assert executor.submit(abs, -2).result() == 2


def test_view_of_an_executor_that_was_shut_down_refuses_calls(executor):
    view = executor.options(retries=1)
    view.shutdown()
    for one in (view, executor):
        with pytest.raises(RuntimeError, match="after shutdown"):
            one.submit(abs, 1)


def test_options_of_an_executor_of_threads_order_what_waits():
    began = []
    with paceline.ThreadPoolExecutor(1) as executor:
        held, arrived = threading.Event(), threading.Event()
        first = executor.submit(lambda: (arrived.set(), held.wait(30)))
        arrived.wait(30)
        executor.submit(began.append, "plain")
        executor.options(priority=5).submit(began.append, "urgent")
        held.set()
        first.result()
    assert began == ["urgent", "plain"]
