"""Context variables in workers: those that are declared have the values that they had where the call was made."""

import asyncio
import contextvars
import signal

import pytest

import paceline
import tasks
from paceline.context import ContextCarrier
from paceline.pickling import dump_function, guard_holds
from program import run_script

request = contextvars.ContextVar("request")
limit = contextvars.ContextVar("limit", default=10)
undeclared = contextvars.ContextVar("undeclared", default="at home only")


class Settings:
    current = contextvars.ContextVar("current", default=None)


def look(_=None):
    return request.get("unset"), limit.get()


def look_around(*args):
    return (*args, request.get("unset"), undeclared.get(), Settings.current.get())


def set_and_look(value):
    before = request.get("unset")
    request.set(value)
    return before, request.get()


@pytest.fixture
def pool():
    with paceline.Pool(2, context_vars=[request, limit, Settings.current]) as pool:
        yield pool


def in_new_context(function):
    """What is set in one test is not seen by the next."""
    contextvars.copy_context().run(function)


def test_declared_variables_have_the_values_of_the_caller(pool):
    def body():
        assert pool.apply(look) == ("unset", 10)
        request.set("first")
        assert pool.apply(look) == ("first", 10)
        limit.set(20)
        assert pool.submit(look).result() == ("first", 20)
        request.set("second")
        assert pool.apply(look) == ("second", 20)

    in_new_context(body)
    assert pool.apply(look) == ("unset", 10)


def test_every_way_to_call_carries_them(pool):
    def body():
        request.set("r")
        assert pool.apply_async(look).get() == ("r", 10)
        assert pool.map(look, range(3)) == [("r", 10)] * 3
        assert pool.starmap(look_around, [(1,)]) == [(1, "r", "at home only", None)]
        assert list(pool.imap(look, range(3))) == [("r", 10)] * 3
        assert list(pool.imap(look, iter(range(3)))) == [("r", 10)] * 3
        assert list(pool.imap_unordered(look, iter(range(3)))) == [("r", 10)] * 3
        assert pool.options(retries=1).apply(look) == ("r", 10)

    in_new_context(body)


def test_input_read_later_still_finds_the_values_of_the_call(pool):
    def body():
        request.set("at the call")
        results = pool.imap(look, range(2000))
        request.set("later")
        assert {value for value, _ in results} == {"at the call"}

    in_new_context(body)


def test_awaited_calls_carry_the_values_of_their_task(pool):
    async def one(value):
        request.set(value)
        first = await pool.run(look)
        return first, [result async for result in pool.amap(look, range(2))]

    async def main():
        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(main()) == [((name, 10), [(name, 10)] * 2) for name in "ab"]


async def look_and_set(value):
    before = request.get("unset")
    await asyncio.sleep(0)
    request.set(value)
    await asyncio.sleep(0)
    return before, request.get()


def test_coroutine_functions_have_them_each_for_itself(pool):
    def body():
        futures = []
        for value in range(4):
            request.set(f"r{value}")
            futures.append(pool.submit(look_and_set, value))
        assert [future.result() for future in futures] == [(f"r{value}", value) for value in range(4)]
        assert pool.map(look_and_set, range(3)) == [("r3", value) for value in range(3)]
        # Not a coroutine function, but it gives a coroutine.
        assert pool.apply(lambda value: look_and_set(value + 1), (6,)) == ("r3", 7)

    in_new_context(body)


def test_variable_that_is_not_declared_stays_at_home(pool):
    def body():
        undeclared.set("changed")
        assert pool.apply(look_around) == ("unset", "at home only", None)

    in_new_context(body)


def test_variable_of_a_class_is_found(pool):
    def body():
        Settings.current.set({"deep": [1]})
        assert pool.apply(look_around)[2] == {"deep": [1]}
        Settings.current.get()["deep"].append(2)
        assert pool.apply(look_around)[2] == {"deep": [1, 2]}

    in_new_context(body)


def test_what_a_task_sets_is_gone_after_it(pool):
    assert {pool.apply(set_and_look, (value,)) for value in range(6)} == {("unset", value) for value in range(6)}
    assert request.get("unset") == "unset"


def test_value_that_cannot_be_pickled_fails_at_the_call(pool):
    def body():
        request.set(tasks.Unpicklable())
        with pytest.raises(paceline.ArgumentNotPicklable, match="value of a context variable"):
            pool.submit(look)

    in_new_context(body)


def test_what_is_no_context_variable_is_refused():
    with pytest.raises(TypeError, match=r"context_vars must be `contextvars\.ContextVar`s, not `str`"):
        paceline.Pool(1, context_vars=["request"])


def test_lost_call_bears_the_name_of_its_function(pool):
    with pytest.raises(paceline.WorkerDied, match=r"^`die` was lost") as caught:
        pool.apply(tasks.die, (signal.SIGKILL,))
    assert caught.value.function == "die"


def test_traceback_shows_the_users_frames_only(pool):
    with pytest.raises(ValueError, match="no") as caught:
        pool.apply(tasks.fail)
    assert "in fail\n" in caught.value.__cause__.text
    assert "context.py" not in caught.value.__cause__.text


def test_values_that_stay_the_same_are_pickled_once():
    carrier = ContextCarrier([request, limit])

    def body():
        request.set("a request with a long name")
        wrapped = carrier.wrap(look)
        assert carrier.wrap(look) is wrapped
        assert carrier.wrap(wrapped) is wrapped
        data, guard = dump_function(wrapped)
        assert b"a request" in data
        assert guard_holds(wrapped, guard)
        request.set("another")
        assert carrier.wrap(look) is not wrapped

    in_new_context(body)


def test_variables_of_a_script_are_the_same_for_functions_classes_and_closures(tmp_path):
    source = """
import contextvars, dataclasses
import paceline

user = contextvars.ContextVar("user", default="nobody")

@dataclasses.dataclass
class Session:
    name: str

session = contextvars.ContextVar("session")

class Holder:
    private = contextvars.ContextVar("private", default=0)

def make():
    hidden = contextvars.ContextVar("hidden", default="-")
    return hidden, lambda: hidden.get()

hidden, get_hidden = make()

def look():
    return user.get(), session.get(None), Holder.private.get(), get_hidden()

def give_back():
    return user, (lambda: user.get())

with paceline.Pool(1, context_vars=[user, session, Holder.private, hidden]) as pool:
    print(pool.apply(look))
    user.set("somebody")
    session.set(Session("s"))
    Holder.private.set(3)
    hidden.set("h")
    print(pool.apply(look))
    session.get().name = "changed"
    print(pool.map(lambda _: look(), range(2)))
    returned, get = pool.apply(give_back)
    print(returned is user, get())
"""
    assert run_script(tmp_path, source) == (
        "('nobody', None, 0, '-')\n"
        "('somebody', Session(name='s'), 3, 'h')\n"
        "[('somebody', Session(name='changed'), 3, 'h'), ('somebody', Session(name='changed'), 3, 'h')]\n"
        "True somebody\n"
    )
