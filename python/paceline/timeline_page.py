"""A history as one HTML page that needs nothing else: a timeline to zoom into and to move along, and its sums.

Owns what is written into the page, and that it can do no harm there. How the page draws it is in `timeline.html`.
"""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources

from paceline.chart import RETRIED, WORDS, Chart, told
from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from paceline.chart import Row
    from paceline.history import History, Stretch

# The page counts time in whole numbers of these, so that adding up thousands of gaps loses nothing.
_TICKS_PER_S = 10_000_000
# Of stretches that ended so, some items may have results nevertheless; nobody knows which.
_PARTLY = (Ending.RAISED, Ending.STOPPED)
_HEADS = {
    Ending.DONE: "stretches all done",
    Ending.RAISED: "stretches with items that raised",
    Ending.STOPPED: "stretches with items that were stopped",
    Ending.LOST: "stretches lost with a worker",
}


def page(history: History, *, title: str, workers: int | None = None) -> str:
    """One HTML page that draws the history on a canvas, without looking for anything elsewhere.

    The wheel zooms around the cursor, dragging moves, a double click shows everything again; so do the keys + - ← → 0.
    It is light or dark as its reader prefers, and tells its sums as text and as a table too. `workers` is how many of
    them could work at a time; without it, as many are counted as the history shows at one time.
    """
    chart = Chart.of(history, workers)
    text = json.dumps(_data(history, chart), separators=(",", ":"), ensure_ascii=True)
    values = {
        "title": escape(title),
        "summary": escape(chart.summary + _forgotten(history)),
        "table": _table(history),
        # `<` would end the script element; as an escape it is the same JSON.
        "data": text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    }
    template = resources.files("paceline").joinpath("timeline.html").read_text(encoding="utf-8")
    # All at once, because a title may look like a place for something else.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)


def _data(history: History, chart: Chart) -> dict[str, Any]:
    """What the script draws: of each stretch, row by row, one number in each column.

    A stretch's beginning is told as the gap to the end of the one before it in its row, and its busy time as what is
    missing from its length: such numbers are short.
    """
    stretches = [stretch for row in chart.rows for stretch in row.stretches]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(one.function for one in stretches))}
    began_and_ended = [(_ticks(one.began), _ticks(one.ended)) for one in stretches]

    def column(value: Callable[[Stretch], int]) -> int | list[int]:
        return _shortened([value(one) for one in stretches])

    return {
        "rows": [[row.label, len(row.stretches)] for row in chart.rows],
        "pids": [history.name_of(worker) for worker in range(len(history.pids))] if history.hosts else [*history.pids],
        "functions": list(numbers),
        "words": [WORDS[ending] for ending in Ending],
        "some": [int(ending) for ending in _PARTLY],
        "retried": RETRIED,
        "count": len(stretches),
        "ticks": _TICKS_PER_S,
        "wall": _ticks(chart.wall),
        "bound": _ticks(chart.bound),
        "gap": _shortened(_gaps(chart.rows)),
        "took": _shortened([ended - began for began, ended in began_and_ended]),
        "idle": column(lambda one: max(0, _ticks(one.ended) - _ticks(one.began) - _ticks(one.busy) - 1)),
        "waited": column(lambda one: max(0, _ticks(one.began) - _ticks(one.submitted))),
        "worker": column(lambda one: one.worker),
        "function": column(lambda one: numbers[one.function]),
        "first": column(lambda one: one.first_item),
        "items": column(lambda one: one.items),
        "merged": column(lambda one: one.merged),
        "attempt": column(lambda one: one.attempt),
        "ending": column(lambda one: int(one.ending)),
    }


def _gaps(rows: list[Row]) -> list[int]:
    gaps = []
    for row in rows:
        before = 0
        for stretch in row.stretches:
            gaps.append(_ticks(stretch.began) - before)
            before = _ticks(stretch.ended)
    return gaps


def _shortened(column: list[int]) -> int | list[int]:
    """The column, or the one number that is everywhere in it."""
    return column[0] if column and column.count(column[0]) == len(column) else column


def _ticks(seconds: float) -> int:
    return round(seconds * _TICKS_PER_S)


def _forgotten(history: History) -> str:
    return f" Not shown: the {history.forgotten:,} oldest stretches." if history.forgotten else ""


def _table(history: History) -> str:
    """What each worker did, for those who cannot see the picture."""
    lines = []
    for worker, stretches in history.by_worker():
        pid = history.name_of(worker) if worker < len(history.pids) else "0"
        counts = dict.fromkeys(Ending, 0)
        for stretch in stretches:
            counts[stretch.ending] += stretch.merged
        cells = [
            str(worker + 1),
            pid,
            told(sum(stretch.busy for stretch in stretches)),
            f"{sum(stretch.items for stretch in stretches):,}",
            *(f"{counts[ending]:,}" for ending in Ending),
        ]
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ["worker", "pid", "busy", "items", *(_HEADS[ending] for ending in Ending)]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
