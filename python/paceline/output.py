"""What workers say reaches the user: lines in `sys.stdout` and `sys.stderr`, records in the loggers, of this process.

Owns the passing on, by one thread for the process; whoever may replace `sys.stdout` (pytest, a notebook,
`contextlib.redirect_stdout`) gets the lines as if they had been printed here. Never hears a worker itself: what there
is to pass on comes from the engine, which reads the pipes and keeps the order. What a stream does not take goes to file
descriptor 1 or 2, so that a stream that is closed or raises loses nothing.
"""

from __future__ import annotations

import sys
from _io import TextIOWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

STDOUT, STDERR, RECORD = 1, 2, 3


def pass_on(sayings: Iterable[tuple[int, bytes]], write_natively: Callable[[int, bytes], None]) -> None:
    """Passes on what workers said, in order; `write_natively` is for what a stream does not take."""
    streams: list[Any] = []
    for voice, data in sayings:
        try:
            if voice == RECORD:
                from paceline.records import handle

                handle(data)
                continue
            stream = sys.stdout if voice == STDOUT else sys.stderr
            if stream is not None:
                _print(stream, data)
                if stream not in streams:
                    streams.append(stream)
            elif (sys.__stdout__ if voice == STDOUT else sys.__stderr__) is not None:
                write_natively(voice, data)
            # Else this process was started without the file, and its number may be another's by now.
        except BaseException:
            write_natively(voice, data)
    for stream in streams:
        # A file or a pipe is written at once, as a worker would have done; others have their own rhythm.
        if isinstance(stream, TextIOWrapper):
            try:
                stream.flush()
            except BaseException:
                pass


def _print(stream: Any, data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        buffer = getattr(stream, "buffer", None)
        if buffer is not None:
            stream.flush()
            buffer.write(data)
            return
        text = data.decode(errors="backslashreplace")
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))


def flush_after_cells(flush: Callable[[], None]) -> None:
    """In IPython, has what the calls of a cell have printed appear with that cell."""
    global _flushed
    from IPython import get_ipython  # type: ignore[attr-defined, unused-ignore]

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    if shell is not None and _flushed is not shell:
        _flushed = shell
        shell.events.register("post_run_cell", lambda *_: flush())


_flushed: Any = None
