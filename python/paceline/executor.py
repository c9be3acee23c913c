"""`ProcessPoolExecutor` and `ThreadPoolExecutor`: the classes of those names in `concurrent.futures`, on our engines.

Owns how they are opened, and what each has that the other has not. The ways to call a function on them are those of
`paceline.executor_calls`; everything else is the engines'.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import count
from signal import SIGKILL, SIGTERM

from paceline.backends import chosen_backend, open_backend
from paceline.engine import LocalEngine, Terms, choose_seed, open_local_engine
from paceline.errors import PoolClosed, WorkerError
from paceline.executor_calls import EngineExecutor
from paceline.options import Options
from paceline.processes import send_signal, worker_processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from signal import Signals
    from threading import Thread
    from typing import Any, Literal, Protocol

    from paceline.backends import Backend
    from paceline.engine import AnyEngine
    from paceline.processes import WorkerProcess

    class Context(Protocol):
        """A context of `multiprocessing`."""

        def get_start_method(self, allow_none: bool = ...) -> str | None: ...


__all__ = ["ProcessPoolExecutor", "ThreadPoolExecutor"]


class ProcessPoolExecutor(EngineExecutor):
    """An executor of worker processes, with the methods of `concurrent.futures.ProcessPoolExecutor`.

    >>> from paceline import ProcessPoolExecutor
    >>> with ProcessPoolExecutor(2) as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    1024 [1, 2]

    `max_workers` is the number of workers, by default as many as this process may use CPUs. Each calls
    `initializer(*initargs)` before its first task, and leaves for a fresh one after `max_tasks_per_child` tasks, if
    that is given. `mp_context` is taken for compatibility, and changes nothing: workers start as `start_method` says,
    by default from a clean process of Paceline's own, and functions bring the globals they use with them. The other
    arguments, `start_method` and `backend` too, are those of `Pool`.

    Raises `ValueError` for numbers below one, and for `max_tasks_per_child` with a `fork` context, which the standard
    executor refuses too; `TypeError` for an initializer that cannot be called; `ArgumentNotPicklable` for one that
    cannot be sent.

    A worker that dies fails the one call that it was running, with `WorkerDied`, and is replaced: the executor goes on.
    Only an initializer that raises breaks it, with `WorkerStartError`. Both are a `BrokenProcessPool`. Leaving a `with`
    block waits for everything submitted, except for Ctrl-C, which ends everything at once. Functions and arguments are
    pickled by `submit`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Context | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        backend: Backend | None = None,
        max_tasks_per_child: int | None = None,
        timeout: float | None = None,
        grace: float = 1.0,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        retry_alone: bool = False,
        memory_limit: int | str | None = None,
        max_memory_per_child: int | str | None = None,
        memory_budget: int | str | None = None,
        start_timeout: float | None = None,
        priority: int = 0,
        seed: int | None = None,
        concurrency_per_worker: int = 100,
        threads_per_worker: int | None = None,
        prefix_output: bool = False,
        start_method: Literal["forkserver", "spawn", "fork"] = "forkserver",
        resources: Mapping[str, float] | None = None,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if mp_context is not None and mp_context.get_start_method(allow_none=False) == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                    "supply a different mp_context."
                )
        self._context = mp_context
        options = Options(
            timeout=timeout,
            grace=grace,
            retries=retries,
            retry_on=retry_on,
            backoff=backoff,
            retry_alone=retry_alone,
            priority=priority,
        )
        self.seed = choose_seed(seed)
        self._threads_per_worker = threads_per_worker
        engine = open_backend(
            chosen_backend(backend),
            max_workers,
            initializer,
            initargs,
            max_tasks_per_child,
            name=None,
            seed=self.seed,
            concurrency_per_worker=concurrency_per_worker,
            threads_per_worker=threads_per_worker,
            prefix_output=prefix_output,
            memory_limit=memory_limit,
            memory_budget=memory_budget,
            max_memory_per_child=max_memory_per_child,
            start_timeout=start_timeout,
            start_method=start_method,
            resources=resources,
        )
        self._open(engine, options)

    def terminate_workers(self) -> None:
        """Shuts down at once: cancels what has not begun, and sends SIGTERM to every worker.

        What was running fails with `WorkerDied`, whatever its `retries`; on a cluster, it is cancelled, and its workers
        are ended by SIGKILL. Does not wait, and takes no more calls. Raises `ValueError` where the workers are threads.
        """
        self._end_workers(SIGTERM)

    def kill_workers(self) -> None:
        """Like `terminate_workers`, but with SIGKILL, which no worker can ignore."""
        self._end_workers(SIGKILL)

    def _end_workers(self, signal: Signals) -> None:
        engine = self._engine
        if isinstance(engine, LocalEngine):
            if engine.carrier is None:
                raise ValueError("threads cannot be ended: the executor's backend has no worker processes")
            self.shutdown(wait=False, cancel_futures=True)
            engine.terminate()
            return
        self.shutdown(wait=False, cancel_futures=True)
        for pid in self._engine.pids():
            send_signal(pid, signal)

    # What programs read under the standard executor's private names.

    @property
    def _processes(self) -> dict[int, WorkerProcess]:
        if isinstance(self._engine, LocalEngine):
            return {}
        return {process.pid: process for process in worker_processes(self._engine)}

    @property
    def _broken(self) -> bool:
        try:
            # Only the engine knows, and it tells those who want something done.
            self._engine.submit(Terms(), bool, (), None).cancel()
        except WorkerError:
            return True
        except PoolClosed:
            pass
        return False

    @property
    def _executor_manager_thread(self) -> _Manager:
        return _Manager(self._engine)

    @property
    def _mp_context(self) -> Context:
        from multiprocessing import get_context

        spawn: Any = get_context("spawn")
        return self._context or spawn


class _Manager:
    """Ends when the executor has: what can be joined where the standard executor has a thread."""

    def __init__(self, engine: AnyEngine) -> None:
        self._engine = engine

    def join(self, timeout: float | None = None) -> None:
        self._engine.join(timeout)


class ThreadPoolExecutor(EngineExecutor):
    """An executor of threads of this process, with the methods of `concurrent.futures.ThreadPoolExecutor`.

    >>> from paceline import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    1024 [1, 2]

    There are at most `max_workers` threads, by default four more than CPUs, but no more than 32. Each is started when
    there is work and none is idle, calls `initializer(*initargs)`, and is named after `thread_name_prefix`. `retries`,
    `retry_on`, `backoff`, `priority` and `seed` are those of `Pool`.

    Raises `ValueError` for a number below one, and `TypeError` for an initializer that cannot be called. One that
    raises breaks the executor, with `WorkerStartError`, which is a `BrokenThreadPool` here.

    Nothing is pickled: functions, arguments and results are the objects themselves. A context variable has the value
    in a task that it had at the call, and what a task sets is its own. A task that runs cannot be stopped: leaving a
    `with` block waits for it, and so does the end of the program, also after Ctrl-C, when what waits is cancelled.
    """

    # Nothing travels, so chunks would only keep threads idle; the standard executor ignores it, too.
    _takes_chunks = False

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        priority: int = 0,
        seed: int | None = None,
    ) -> None:
        if max_workers is None:
            count_cpus: Callable[[], int | None] = getattr(os, "process_cpu_count", os.cpu_count)
            max_workers = min(32, (count_cpus() or 1) + 4)
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        options = Options(retries=retries, retry_on=retry_on, backoff=backoff, priority=priority)
        self.seed = choose_seed(seed)
        prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_numbers)}"
        if callable(initializer):
            initializer = partial(_initialize, initializer)
        self._local = open_local_engine(max_workers, initializer, initargs, prefix=prefix, seed=self.seed)
        self._open(self._local, options)

    # What programs read under the standard executor's private names.

    @property
    def _threads(self) -> set[Thread]:
        return set(self._local.threads())

    @property
    def _broken(self) -> bool:
        return self._local.broken


# Of the executors of threads that have no prefix.
_numbers = count()


def _initialize(initializer: Callable[..., object], *arguments: Any) -> None:
    try:
        initializer(*arguments)
    except BaseException:
        from logging import getLogger

        # As the standard executor has it: the error of the calls says only that a thread could not start.
        getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        raise
