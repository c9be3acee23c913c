"""How each pool is spoken to: one small class for each, in the words of its own manual.

Owns the adapters. Imports a pool only when it is opened. Every way of calling gives a `Tally`; none waits much longer
than the patience it is given. Never judges.
"""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import wait as wait_for_futures

from tests.faults.fault import CALLS, STARTS
from tests.faults.tally import Tally

WORKERS = 2


class NotSupported(Exception):
    """The subject has no such thing."""


def within(patience_s, function):
    """Calls a function in a thread of its own; whether it ended in time, its result, and what it raised."""
    ended = []

    def call():
        try:
            ended.append((function(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(patience_s)
    return (True, *ended[0]) if ended else (False, None, None)


class Subject(ABC):
    """A pool of two workers."""

    title = ""
    distribution = None
    calls = ("submit", "map")
    # What it has beyond the calls: a limit in seconds for each task.
    has_limit = False

    @abstractmethod
    def open(self, initializer=None, initargs=(), **options): ...

    @abstractmethod
    def pids(self):
        """The worker processes that are there now."""

    @abstractmethod
    def begin_close(self):
        """Takes no more calls, and does not wait."""

    @abstractmethod
    def close(self):
        """Takes no more calls, and waits for those that it has."""

    @abstractmethod
    def terminate(self):
        """Ends everything as fast as it can, and waits for that."""

    @abstractmethod
    def submit(self, function, item): ...

    def stream(self, function, items):
        """The results for items that are read while there are results, by the call that comes closest to it."""
        return self.pool.imap(function, items)

    @abstractmethod
    def is_over(self, handle, patience_s): ...

    @abstractmethod
    def result(self, handle): ...

    def outcomes(self, call, function, orders, patience_s, *, between=lambda: None, chunksize=None):
        """Makes the call; `between` is called when everything has been handed over."""
        method = getattr(self, f"by_{call}", None)
        if method is None:
            raise NotSupported(f"it has no way to {call}")
        return method(function, orders, time.monotonic() + patience_s, between, chunksize)

    def by_submit(self, function, orders, deadline, between, _chunksize):
        tally = Tally(list(orders))
        handles = []
        for order in orders:
            try:
                handles.append(self.submit(function, order))
            except Exception as error:
                tally.add_error(error)
        between()
        for handle in handles:
            if self.is_over(handle, max(0.0, deadline - time.monotonic())):
                try:
                    tally.add_result(self.result(handle))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    tally.add_error(error)
        tally.close(over=False)
        return tally

    def whole(self, tally, call, deadline):
        """For calls that give everything at once, or raise."""
        over, results, error = within(max(0.0, deadline - time.monotonic()), call)
        if error is not None:
            tally.add_error(error)
        for result in results or ():
            if isinstance(result, BaseException):
                tally.add_error(result)
            else:
                tally.add_result(result)
        tally.close(over=over)
        return tally

    def one_by_one(self, tally, iterator, deadline):
        """For calls that give an iterator: it is read on after an exception, for as long as it gives anything."""

        def read():
            while True:
                try:
                    tally.add_result(next(iterator))
                except StopIteration:
                    return
                except BaseException as error:
                    tally.add_error(error)
                    if tally.errors.total() > len(tally.orders):
                        return

        over, _, _ = within(max(0.0, deadline - time.monotonic()), read)
        tally.close(over=over)
        return tally


class Futures(Subject):
    """What the pools share whose handles are those of `concurrent.futures`."""

    def submit(self, function, item):
        return self.pool.submit(function, item)

    def is_over(self, handle, patience_s):
        return bool(wait_for_futures([handle], patience_s).done)

    def result(self, handle):
        return handle.result(0)


class AsyncResults(Subject):
    """What the pools share whose handles are those of `multiprocessing`."""

    def submit(self, function, item):
        return self.pool.apply_async(function, (item,))

    def is_over(self, handle, patience_s):
        handle.wait(patience_s)
        return handle.ready()

    def result(self, handle):
        return handle.get(0)


class Executor(Futures):
    """What the executors share."""

    def by_map(self, function, orders, deadline, between, chunksize):
        try:
            iterator = self.pool.map(function, orders, chunksize=chunksize or 1)
        except Exception as error:
            tally = Tally(list(orders))
            tally.add_error(error)
            tally.close(over=True)
            return tally
        between()
        return self.one_by_one(Tally(list(orders)), iterator, deadline)

    def stream(self, function, items):
        return self.pool.map(function, items)

    def pids(self):
        return list(self.pool._processes or ())

    def begin_close(self):
        self.pool.shutdown(wait=False)

    def close(self):
        self.pool.shutdown()


class Paceline(Subject):
    title = "Paceline"
    distribution = "paceline"
    calls = CALLS
    has_limit = True

    def __init__(self, start="forkserver"):
        self.start = start

    def open(self, initializer=None, initargs=(), workers=WORKERS, limit_s=None, **options):
        import paceline

        if limit_s is not None:
            options |= {"timeout": limit_s, "grace": 0.2}
        self.pool = paceline.Pool(workers, initializer, initargs, start_method=self.start, **options)

    def pids(self):
        return self.pool._engine.pids()

    def begin_close(self):
        self.pool.close()

    def close(self):
        self.pool.close()
        self.pool.join()

    def terminate(self):
        self.pool.terminate()
        self.pool.join()

    def submit(self, function, item):
        return self.pool.submit(function, item)

    def is_over(self, handle, patience_s):
        return handle.wait(patience_s)

    def result(self, handle):
        return handle.result(0)

    def by_map(self, function, orders, deadline, between, chunksize):
        tally = Tally(list(orders))
        try:
            handle = self.pool.map_async(function, orders, chunksize, on_error="return")
        except Exception as error:
            tally.add_error(error)
            tally.close(over=True)
            return tally
        between()
        over = handle.wait(max(0.0, deadline - time.monotonic()))
        try:
            results = handle.result(0) if over else ()
        except Exception as error:
            results = [error]
        for result in results:
            if isinstance(result, BaseException):
                tally.add_error(result)
            else:
                tally.add_result(result)
        tally.close(over=over)
        return tally

    def by_imap(self, function, orders, deadline, between, chunksize):
        tally = Tally(list(orders))
        iterator = self.pool.imap(function, orders, chunksize or 1, on_error="return")
        between()
        while time.monotonic() < deadline and tally.told() <= len(tally.orders):
            began = time.monotonic()
            try:
                result = iterator.next(max(0.001, deadline - began))
                if isinstance(result, BaseException):
                    tally.add_error(result)
                else:
                    tally.add_result(result)
            except StopIteration:
                tally.close(over=True)
                return tally
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # Not every TimeoutError is that of the wait: a task that was over its limit has one as well.
                waited = type(error).__name__ != "TaskTimeout" and isinstance(error, TimeoutError)
                if waited and time.monotonic() >= deadline:
                    break
                tally.add_error(error)
        tally.close(over=False)
        return tally

    def by_await(self, function, orders, deadline, between, _chunksize):
        import asyncio

        tally = Tally(list(orders))

        async def call_all():
            calls = []
            for order in orders:
                try:
                    calls.append(self.pool.run(function, order))
                except Exception as error:
                    tally.add_error(error)
            ended, over = asyncio.Event(), []

            def count(call):
                over.append(call)
                if len(over) == len(calls):
                    ended.set()

            for call in calls:
                call.add_done_callback(count)
            between()
            if calls:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ended.wait(), max(0.0, deadline - time.monotonic()))
            for call in over:
                error = asyncio.CancelledError() if call.cancelled() else call.exception()
                if error is not None:
                    tally.add_error(error)
                else:
                    tally.add_result(call.result())
            for call in calls:
                call.cancel()

        asyncio.run(call_all())
        tally.close(over=False)
        return tally


class StdlibPool(AsyncResults):
    title = "`multiprocessing.Pool` (fork)"

    def open(self, initializer=None, initargs=(), workers=WORKERS):
        import multiprocessing

        self.pool = multiprocessing.get_context("fork").Pool(workers, initializer, initargs)

    def by_map(self, function, orders, deadline, between, chunksize):
        tally = Tally(list(orders))
        try:
            handle = self.pool.map_async(function, orders, chunksize)
        except Exception as error:
            tally.add_error(error)
            tally.close(over=True)
            return tally
        between()
        return self.whole(tally, handle.get, deadline)

    def pids(self):
        return [process.pid for process in self.pool._pool]

    def begin_close(self):
        self.pool.close()

    def close(self):
        self.pool.close()
        self.pool.join()

    def terminate(self):
        self.pool.terminate()
        self.pool.join()


class StdlibExecutor(Executor):
    title = "`ProcessPoolExecutor` (fork)"

    def open(self, initializer=None, initargs=(), workers=WORKERS):
        import concurrent.futures
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.pool = concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=context, initializer=initializer, initargs=initargs
        )

    def terminate(self):
        # It has no other way before Python 3.14.
        self.pool.shutdown(cancel_futures=True)


class Loky(Executor):
    title = "loky"
    distribution = "loky"

    def open(self, initializer=None, initargs=(), workers=WORKERS):
        import loky

        self.pool = loky.ProcessPoolExecutor(workers, initializer=initializer, initargs=initargs)

    def terminate(self):
        self.pool.shutdown(kill_workers=True)


class Mpire(AsyncResults):
    title = "mpire"
    distribution = "mpire"
    has_limit = True

    def open(self, initializer=None, initargs=(), workers=WORKERS, limit_s=None):
        import functools

        import mpire

        self.pool = mpire.WorkerPool(workers, start_method="fork", keep_alive=True)
        self.more = {}
        if initializer is not None:
            self.more["worker_init"] = functools.partial(initializer, *initargs)
        if limit_s is not None:
            self.more["task_timeout"] = limit_s

    def submit(self, function, item):
        return self.pool.apply_async(function, (item,), **self.more)

    def by_map(self, function, orders, deadline, between, chunksize):
        # It hands over and waits in one call, and reads a tuple as the arguments.
        timer = threading.Timer(0.05, between)
        timer.start()
        items = ((order,) for order in orders)
        call = lambda: self.pool.map(  # noqa: E731 - it is called by a thread.
            function, items, iterable_len=len(orders), chunk_size=chunksize, **self.more
        )
        tally = self.whole(Tally(list(orders)), call, deadline)
        timer.join()
        return tally

    def stream(self, function, items):
        return self.pool.imap(function, ((item,) for item in items), chunk_size=1)

    def pids(self):
        return [process.pid for process in self.pool._workers if process is not None]

    def begin_close(self):
        threading.Thread(target=self.close, daemon=True).start()

    def close(self):
        self.pool.stop_and_join()

    def terminate(self):
        self.pool.terminate()


class Pebble(Futures):
    title = "pebble"
    distribution = "pebble"
    has_limit = True

    def open(self, initializer=None, initargs=(), workers=WORKERS, limit_s=None):
        import multiprocessing

        import pebble

        self.limit_s = limit_s
        # What it uses by default differs between the versions of Python.
        context = multiprocessing.get_context("fork")
        self.pool = pebble.ProcessPool(workers, initializer=initializer, initargs=initargs, context=context)

    def submit(self, function, item):
        return self.pool.schedule(function, args=(item,), timeout=self.limit_s)

    def by_map(self, function, orders, deadline, between, chunksize):
        tally = Tally(list(orders))
        try:
            future = self.pool.map(function, orders, timeout=self.limit_s, chunksize=chunksize or 1)
        except Exception as error:
            tally.add_error(error)
            tally.close(over=True)
            return tally
        between()
        # Every exception that it gives stands for a chunk, after which it goes on.
        over, iterator, error = within(max(0.0, deadline - time.monotonic()), future.result)
        if not over or error is not None:
            if error is not None:
                tally.add_error(error)
            tally.close(over=over)
            return tally
        return self.one_by_one(tally, iterator, deadline)

    def stream(self, function, items):
        return self.pool.map(function, items).result()

    def pids(self):
        with contextlib.suppress(AttributeError):
            return list(self.pool._pool_manager.worker_manager.workers)
        return []

    def begin_close(self):
        self.pool.close()

    def close(self):
        self.pool.close()
        self.pool.join()

    def terminate(self):
        self.pool.stop()
        self.pool.join()


PEERS = {"pool": StdlibPool, "executor": StdlibExecutor, "loky": Loky, "mpire": Mpire, "pebble": Pebble}
OURS = tuple(f"paceline:{start}" for start in STARTS)


def named(name):
    kind, _, start = name.partition(":")
    return Paceline(start or "forkserver") if kind == "paceline" else PEERS[kind]()
