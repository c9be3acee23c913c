"""The progress of a map, or of futures, as it is shown: a bar, or whatever a function makes of it.

Owns what is shown and how often. Whoever hands out results says how many there are; the engine counts those of maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, Self, TypeAlias, TypeVar

    from paceline.future import Future

    ProgressTo: TypeAlias = bool | Literal["tqdm", "rich"] | Callable[["Progress"], object]
    T = TypeVar("T")

__all__ = ["Beginning", "Meter", "Metered", "Progress", "ProgressTo", "length_of", "meter_of"]

# How often it is looked, and shown, at most.
_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a map has come: `done` of `total` items have ended (`total` is None where nobody knows), after `seconds`.

    Items that failed have ended as well. One that is run again has not ended before the last time.

    >>> Progress(done=30, total=120, seconds=10.0).remaining_seconds
    30.0
    """

    done: int
    total: int | None
    seconds: float

    @property
    def rate(self) -> float:
        """Items per second; zero at first."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """The time that is left if it goes on like this; None where that cannot be known."""
        if self.total is None or not self.done:
            return None
        return self.seconds * (self.total - self.done) / self.done


class Meter:
    """Shows how far something has come, while it is used as a context."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0
        self._began = monotonic()
        self._shown_at = float("-inf")
        self._shown: tuple[int, int | None] | None = None
        self._ended = False

    def show(self, done: int, total: int | None = None) -> None:
        """So many have ended; not more often than anybody can see."""
        self.done = done
        self.total = self.total if total is None else total
        self.refresh()

    def refresh(self) -> None:
        """Shows how far it has come, unless that was just done. Raises what the function raises that shows it."""
        now = monotonic()
        if now - self._shown_at >= _INTERVAL_S:
            self._shown_at = now
            self._update()

    def _update(self) -> None:
        if self._shown != (self.done, self.total):
            self._shown = self.done, self.total
            self._display(Progress(self.done, self.total, monotonic() - self._began))

    def count(self, count: int) -> None:
        """So many more have ended, which is shown by the next refresh."""
        self.done += count

    def end(self) -> None:
        """Shows how far it has come in the end, and nothing after that."""
        if not self._ended:
            self._ended = True
            try:
                self._update()
            finally:
                self._close()

    def watch(self, futures: Sequence[Future[Any]]) -> None:
        """Shows how far these are until all of them have ended."""
        with self:
            for future in futures:
                ended = False
                while not ended:
                    counts = [each.progress() for each in futures]
                    total = sum(items for items, _ in counts)
                    self.show(sum(done for _, done in counts), max(total, self.total or 0))
                    ended = future.wait(_INTERVAL_S)
            self.done = sum(future.progress()[1] for future in futures)

    def watch_elsewhere(self, future: Future[Any]) -> None:
        """The same in a thread of its own, for a caller who does not wait."""
        from threading import Thread

        Thread(target=self.watch, args=([future],), name="paceline-progress", daemon=True).start()

    def abandon(self) -> None:
        """Nothing more is shown, not even how far it has come."""
        if not self._ended:
            self._ended = True
            self._close()

    def _display(self, progress: Progress) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        """Nothing more will be shown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Beginning:
    """Gives the meter of something that is about to begin; if that raises, the meter shows nothing more."""

    __slots__ = ("_meter",)

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __enter__(self) -> Meter:
        return self._meter

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._meter.abandon()


class _Callback(Meter):
    def __init__(self, total: int | None, callback: Callable[[Progress], object]) -> None:
        super().__init__(total)
        self._callback = callback

    def _display(self, progress: Progress) -> None:
        self._callback(progress)


class _Tqdm(Meter):
    """A bar of tqdm: in a terminal, or in a notebook; elsewhere nothing is printed unless it is asked for by name."""

    def __init__(self, total: int | None, *, asked_for: bool) -> None:
        super().__init__(total)
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            raise _missing("tqdm") from None
        quiet = not asked_for and not _in_notebook()
        # With None, tqdm itself sees whether there is a terminal.
        self._bar = tqdm(total=total, disable=None if quiet else False, smoothing=0.05, unit="task")

    def _display(self, progress: Progress) -> None:
        if progress.total != self._bar.total:
            self._bar.total = progress.total
            self._bar.refresh()
        self._bar.update(progress.done - self._bar.n)

    def _close(self) -> None:
        self._bar.close()


class _Rich(Meter):
    def __init__(self, total: int | None) -> None:
        super().__init__(total)
        try:
            from rich import progress as rich
        except ModuleNotFoundError:
            raise _missing("rich") from None
        columns = (rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
        self._bar = rich.Progress(*columns)
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def _display(self, progress: Progress) -> None:
        self._bar.update(self._task, completed=progress.done, total=progress.total)

    def _close(self) -> None:
        self._bar.stop()


def _missing(library: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"a progress bar needs {library}, which is not installed\n"
        f"hint: `pip install {library}`, or give a function: progress=lambda progress: print(progress.done)"
    )


def _in_notebook() -> bool:
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def meter_of(progress: ProgressTo, total: int | None) -> Meter | None:
    """What shows the progress as a caller wants it; None if he does not. Raises `TypeError`, and what is missing."""
    if progress is False:
        return None
    if progress is True or progress == "tqdm":
        return _Tqdm(total, asked_for=progress is not True)
    if progress == "rich":
        return _Rich(total)
    if callable(progress):
        return _Callback(total, progress)
    raise TypeError(f"progress must be True, False, 'tqdm', 'rich' or a function, not {progress!r}")


def length_of(items: object) -> int | None:
    """How many items there are, if that can be known before they are read."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


class Metered(Iterator["T"]):
    """The same results; those that have been handed out count as ended. Dropped, it shows nothing more.

    A result at which showing the progress raises is given by the next call.
    """

    def __init__(self, results: Iterator[T], meter: Meter) -> None:
        self._results = results
        self._meter = meter
        # No variable elsewhere may keep a result alive while the user works with it.
        self._held: list[T] = []

    def __next__(self) -> T:
        if not self._held:
            try:
                self._held.append(next(self._results))
            except BaseException:
                self._meter.end()
                raise
            self._meter.count(1)
            self._meter.refresh()
        return self._held.pop()

    def __del__(self) -> None:
        self._meter.abandon()
