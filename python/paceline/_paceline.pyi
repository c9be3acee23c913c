"""The native engine of Paceline; only `paceline.engine` may import it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, final

class TaskFuture:
    """The native half of `paceline.Future`: the outcome of one call, or of one map, not yet or already known.

    Behaves as `concurrent.futures.Future`; the names with an underscore are the ones that
    `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future` look at.
    """

    def cancel(self, *, force: bool = False) -> bool: ...
    def cancelled(self) -> bool: ...
    def running(self) -> bool: ...
    def done(self) -> bool: ...
    def result(self, timeout: float | None = None) -> Any: ...
    def exception(self, timeout: float | None = None) -> BaseException | None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Waits until done or `timeout` seconds have passed; tells whether it is done. Raises nothing of the task's."""
    def prefix(self, timeout: float | None = None) -> tuple[list[Any], BaseException | None]:
        """Of a map: the results before the first failed item, and that item's exception (or None)."""
    def progress(self) -> tuple[int, int]:
        """How many items there are, and how many of them have an outcome: of a call there is one."""
    def history(
        self,
    ) -> tuple[int, tuple[float, tuple[list[int], list[str], int, tuple[int, int, int], int, bytes, list[str]]]]:
        """How many workers there are, how many seconds it has taken, and what `Engine.history` tells, of it alone. Items
        have their numbers in the call, and moments count from its submission."""
    def take_rest(self) -> tuple[Iterator[Any], int] | None:
        """Of a map in pieces: the items that were left, if there may be any, and how many there were before them."""
    def add_done_callback(self, fn: Callable[[Any], object], /) -> None: ...
    @property
    def _state(self) -> str: ...
    @property
    def _condition(self) -> Any: ...
    @property
    def _waiters(self) -> list[Any]: ...
    @property
    def _result(self) -> Any: ...
    @property
    def _exception(self) -> BaseException | None: ...

@final
class Stream:
    """Hands out futures in the order in which they end, or settles in their stead what an event loop waits for."""

    def __new__(cls, *, bell: bool = False) -> Stream: ...
    def fileno(self) -> int:
        """With a bell: the file that can be read when something has ended."""
    def wake(self) -> None:
        """Gives the outcomes of what has ended to those who wait in an event loop; to be called by that loop."""
    def next(self, timeout: float | None = None) -> Any:
        """The next future to have ended. Raises `StopIteration` when none is outstanding, `TimeoutError` after `timeout` seconds."""

@final
class Engine:
    """A pool's engine: `workers` processes, and the task table they share."""

    def __new__(
        cls,
        *,
        workers: int,
        setup: bytes,
        future_type: Callable[[], type[TaskFuture]],
        max_tasks_per_worker: int | None = None,
        prefix_output: bool = False,
        memory_limit: int = 0,
        memory_budget: int = 0,
        start_timeout_ns: int = 0,
        start_method: str = "forkserver",
        resources: Sequence[tuple[str, float]] = ...,
    ) -> Engine:
        """Starts the workers and returns at once; `setup` is given to `paceline.worker.set_up` in each.

        A worker with more than `memory_limit` bytes of its own is ended; one that takes longer to start than
        `start_timeout_ns` breaks the pool. Zero is no limit. At most about `memory_budget` bytes are in flight; zero has it
        chosen by the memory that there is.

        `future_type` gives the class of futures when the first is to be made. With `prefix_output`, every line that a
        worker writes begins with its process id, unless the worker itself has put more before it. `start_method` is
        `"forkserver"`, `"spawn"`, or `"fork"`, for which this process is forked before this returns. `resources` are the
        amounts, by name, that its calls may have at once.
        """
    def tokens(self, wanted: Sequence[tuple[str, float]]) -> list[int]:
        """What stands for these amounts of its resources in `Terms`. Raises `ValueError` for what it can never give."""
    def submit(
        self,
        terms: Terms,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        /,
        *,
        base: int | None = None,
        name: Any = None,
        stream: Stream | None = None,
        waiter: asyncio.Future[Any] | None = None,
    ) -> Any:
        """Calls `fn(*args, **kwargs)` in a worker; the future of it. Raises what pickling the arguments raises.

        Errors call the function what its terms call it, else `name`, else what it is; `base` is its index, if it is a part
        of a map.
        What has the highest priority goes first, and within one priority what was submitted first.
        """
    def map(
        self,
        terms: Terms,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        star: bool = False,
        chunksize: int | None = None,
        on_error: str = ...,
        max_failures: int | None = None,
        base: int | None = None,
        name: Any = None,
        stream: Stream | None = None,
        waiter: asyncio.Future[Any] | None = None,
        in_pieces: bool = False,
        order: Sequence[int] | None = None,
    ) -> Any:
        """Calls `fn(item)`, or `fn(*item)` with `star`, for every item; the future of the list of results.

        With `on_error="raise"` the result raises the exception of the first failed item; "return" has exceptions in the
        places of results, "skip" leaves them out, and "outcomes" makes each item a triple: its index, whether it has a
        result, and that or its exception. With more than `max_failures` of them, what has not begun is given up, and `TooManyFailures` is
        raised. `base` is the index of the first item, where several calls make up one map. `chunksize=None` chooses chunks by measured time.
        With `order`, indices of all items of a list, they are sent in that order, one by one; the results stand in that of the list.
        With `in_pieces`, only as many items are read as fit with others into the memory budget; the future's `take_rest` has the others.
        """
    def history(self) -> tuple[list[int], list[str], int, tuple[int, int, int], int, bytes, list[str]]:
        """What each worker did, stretch by stretch: the workers' process ids, the functions' names, how many of the oldest are
        forgotten, how many items raised, were stopped, and were lost, when the first item was submitted, of each stretch a row
        of twelve numbers, as `paceline.history` knows them, and the workers' hosts, if they are not all on this one.
        """
    def subscribe(
        self, event_type: type[Any], version: int, anchor_ns: int, name_exception: Callable[[bytes], str | None]
    ) -> Events:
        """What happens from now on, as objects of that class, made without its `__init__`.

        `anchor_ns` is what the monotonic clock lacks to the nanoseconds since the epoch. `name_exception` tells the name of an
        exception's type from what the worker has packed. Raises `RuntimeError` in a forked child.
        """
    def set_witness(self, witness: Callable[[], int] | None, /) -> None:
        """Has each submission ask this for the number by which its events will know it, in the thread that submits.

        What it raises is shown, and harms nothing. None has nobody asked.
        """
    def thread_times(self) -> tuple[int, list[tuple[int, list[tuple[str, float, float]]]]]:
        """How many CPUs there are to use, and of each worker's process id its threads, the main one first: name, seconds at
        work, and seconds of waiting for a CPU. Of workers that have left, those that had other threads have told it.
        """
    def transport(self) -> tuple[float, int, int, tuple[int | str, str, int] | None, float]:
        """The fields of `paceline.diagnosis.Transport`."""
    def statistics(self) -> list[tuple[str, int]]:
        """The fields of `paceline.Statistics`, by name."""
    def gauge(self) -> Gauge:
        """Tells whoever reads an input how far ahead of the results he may read."""
    def close(self, cancel_pending: bool = False) -> None:
        """No more submissions; the workers leave when everything has ended. Does not wait.

        With `cancel_pending`, what has not begun is cancelled, also of an engine that was closed before.
        """
    def terminate(self) -> None:
        """Kills the workers and ends every future that is not done as cancelled. Does not wait for the processes."""
    def join(self, timeout: float | None = None) -> bool:
        """Waits until, after `close` or `terminate`, every worker is gone; tells whether that came to pass.

        What they have said, and what subscribers are to be told, has been passed on by then, unless nobody takes it.
        """
    @property
    def closed(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    @property
    def runs_in_caller(self) -> bool:
        """Whether calls are made in the caller's own thread, before `submit` returns."""
    def pids(self) -> list[int]:
        """The process ids of the workers that are alive now, by seat."""
    def running(self) -> list[tuple[int, str, int, int | None, int, float]]:
        """What each worker runs now: process id, function or its name, number of the item, its index in its map (if any),
        attempt from zero, seconds since it (or its chunk) began."""
    def glance(
        self,
    ) -> tuple[
        int,
        int,
        int,
        list[tuple[int, float, int]],
        list[
            tuple[
                str,
                int,
                int | None,
                int,
                int,
                float,
                int,
                bytes | None,
                tuple[int | None, int | None, str | None, bool] | None,
            ]
        ],
    ]:
        """What the pool is at, for whoever looks again and again; it costs the same however much there has been.

        How many items have ended and have failed counts each attempt; between them, how many have no outcome yet. Then of each
        living worker its process id, busy seconds, and number of items ended. Then the latest failures, the earliest first:
        function or its name, number of the item, its index in its map, attempt from zero, process id, seconds ago, the number
        of its `paceline.history.Ending`, what the worker has told of it, and how the worker ended: signal, exit code, why it
        was killed, and whether for its memory.
        """
    def cancel_item(self, item: int, *, force: bool = False) -> bool | None:
        """Cancels the call or the map that an item belongs to, by the item's number, as its future's `cancel` does.

        Whether it is cancelled, or will be; None if there is no such item, or it has ended.
        """
    def report(self) -> tuple[float, list[tuple[int, float, int, list[tuple[int, int]], str]]]:
        """Wall seconds from the first submission to the last end so far (or to now while tasks are out), and for each
        worker process that has run anything its pid, busy seconds, number of items, ranges (first, count) of item
        indices in the pool's order of submission, and its host if that is another."""

@final
class Events:
    """What happens in a pool, from the moment at which it was asked for; `Engine.subscribe` makes it."""

    def next(self, timeout: float | None = None) -> list[Any] | None:
        """Waits for what happens next; an event of each.

        Asking for more says that what was given before has been passed on. The list is empty after `timeout` seconds; None when
        nothing more will come.
        """
    def close(self) -> None:
        """Nothing that happens from now on is told; what has happened before still is."""

@final
class SharedMemory:
    """Memory that this process has laid out for others; in a pickle, it becomes what its readers are given."""

    @staticmethod
    def holding(value: Any) -> SharedMemory:
        """An object, pickled there; its large buffers are copied once. Raises what pickling raises, and `MemoryError`."""
    @staticmethod
    def zeroed(length: int) -> SharedMemory:
        """So many bytes of zeros, which everybody who is given them may write to. Raises `MemoryError`."""
    @property
    def nbytes(self) -> int: ...
    @property
    def address(self) -> int: ...
    def release(self) -> None:
        """Lets go of it as soon as no call needs it any more. It cannot be pickled from now on."""
    @staticmethod
    def forget_named() -> None:
        """Lets go of what was named by pickles that will never be sent."""
    def open(self) -> Any:
        """The object that lies here, as it was when it was shared; its buffers are mapped, and not copied."""
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, int, int, int]]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def is_answering() -> bool:
    """Whether a result is being pickled, in which no shared memory may be named."""

@final
class OpenMemory:
    """Memory of another process, mapped in this one to be written to by both."""

    @property
    def nbytes(self) -> int: ...
    @property
    def address(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, int, int, int]]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def open_shared_object(pid: int, descriptor: int, inode: int, size: int) -> Any:
    """The object in memory that a process has laid out, as it was when it was shared. Raises `RuntimeError`."""

def open_shared_memory(pid: int, descriptor: int, inode: int, size: int) -> OpenMemory:
    """Memory that a process has laid out, to be written to. Raises `RuntimeError` when it is gone."""

@final
class Gauge:
    """Tells a reader of some input whether he may send more, by the size of the results that he has had."""

    def note(self, future: Any) -> bool:
        """Notes the size of a result that is there, and is about to be taken.

        Whether anything large has ever been under way; until then there is room for more.
        """
    def has_room(self, ahead: int) -> bool:
        """Whether one chunk more may be sent while so many are out, or there and not taken."""

@final
class Terms:
    """On which terms calls run: how long, how often, how urgently."""

    def __new__(
        cls,
        *,
        retries: int = 0,
        priority: int = 0,
        timeout: float | None = None,
        grace: float = 1.0,
        backoff: float = 0.0,
        retry_deaths: bool = True,
        retry_overruns: bool = False,
        retry_outgrowths: bool = True,
        retry_failures: bool = False,
        retry_alone: bool = False,
        name: str | None = None,
        tokens: Sequence[int] = ...,
        carried: Any = None,
    ) -> Terms:
        """Times are in seconds. The `retry_...` tell after what a call is run again; of failures, the worker knows.
        `name` stands for the function in errors; `tokens` are what the engine's method of that name gives; `carried` is what
        whoever carries calls to a cluster is to know.

        Of the calls that wait, what has the highest `priority` (an i16) goes first.
        """

@final
class Task:
    """What a task can know of itself."""

    @property
    def seed(self) -> int:
        """The seed of its pool."""
    @property
    def item(self) -> int:
        """Its number in the pool's order of submission."""
    @property
    def index(self) -> int:
        """Its place among the items of its map, as of `imap`; zero of a single call."""
    @property
    def attempt(self) -> int:
        """How often it had been begun before."""
    @property
    def devices(self) -> int:
        """The devices that it has, as a set with a bit for each."""
    @property
    def kept(self) -> dict[str, Any]:
        """What is kept until it ends."""

def current_task() -> Task | None:
    """The task whose code is running, if any."""

def number_item(number: int) -> None:
    """Tells the task that calls this by what number its caller knows it."""

def current_item() -> int | None:
    """The number, in the pool's order of submission, of the task whose code is running; none outside of a task."""

@final
class LocalEngine:
    """The engine of a pool whose tasks run in this process: on at most `workers` threads, or in the caller's."""

    def __new__(
        cls,
        *,
        workers: int,
        future_type: Callable[[], type[TaskFuture]],
        seed: int,
        start_thread: Callable[[Callable[[], None], int], Any] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] | None = None,
        carrier: Any = None,
        capacity: int | None = None,
        chunk_cost_ns: int = 0,
    ) -> LocalEngine:
        """Starts nothing yet: `start_thread(body, number)` is called when there is work for one more thread.

        It runs `body` in a thread, which it returns. Without it there are no threads: `submit` and `map` run everything
        before they return. `initializer(*initargs)` is called by each thread first, or by the first caller.

        With a `carrier`, the threads hand on what they take: it is called with a list of chunks, and returns what became
        of each (see `paceline.clusters.carrier`); its `announce`, `terminate` and `close` are called as the names say.
        `capacity` is how many workers the engine is said to have then, and `chunk_cost_ns` what it costs this process
        to hand on a chunk, whatever is in it.
        """
    def submit(
        self,
        terms: Terms,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        /,
        *,
        base: int | None = None,
        name: Any = None,
        stream: Stream | None = None,
        waiter: Any = None,
    ) -> Any:
        """Calls `fn(*args, **kwargs)` in a thread of the pool; the future of it.

        Higher priorities begin first, equal ones in the order of submission. Of the `terms` nothing else means anything
        here, nor does `name`, because no thread dies or can be stopped.
        """
    def map(
        self,
        terms: Terms,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        star: bool = False,
        chunksize: int | None = None,
        on_error: str = ...,
        max_failures: int | None = None,
        base: int | None = None,
        name: Any = None,
        stream: Stream | None = None,
        waiter: Any = None,
        order: Sequence[int] | None = None,
    ) -> Any:
        """Calls `fn(item)`, or `fn(*item)` with `star`, for every item; the future of the list of results."""
    def close(self, cancel_pending: bool = False) -> None:
        """No more submissions; the threads leave when everything has ended. Does not wait."""
    def terminate(self) -> None:
        """Cancels what has not begun. What runs goes on to its end, because no thread can be stopped from outside."""
    def join(self, timeout: float | None = None) -> bool:
        """Waits until, after `close` or `terminate`, every thread has ended; tells whether that came to pass."""
    @property
    def closed(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    @property
    def runs_in_caller(self) -> bool:
        """Whether calls are made in the caller's own thread, before `submit` returns."""
    @property
    def carrier(self) -> Any:
        """What carries the calls elsewhere; None if they are made here."""
    @property
    def broken(self) -> bool:
        """Whether an initializer has raised."""
    def rest_before_retry(self, seconds: float) -> bool:
        """Waits before something that has failed is run again, or until the pool gives up; whether it still is to be."""
    @staticmethod
    def note_attempt(attempt: int, in_context: bool) -> None:
        """Tells the calling thread that it begins its task again, having begun it so often before.

        With `in_context`, the calling coroutine is told as well.
        """
    def threads(self) -> list[Any]:
        """The threads that have been started and not been joined."""
    def idle_threads(self) -> int:
        """How many of them have nothing to do."""
    def pids(self) -> list[int]:
        """The system's ids of the threads that there are now."""
    def history(self) -> tuple[list[int], list[str], int, tuple[int, int, int], int, bytes, list[str]]:
        """As of `Engine`, with the ids of threads in the place of those of processes."""
    def report(self) -> tuple[float, list[tuple[int, float, int, list[tuple[int, int]], str]]]:
        """As of `Engine`, with the ids of threads in the place of those of processes."""

def default_workers() -> int:
    """How many CPUs this process may really use: affinity mask and cgroup quota, and in a worker its part of them; at
    least one."""

def sharers() -> int:
    """How many processes like this one share its CPUs: more than one in a worker of a pool of several."""

def share_machine(sharers: int) -> None:
    """Makes this process one of that many that share its CPUs."""

def machine_limits(root: str = "") -> tuple[float | None, int | None, int | None, int | None, int]:
    """The fields of `paceline.machine.Limits`, as they are told below the folder `root`."""

def promise_to_listen() -> bool:
    """Tells whether the caller is to start a thread that asks `next_output` for ever; only one caller is."""

def renounce_listening() -> None:
    """The thread could not be started; whoever waits for output then writes it to the file descriptors."""

def next_output() -> list[tuple[int, bytes]]:
    """Waits for what workers say next: lines of standard output (1) or error (2), or a log record (3).

    What was given before counts as passed on by then.
    """

def write_output(voice: int, data: bytes) -> None:
    """Writes to file descriptor 1 or 2; a record is dropped."""

def decode_value(data: bytes, *, shared: bool) -> Any:
    """The value that these bytes hold, as an answer's do; `shared`: as if a worker could still write to them.

    For tests.
    """

def flush_worker_output(*, ends_lines: bool = False) -> None:
    """Waits until all that workers have said before this call has been passed on, unless nobody takes it.

    With `ends_lines`, what is no whole line yet is passed on as one.
    """

def note_speech(unfinished: bool) -> None:
    """Has the parent hear this worker before it takes the task's result.

    If a line is `unfinished`, `sys.stdout` and `sys.stderr` are flushed when the task ends.
    """

def prefix_lines() -> None:
    """Has this worker remember what `line_prefix` needs."""

def line_prefix() -> str:
    """What a line that is written now begins with: this process, and the task if there is one."""

def send_record(record: bytes) -> None:
    """Sends a log record from this worker to its parent."""

def serve_forks(parent_pid: int) -> None:
    """The main function of the fork server, and of each worker that it forks; never called by users."""

def become_worker(parent_pid: int) -> None:
    """The main function of a worker that is started by itself; never called by users."""

def preload(what: bytes) -> None:
    """Has the fork server load modules; what the bytes mean is known to `paceline.preloading`."""

def end_processes(timeout: float) -> None:
    """Ends the fork server, and whatever workers are left, and waits until what they said has been passed on; before the
    interpreter exits.

    Waits for the processes at most `timeout` seconds.
    """

def worker_stacks(timeout: float, pid: int | None = None) -> list[tuple[int, str]]:
    """The process id of every worker of this process, or of the one with this process id, and what each is doing, in its
    own words.

    Waits at most `timeout` seconds for those that do not answer; their text is empty.
    """

def begin_stops(stack: Callable[[], str]) -> list[tuple[int, int, bool]]:
    """In a worker, after the signal for it: the items to be stopped, by number and attempt, and whether each is the one
    that this thread runs, which counts as stopped from now on; `stack` then says what it is doing."""

def take_stop(item: int, attempt: int) -> bool:
    """Whether this attempt at an item was to be stopped before it was known here; it is taken to be known now."""

def note_may_pass(error: BaseException) -> None:
    """In a worker: the call that raised this may be run again."""

def retire_above(limit: int) -> None:
    """In a worker: it leaves for a fresh one when it has more memory than this after a task; zero for any amount."""

def stop_signals() -> tuple[int, int]:
    """The signals on which a worker stops what it runs, and on which it writes down what it is doing."""
