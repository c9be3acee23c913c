"""What the workers run: tasks that do their work, and one among them that does harm at a given moment.

Owns the orders (what a task is told), the harms by name, and the answers that tell a right result from a wrong one.
Imports next to nothing, because every worker of every pool loads it.
"""

import os
import signal
import sys
import time
from _pickle import PickleBuffer

# A file to which each task adds its number when it begins, so that none runs twice unseen.
NOTES = "PACELINE_FAULTS_NOTES"

WHEN_RUNNING = "running"
WHEN_WRITING = "writing"
# Results of at least so many bytes are cargo.
CARGO_FROM = 64 << 10


def perform(order):
    """Does what an order says; gives its number and as many bytes as it asks for."""
    index, size, harm, cargo = order
    note(index)
    if isinstance(cargo, Cargo):
        cargo.use(index)
    if harm is not None:
        moment, name, arguments = harm
        if moment == WHEN_WRITING:
            return index, answer(index, size), Leaving(name, arguments)
        result = HARMS[name](*arguments)
        if result is not None:
            return result
    return index, answer(index, size)


def note(index):
    path = os.environ.get(NOTES)
    if path:
        # One write of a few bytes to a file opened for appending is never torn. Without `open`, which a task may
        # have brought to its limits.
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            return
        os.write(file, b"%d\n" % index)
        os.close(file)


def answer(index, size):
    return Cargo.of(index, size) if size >= CARGO_FROM else bytes([index % 251]) * size


class Cargo:
    """Bytes that travel beside their pickle, as those of an array do, wherever pickle lets them."""

    def __init__(self, content):
        self.content = content

    @classmethod
    def of(cls, index, size):
        return cls(bytearray([index % 251]) * size)

    def use(self, index):
        """Looks whether they are right, and writes over them: they are the task's own, if they can be written to."""
        assert self == Cargo.of(index, len(memoryview(self.content))), "the bytes of an argument are not those sent"
        view = memoryview(self.content)
        if not view.readonly:
            view[:] = bytes(len(view))

    def __reduce_ex__(self, protocol):
        return Cargo, (PickleBuffer(self.content) if protocol >= 5 else bytes(self.content),)

    def __eq__(self, other):
        return isinstance(other, Cargo) and memoryview(self.content) == memoryview(other.content)

    __hash__ = None


def is_right(order, result):
    return isinstance(result, tuple) and result[:2] == (order[0], answer(order[0], order[1]))


class Leaving:
    """Does harm while the result that it is part of is being written."""

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = arguments

    def __reduce__(self):
        HARMS[self.name](*self.arguments)
        return str, ()


class Arriving:
    """Does harm where the argument that it is part of is being read."""

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = arguments

    def __reduce__(self):
        return arrive, (self.name, self.arguments)


def arrive(name, arguments):
    HARMS[name](*arguments)


# -- harms: ends -------------------------------------------------------------------------------------------------------


def kill(number):
    os.kill(os.getpid(), number)
    time.sleep(600)


def segfault():
    import ctypes

    ctypes.string_at(1)


def overflow(library):
    import ctypes

    ctypes.CDLL(library).overflow()


def raise_error(message="the task failed"):
    raise ValueError(message)


def after(seconds, name, *arguments):
    time.sleep(seconds)
    return HARMS[name](*arguments)


# -- harms: memory -----------------------------------------------------------------------------------------------------


def eat(limit_bytes):
    """Takes memory until it is ended; stops at a limit, for a machine that does not end it."""
    eaten = []
    for _ in range(limit_bytes >> 20):
        eaten.append(bytearray(1 << 20))  # noqa: PERF401 - a comprehension would be kept whole, and this shall grow.
    raise AssertionError(f"{limit_bytes} bytes were to be had")


def eat_under_limit(more_bytes):
    import resource

    with open("/proc/self/statm") as file:  # noqa: PTH123
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, before[1]))
    try:
        eat(more_bytes * 4)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# -- harms: what cannot travel -----------------------------------------------------------------------------------------


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this one stays at home")


class UnpicklableError(Exception):
    def __reduce__(self):
        raise TypeError("this error stays at home")


class Selective(Exception):
    """Wants two arguments, where pickle will give it one."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


class Stubborn(Exception):
    """Cannot be rebuilt at all."""

    def __reduce__(self):
        return explode, ()


def explode():
    raise OSError("rebuilding is not to be had")


def raise_unpicklable():
    raise UnpicklableError("of no use to others")


def raise_selective():
    raise Selective("left", "right")


def raise_stubborn():
    raise Stubborn("once")


# -- harms: habits -----------------------------------------------------------------------------------------------------


def close_all_files():
    os.closerange(0, 4096)


def close_most_files():
    os.closerange(3, 4096)


def block_all_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def fork_and_go_on():
    """The child sleeps for a moment and leaves; the parent answers."""
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)


def fork_and_return():
    """Both processes come back from the task, as from a fork that somebody forgot to end."""
    os.fork()


def start_threads():
    import threading

    for _ in range(3):
        threading.Thread(target=time.sleep, args=(600,)).start()


def open_pool():
    import multiprocessing

    # Workers of the standard library's pools are daemons, and may have no children.
    multiprocessing.current_process()._config.pop("daemon", None)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        pool.close()
        pool.join()


def open_own_pool():
    import paceline

    with paceline.Pool(1) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def replace_stdout():
    sys.stdout = None
    sys.stderr = object()


def write_megabytes(count_bytes):
    line = "x" * 79 + "\n"
    for _ in range(count_bytes // len(line)):
        sys.stdout.write(line)
    sys.stdout.flush()


# -- harms: time -------------------------------------------------------------------------------------------------------


def loop():
    while True:
        pass


def loop_in_native_code():
    """Never gives the interpreter back: nothing of Python's can run in this process meanwhile, no signal's handler."""
    import collections
    import itertools

    collections.deque(itertools.repeat(None), maxlen=0)


def ignore_requests():
    while True:
        try:
            time.sleep(600)
        except BaseException:
            continue


def sleep_deaf():
    block_all_signals()
    time.sleep(600)


HARMS = {
    "after": after,
    "kill": kill,
    "segfault": segfault,
    "abort": os.abort,
    "overflow": overflow,
    "os._exit": os._exit,
    "sys.exit": sys.exit,
    "raise": raise_error,
    "eat": eat,
    "eat-under-limit": eat_under_limit,
    "unpicklable-result": Unpicklable,
    "unpicklable-exception": raise_unpicklable,
    "selective-exception": raise_selective,
    "stubborn-exception": raise_stubborn,
    "close-files": close_all_files,
    "close-most-files": close_most_files,
    "change-folder": lambda: os.chdir("/"),
    "block-signals": block_all_signals,
    "fork": fork_and_go_on,
    "fork-and-return": fork_and_return,
    "start-threads": start_threads,
    "open-pool": open_pool,
    "open-own-pool": open_own_pool,
    "replace-stdout": replace_stdout,
    "write-megabytes": write_megabytes,
    "sleep": time.sleep,
    "loop": loop,
    "loop-in-native-code": loop_in_native_code,
    "ignore-requests": ignore_requests,
    "sleep-deaf": sleep_deaf,
}


# -- initializers and callbacks ----------------------------------------------------------------------------------------


def fail_to_start():
    raise ValueError("the initializer is broken")


def hang_at_start():
    time.sleep(600)


def leave_at_start():
    os._exit(7)


def where(seconds):
    time.sleep(seconds)
    return os.getpid()


def zeros(count_bytes):
    return bytes(count_bytes)


def hold(path):
    """Says that it is there, and waits until somebody lets it through or the file is gone."""
    with open(path + ".arrived", "wb", buffering=0) as arrived:  # noqa: PTH123
        arrived.write(b"%d\n" % os.getpid())
    with open(path, "rb", buffering=0) as entrance:  # noqa: PTH123
        entrance.read(1)


def square(number):
    return number * number
