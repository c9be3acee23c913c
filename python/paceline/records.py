"""Log records of workers, handled by the loggers of the process they work for.

Owns both ends: in a worker, what takes the place of handlers, and the bytes that a record becomes; in the parent, the
levels that workers take over, and the handling of what arrives. Never configures a logger of the parent.

A worker has no handlers, as any fresh process has none. A record for which there is no handler would go to the handler
of last resort; in a worker it goes to the parent instead. If the user's code configures handlers in a worker (such as
by `logging.basicConfig(level=...)` in an initializer), those get the records, as in any process, and the
parent does not: no record appears twice.
"""

from __future__ import annotations

import logging
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

# -- in the parent -----------------------------------------------------------------------------------------------------


def levels() -> tuple[int, int, dict[str, int]]:
    """What decides whether a record is made: the level of `logging.disable`, the root's, and those set by name."""
    manager = logging.root.manager
    named = {
        name: logger.level
        for name, logger in list(manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET
    }
    return manager.disable, logging.root.level, named


def handle(data: bytes) -> None:
    """Has a worker's record handled by this process's logger of the same name, if that is enabled for it."""
    attributes, objects = marshal.loads(data)
    for name, (pickled, text) in objects.items():
        attributes[name] = _unpickled(pickled, text)
    logger = logging.getLogger(attributes["name"])
    if logger.isEnabledFor(attributes["levelno"]):
        factory = logging.getLogRecordFactory()
        if factory is logging.LogRecord:
            # Not called: it would ask `threading` for a name of this thread, and so leave a trace of it there.
            record = logging.LogRecord.__new__(logging.LogRecord)
            record.__dict__.update(attributes)
        else:
            record = logging.makeLogRecord(attributes)
        logger.handle(record)


def _unpickled(pickled: bytes | None, text: str) -> Any:
    if pickled is None:
        return text
    from _pickle import loads

    try:
        return loads(pickled)
    except Exception:
        return text


# -- in a worker -------------------------------------------------------------------------------------------------------


def send_records(
    module: ModuleType, taken: tuple[int, int, dict[str, int]] | None, send: Callable[[bytes], None]
) -> None:
    """Has records without a handler sent to the parent, beginning with the parent's levels."""
    del module
    if taken is not None:
        disabled, root_level, named = taken
        logging.disable(disabled)
        logging.root.setLevel(root_level)
        for name, level in named.items():
            logging.getLogger(name).setLevel(level)
    handled_here = logging.Logger.callHandlers

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        if _has_handler(logger):
            handled_here(logger, record)
        else:
            try:
                send(packed(record))
            except OSError:  # The parent is gone; this process will not outlive it by much.
                pass

    configure = logging.basicConfig

    def basic_config(**options: Any) -> None:
        # Without options it is what `logging.info` and its like do where there is no handler; here there is the parent.
        if options:
            configure(**options)

    logging.basicConfig = basic_config
    logging.Logger.callHandlers = call_handlers  # type: ignore[assignment, method-assign]


def _has_handler(logger: logging.Logger) -> bool:
    """Whether this process has something of its own to say about the logger's records.

    One that libraries add in order to say nothing does not count; a logger that keeps its records to itself does.
    """
    node: logging.Logger | None = logger
    while node is not None:
        if any(type(handler) is not logging.NullHandler for handler in node.handlers):
            return True
        if not node.propagate:
            return True
        node = node.parent
    return False


_formatter = logging.Formatter()


def packed(record: logging.LogRecord) -> bytes:
    """The record as bytes: its message is put together, its exception is text, and nothing in it can do harm."""
    attributes = dict(record.__dict__)
    try:
        attributes["msg"] = record.getMessage()
    except Exception as error:
        attributes["msg"] = f"{record.msg!r} with arguments {record.args!r} that do not fit it: {error!r}"
    attributes["message"] = attributes["msg"]
    attributes["args"] = None
    if record.exc_info and not record.exc_text:
        attributes["exc_text"] = _formatter.formatException(record.exc_info)
    attributes["exc_info"] = None
    pid = os.getpid()
    # Else it was made by a worker of this one.
    if attributes.get("process") in (pid, None):
        attributes["process"] = pid
        if attributes.get("processName") in ("MainProcess", None):
            attributes["processName"] = f"PacelineWorker-{pid}"
    try:
        return marshal.dumps((attributes, {}))
    except ValueError:
        plain: dict[str, Any] = {}
        objects: dict[str, Any] = {}
        for name, value in attributes.items():
            try:
                marshal.dumps(value)
            except ValueError:
                objects[name] = _pickled(value)
            else:
                plain[name] = value
        return marshal.dumps((plain, objects))


def _pickled(value: Any) -> tuple[bytes | None, str]:
    """With the text that stands for it where it cannot be pickled, or not be unpickled."""
    from _pickle import dumps

    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    try:
        return dumps(value, 5), text
    except Exception:
        return None, text
