"""The interface of pyrallel: a program that was written for it runs here with its import changed.

    from paceline.compat.pyrallel import Mapper, MapReduce, ParallelProcessor, ProgressThread

Owns pyrallel's names and their meaning. Work is done by a pool; what can be said by a pool's own methods is better said
so in a new program (`Pool.imap_unordered`, `Pool.map_reduce`).

Meant to differ: what a mapper, a collector or `progress` raises, and the death of a worker, is raised by `join()`, and
no other task suffers; tasks go to whichever worker is idle; nobody polls; results that are None are results; a
`MapReduce` without tasks ends. `use_shm`, `enable_collector_queues`, `single_mapper_queue`,
`max_size_per_collector_queue` and `reducer_queue_size` are accepted and have no effect: the queues that they tune do
not exist here, and results travel through shared memory anyway. `ShmQueue` is left out.
"""

from __future__ import annotations

import marshal
import os
import sys
import threading
from collections import deque
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from paceline.engine import Stream
    from paceline.future import Future
    from paceline.pool import Pool
    from paceline.reduce import Reduction

    Call = tuple[tuple[Any, ...], dict[str, Any]]

__all__ = ["MapReduce", "Mapper", "ParallelProcessor", "Paralleller", "ProgressThread"]

_FAILURES_TOLD = 5


def __getattr__(name: str) -> object:
    if name == "ShmQueue":
        raise ImportError(
            "paceline.compat.pyrallel has no `ShmQueue`: a pool needs no queue to be made by its user\n"
            "hint: return what is to travel from the mapper, and take it with `collector`, or use `Pool.imap_unordered`"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Mapper:
    """What a worker keeps from task to task: one instance for each process, told apart by its number `_idx`.

    A subclass overrides `enter`, called once when the process is there, `process`, called for each task, and `exit`,
    called once when there are no more. A worker that dies in between never comes to `exit`; the one that takes its
    place has its number, and enters anew.
    """

    def __init__(self, idx: int) -> None:
        self._idx = idx

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.exit(*exception)

    def enter(self) -> None:
        """Called in the worker before its first task."""

    def exit(self, *args: Any, **kwargs: Any) -> None:
        """Called in the worker after its last task, with three times None."""

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Called in the worker with the arguments of a task; the result goes to the collector."""
        raise NotImplementedError(f"{type(self).__qualname__} is a Mapper without a `process` method")


class ProgressThread:
    """The keys of what `progress` is called with: how many tasks were added, handed to the workers, and ended."""

    P_ADDED = 0
    P_LOADED = 1
    P_PROCESSED = 2


class Paralleller:
    """What `ParallelProcessor` and `MapReduce` have in common: `start`, any number of tasks, `task_done`, `join`."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"the number of processes must be at least 1, not {workers}")
        # Guards all that follows; notified when a result was taken, and when the last task was added.
        self._changed = threading.Condition()
        self._workers = workers
        self._pool: Pool | None = None
        self._early: deque[Call] = deque()
        self._complete = False
        self._joined = False

    def start(self) -> None:
        """Starts the workers, and hands them what was added before."""
        with self._changed:
            if self._pool is not None or self._joined:
                raise RuntimeError(f"this {type(self).__name__} has been started already")
            self._pool = self._open()
            while self._early:
                # It counts as waiting until it has been taken.
                self._add(*self._early[0])
                self._early.popleft()
            if self._complete:
                self.task_done()

    def add_task(self, *args: Any, **kwargs: Any) -> None:
        """Has a worker call the mapper with these arguments; waits as long as the queue is full, if it has a bound."""
        with self._changed:
            if self._complete:
                raise RuntimeError("add_task() after task_done()")
            if self._pool is None:
                self._early.append((args, kwargs))
            else:
                self._add(args, kwargs)

    def map(self, iterable: Iterable[Any]) -> None:
        """Adds a task for each item, which is its only argument, tuples as well."""
        for item in iterable:
            self.add_task(item)

    def task_done(self) -> None:
        """Says that there are no more tasks; to be called before, or at least while, `join` waits."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def _open(self) -> Pool:
        """Opens the pool and whatever goes with it."""
        raise NotImplementedError

    def _add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Takes a task; called with the lock held, once the pool is open."""
        raise NotImplementedError

    def _take_pool(self) -> Pool:
        """Waits for `task_done`; the pool, which the caller has to end."""
        with self._changed:
            if self._pool is None:
                raise RuntimeError("join() before start()" if not self._joined else "join() was called before")
            while not self._complete:
                self._changed.wait()
            pool, self._pool = self._pool, None
            self._joined = True
            return pool


class ParallelProcessor(Paralleller):
    """Calls a mapper for each task that is added, in worker processes, and hands the results to a collector.

    >>> from paceline.compat.pyrallel import ParallelProcessor
    >>> squares = []
    >>> processor = ParallelProcessor(2, lambda x: x * x, collector=squares.append)
    >>> processor.start()
    >>> processor.map(range(5))
    >>> processor.task_done()
    >>> processor.join()
    >>> sorted(squares)
    [0, 1, 4, 9, 16]

    `num_of_processor` is the number of workers. `mapper` is a function, or a subclass of `Mapper` of which each worker
    makes itself an instance; with `enable_process_id`, a function gets the number of its worker as `_idx`.
    `collector(*result)` is called for one result at a time, in any order, on one thread of this process; a result that
    is no tuple is its only argument. `progress(info)` is called on the same thread after each result, with a new dict
    of the counts under the keys `ProgressThread.P_ADDED`, `P_LOADED` and `P_PROCESSED`.

    Tasks travel in batches of `batch_size`. With `max_size_per_mapper_queue` there are never more batches waiting than
    that for each worker, and `add_task` waits for room.

    Raises `ValueError` for numbers below one. What a task raises is raised by `join`.
    """

    def __init__(
        self,
        num_of_processor: int,
        mapper: Callable[..., Any] | type[Mapper],
        max_size_per_mapper_queue: int = 0,
        collector: Callable[..., object] | None = None,
        max_size_per_collector_queue: int = 0,  # noqa: ARG002 - as the head of this file says.
        enable_process_id: bool = False,
        batch_size: int = 1,
        progress: Callable[[dict[int, int]], object] | None = None,
        use_shm: bool = False,  # noqa: ARG002 - the same.
        enable_collector_queues: bool = True,  # noqa: ARG002 - the same.
        single_mapper_queue: bool = False,  # noqa: ARG002 - the same.
    ) -> None:
        super().__init__(num_of_processor)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if not callable(mapper):
            raise TypeError(f"the mapper must be a function or a subclass of Mapper, not {mapper!r}")
        self.num_of_processor = num_of_processor
        self.batch_size = batch_size
        self.collector = collector
        self.progress = progress
        self._mapper_class: type[Mapper] | None = None
        if isinstance(mapper, type) and issubclass(mapper, Mapper):
            self._mapper_class = mapper
            mapper = _process
        elif enable_process_id:
            mapper = partial(_call_with_index, mapper)
        self._function = mapper if batch_size == 1 else partial(_call_each, mapper)
        # As many batches may be out: those that wait, and the one that each worker is at.
        size = max_size_per_mapper_queue
        self._limit = num_of_processor * (size + 1) if size > 0 else sys.maxsize
        self._batch: list[Call] = []
        # The number of a batch's first task, and how many there are.
        self._out: dict[Future[Any], tuple[int, int]] = {}
        self._stream: Stream
        self._thread: threading.Thread
        self._added = self._loaded = self._processed = 0
        self._failed = 0
        self._failures: list[tuple[int, BaseException]] = []

    def task_done(self) -> None:
        """Says that there are no more tasks, and sends the last batch on its way."""
        with self._changed:
            if self._batch:
                self._send_batch()
            super().task_done()

    def join(self) -> None:
        """Waits until every task has ended and its result has been collected, and every worker has left.

        Raises the first failure in the order in which the tasks were added, with a note of the others: what a mapper
        raised (its `enter` and `exit` included), `WorkerDied` for a worker that ended in a task (or in the batch of
        it), what the collector or `progress` raised.
        """
        pool = self._take_pool()
        try:
            self._thread.join()
            pool.close()
            pool.join()
            for error in self._exits.failures():
                self._fail(self._added, error)
        except BaseException:
            pool.terminate()
            pool.join()
            raise
        finally:
            self._exits.close()
        # Whoever keeps this object shall not keep the memory of the pool with it.
        del self._submit, self._stream
        self._raise_first()

    def _open(self) -> Pool:
        from paceline.engine import Stream
        from paceline.pool import Pool

        self._exits = _Exits()
        self._stream = Stream()
        if self._mapper_class is None:
            pool = Pool(self._workers, backend="processes")
        else:
            initargs = (self._mapper_class, self._exits.path)
            pool = Pool(self._workers, _enter, initargs, backend="processes")
        self._submit = pool._submit  # noqa: SLF001 - a stream of outcomes is nothing that a pool's methods offer.
        self._thread = threading.Thread(target=self._collect, name="paceline-collect", daemon=True)
        self._thread.start()
        return pool

    def _add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._added += 1
        self._batch.append((args, kwargs))
        if len(self._batch) >= self.batch_size:
            self._send_batch()

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, []
        first = self._added - len(batch)
        # The collector may add tasks as well; if it waited for room, nobody would make any.
        while len(self._out) >= self._limit and threading.current_thread() is not self._thread:
            self._changed.wait()
        self._send(first, batch)
        self._changed.notify_all()

    def _send(self, first: int, batch: list[Call]) -> None:
        args, kwargs = batch[0] if self.batch_size == 1 else ((batch,), {})
        try:
            future: Future[Any] = self._submit(self._function, args, kwargs or None, stream=self._stream)
        except Exception as error:
            if len(batch) > 1:
                # Only what cannot be sent by itself is lost.
                for number, call in enumerate(batch, first):
                    self._send(number, [call])
                return
            self._loaded += 1
            self._processed += 1
            self._fail(first, error)
        else:
            self._loaded += len(batch)
            self._out[future] = (first, len(batch))

    # -- on the collecting thread --------------------------------------------------------------------------------------

    def _collect(self) -> None:
        while True:
            with self._changed:
                while not self._out and not self._is_over():
                    self._changed.wait()
                if not self._out:
                    break
            self._tell_progress()
            future = self._stream.next()
            with self._changed:
                first, count = self._out.pop(future)
                self._processed += count
                self._changed.notify_all()
            self._take(future, first)
            del future
        self._tell_progress()

    def _is_over(self) -> bool:
        return self._complete and not self._early and self._processed == self._added

    def _take(self, future: Future[Any], first: int) -> None:
        try:
            result = future.result()
            outcomes = [(True, result)] if self.batch_size == 1 else result
        except BaseException as error:
            self._fail(first, error)
            return
        for number, (succeeded, value) in enumerate(outcomes, first):
            if not succeeded:
                from paceline.pickling import unpack_exception

                self._fail(number, unpack_exception(value))
            elif self.collector is not None:
                try:
                    self.collector(*(value if isinstance(value, tuple) else (value,)))
                except BaseException as error:
                    error.add_note(f"raised by the collector for the result of task {number}")
                    self._fail(number, error)

    def _tell_progress(self) -> None:
        if self.progress is None:
            return
        with self._changed:
            info = {
                ProgressThread.P_ADDED: self._added,
                ProgressThread.P_LOADED: self._loaded,
                ProgressThread.P_PROCESSED: self._processed,
            }
        try:
            self.progress(info)
        except BaseException as error:
            error.add_note("raised by `progress`, which is not called any more")
            self.progress = None
            self._fail(self._processed, error)

    # -- failures ------------------------------------------------------------------------------------------------------

    def _fail(self, number: int, error: BaseException) -> None:
        """Keeps the first few in the order of the tasks: of a million that fail, nobody reads more."""
        with self._changed:
            self._failed += 1
            self._failures.append((number, error))
            if len(self._failures) > 2 * _FAILURES_TOLD:
                self._failures.sort(key=_number)
                del self._failures[_FAILURES_TOLD:]

    def _raise_first(self) -> None:
        if not self._failures:
            return
        self._failures.sort(key=_number)
        del self._failures[_FAILURES_TOLD:]
        (_, first), *others = self._failures
        if others:
            lines = [f"  {self._place(number)}: {_headline(error)}" for number, error in others]
            left = self._failed - len(self._failures)
            lines += [f"  and {left} more"] if left else []
            first.add_note("\n".join([f"{self._failed - 1} more failed:", *lines]))
        self._failures = []
        raise first

    def _place(self, number: int) -> str:
        return f"task {number}" if number < self._added else "after the last task"


def _headline(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}"


def _number(failure: tuple[int, BaseException]) -> int:
    return failure[0]


class _Exits:
    """Where workers leave what their mapper's `exit` raised: they have no task any more whose outcome it could be.

    A file in memory without a name, that workers find among the open files of this process.
    """

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("paceline-exits", os.MFD_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def failures(self) -> Iterator[BaseException]:
        """What was raised, once all workers have left."""
        from paceline.pickling import unpack_exception

        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", closefd=False) as file:
            while file.peek(1):
                yield unpack_exception(marshal.load(file))

    def close(self) -> None:
        os.close(self._descriptor)


class MapReduce(Paralleller):
    """Calls a mapper for each task that is added, and combines all of its results by a reducer, in worker processes.

    >>> from operator import add
    >>> from paceline.compat.pyrallel import MapReduce
    >>> summation = MapReduce(2, abs, add)
    >>> summation.start()
    >>> for number in range(-5, 5):
    ...     summation.add_task(number)
    >>> summation.task_done()
    >>> summation.join()
    25

    `num_of_process` is the number of workers, which map and reduce. `reducer(left, right)` must be associative; results
    are combined in the order in which the tasks were added, and grouped by a rule that depends on their number alone.
    With `mapper_queue_size` there are never more tasks waiting than that for each worker, and `add_task` waits for
    room.

    Raises `ValueError` for numbers below one.
    """

    def __init__(
        self,
        num_of_process: int,
        mapper: Callable[..., Any],
        reducer: Callable[[Any, Any], Any],
        mapper_queue_size: int = 0,
        reducer_queue_size: int = 0,  # noqa: ARG002 - as the head of this file says.
    ) -> None:
        super().__init__(num_of_process)
        for role, function in (("mapper", mapper), ("reducer", reducer)):
            if not callable(function):
                raise TypeError(f"the {role} must be callable, not {function!r}")
        self._mapper = mapper
        self._reducer = reducer
        self._limit = num_of_process * (mapper_queue_size + 1) if mapper_queue_size > 0 else sys.maxsize
        self._reduction: Reduction
        self._added = 0

    def join(self) -> Any:
        """Waits until all is reduced and every worker has left; the result, or None if no task was ever added.

        Raises the first failure in the order in which the tasks were added: what the mapper or the reducer raised, or
        `WorkerDied`. What comes after it is cancelled.
        """
        pool = self._take_pool()
        try:
            result = self._reduction.finish() if self._added else None
        except BaseException:
            pool.terminate()
            raise
        finally:
            pool.close()
            pool.join()
            del self._reduction
        return result

    def _open(self) -> Pool:
        from paceline.pool import Pool
        from paceline.reduce import Reduction

        pool = Pool(self._workers, backend="processes")
        mapper = partial(_call, self._mapper)
        submit = pool._submit  # noqa: SLF001 - a reduction submits as the pool's own methods do.
        self._reduction = Reduction(submit, mapper, self._reducer, limit=self._limit)
        return pool

    def _add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._added += 1
        self._reduction.add([(args, kwargs)])
        if self._added % 256 == 0:
            # Without a bound nothing else would take in what has ended before `join`.
            self._reduction.take_in_what_has_ended()


# -- what runs in the workers ------------------------------------------------------------------------------------------

_mapper: Mapper


def _enter(mapper_class: type[Mapper], exits: str) -> None:
    """The initializer of workers with a `Mapper`."""
    global _mapper
    from paceline import worker

    _mapper = mapper_class(worker.seat)
    worker.when_leaving(partial(_exit, exits))
    _mapper.__enter__()


def _exit(exits: str) -> None:
    try:
        _mapper.__exit__(None, None, None)
    except BaseException as error:
        from paceline.pickling import pack_exception

        descriptor = os.open(exits, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, marshal.dumps(pack_exception(error)))
        os.close(descriptor)


def _process(*args: Any, **kwargs: Any) -> Any:
    return _mapper.process(*args, **kwargs)


def _call_with_index(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    from paceline import worker

    return function(*args, **kwargs, _idx=worker.seat)


def _call(function: Callable[..., Any], call: Call) -> Any:
    args, kwargs = call
    return function(*args, **kwargs)


def _call_each(function: Callable[..., Any], calls: list[Call]) -> list[tuple[bool, Any]]:
    """The outcomes of a batch; what fails is packed, so that it spoils nothing but itself."""
    outcomes: list[tuple[bool, Any]] = []
    for args, kwargs in calls:
        try:
            outcomes.append((True, function(*args, **kwargs)))
        except Exception as error:
            from paceline.pickling import pack_exception

            outcomes.append((False, pack_exception(error)))
    return outcomes
