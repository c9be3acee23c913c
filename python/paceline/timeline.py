"""A history as a picture of the workers against time: `.svg` and `.png` by matplotlib, `.html` as a page of its own.

Owns the static pictures. matplotlib is imported by nothing but `draw`, through its objects alone: no figure, backend or
setting of the user's own plots is touched.

What is wide enough is drawn as a rectangle. What is narrower goes into strips, one cell for each pixel's column, whose
shade is the share of the time in which the worker was busy; so a picture of a hundred thousand stretches holds no more
than can be seen. What did not go well is never lost in a strip: it is drawn on top, at least two pixels wide.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from paceline.chart import RETRIED, WORDS, Chart, default_title, items_of, told, unit_for
from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import bool_, float64, int64, uint8
    from numpy.typing import NDArray

    from paceline.history import History, Stretch

# How the name of a picture may end.
KINDS = (".html", ".svg", ".png")
_DOTS_PER_INCH = 150
# Inches.
_WIDTH, _LEFT, _RIGHT = 12.0, 1.15, 0.35
_ABOVE, _BELOW = 0.95, 1.3
_ROW, _ALL_ROWS = 0.34, 9.0
# Pixels.
_LEAST_RECTANGLE, _WITH_EDGE, _WITH_FLAG, _MARKS_APART = 2.0, 6.0, 6.0, 8.0
# The share of a row's height that is filled, and how many lines of a strip's image make up a row.
_FILLED, _LINES = 0.8, 10
_MOST_WORDS = 400
_FAINTEST = 0.25


class _Theme(NamedTuple):
    """The colours of a picture: those of the states are Okabe and Ito's, which colour-blind people can tell apart."""

    back: str
    text: str
    faint: str
    line: str
    bar: str
    states: tuple[str, str, str, str]
    on_states: tuple[str, str, str, str]


_LIGHT = _Theme(
    "#ffffff", "#1b1f24", "#5c6570", "#dfe3e8", "#cfd5dc",
    ("#0072b2", "#d55e00", "#e69f00", "#cc79a7"), ("#ffffff", "#ffffff", "#1b1f24", "#1b1f24"),
)  # fmt: skip
_DARK = _Theme(
    "#14171c", "#e8eaed", "#a3abb5", "#343a43", "#454d58",
    ("#56b4e9", "#ff7f2a", "#f0e442", "#e19ac4"), ("#14171c", "#14171c", "#14171c", "#14171c"),
)  # fmt: skip


def draw(
    history: History,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    dark: bool = False,
    workers: int | None = None,
) -> None:
    """Writes a picture of the history: `.svg`, `.png`, or `.html` for a page to zoom into, as the name ends.

    Each worker is a row, with its process id; each stretch of work a rectangle in the colour of how it ended. What was
    tried again is hatched, and a cross stands where a worker died. Below is how long it all took beside the least that
    it can have taken with the same stretches: the work shared equally by the workers, or the longest stretch.

    `dark` is for dark surroundings (a page follows its reader's preference instead). `workers` is how many could work
    at a time; without it, as many are counted as the history shows at one time. The pictures need matplotlib:
    `pip install 'paceline[plot]'`.
    """
    name = os.fspath(path)
    kind = os.path.splitext(name)[1].lower()
    shown = _printable(default_title(history) if title is None else title)
    if kind == ".html":
        from paceline.timeline_page import page

        with open(name, "w", encoding="utf-8") as file:
            file.write(page(history, title=shown, workers=workers))
    elif kind in KINDS:
        figure = _Picture(Chart.of(history, workers), _DARK if dark else _LIGHT).figure(shown, history.forgotten)
        # Without a date, the same history is the same picture.
        metadata = {"Title": shown, "Date": None} if kind == ".svg" else {"Title": shown}
        figure.savefig(name, format=kind[1:], dpi=_DOTS_PER_INCH, facecolor=figure.get_facecolor(), metadata=metadata)
    else:
        raise ValueError(
            f"a timeline is drawn as `.svg`, `.png` or `.html`, but the name is `{name}`\n"
            "hint: choose one of the three by the end of the file's name"
        )


def _figure(width: float, height: float, colour: str) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures of timelines need matplotlib\nhint: install it with `pip install 'paceline[plot]'`, "
            "or choose a name that ends with `.html`",
            name=error.name,
        ) from error
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, facecolor=colour)


class _Columns(NamedTuple):
    """The stretches as columns; moments are in seconds, widths in pixels."""

    row: NDArray[int64]
    began: NDArray[float64]
    ended: NDArray[float64]
    busy: NDArray[float64]
    ending: NDArray[int64]
    is_retry: NDArray[bool_]
    is_one: NDArray[bool_]
    pixels: NDArray[float64]


class _Picture:
    """One picture: its parts are drawn one after the other, from what is at the back to what is on top."""

    def __init__(self, chart: Chart, theme: _Theme) -> None:
        self.chart = chart
        self.theme = theme
        self.rows = max(1, len(chart.rows))
        self.row_inches = min(_ROW, _ALL_ROWS / self.rows)
        self.height = _ABOVE + self.rows * self.row_inches + _BELOW
        self.inner = _WIDTH - _LEFT - _RIGHT
        # An empty picture has a scale as well.
        self.until = chart.wall * 1.01 or 1.0
        self.per_pixel = self.until / (self.inner * _DOTS_PER_INCH)
        self.factor, self.unit = unit_for(chart.wall)
        # The size of marks, in points.
        self.mark = max(2.5, min(8.0, self.row_inches * 72 * 0.45))

    def figure(self, title: str, forgotten: int) -> Figure:
        figure = self._figure = _figure(_WIDTH, self.height, self.theme.back)
        axes = self._axes(_BELOW, self.rows * self.row_inches, (self.rows - 0.5, -0.5))
        below = self._axes(0.22, 0.56, (1.5, -0.5), shared=axes)
        columns = self._columns()
        strip = self._strips(axes, columns)
        kinds = self._rectangles(axes, columns)
        self._words(axes)
        self._marks(axes, columns)
        self._limits(axes, below)
        self._surroundings(axes, below, title, forgotten)
        self._legend(columns, kinds, has_strip=strip)
        return figure

    def _axes(self, bottom: float, height: float, rows: tuple[float, float], shared: Axes | None = None) -> Axes:
        place = (_LEFT / _WIDTH, bottom / self.height, self.inner / _WIDTH, height / self.height)
        axes = self._figure.add_axes(place, sharex=shared, facecolor=self.theme.back)
        axes.set_xlim(0, self.until * self.factor)
        axes.set_ylim(*rows)
        axes.set_autoscale_on(False)
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(colors=self.theme.faint, labelcolor=self.theme.text, labelsize=9, length=0)
        return axes

    def _columns(self) -> _Columns:
        import numpy as np

        stretches = [(number, one) for number, row in enumerate(self.chart.rows) for one in row.stretches]
        count = len(stretches)

        def column(values: Any, kind: Any) -> Any:
            return np.fromiter(values, kind, count)

        began = column((one.began for _, one in stretches), float)
        ended = column((one.ended for _, one in stretches), float)
        return _Columns(
            column((number for number, _ in stretches), np.int64),
            began,
            ended,
            column((one.busy for _, one in stretches), float),
            column((one.ending for _, one in stretches), np.int64),
            column((one.attempt > 0 for _, one in stretches), bool),
            column((one.merged == 1 for _, one in stretches), bool),
            (ended - began) / self.per_pixel,
        )

    def _strips(self, axes: Axes, columns: _Columns) -> bool:
        """Draws what is too narrow for rectangles, and what the history tells as one; says whether there is any."""
        import numpy as np

        is_good = (columns.ending == Ending.DONE) & ~columns.is_retry
        chosen = is_good & ((columns.pixels < _LEAST_RECTANGLE) | ~columns.is_one)
        if not chosen.any():
            return False
        share = _shares(
            columns.row[chosen],
            columns.began[chosen] / self.per_pixel,
            columns.ended[chosen] / self.per_pixel,
            columns.busy[chosen] / self.per_pixel,
            (self.rows, int(self.inner * _DOTS_PER_INCH)),
        )
        image: NDArray[uint8] = np.zeros((self.rows, _LINES, share.shape[1], 4), np.uint8)
        colour = self.theme.states[Ending.DONE]
        margin = round(_LINES * (1 - _FILLED) / 2)
        filled = image[:, margin : _LINES - margin]
        filled[..., :3] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        opacity = np.where(share > 0, 255 * (_FAINTEST + (1 - _FAINTEST) * share), 0).astype(np.uint8)
        filled[..., 3] = opacity[:, np.newaxis, :]
        drawn = axes.imshow(
            image.reshape(self.rows * _LINES, share.shape[1], 4),
            extent=(0, self.until * self.factor, self.rows - 0.5, -0.5),
            aspect="auto",
            interpolation="none",
            zorder=2,
        )
        drawn.set_gid("strips")
        return True

    def _rectangles(self, axes: Axes, columns: _Columns) -> set[tuple[Ending, bool]]:
        """Draws the rectangles, a collection for each state and those tried again apart; says which there are."""
        import numpy as np
        from matplotlib.collections import PolyCollection

        kinds = set()
        is_wide = (columns.pixels >= _LEAST_RECTANGLE) & columns.is_one
        for ending in Ending:
            for is_retry in (False, True):
                chosen = (columns.ending == ending) & (columns.is_retry == is_retry)
                if not chosen.any():
                    continue
                kinds.add((ending, is_retry))
                if ending is Ending.DONE and not is_retry:
                    chosen &= is_wide
                least = self.per_pixel * _LEAST_RECTANGLE
                narrow = np.flatnonzero(chosen & (columns.pixels < _LEAST_RECTANGLE))
                wide = np.flatnonzero(chosen & (columns.pixels >= _LEAST_RECTANGLE))
                places = np.union1d(wide, _apart(columns.row, columns.began, narrow, least))
                left = columns.began[places]
                right = np.maximum(columns.ended[places], left + least)
                middle, half = columns.row[places].astype(float), _FILLED / 2
                corners = [(left, middle - half), (left, middle + half), (right, middle + half), (right, middle - half)]
                vertices = np.stack([np.stack([x * self.factor, y], axis=1) for x, y in corners], axis=1)
                has_edge = columns.pixels[places] >= _WITH_EDGE
                collection = PolyCollection(
                    vertices,  # type: ignore[arg-type]
                    facecolors=self.theme.states[ending],
                    edgecolors=self.theme.back,
                    linewidths=np.where(has_edge, 0.8, 0.0),
                    hatch="//////" if is_retry else None,
                    zorder=3 if ending is Ending.DONE else 4,
                )
                collection.set_gid(f"{ending.name.lower()}{'-retried' if is_retry else ''}")
                axes.add_collection(collection, autolim=False)
        return kinds

    def _words(self, axes: Axes) -> None:
        """Writes what each rectangle is, where there is room for it."""
        if self.row_inches < 0.2:
            return
        points, left = 7.0, _MOST_WORDS
        letter = points * 0.62 / 72 * _DOTS_PER_INCH
        for number, row in enumerate(self.chart.rows):
            for one in row.stretches:
                room = (one.ended - one.began) / self.per_pixel / letter - 2
                if room < 1 or one.merged > 1 or left == 0:
                    continue
                shown = _words_for(one, room - 2 if one.ending is Ending.LOST else room)
                if not shown:
                    continue
                left -= 1
                colour = self.theme.states[one.ending]
                axes.text(
                    one.began * self.factor + letter / 2 * self.per_pixel * self.factor,
                    number,
                    shown,
                    fontsize=points,
                    color=self.theme.on_states[one.ending],
                    va="center_baseline",
                    parse_math=False,
                    clip_on=True,
                    zorder=5,
                    # Words on a hatched ground cannot be read.
                    bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0} if one.attempt > 0 else None,
                )

    def _marks(self, axes: Axes, columns: _Columns) -> None:
        """A cross where a worker died; a flag above what did not go well and is too narrow to be noticed."""
        import numpy as np

        apart = self.per_pixel * _MARKS_APART
        for kind, flagged in self._flagged(columns).items():
            middles = (columns.began + columns.ended) / 2
            places = _apart(columns.row, middles, np.flatnonzero(flagged), apart)
            axes.plot(
                middles[places] * self.factor,
                columns.row[places] - _FILLED / 2 + 0.08,
                zorder=6,
                clip_on=False,
                gid=f"flags-{kind}",
                **self._flag(kind, self.mark),
            )
        places = _apart(columns.row, columns.ended, np.flatnonzero(columns.ending == Ending.LOST), apart)
        for colour, thick, gid in ((self.theme.back, 4.0, "halos"), (self.theme.text, 1.8, "deaths")):
            axes.plot(
                columns.ended[places] * self.factor,
                columns.row[places],
                linestyle="none",
                marker="x",
                markersize=self.mark,
                markeredgewidth=thick * self.mark / 8,
                color=colour,
                zorder=7,
                clip_on=False,
                gid=gid,
            )

    def _flagged(self, columns: _Columns) -> dict[str, NDArray[bool_]]:
        """Which stretches have flags, by the kind of flag; a cross is more than a flag."""
        is_narrow = columns.pixels < _WITH_FLAG
        flagged = {
            "retried": is_narrow & columns.is_retry & (columns.ending == Ending.DONE),
            "raised": is_narrow & (columns.ending == Ending.RAISED),
            "stopped": is_narrow & (columns.ending == Ending.STOPPED),
        }
        return {kind: which for kind, which in flagged.items() if which.any()}

    def _flag(self, kind: str, size: float) -> dict[str, Any]:
        theme = self.theme
        if kind == "retried":
            look = {
                "marker": "o",
                "markersize": size * 0.7,
                "markeredgecolor": theme.text,
                "markerfacecolor": theme.back,
            }
        elif kind == "raised":
            colour = theme.states[Ending.RAISED]
            look = {"marker": "v", "markersize": size, "markeredgecolor": theme.back, "markerfacecolor": colour}
        else:
            colour = theme.states[Ending.STOPPED]
            look = {"marker": "s", "markersize": size * 0.75, "markeredgecolor": theme.back, "markerfacecolor": colour}
        return {"linestyle": "none", "markeredgewidth": 1.1 if kind == "retried" else 0.7, **look}

    def _limits(self, axes: Axes, below: Axes) -> None:
        """How long it took and how long it had to take: lines through the rows, and bars below them."""
        chart = self.chart
        if not chart.wall:
            return
        reason = "the longest stretch" if chart.is_bound_by_the_longest else "the work, shared equally"
        lines = (
            (chart.wall, f"took {told(chart.wall)}, efficiency {chart.efficiency:.0%}"),
            (chart.bound, f"at best {told(chart.bound)}: {reason}"),
        )
        for number, (seconds, words) in enumerate(lines):
            where = seconds * self.factor
            below.barh(number, where, height=0.78, color=self.theme.bar, gid=("took", "at-best")[number])
            below.text(
                0.008, number, words, transform=below.get_yaxis_transform(), fontsize=9, color=self.theme.text,
                va="center_baseline", parse_math=False,
            )  # fmt: skip
            axes.axvline(where, color=self.theme.text, linewidth=1, linestyle=(0, (4, 3)), zorder=5.5)
            below.axvline(where, color=self.theme.text, linewidth=1, linestyle=(0, (4, 3)), clip_on=False)

    def _surroundings(self, axes: Axes, below: Axes, title: str, forgotten: int) -> None:
        theme = self.theme
        each = max(1, -(-11 // max(1, int(self.row_inches * 72))))
        shown = range(0, len(self.chart.rows), each)
        axes.set_yticks(list(shown), [self.chart.rows[number].label for number in shown])
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis="x", color=theme.line, linewidth=0.8, linestyle="-")
        unit = {"s": "seconds", "ms": "milliseconds", "µs": "microseconds"}[self.unit]
        axes.set_xlabel(f"{unit} since the first submission", fontsize=9, color=theme.faint, labelpad=2)
        self._figure.text(
            (_LEFT - 0.05) / _WIDTH, 1 - (_ABOVE - 0.11) / self.height, "pid", fontsize=9, color=theme.faint,
            ha="right", va="center",
        )  # fmt: skip
        below.set_yticks([])
        below.tick_params(labelbottom=False)
        if not self.chart.rows:
            axes.text(
                0.5, 0.5, "Nothing has run.", transform=axes.transAxes, ha="center", va="center", color=theme.faint
            )
        note = f"   (without the {forgotten:,} oldest stretches)" if forgotten else ""
        self._figure.text(
            _LEFT / _WIDTH, 1 - 0.3 / self.height, _fitting(title + note, 95), fontsize=12, fontweight="bold",
            color=theme.text, va="center", parse_math=False,
        )  # fmt: skip

    def _legend(self, columns: _Columns, kinds: set[tuple[Ending, bool]], *, has_strip: bool) -> None:
        """Explains the states that occur, and no others."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        theme = self.theme
        flags = {kind: Line2D([], [], **self._flag(kind, 6.0)) for kind in self._flagged(columns)}
        entries: list[tuple[Any, str]] = []

        def add(patch: Patch, kind: str, words: str) -> None:
            entries.append(((patch, flags[kind]) if kind in flags else patch, words))

        for ending in Ending:
            if not any(kind is ending for kind, _ in kinds):
                continue
            words = WORDS[ending]
            if ending is Ending.DONE and has_strip:
                words += " (the fainter, the less of the time busy)"
            add(Patch(facecolor=theme.states[ending], edgecolor="none"), ending.name.lower(), words)
        if columns.is_retry.any():
            hatched = Patch(facecolor=theme.states[Ending.DONE], edgecolor=theme.back, hatch="//////")
            add(hatched, "retried", RETRIED)
        if any(kind is Ending.LOST for kind, _ in kinds):
            cross = Line2D([], [], linestyle="none", marker="x", markersize=7, markeredgewidth=1.8, color=theme.text)
            entries.append((cross, "a worker died"))
        if not entries:
            return
        self._figure.legend(
            [handle for handle, _ in entries],
            [words for _, words in entries],
            loc="center left",
            bbox_to_anchor=((_LEFT - 0.08) / _WIDTH, 1 - 0.62 / self.height),
            ncols=len(entries),
            frameon=False,
            fontsize=9,
            labelcolor=theme.text,
            handlelength=1.6,
            handletextpad=0.6,
            columnspacing=1.6,
            borderpad=0.0,
        )


def _shares(
    row: NDArray[int64],
    began: NDArray[float64],
    ended: NDArray[float64],
    busy: NDArray[float64],
    shape: tuple[int, int],
) -> NDArray[float64]:
    """Of each cell (a row, and a pixel's column), the share in which the worker was busy; 0 where nothing is.

    All lengths are in columns. A stretch that is busy at some rate is that much more from where it begins, and that
    much less from where it ends; the share of a cell is the sum of all such changes before it, and of a part of those
    within it. So no stretch has to be followed through the columns that it crosses.
    """
    import numpy as np

    rows, columns = shape
    long = ended - began
    rate = np.divide(busy, long, out=np.ones_like(busy), where=long > 0)
    within = np.zeros(rows * (columns + 1))
    after = np.zeros(rows * (columns + 1))
    for where, change in ((began, rate), (ended, -rate)):
        cell = np.minimum(where.astype(np.int64), columns - 1)
        place = row * (columns + 1) + cell
        within += np.bincount(place, change * (cell + 1 - where), minlength=len(within))
        after += np.bincount(place + 1, change, minlength=len(after))
    sums = within.reshape(rows, columns + 1) + np.cumsum(after.reshape(rows, columns + 1), axis=1)
    share = np.clip(sums[:, :columns], 0.0, 1.0)
    # What the sums leave behind where nothing is, is noise; and what is there, however short, is to be seen.
    share[share < 1e-6] = 0.0
    share[row, np.minimum(began.astype(np.int64), columns - 1)] += 1e-6
    return np.minimum(share, 1.0)


def _apart(row: NDArray[int64], moments: NDArray[float64], places: NDArray[int64], seconds: float) -> NDArray[int64]:
    """Those of the places whose marks would not cover each other: one for each row and so many seconds."""
    import numpy as np

    cells = np.stack([row[places], np.floor(moments[places] / seconds).astype(np.int64)], axis=1)
    return places[np.unique(cells, axis=0, return_index=True)[1]]


def _words_for(stretch: Stretch, letters: float) -> str:
    items = items_of(stretch)
    for words in (f"{_printable(stretch.function)}  {items}", items):
        if len(words) <= letters:
            return words
    return ""


def _printable(text: str) -> str:
    """The text without what a picture cannot show and a file may not hold: control characters, halves of characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _fitting(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
