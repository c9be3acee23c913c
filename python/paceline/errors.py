"""Every exception that Paceline raises of its own, split by whose fault it is.

    PacelineError
    ├── CallError ................ the call: it failed where it stands, nothing was run
    │   ├── ArgumentNotPicklable     also `pickle.PicklingError` and `TypeError`
    │   ├── ArgumentNotRebuilt       also `concurrent.futures.process.BrokenProcessPool`
    │   └── PoolClosed               also `ValueError` and `RuntimeError`
    ├── FunctionError ............ the function: it ran, but what it gave cannot be handed over
    │   ├── ResultNotPicklable       also `pickle.PicklingError` and `TypeError`
    │   ├── ResultNotRebuilt         also `concurrent.futures.process.BrokenProcessPool`
    │   └── RemoteError              stands for an exception that could not cross
    ├── WorkerError .............. the worker: its process ended, or never got going
    │   ├── WorkerDied               also `concurrent.futures.process.BrokenProcessPool`
    │   └── WorkerStartError         the same, and `concurrent.futures.thread.BrokenThreadPool`
    └── InternalError ............ us

    RemoteTraceback, which is never raised, is the `__cause__` of exceptions that came from a worker.

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
    """The worker's traceback as text; set as the cause of an exception that came from a worker, never raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    @property
    def tb(self) -> str:
        """The text, by the name that it has in `multiprocessing`."""
        return self.text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class _Died(WorkerError):
    """The body of `WorkerDied`, apart from its second base, which is not cheap to import."""

    def __init__(
        self,
        task: str,
        function: str,
        pid: int,
        exit_code: int | None = None,
        signal: int | None = None,
        attempt: int = 0,
        last_words: str = "",
    ) -> None:
        super().__init__(task, function, pid, exit_code, signal, attempt, last_words)
        self.task = task
        self.function = function
        self.pid = pid
        self.exit_code = exit_code
        self.signal = signal
        self.attempt = attempt
        self.last_words = last_words

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that ended the worker, such as `SIGKILL`; None if none did."""
        return None if self.signal is None else _signal_name(self.signal)

    def __str__(self) -> str:
        name = self.signal_name
        if name is not None:
            end = f"was killed by {name}"
        elif self.exit_code is not None:
            end = f"exited with code {self.exit_code}"
        else:
            end = "is gone, and how it ended could not be found out"
        again = f" (attempt {self.attempt + 1})" if self.attempt else ""
        what = f"`{self.task}`" if self.function in self.task else f"`{self.function}` ({self.task})"
        text = f"{what} was lost with its worker: process {self.pid} {end}{again}"
        hint = _HINTS.get(name) if name is not None else _EXIT_HINT if self.exit_code is not None else None
        if hint:
            text += f"\nhint: {hint}"
        return text + _quoted(self.last_words)


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

        `task` and `function` name what was lost and `pid` the process; `exit_code` or `signal` say how it ended (if
        both are None, that could not be found out); `attempt` is how often the task had been begun before;
        `last_words` holds the last lines that the worker wrote to stderr.
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
        error = type(name, tuple(bases), {"__module__": __name__, "__doc__": body[1]})
        return globals().setdefault(name, error)

    _BODIES = {
        "ArgumentNotRebuilt": (CallError, "The worker could not turn the bytes of the arguments into objects."),
        "ResultNotRebuilt": (FunctionError, "The bytes of the result could not be turned into an object."),
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
    lines = last_words.rstrip().splitlines()
    if not lines:
        return ""
    # The list of extension modules that ends a traceback of `faulthandler` can have thousands of characters.
    shown = (line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines)
    return "\nlast lines that it wrote to stderr:\n" + "\n".join(f"    {line}" for line in shown)
