"""Functions that the tests send to workers by name; it imports next to nothing, because every worker loads it."""

import os
import signal
import sys
import time


def identity(value):
    return value


def square(value):
    return value * value


def add(left, right=0):
    return left + right


def collect(*args, **kwargs):
    return args, kwargs


def pid(_=None):
    return os.getpid()


def fail(message="no"):
    raise ValueError(message)


def fail_on(bad, value):
    if value == bad:
        raise ValueError(f"bad {value}")
    return value


def die(how=signal.SIGKILL, _=None):
    os.kill(os.getpid(), how)
    signal.pause()


def die_on(bad, value):
    if value == bad:
        die()
    return value


def leave(code):
    os._exit(code)


def say_and_die(text):
    sys.stderr.write(text)
    sys.stderr.flush()
    die()


def size(data):
    return len(data)


def zeros(count):
    return bytes(count)


def nap(value):
    time.sleep(0.02)
    return value


def spin(value):
    """A task of about a tenth of a millisecond."""
    total = 0
    for number in range(1000):
        total += number
    return value if total else None


def through(gate, value=None):
    """Says at the gate which process this is, waits there, and returns `value`."""
    with open(gate, "rb", buffering=0) as entrance:  # noqa: PTH123
        with open(gate + ".arrived", "wb", buffering=0) as arrived:  # noqa: PTH123
            arrived.write(b"%d\n" % os.getpid())
        entrance.read(1)
    return value


def note(path, value):
    """Leaves a line in a file, so that the test knows which calls were made."""
    with open(path, "a") as file:  # noqa: PTH123
        file.write(f"{value}\n")
    return value


shared = None


def set_shared(value):
    global shared
    shared = value


def get_shared(_=None):
    return shared


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this one stays at home")


class TwoArguments(Exception):
    """Cannot be rebuilt from its `args`, as pickle tries to."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left = left
        self.right = right


class HoldsLock(Exception):
    def __init__(self, message):
        import threading

        super().__init__(message)
        self.lock = threading.Lock()


class BreaksWhenRebuilt(Exception):
    def __reduce__(self):
        return explode, ()


def explode():
    raise OSError("rebuilding is not to be had")


def raise_error(kind, *args):
    raise kind(*args)


def raise_with_note():
    error = ValueError("noted")
    error.add_note("a note from the worker")
    raise error


def raise_group():
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def raise_from():
    try:
        fail("inner")
    except ValueError as error:
        raise RuntimeError("outer") from error


def unpicklable_result(_=None):
    return {"list": [1, Unpicklable()]}


# -- coroutine functions -----------------------------------------------------------------------------------------------


async def square_later(value):
    import asyncio

    await asyncio.sleep(0)
    return value * value


async def through_later(gate, value=None):
    """What `through` does, without keeping the event loop from others."""
    import asyncio

    entrance = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    passed = asyncio.Event()

    def try_to_pass():
        try:
            os.read(entrance, 1)
        except BlockingIOError:  # Somebody else was faster.
            return
        loop.remove_reader(entrance)
        passed.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(entrance, try_to_pass)
    with open(gate + ".arrived", "wb", buffering=0) as arrived:  # noqa: PTH123, ASYNC230
        arrived.write(b"%d\n" % os.getpid())
    try:
        await passed.wait()
    finally:
        loop.remove_reader(entrance)
        os.close(entrance)
    return value


async def pid_through_later(gate, _=None):
    await through_later(gate)
    return os.getpid()


def kind_of_shared(_=None):
    return type(shared).__name__


def set_item(array, place, value):
    array[place] = value
