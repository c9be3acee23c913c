"""`as_completed`: futures in the order in which they end.

Owns that order and its deadline. Works on every `concurrent.futures.Future`, ours and others mixed; it never looks into
one.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from queue import SimpleQueue
    from typing import Any, TypeVar

    from paceline.progress import ProgressTo

    AnyFuture = TypeVar("AnyFuture", bound=Future[Any])

__all__ = ["as_completed"]


def as_completed(
    futures: Iterable[AnyFuture], timeout: float | None = None, *, progress: ProgressTo = False
) -> Iterator[AnyFuture]:
    """An iterator over the futures in the order in which they end; those that have ended already come first.

    >>> import paceline
    >>> with paceline.ProcessPoolExecutor(2) as executor:
    ...     futures = [executor.submit(pow, 2, exponent) for exponent in (3, 4)]
    ...     print(sorted(future.result() for future in paceline.as_completed(futures)))
    [8, 16]

    `futures` are any futures of `concurrent.futures`, Paceline's and others mixed. One that is given several times
    comes once; a cancelled one counts as ended. The iterator keeps no future that it has handed out. `progress` is that
    of `Pool.map`.

    Raises `TimeoutError` in place of the next future if not all have ended `timeout` seconds after this call.

    The cost is the same for each future, however many there are, and nothing is done for those that are not ended yet:
    each of them reports when it ends.
    """
    from queue import SimpleQueue
    from weakref import ref

    deadline = None if timeout is None else monotonic() + timeout
    waiting = dict.fromkeys(futures)
    ended: SimpleQueue[AnyFuture] = SimpleQueue()
    weak = ref(ended)

    def report(future: Any) -> None:
        # The iterator may have been dropped, and must not keep what ends after it.
        queue = weak()
        if queue is not None:
            queue.put(future)

    for future in waiting:
        future.add_done_callback(report)
    each = _each(waiting, ended, deadline)
    if progress is False:
        return each
    from paceline.progress import Metered, meter_of

    meter = meter_of(progress, len(waiting))
    return each if meter is None else Metered(each, meter)


def _each(waiting: dict[AnyFuture, None], ended: SimpleQueue[AnyFuture], deadline: float | None) -> Iterator[AnyFuture]:
    from queue import Empty

    total = len(waiting)
    while waiting:
        try:
            future = [ended.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))]
        except Empty:
            raise TimeoutError(f"{len(waiting)} (of {total}) futures unfinished") from None
        del waiting[future[0]]
        # No variable here may keep it alive while the user works with it.
        yield future.pop()
