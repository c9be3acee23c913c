"""What a new worker process does before its first task, and after its last: the looks of the process it works for.

Owns `set_up`, which the native module calls with the bytes that `paceline.engine.make_setup` made, and `take_leave`,
which it calls before a worker leaves in the ordinary way. It never runs a task; the loop that does is native. Every
worker loads this file, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
from _io import TextIOWrapper
from _io import open as open_file

from paceline.imports import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The number of this worker in its pool, from zero. One that takes another's place has the other's number.
seat = 0
# The descriptor to which it writes what it is doing, when it is asked to.
stacks = -1

_leaving: list[Callable[[], object]] = []


def prepare(native: Any) -> None:
    """In whatever workers are forked from: what none has to do anew, and what it costs no memory to share."""
    Lines.note_speech = staticmethod(native.note_speech)
    _replace_streams(Lines)


def set_up(setup: bytes, native: Any) -> tuple[int, int]:
    """Takes over search path, folder and arguments, and runs the initializer; raises what the initializer raises.

    `native` is the native module. Returns what its loop has to know: the pool's seed, and how many coroutines may be
    under way at once.
    """
    from marshal import loads as load_plain

    path, folder, arguments, main, authkey, function, positional, seed, concurrency, looks = load_plain(setup)
    if looks.get("prefix"):
        native.prefix_lines()
        PrefixedLines.line_prefix = staticmethod(native.line_prefix)
        _replace_streams(PrefixedLines)
    _share_the_machine(native, looks)
    sys.path[:] = path
    sys.argv[:] = arguments
    _enter(folder)
    put_stdin_aside()
    _prepare_signals()
    _prepare_stops(native)
    global note_may_pass, take_stop
    note_may_pass = native.note_may_pass
    take_stop = native.take_stop
    native.retire_above(looks.get("most_memory", 0))
    _reseed()
    _replace_main(main)
    _take_over(authkey)
    _send_log_records(native, looks.get("levels"))
    if function is not None:
        from _pickle import loads

        from paceline.functions import before_initializer

        initializer = loads(function)
        before_initializer(initializer)
        arguments, _ = loads(positional)
        initializer(*arguments)
    return seed, concurrency


def _share_the_machine(native: Any, looks: dict[str, Any]) -> None:
    """Takes over the environment, and its part of the CPUs."""
    environment = looks.get("environment")
    if environment is not None and environment != dict(os.environb):
        os.environb.clear()
        os.environb.update(environment)
    native.share_machine(looks.get("sharers", 1))
    threads = looks.get("threads")
    if threads is None:
        return
    for name in THREAD_VARIABLES:
        if looks["threads_asked_for"] or name not in os.environ:
            os.environ[name] = str(threads)
            threads_chosen[name] = str(threads)
    if "numpy" in sys.modules and threads != threads_preloaded:
        _limit_loaded_libraries(threads)


# What was set here, and not by the user: pools within this worker choose anew.
threads_chosen: dict[str, str] = {}
# How many threads libraries have that the fork server has loaded; none if it has loaded none.
threads_preloaded: int | None = None
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def _limit_loaded_libraries(threads: int) -> None:
    """For libraries that something like `sitecustomize` has loaded already: they do not look at the variables again."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    _kept.append(threadpool_limits(limits=threads))


class Lines(TextIOWrapper):
    """Standard output or error of a worker: written line by line, and the rest when the task ends."""

    def write(self, text: str, /) -> int:
        count = super().write(text)
        self.note_speech(text[-1:] != "\n")
        return count

    note_speech: Any


class PrefixedLines(Lines):
    """The same, where each line says which worker and which task it comes from."""

    def write(self, text: str, /) -> int:
        if text:
            # The mark tells the parent that the line has its prefix; lines that come from elsewhere have none.
            prefix = "\x1e" + self.line_prefix()
            prefixed = text[:-1].replace("\n", "\n" + prefix) + text[-1]
            super().write(prefix + prefixed if self.is_at_start else prefixed)
            self.is_at_start = text[-1] == "\n"
        return len(text)

    is_at_start = True
    line_prefix: Any


def _replace_streams(kind: type[Lines]) -> None:
    """Whatever the locale, the parent is sent UTF-8; and a worker that dies has said what it had written."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        # Absent if the parent had none when the fork server was started; in a fork of it, whatever it prints to.
        errors = getattr(stream, "errors", None) or "backslashreplace"
        # A fresh one: the other remembers whether what the fork server wrote to was a file.
        file: Any = open_file(number, "wb", closefd=False)
        file.raw.name = f"<{name}>"
        lines = kind(file, "utf-8", errors, line_buffering=True)
        lines.mode = "w"  # type: ignore[misc]
        setattr(sys, name, lines)
        setattr(sys, f"__{name}__", lines)


def _send_log_records(native: Any, levels: tuple[int, int, dict[str, int]] | None) -> None:
    def begin(module: Any) -> None:
        from paceline.records import send_records

        send_records(module, levels, native.send_record)

    when_imported("logging", begin)


def _enter(folder: str | None) -> None:
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError:  # It has been removed, or may not be entered; the parent lives with that as well.
            pass


def put_stdin_aside() -> None:
    """Nobody's answer to `input()` shall depend on which worker asks first."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def _prepare_signals() -> None:
    from _signal import SIGINT, default_int_handler, signal  # type: ignore[import-not-found]
    from faulthandler import enable

    signal(SIGINT, default_int_handler)
    enable(file=2)  # A crash in native code leaves its traceback in the worker's last words.


def _prepare_stops(native: Any) -> None:
    """Has tasks stopped, and what this worker is doing written to the file `stacks`, when the parent asks for it."""
    from _signal import signal
    from faulthandler import register

    stop, show = native.stop_signals()

    def on_stop(number: int, frame: Any) -> None:  # noqa: ARG001 - it is a handler of signals.
        try:
            from paceline.errors import TaskInterrupted
        except ImportError:
            # The task is just about to import it itself. The watching thread asks again.
            return

        def stack() -> str:
            # It may be in the middle of being imported as well; then nobody is told where the task was.
            from paceline.failures import stack_text

            return stack_text(frame)

        # All of them, before anything is raised: each has come once.
        interrupted = False
        for item, attempt, is_here in native.begin_stops(stack):
            if is_here or (stop_coroutine is not None and stop_coroutine(item, attempt, frame)):
                interrupted = True
        if interrupted:
            raise TaskInterrupted("the task ran over its time limit, or was cancelled by force")

    signal(stop, on_stop)
    if stacks >= 0:
        register(show, file=stacks, all_threads=True, chain=False)


# Tells the native loop of an exception after which its call may be run again; set when this worker is set up.
note_may_pass: Callable[[BaseException], None]

# Whether an attempt at an item was to be stopped before it had begun; set when this worker is set up.
take_stop: Callable[[int, int], bool]

# Stops a coroutine by number and attempt; whether the code that runs, in this frame, is to be interrupted for that.
# Set by the event loop, if there is one.
stop_coroutine: Callable[[int, int, Any], bool] | None = None


def _reseed() -> None:
    """No two workers may draw the same numbers from generators that the fork server had seeded already."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()


def _replace_main(attributes: dict[str, Any]) -> None:
    """Makes an empty `__main__` with the user's name and file, for the functions that come from there."""
    module = type(sys)("__main__")
    module.__dict__.update(attributes)
    # The code that is running still needs the globals of the old one.
    module.__dict__["__builtins__"] = __builtins__
    _kept.append(sys.modules.get("__main__"))
    sys.modules["__main__"] = module


def _take_over(authkey: bytes | None) -> None:
    """Lets proxies of the parent's managers work here, as they do in the processes of `multiprocessing`."""
    if authkey is not None:
        from paceline.imports import when_imported

        when_imported("multiprocessing.process", lambda module: setattr(module.current_process(), "authkey", authkey))


_kept: list[Any] = []


def when_leaving(action: Callable[[], object]) -> None:
    """Has `action` called when this worker has run its last task; not if it dies, or is killed, before."""
    _leaving.append(action)


def forget_leaving() -> None:
    """Leaves out what a worker was to do of which this process is a fork, and which does it itself."""
    _kept.append(_leaving[:])
    _leaving.clear()


def take_leave() -> None:
    """Calls what is to be called at the end, the last first; prints what that raises, and goes on."""
    while _leaving:
        try:
            _leaving.pop()()
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
