"""What a picture of a history shows, however it is drawn: the rows, the words for states, and the makespan.

Owns the arithmetic that the static pictures and the page have in common. It never draws anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from paceline.history import History, Stretch

# With more rows than this, a process that took another's place is drawn in the other's row.
MOST_ROWS = 40
# Overlaps this short are clocks' noise.
NOISE_S = 1e-6
_NAMES_SHOWN = 3

WORDS = {
    Ending.DONE: "done",
    Ending.RAISED: "raised",
    Ending.STOPPED: "stopped",
    Ending.LOST: "lost with a worker",
}
RETRIED = "tried again"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a chart: a worker, or a part of what it did at a time, or workers of which each followed another."""

    label: str
    stretches: list[Stretch]


@dataclass(frozen=True, slots=True)
class Chart:
    """The rows, and how long it all took (`wall`) beside the shortest time in which it could have been done (`bound`).

    No order of the same stretches is done sooner than `bound`: the `slots` for calls (one in each of the `workers`, but
    more where coroutines take turns) cannot share the `work` better than equally, and the `longest` stretch is run in
    one of them. All are in seconds.
    """

    rows: list[Row]
    workers: int
    slots: int
    wall: float
    work: float
    longest: float

    @classmethod
    def of(cls, history: History, workers: int | None = None) -> Chart:
        """The chart of a history; without `workers`, as many of them are counted as were there at one time."""
        of_each = list(history.by_worker())
        in_tracks = [(worker, track) for worker, stretches in of_each for track in tracks(stretches)]
        width = max(1, workers or len(_lanes(of_each)))
        slots = max(width, len(_lanes(in_tracks)))
        return cls(
            _rows(history, of_each, in_tracks),
            width,
            slots,
            history.end,
            sum(stretch.busy for stretch in history.stretches),
            max((stretch.longest for stretch in history.stretches), default=0.0),
        )

    @property
    def bound(self) -> float:
        """What the makespan cannot be shorter than."""
        return min(self.wall, max(self.work / self.slots, self.longest))

    @property
    def is_bound_by_the_longest(self) -> bool:
        """Whether it is one stretch that keeps the bound up, not the sum of them all."""
        return self.longest > self.work / self.slots

    @property
    def efficiency(self) -> float:
        """The share of the workers' time that was spent at work, from 0 to 1."""
        return min(1.0, self.work / (self.slots * self.wall)) if self.wall else 0.0

    @property
    def summary(self) -> str:
        """All that in a sentence or two."""
        if not self.wall:
            return "Nothing has run."
        at_once = f" with up to {self.slots:,} calls at a time" if self.slots > self.workers else ""
        reason = "its longest stretch" if self.is_bound_by_the_longest else "its work, shared equally"
        return (
            f"It took {told(self.wall)} for {told(self.work)} of work on {_counted(self.workers, 'worker')}{at_once}, "
            f"at an efficiency of {self.efficiency:.0%}. The least possible is {told(self.bound)}: {reason}."
        )


def default_title(history: History) -> str:
    """How many items of which functions the history is about."""
    items = sum(stretch.items for stretch in history.stretches)
    names = list(dict.fromkeys(stretch.function for stretch in history.stretches))
    what = ", ".join(names) if len(names) <= _NAMES_SHOWN else _counted(len(names), "function")
    return f"{_counted(items, 'item')} of {what}" if names else "Nothing has run"


def told(seconds: float) -> str:
    """A length of time with its unit, in three figures or so."""
    factor, unit = unit_for(seconds)
    number = seconds * factor
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def unit_for(seconds: float) -> tuple[float, str]:
    """What to multiply seconds by, and the unit of that, so that such a length of time reads well."""
    if seconds >= 1 or seconds <= 0:
        return 1.0, "s"
    return (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")


def items_of(stretch: Stretch) -> str:
    """Which items a stretch was: one number, or the first and the last; of merged ones, how many."""
    if stretch.merged > 1:
        return f"{stretch.items:,} items"
    last = stretch.first_item + stretch.items - 1
    return f"{stretch.first_item}–{last}" if stretch.items > 1 else str(stretch.first_item)


def tracks(stretches: list[Stretch]) -> list[list[Stretch]]:
    """What one worker did, apart where it did several things at a time: in each track nothing overlaps."""
    found: list[list[Stretch]] = []
    ends: list[float] = []
    for stretch in stretches:
        for place, end in enumerate(ends):
            if end <= stretch.began + NOISE_S:
                found[place].append(stretch)
                ends[place] = max(end, stretch.ended)
                break
        else:
            found.append([stretch])
            ends.append(stretch.ended)
    return found


def _rows(
    history: History, of_each: list[tuple[int, list[Stretch]]], in_tracks: list[tuple[int, list[Stretch]]]
) -> list[Row]:
    if len(in_tracks) <= MOST_ROWS:
        seen: set[int] = set()
        rows = []
        for worker, track in in_tracks:
            rows.append(Row("" if worker in seen else _label(history, worker), track))
            seen.add(worker)
        return rows
    if len(of_each) <= MOST_ROWS:
        return [Row(_label(history, worker), stretches) for worker, stretches in of_each]
    return [
        Row(
            _label(history, lane[0][0], others=len(lane) - 1),
            [stretch for _, stretches in lane for stretch in stretches],
        )
        for lane in _lanes(of_each)
    ]


def _lanes(of_each: list[tuple[int, list[Stretch]]]) -> list[list[tuple[int, list[Stretch]]]]:
    """Lists of stretches, put one behind the other where one began when another had ended: as few lanes as can be."""
    lanes: list[list[tuple[int, list[Stretch]]]] = []
    free: list[tuple[float, int]] = []
    for worker, stretches in sorted(of_each, key=lambda one: one[1][0].began):
        if free and free[0][0] <= stretches[0].began + NOISE_S:
            place = heappop(free)[1]
        else:
            place = len(lanes)
            lanes.append([])
        lanes[place].append((worker, stretches))
        heappush(free, (max(stretch.ended for stretch in stretches), place))
    return lanes


def _label(history: History, worker: int, others: int = 0) -> str:
    pid = history.name_of(worker) if worker < len(history.pids) else "?"
    return f"{pid} + {others:,}" if others else pid


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
