"""Every exception that Paceline raises of its own, split by whose fault it is.

    PacelineError
    ├── CallError ................ the call: it failed where it stands, nothing was run
    │   ├── ArgumentNotPicklable     also `pickle.PicklingError` and `TypeError`
    │   ├── ArgumentNotRebuilt       also `concurrent.futures.process.BrokenProcessPool`
    │   └── PoolClosed               also `ValueError` and `RuntimeError`
    ├── FunctionError ............ the function: it ran, but what it gave cannot be handed over
    │   ├── ResultNotPicklable       also `pickle.PicklingError` and `TypeError`
    │   ├── ResultNotRebuilt         also `concurrent.futures.process.BrokenProcessPool`
    │   ├── RemoteError              stands for an exception that could not cross
    │   └── TaskTimeout              also `TimeoutError`
    ├── WorkerError .............. the worker: its process ended, or never got going
    │   ├── WorkerDied               also `concurrent.futures.process.BrokenProcessPool`
    │   │   └── MemoryLimitExceeded  also `MemoryError`
    │   └── WorkerStartError         the same, and `concurrent.futures.thread.BrokenThreadPool`
    ├── TooManyFailures .......... a map: more of its items failed than may
    ├── StoreError ............... an experiment's store: it cannot be read or written
    │   └── StoreInUse               another run writes to it
    ├── ClusterError ............. the cluster of a backend: it cannot be used
    │   ├── ClusterLost              it can be reached no more; also `ConnectionError`
    │   └── ClusterMismatch          its versions of Python or of Paceline are not those here
    └── InternalError ............ us

    RemoteTraceback, which is never raised, is the `__cause__` of exceptions that came from a worker. TaskInterrupted,
    a `BaseException`, is raised in a task that is to stop; what its caller gets is one of these.

Where two names stand, it is because programs written for `multiprocessing` and for `concurrent.futures` catch
different ones. All of them can be pickled. This file owns what the errors say; it never decides when they happen.
Both sides import it on their error paths only, so it imports next to nothing.
"""

from __future__ import annotations

from _pickle import PicklingError

TYPE_CHECKING = False

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool
    from concurrent.futures.thread import BrokenThreadPool
    from typing import Any


class PacelineError(Exception):
    """The base of all of Paceline's own exceptions."""


class CallError(PacelineError):
    """The call itself is at fault; nothing was run."""


class FunctionError(PacelineError):
    """The function ran, but what it returned or raised cannot be handed over as it is."""


class WorkerError(PacelineError):
    """A worker process ended unasked, or could not start."""


class ArgumentNotPicklable(CallError, PicklingError, TypeError):
    """The function or an argument cannot be turned into bytes; raised by the call, with the original as its cause."""


class PoolClosed(CallError, ValueError, RuntimeError):
    """The pool takes no more work: it was closed, terminated or shut down."""


class ResultNotPicklable(FunctionError, PicklingError, TypeError):
    """The function returned something that cannot be turned into bytes; the work itself was done."""


class RemoteError(FunctionError):
    """Stands for an exception of the function that could not be pickled, or not be rebuilt, and describes it.

    `type_name` is its full class name, `message` its text, `traceback` the worker's traceback as text, and `reason`
    says why it could not come itself.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "", reason: str = "") -> None:
        super().__init__(type_name, message, traceback, reason)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.reason = reason

    def __str__(self) -> str:
        text = f"{self.type_name}: {self.message}" if self.message else self.type_name
        if self.reason:
            text += f"\nhint: it is described here because it could not come itself: {self.reason}"
        return text


class RemoteTraceback(Exception):
    """The worker's traceback as text; set as the cause of an exception that came from a worker, never raised.

    `details` is a line that tells which task it was, what it was called with, and where it ran.
    """

    def __init__(self, text: str, details: str = "") -> None:
        super().__init__(text, details)
        self.text = text
        self.details = details

    @property
    def tb(self) -> str:
        """The text, by the name that it has in `multiprocessing`."""
        return self.text

    def __str__(self) -> str:
        details = f"\n{self.details}" if self.details else ""
        return f'\n"""\n{self.text.rstrip()}{details}\n"""'


class _TaskError(PacelineError):
    """What the errors have in common that tell of one task's end: what it was, where it ran, and how that ended.

    They are made from `details` by name (see `_DETAILS`); what is not given is None, zero or empty.
    """

    task: str
    function: str
    index: int | None
    arguments: str
    pid: int
    attempt: int
    retries: int
    seconds: float | None
    peak_memory: int | None
    exit_code: int | None
    signal: int | None
    last_words: str
    stack: str
    note: str | None
    limit: float | None
    memory_limit: int | None
    is_memory_short: bool

    def __init__(self, function: str = "?", **details: Any) -> None:
        unknown = details.keys() - _DETAILS.keys()
        if unknown:
            raise TypeError(f"no such detail of a task: {', '.join(sorted(unknown))}")
        index = details.get("index")
        self.__dict__.update(_DETAILS, function=function, **details)
        self.task = task_name(function, index)
        super().__init__(function)

    def __reduce__(self) -> tuple[Any, ...]:
        details = {name: value for name, value in vars(self).items() if name in _DETAILS}
        return _rebuild, (type(self), self.function, details)

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that ended the worker, such as `SIGKILL`; None if none did."""
        return None if self.signal is None else _signal_name(self.signal)

    @property
    def hint(self) -> str | None:
        """What may be done about it."""
        return None

    @property
    def is_quarantined(self) -> bool:
        """Whether it was run again as often as allowed, and ended like this the last time as well."""
        return self.attempt > 1 and self.attempt > self.retries

    def _facts(self) -> str:
        """What is known of the task besides how it ended, as a line of its own."""
        facts = []
        if self.arguments:
            facts.append(f"called with {self.arguments}")
        if self.seconds is not None:
            facts.append(f"after {self.seconds:.3g} s")
        if self.peak_memory:
            facts.append(f"peak memory {shown_bytes(self.peak_memory)}")
        return "\n" + ", ".join(facts) if facts else ""

    def _attempts(self) -> str:
        if self.is_quarantined:
            return f" (attempt {self.attempt} of {self.retries + 1}: it is not run again)"
        return f" (attempt {self.attempt})" if self.attempt > 1 else ""

    def _advice(self) -> str:
        return f"\nhint: {self.hint}" if self.hint else ""


def function_name(function: Any) -> str:
    """What people call a function; of a `functools.partial`, the function in it; of another object, its class."""
    for _ in range(8):
        name = _attribute(function, "__qualname__")
        if type(name) is str:
            return name
        inner = _attribute(function, "func")
        if not callable(inner):
            break
        function = inner
    return type(function).__qualname__


def _attribute(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # It is code of somebody's, and nobody has asked what it thinks.
        return None


def task_name(function: str, index: int | None) -> str:
    """What a task is called in errors: its function, and its place if it is one of a map."""
    return function if index is None else f"{function}[{index}]"


_DETAILS: dict[str, Any] = {
    "index": None,
    "arguments": "",
    "pid": 0,
    "attempt": 1,
    "retries": 0,
    "seconds": None,
    "peak_memory": None,
    "exit_code": None,
    "signal": None,
    "last_words": "",
    "stack": "",
    "note": None,
    "limit": None,
    "memory_limit": None,
    "is_memory_short": False,
}


def _rebuild(kind: type[BaseException], function: str, details: dict[str, Any]) -> BaseException:
    return kind(function, **details)


def shown_bytes(count: int) -> str:
    """A number of bytes for people: 1,234,567 is `1.2 MB`."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


class TaskTimeout(_TaskError, FunctionError, TimeoutError):
    """The task ran for longer than its time limit, and was stopped; the other tasks are not affected.

    `limit` is the limit in seconds, and `stack` where the task was when it was over, the most recent call first if the
    worker had to be killed. `task`, `function`, `index` (of a map), `arguments`, `pid`, `attempt` (from one) and
    `peak_memory` (bytes) tell which task it was, and where it ran.
    """

    @property
    def hint(self) -> str:
        """What may be done about it."""
        return "give it more time by `timeout=`, or see below what it was doing" if self.stack else "give it more time"

    def __str__(self) -> str:
        limit = "its time limit" if self.limit is None else f"its time limit of {self.limit:g} s"
        how = "was stopped" if self.signal is None and self.exit_code is None else "was ended with its worker"
        text = f"`{self.task}` ran over {limit}, and {how}: process {self.pid}{self._attempts()}"
        return text + self._facts() + self._advice() + _indented("where it was at its limit:", self.stack)


class _Died(_TaskError, WorkerError):
    """The body of `WorkerDied`, apart from its second base, which is not cheap to import."""

    @property
    def hint(self) -> str | None:
        """What may be done about it."""
        if self.note is not None:
            return self.note
        if self.is_memory_short and self.signal_name == "SIGKILL":
            return (
                "out of memory: the system's counter of processes killed for it (`oom_kill`) rose meanwhile; "
                "try fewer workers, smaller inputs, or `memory_limit=`"
            )
        if self.signal is not None:
            return _HINTS.get(_signal_name(self.signal))
        return _EXIT_HINT if self.exit_code is not None else None

    def __str__(self) -> str:
        if self.signal is not None:
            end = f"was killed by {self.signal_name}"
        elif self.exit_code is not None:
            end = f"exited with code {self.exit_code}"
        else:
            end = "is gone, and how it ended could not be found out"
        text = f"`{self.task}` was lost with its worker: process {self.pid} {end}{self._attempts()}"
        return text + self._facts() + self._advice() + _quoted(self.last_words)


class _OutOfMemory(_Died, MemoryError):
    """The body of `MemoryLimitExceeded`."""

    @property
    def hint(self) -> str:
        """What may be done about it."""
        return "raise `memory_limit=`, or give each task less to do"

    def __str__(self) -> str:
        had = "more memory than it may" if self.peak_memory is None else f"{shown_bytes(self.peak_memory)} of memory"
        limit = "" if not self.memory_limit else f", over the limit of {shown_bytes(self.memory_limit)}"
        text = f"`{self.task}` was ended with its worker: process {self.pid} had {had}{limit}{self._attempts()}"
        return text + self._facts() + self._advice() + _quoted(self.last_words)


class TooManyFailures(PacelineError):
    """More items of a map failed than `max_failures` allows; what had not begun was not run.

    `results` has the results there are and `failures` the exceptions, both by the index of the item. Of an iterator,
    which has handed its results out, `results` is empty.
    """

    def __init__(self, function: str, results: dict[int, Any], failures: dict[int, BaseException]) -> None:
        super().__init__(function, results, failures)
        self.function = function
        self.results = results
        self.failures = failures

    def __str__(self) -> str:
        first = min(self.failures, default=None)
        text = f"{len(self.failures)} items of `{self.function}` failed, more than `max_failures` allows"
        if first is not None:
            error = self.failures[first]
            said = str(error).partition("\n")[0]
            text += f"; the first is {first}: {type(error).__name__}: {said}"
        return text + "\nhint: `results` and `failures` of this exception tell what there is, by index"


class StoreError(PacelineError):
    """The store of an experiment cannot be read or written; what it holds is left as it is."""


class StoreInUse(StoreError):
    """Another run is writing to the store."""


class ClusterError(PacelineError):
    """The cluster of a backend cannot be used; what was to be run there is lost with it."""


class ClusterLost(ClusterError, ConnectionError):
    """The cluster cannot be reached any more: its scheduler has ended, or the connection to it."""


class ClusterMismatch(ClusterError):
    """A worker of the cluster has other versions of Python or of Paceline than this process, or none of Paceline."""


class CarriedNoMore(Exception):
    """What carries calls to a cluster has been ended; the engine takes this from it, and nobody else ever sees it."""


class TaskInterrupted(BaseException):
    """Raised in a task, in its worker, that is to stop: it ran over its time limit, or was cancelled by force.

    It may clean up, for as long as `grace` allows; whatever it returns or raises then, it counts as stopped. It is no
    `Exception`, so that `except Exception` does not keep a task alive.
    """


class _StartError(WorkerError):
    """The body of `WorkerStartError`, apart from its second base, which is not cheap to import."""

    def __init__(self, reason: str, last_words: str = "", remote_traceback: str = "") -> None:
        super().__init__(reason, last_words, remote_traceback)
        self.reason = reason
        self.last_words = last_words
        self.remote_traceback = remote_traceback
        if remote_traceback:
            self.__cause__ = RemoteTraceback(remote_traceback)

    def __str__(self) -> str:
        text = f"the workers cannot start: {self.reason}\nhint: the pool is given up; what it still had to do is lost"
        return text + _quoted(self.last_words)


if TYPE_CHECKING:

    class WorkerDied(_Died, BrokenProcessPool):
        """The worker process that ran this task ended in the middle of it. The other tasks are not affected.

        `task` and `function` name what was lost, `index` its place in a map, `arguments` what it was called with, and
        `pid` the process; `exit_code` or `signal` say how it ended (if both are None, that could not be found out);
        `attempt` counts from one; `seconds` and `peak_memory` (bytes) tell how long it ran and how much it had, as far
        as that is known; `last_words` holds the last lines that the worker wrote to stderr.
        """

    class MemoryLimitExceeded(_OutOfMemory, WorkerDied):
        """The worker had more memory than its `memory_limit`, and was ended with the task that it ran.

        `peak_memory` is how much it was seen to have, in bytes; the other attributes are those of `WorkerDied`.
        """

    class WorkerStartError(_StartError, BrokenProcessPool, BrokenThreadPool):
        """No worker can start (its initializer raised, or it died each time); the pool is given up.

        `reason` says what happened, `last_words` holds what the worker wrote to stderr, `remote_traceback` is the
        traceback of the initializer as text.
        """

    class ArgumentNotRebuilt(CallError, BrokenProcessPool):
        """The worker could not turn the bytes of the arguments into objects; the original is its cause."""

    class ResultNotRebuilt(FunctionError, BrokenProcessPool):
        """The bytes of the result could not be turned into an object; the original is its cause."""

else:

    def __getattr__(name: str) -> object:
        """Builds the errors that programs catch by the standard library's names, when they are first asked for.

        Their bases bring `concurrent.futures.process` in, and half of `multiprocessing` with it.
        """
        body = _BODIES.get(name)
        if body is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from concurrent.futures import BrokenExecutor

        try:
            from concurrent.futures.process import BrokenProcessPool
            from concurrent.futures.thread import BrokenThreadPool
        except RuntimeError:  # They cannot be imported while the interpreter exits.
            BrokenProcessPool = BrokenThreadPool = BrokenExecutor  # noqa: N806 - they are classes.
        # As keys, because they may be the same.
        bases = {body[0]: 0, BrokenProcessPool: 1} | ({BrokenThreadPool: 2} if name == "WorkerStartError" else {})
        if name == "MemoryLimitExceeded":
            bases = [body[0], __getattr__("WorkerDied")]
        error = type(name, tuple(bases), {"__module__": __name__, "__doc__": body[1]})
        return globals().setdefault(name, error)

    _BODIES = {
        "ArgumentNotRebuilt": (CallError, "The worker could not turn the bytes of the arguments into objects."),
        "ResultNotRebuilt": (FunctionError, "The bytes of the result could not be turned into an object."),
        "MemoryLimitExceeded": (_OutOfMemory, "A worker had more memory than it may, and was ended with its task."),
        "WorkerDied": (_Died, "The worker process that ran this task ended in the middle of it."),
        "WorkerStartError": (_StartError, "No worker can start; the pool is given up."),
    }


def thread_start_error(cause: BaseException | None) -> WorkerStartError:
    """The error for a pool of threads whose initializer raised `cause`."""
    from concurrent.futures.thread import BrokenThreadPool

    from paceline.errors import WorkerStartError as Base

    # Pickled, it is a plain `WorkerStartError`: there are no threads where it goes.
    body = {"__module__": __name__, "__doc__": Base.__doc__, "__reduce__": lambda error: (Base, error.args)}
    made = type(Base.__name__, (Base, BrokenThreadPool), body)
    error: WorkerStartError = made(f"the initializer raised `{cause!r}`")
    error.__cause__ = cause
    return error


def told_again(cause: BaseException) -> BaseException:
    """The same error for one more call: raised anew, an exception would collect the traceback of each."""
    again = type(cause)(*cause.args)
    again.__cause__ = cause.__cause__
    return again


class InternalError(PacelineError):
    """A fault of Paceline itself; please report it."""

    def __str__(self) -> str:
        return f"{super().__str__()}\nhint: this is a fault of Paceline, not of your program; please report it"


_HINTS = {
    "SIGKILL": "possibly the kernel's out-of-memory killer; try fewer workers or smaller inputs (`dmesg` may tell)",
    "SIGSEGV": "a crash in native code, such as a C extension; see below for where, if the worker could still tell",
    "SIGBUS": "a crash in native code, or a mapped file that was cut short",
    "SIGABRT": "native code gave up with `abort`; see below for what it said",
    "SIGFPE": "an arithmetic fault in native code",
    "SIGILL": "native code built for another processor",
    "SIGTERM": "somebody asked this process to end",
}
_LONGEST_LINE = 300
_EXIT_HINT = "the function, or a library that it uses, ended the process, for instance by `os._exit`"


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def _quoted(last_words: str) -> str:
    return _indented("last lines that it wrote to stderr:", last_words)


def _indented(title: str, text: str) -> str:
    lines = text.rstrip().splitlines()
    if not lines:
        return ""
    # The list of extension modules that ends a traceback of `faulthandler` can have thousands of characters.
    shown = (line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines)
    return f"\n{title}\n" + "\n".join(f"    {line}" for line in shown)
