"""The joblib backend `paceline`: `joblib.Parallel`, and with it scikit-learn, on Paceline's worker processes.

Owns what joblib asks of a backend: how many jobs there are, how many calls go into a batch, how a batch is sent and its
results come back, and what happens to the pool of workers between two runs. It is the only file that imports joblib,
and is itself imported only when somebody else has imported that.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from _pickle import Pickler, loads
from io import BytesIO
from multiprocessing import current_process
from time import perf_counter
from warnings import warn

from joblib.parallel import (
    BatchedCalls,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    cpu_count,
    register_parallel_backend,
)

from paceline.adapters.buffers import Lending, MappedFile, reduce_mapped_file
from paceline.engine import default_workers, sharers
from paceline.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any

    Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["PacelineBackend", "shut_down"]


class PacelineBackend(ParallelBackendBase):  # type: ignore[misc]
    """What `joblib.Parallel` runs on when it is told `backend="paceline"`.

    >>> import joblib, paceline
    >>> with joblib.parallel_config(backend="paceline", n_jobs=2):
    ...     print(joblib.Parallel()(joblib.delayed(pow)(2, n) for n in range(5)))
    [1, 2, 4, 8, 16]

    `n_jobs`, `verbose`, `timeout`, `pre_dispatch`, `batch_size`, `return_as`, `max_nbytes`, `mmap_mode` and
    `inner_max_num_threads` mean what they mean for joblib's own `loky`. Beside them there are
    `idle_worker_timeout`, the seconds after which workers without work are given up (300 by default), and `initializer`
    and `initargs`, called in each new worker.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **backend_kwargs: Any
    ) -> None:
        _Settings(**backend_kwargs)
        super().__init__(nesting_level, inner_max_num_threads, **backend_kwargs)
        self.parallel: Any = None
        self._workers: _Run | None = None
        self._again: Callable[[], int] | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers there will be: `n_jobs`, or if that is negative, that many fewer than CPUs, plus one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs == 1:
            return 1
        if current_process().daemon:
            warn("Paceline-backed parallel loops cannot be called in a multiprocessing, setting n_jobs=1", stacklevel=3)
            return 1
        if not (self.in_main_thread() or self.nesting_level == 0):
            warn("Paceline-backed parallel loops cannot be nested below threads, setting n_jobs=1", stacklevel=3)
            return 1
        if n_jobs < 0:
            n_jobs = max(cpu_count() + 1 + n_jobs, 1)
        if sharers() > 1:
            # This is a worker: what it may use is its part of the machine.
            n_jobs = min(n_jobs, default_workers())
        return min(n_jobs, _MOST_WORKERS)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: object = None, require: object = None, **settings: Any
    ) -> int:
        """Makes ready for one run, or for all runs in a `with` block; the number of workers."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self._workers is not None:
            # `parallel_config` has one backend for all calls of `Parallel` below it, and another call has not ended.
            raise FallbackToBackend(
                PacelineBackend(self.nesting_level, self.inner_max_num_threads, **self.backend_kwargs)
            )
        self.parallel = parallel
        chosen = _Settings(**{**settings, **self.backend_kwargs})
        self._again = functools.partial(self.configure, n_jobs, parallel, prefer, require, **settings)
        self._workers = _Run(n_jobs, self.inner_max_num_threads, chosen)
        return n_jobs

    def compute_batch_size(self) -> int:
        """How many calls should travel together, by the measured time of those that came back."""
        return self._workers.pace.batch_size if self._workers is not None else 1

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Future[Any]:
        """Sends a batch; the future of its results. It never raises: what cannot be sent is a failed future."""
        run = self._workers
        if run is None:
            raise RuntimeError("the backend `paceline` has not been configured, or was ended")
        needed: list[Any] = []
        try:
            future = run.send(func, self.get_nested_backend(), needed)
        except Exception as error:
            # Raised here it could reach the thread that calls callbacks, and nobody would ever hear of it.
            from concurrent.futures import Future

            future = Future()
            future.set_exception(error)
        if callback is not None:
            future.add_done_callback(functools.partial(_pass_on, callback, needed))
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> list[Any]:
        """The results of a batch; raises what its first failing call raised."""
        seconds, results = out.result()
        if self._workers is not None and type(results) is list:
            self._workers.pace.note(len(results), seconds)
        return results  # type: ignore[no-any-return]

    def terminate(self) -> None:
        """The run is over: its workers wait for the next one."""
        run, self._workers = self._workers, None
        if run is not None:
            run.end()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Ends the workers at once, with whatever they are doing."""
        run, self._workers = self._workers, None
        if run is not None:
            run.abort()
        if ensure_ready and self._again is not None:
            # What joblib had put into batches and not sent, it would take for the beginning of the next run.
            waiting = getattr(self.parallel, "_ready_batches", None)
            while waiting is not None and not waiting.empty():
                waiting.get()
            self._again()


_MOST_WORKERS = 512


def _pass_on(callback: Callable[[Any], object], _needed: list[Any], future: Future[Any]) -> None:
    """Calls joblib's callback; until then, what the batch needs is held by whoever holds this."""
    callback(future)


class _Settings:
    """What `joblib.Parallel` and `joblib.parallel_config` hand to a backend; what is unknown raises `TypeError`."""

    def __init__(
        self,
        *,
        idle_worker_timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        max_nbytes: int | None = None,
        mmap_mode: str | None = None,
        temp_folder: object = None,  # noqa: ARG002 - nothing is written to any folder.
        verbose: int = 0,  # noqa: ARG002 - joblib prints for itself.
        context: object = None,  # noqa: ARG002 - the start method that joblib would give to `multiprocessing`.
    ) -> None:
        self.idle_seconds = 300.0 if idle_worker_timeout is None else float(idle_worker_timeout)
        self.initializer = initializer
        self.initargs = tuple(initargs)
        self.lends = max_nbytes is not None and mmap_mode is not None
        self.max_nbytes = max_nbytes or 0
        self.mmap_mode = mmap_mode or "r"


class _Run:
    """One use of a pool: by one call of `Parallel`, or by all calls in its `with` block."""

    def __init__(self, n_jobs: int, threads: int | None, settings: _Settings) -> None:
        self.pace = _Pace()
        self._settings = settings
        self._lending = Lending(settings.max_nbytes, settings.mmap_mode) if settings.lends else None
        self._keeps_functions_apart = False
        self._workers = _workers_for(_Kind(n_jobs, threads, settings))

    def send(self, batch: Any, nested: Any, needed: list[Any]) -> Future[Any]:
        """What the worker will open later is added to `needed`, and has to live until then."""
        pool = self._workers.pool
        items = getattr(batch, "items", None)
        if type(items) is not list:
            return pool.submit(run_whole, batch)
        if not self._keeps_functions_apart:
            data = self._dump(batch, needed)
            if data is not None:
                return pool.submit(run_pickled, data, needed)
            needed.clear()
        functions: list[Any] = []
        places: dict[int, int] = {}
        calls = []
        for function, args, kwargs in items:
            place = places.setdefault(id(function), len(functions))
            if place == len(functions):
                functions.append(function)
            calls.append((place, args, kwargs))
        data = self._dump(calls, needed)
        if data is not None:
            # The functions of a script or a notebook; Paceline sends them by value.
            self._keeps_functions_apart = True
            return pool.submit(run_apart, functions, nested, data, needed)
        needed.clear()
        batch.items = [_with_mapped_files(call) for call in items]
        return pool.submit(run_whole, batch)

    def _dump(self, thing: object, needed: list[Any]) -> bytes | None:
        """What plain pickle makes of it, with large buffers apart; None if a worker could not understand that."""
        out = BytesIO()
        lending = self._lending

        def stays(buffer: Any) -> bool:
            lent = lending.lend(buffer) if lending is not None else None
            if lent is not None:
                needed.append(lent)
            return lent is None

        pickler = Pickler(out, 5, buffer_callback=stays)
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "memmap"):
            from copyreg import dispatch_table

            pickler.dispatch_table = {**dispatch_table, numpy.memmap: reduce_mapped_file}
        try:
            pickler.dump(thing)
        except Exception:
            return None
        data = out.getvalue()
        return None if b"__main__" in data else data

    def end(self) -> None:
        self._forget()
        self._workers.rest(self._settings.idle_seconds)

    def abort(self) -> None:
        self._forget()
        self._workers.pool.terminate()
        self._workers.pool.join()

    def _forget(self) -> None:
        if self._lending is not None:
            self._lending.clear()


def _with_mapped_files(call: Call) -> Call:
    """For picklers that are not ours to tell what to do with an array that is a file."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "memmap"):
        return call
    function, args, kwargs = call
    wrap: Any = lambda value: MappedFile(value) if type(value) is numpy.memmap else value  # noqa: E731
    return function, tuple(map(wrap, args)), {name: wrap(value) for name, value in kwargs.items()}


class _Pace:
    """How many calls make a batch worth its journey.

    A batch costs the parent a tenth of a millisecond. One that takes this long loses a percent by that, and no worker
    waits much longer than this for the others at the end. The first batch is a single call; then batches grow as fast
    as a few measurements can be trusted, and shrink at once.
    """

    _TARGET_S = 0.02
    _GROWTH = 8

    def __init__(self) -> None:
        self.batch_size = 1

    def note(self, calls: int, seconds: float) -> None:
        if calls == 0:
            return
        ideal = int(self._TARGET_S * calls / max(seconds, 1e-9))
        self.batch_size = max(1, min(ideal, calls * self._GROWTH))


register_parallel_backend("paceline", PacelineBackend)

# -- in a worker -------------------------------------------------------------------------------------------------------


def run_whole(batch: Callable[[], Any]) -> tuple[float, Any]:
    """Calls all of a batch; the seconds that took, and the results."""
    began = perf_counter()
    results = batch()
    return perf_counter() - began, results


def run_pickled(data: bytes, buffers: list[Any]) -> tuple[float, Any]:
    """The same, for a batch as bytes."""
    return run_whole(loads(data, buffers=buffers))


def run_apart(functions: list[Any], nested: Any, data: bytes, buffers: list[Any]) -> tuple[float, Any]:
    """The same, for a batch whose functions came on a way of their own."""
    calls = loads(data, buffers=buffers)
    return run_whole(BatchedCalls([(functions[place], args, kwargs) for place, args, kwargs in calls], nested))


# -- workers between two runs ------------------------------------------------------------------------------------------


class _Kind:
    """What workers have to have in common to be used again."""

    def __init__(self, n_jobs: int, threads: int | None, settings: _Settings) -> None:
        self.n_jobs = n_jobs
        self.threads = threads
        self.initializer = settings.initializer
        self.initargs = settings.initargs
        try:
            folder = os.getcwd()
        except OSError:
            folder = None
        # They took these over from this process when they were born.
        self.looks = os.getpid(), folder, tuple(sys.path), dict(os.environ)

    def asks_for_the_same(self, other: _Kind) -> bool:
        return (
            (self.n_jobs, self.threads) == (other.n_jobs, other.threads)
            and self.initializer is other.initializer
            and len(self.initargs) == len(other.initargs)
            and all(one is another for one, another in zip(self.initargs, other.initargs, strict=True))
        )


class _Workers:
    """A pool, in use or idle."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.pool = Pool(
            kind.n_jobs, kind.initializer, kind.initargs, backend="processes", threads_per_worker=kind.threads
        )
        self._timer: threading.Timer | None = None

    def rest(self, seconds: float) -> None:
        """Waits for the next run, but not longer than that."""
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.name = "paceline-joblib-idle"
        with _lock:
            _idle.append(self)
        try:
            self._timer.start()
        except RuntimeError:  # The interpreter is about to end, and starts no more threads.
            self._expire()

    def wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        with _lock:
            if self not in _idle:
                return
            _idle.remove(self)
        self.leave()

    def leave(self) -> None:
        if self.kind.looks[0] == os.getpid():
            self.wake()
            self.pool.close()
            self.pool.join()


_lock = threading.Lock()
_idle: list[_Workers] = []


def _workers_for(kind: _Kind) -> _Workers:
    """Idle workers of that kind, or new ones. Those that this process has outgrown are sent away."""
    found = None
    outgrown = []
    with _lock:
        for workers in [idle for idle in _idle if idle.kind.asks_for_the_same(kind)]:
            if workers.kind.looks != kind.looks:
                outgrown.append(workers)
            elif found is None:
                found = workers
            else:
                continue
            _idle.remove(workers)
    for workers in outgrown:
        workers.leave()
    if found is None:
        return _Workers(kind)
    found.wake()
    return found


def shut_down() -> None:
    """Sends all idle workers away now, and waits until they are gone.

    They leave by themselves at the end of the program, or when nothing was asked of them for `idle_worker_timeout`
    seconds; this is for programs that cannot wait for it.
    """
    with _lock:
        idle = list(_idle)
        _idle.clear()
    for workers in idle:
        workers.leave()
