"""Pictures of results: scores on each data set, the critical-difference diagram, and how means settle.

Owns what is drawn, and where. Every place is computed in inches from the measured width of the texts, so that nothing
overlaps or leaves the picture, however long a name is. matplotlib is used through its objects alone: no figure, backend
or setting of the user's own plots is touched.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from paceline.experiments.canvas import DARK, LIGHT, MARGIN, Canvas, checked, shortened, tick_labels, ticks
from paceline.experiments.libraries import require
from paceline.experiments.summaries import as_numbers, check_level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from typing import Literal

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import float64
    from numpy.typing import NDArray

    from paceline.experiments.canvas import Theme
    from paceline.experiments.comparisons import Comparison

__all__ = ["convergence", "critical_differences", "scores"]

# Inches.
_GAP = 0.1
_LINE, _LAYER, _ROW = 0.26, 0.13, 0.28
_PANEL, _BETWEEN, _ABOVE_PANEL, _BELOW_PANEL = 2.9, 0.35, 0.34, 0.42
_LETTERS = 44
_MOST_PANELS = 30
# With fewer repetitions, a box says less than the dots.
_ENOUGH_FOR_A_BOX = 5
# Beyond this many dots in one row, they are fainter.
_MANY_DOTS = 60


def critical_differences(
    comparison: Comparison, path: str | PathLike[str] | None = None, *, title: str | None = None, dark: bool = False
) -> Figure:
    """The critical-difference diagram: average ranks on an axis, and bars that join what cannot be told apart.

    A bar has a dot at each of its members. With Nemenyi's test, the critical difference is drawn to scale above the
    axis; with a reference, there is one bar, for what cannot be told apart from that. `path` ends with `.svg` or
    `.png`; the figure of matplotlib's that is returned shows itself in notebooks. `dark` is for dark surroundings.

    Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, Journal of Machine Learning
    Research 7. Raises `ValueError` for another kind of file, `ModuleNotFoundError` where matplotlib is missing.
    """
    kind = checked(path)
    require("numpy", "matplotlib.figure")
    names = comparison.treatments
    ranks = [comparison.ranks[name] for name in names]
    canvas = Canvas(DARK if dark else LIGHT)
    labels = [shortened(name, _LETTERS) for name in names]
    middle = (len(names) + 1) // 2
    number = canvas.width_of("20.00", 9) + _GAP
    # As if all were in bold, which the reference is.
    left = max(canvas.width_of(label, 10, bold=True) for label in labels[:middle]) + number
    right = max(canvas.width_of(label, 10, bold=True) for label in labels[middle:]) + number
    long = max(4.5, 0.42 * (len(names) - 1))
    stub = 0.25
    begin = MARGIN + left + _GAP + stub
    width = begin + long + stub + _GAP + right + MARGIN
    shown = f"Average ranks of {len(names)} treatments" if title is None else title
    top = canvas.heading(shown, _rank_caption(comparison), width)
    scale = _Scale(begin, long / (len(names) - 1))

    if comparison.critical_difference is not None:
        top = _critical_difference(canvas, comparison.critical_difference, scale, top, width - MARGIN)
    axis = top + 0.34
    canvas.line([(scale(1), axis), (scale(len(names)), axis)], canvas.theme.text, 1.2)
    for tick in range(1, len(names) + 1):
        canvas.line([(scale(tick), axis - 0.07), (scale(tick), axis)], canvas.theme.text, 1.0)
        canvas.text(scale(tick), axis - 0.11, str(tick), 9, across="center", upright="bottom", colour="faint")

    layers = _layers(comparison.groups, comparison.ranks)
    first_line = axis + 0.2 + _LAYER * max(1, len(layers)) + 0.1
    sides = [
        (labels[:middle], ranks[:middle], begin - stub, -1),
        # From the right end, the worst comes first, so that no line crosses another.
        (labels[middle:][::-1], ranks[middle:][::-1], begin + long + stub, 1),
    ]
    for side_labels, side_ranks, end, direction in sides:
        for place, (label, rank) in enumerate(zip(side_labels, side_ranks, strict=True)):
            y = first_line + place * _LINE
            canvas.line([(scale(rank), axis), (scale(rank), y), (end, y)], canvas.theme.faint, 0.9)
            across: Literal["left", "right"] = "right" if direction < 0 else "left"
            canvas.text(end + direction * _GAP * 0.6, y, f"{rank:.2f}", 9, across=across, colour="faint")
            is_reference = comparison.reference is not None and label == shortened(comparison.reference, _LETTERS)
            canvas.text(
                end + direction * (_GAP * 0.6 + number), y, label, 10, across=across, bold=is_reference, gid="treatment"
            )
    for place, layer in enumerate(layers):
        y = axis + 0.2 + place * _LAYER
        for group in layer:
            at = [scale(comparison.ranks[name]) for name in group]
            canvas.line([(min(at), y), (max(at), y)], canvas.theme.accent, 3.5, gid="group")
            canvas.dots(at, [y] * len(at), canvas.theme.accent, 4.5)
    return canvas.finished(width, first_line + (middle - 1) * _LINE + 0.15 + MARGIN, path, kind, shown)


class _Scale(NamedTuple):
    """Where a rank is on the axis, in inches."""

    begin: float
    step: float

    def __call__(self, rank: float) -> float:
        return self.begin + (rank - 1) * self.step


def _rank_caption(comparison: Comparison) -> str:
    test = comparison.pairs[0].test
    corrected = "" if test == "Nemenyi" or len(comparison.pairs) == 1 else ", Holm-corrected"
    apart = "each other" if comparison.reference is None else comparison.reference
    if len(comparison.blocks.datasets) == 1:
        over = f"{comparison.n} repetitions of {comparison.blocks.datasets[0]}"
    else:
        over = f"{comparison.n} {comparison.unit}"
    joined = f"joined by bars: no difference from {apart} can be shown" if comparison.groups else "all differ"
    return f"Over {over}; 1 is the best; {joined} ({test}{corrected}, {comparison.level * 100:g} %)"


def _critical_difference(canvas: Canvas, distance: float, scale: _Scale, top: float, limit: float) -> float:
    """Draws the critical difference to scale; where what follows may begin."""
    label = f"CD = {distance:.2f}"
    begin, end = scale(1), scale(1 + distance)
    y = top + 0.12
    if end + _GAP + canvas.width_of(label, 9) > limit:
        # It is longer than the axis: nothing can differ.
        canvas.text(begin, y, f"{label}, more than any two can differ by", 9, upright="center")
        return top + 0.2
    canvas.line([(begin, y - 0.05), (begin, y + 0.05)], canvas.theme.text, 1.2)
    canvas.line([(end, y - 0.05), (end, y + 0.05)], canvas.theme.text, 1.2)
    canvas.line([(begin, y), (end, y)], canvas.theme.text, 1.2)
    canvas.text(end + _GAP, y, label, 9)
    return top + 0.2


def _layers(groups: Sequence[Sequence[str]], ranks: Mapping[str, float]) -> list[list[Sequence[str]]]:
    """The groups in as few layers as there have to be, so that bars do not touch."""
    layers: list[list[Sequence[str]]] = []
    ends: list[float] = []
    for group in sorted(groups, key=lambda names: min(ranks[name] for name in names)):
        low, high = min(ranks[name] for name in group), max(ranks[name] for name in group)
        for place, end in enumerate(ends):
            if low > end + 0.15:
                layers[place].append(group)
                ends[place] = high
                break
        else:
            layers.append([group])
            ends.append(high)
    return layers


def scores(
    comparison: Comparison,
    path: str | PathLike[str] | None = None,
    *,
    datasets: Sequence[str] | None = None,
    title: str | None = None,
    dark: bool = False,
) -> Figure:
    """The scores on each data set: a dot for each repetition, a box where there are enough, a diamond for the mean.

    A panel for each data set (or the chosen `datasets`), a row for each treatment, the best on average at the top. The
    best mean of a panel has another colour. Further arguments are those of `critical_differences`.

    Raises `ValueError` for a data set that was not compared, and for more of them than a picture can show.
    """
    kind = checked(path)
    require("numpy", "matplotlib.figure")
    blocks = comparison.blocks
    chosen = list(blocks.datasets if datasets is None else dict.fromkeys(datasets))
    unknown = [name for name in chosen if name not in blocks.datasets]
    if unknown or not chosen:
        raise ValueError(f"these data sets were not compared: {', '.join(unknown) or 'none was chosen'}")
    if len(chosen) > _MOST_PANELS:
        raise ValueError(
            f"{len(chosen)} data sets are more than one picture can show\n"
            f"hint: choose up to {_MOST_PANELS} of them by `datasets`"
        )
    canvas = Canvas(DARK if dark else LIGHT)
    names = comparison.treatments
    rows = [blocks.treatments.index(name) for name in names]
    tables = [blocks.scores[blocks.datasets.index(name)][:, rows] for name in chosen]
    sign = 1 if comparison.higher_is_better else -1
    bests = [int((sign * table.mean(axis=0)).argmax()) for table in tables]
    shown = _panels_title(len(names), chosen) if title is None else title
    caption = "Each dot is a repetition" if any(len(table) > 1 for table in tables) else "One run each"
    if any(len(table) >= _ENOUGH_FOR_A_BOX for table in tables):
        caption += "; boxes hold the middle half, lines the rest but what is far off"
    if any(len(table) > 1 for table in tables):
        caption += "; diamonds are means"
    better = "right" if comparison.higher_is_better else "left"
    caption += f"; the best of each data set is in another colour. Further {better} is better."
    labels = [shortened(name, _LETTERS) for name in names]
    grid = _Grid(canvas, len(chosen), max(canvas.width_of(label, 9) for label in labels) + _GAP, len(names) * _ROW)
    width = grid.width
    top = canvas.heading(shown, caption, width)
    for place, (name, table, best) in enumerate(zip(chosen, tables, bests, strict=True)):
        axes = grid.axes(place, top)
        canvas.panel_title(axes, name, _PANEL)
        axes.set_ylim(len(names) - 0.5, -0.5)
        _strip(axes, table, best, canvas.theme)
        axes.set_yticks(range(len(names)), labels if grid.is_first(place) else [""] * len(names))
        canvas.dress(axes, _PANEL)
    return canvas.finished(width, top + grid.height, path, kind, shown)


def _panels_title(treatments: int, datasets: Sequence[str]) -> str:
    where = datasets[0] if len(datasets) == 1 else f"{len(datasets)} data sets"
    return f"Scores of {treatments} treatments on {where}"


class _Grid:
    """Panels of one size in rows of up to three, with room for labels at the left of the first in each row."""

    def __init__(self, canvas: Canvas, panels: int, labels: float, height: float) -> None:
        self._canvas = canvas
        self._lines = math.ceil(panels / 3)
        # Four are two and two, not three and one.
        self._columns = math.ceil(panels / self._lines)
        self._left = MARGIN + labels
        self._panel_height = height
        self._step = _ABOVE_PANEL + height + _BELOW_PANEL
        self.width = self._left + self._columns * _PANEL + (self._columns - 1) * _BETWEEN + MARGIN
        self.height = self._lines * self._step + 0.1

    def is_first(self, place: int) -> bool:
        return place % self._columns == 0

    def axes(self, place: int, top: float) -> Axes:
        line, column = divmod(place, self._columns)
        x = self._left + column * (_PANEL + _BETWEEN)
        return self._canvas.axes(x, top + line * self._step + _ABOVE_PANEL, _PANEL, self._panel_height)


def _strip(axes: Axes, table: NDArray[float64], best: int, theme: Theme) -> None:
    """One panel's dots, boxes and means; a row for each column of the table."""
    import numpy as np
    from matplotlib.cbook import boxplot_stats

    count = len(table)
    # Spread evenly and always in the same way, so that the same scores are the same picture.
    aside = ((np.arange(count) * 0.618034) % 1 - 0.5) * 0.5 if count > 1 else np.zeros(count)
    size = 6.0 if count == 1 else 3.2 if count <= _MANY_DOTS else 2.0
    axes.margins(x=0.08)
    for row, values in enumerate(table.T):
        colour = theme.best if row == best else theme.accent
        axes.plot(
            values, row + aside, linestyle="none", marker="o", markersize=size,
            markeredgewidth=0, color=colour, alpha=0.55 if count > 1 else 1.0, zorder=2, gid="dots",
        )  # fmt: skip
        if count >= _ENOUGH_FOR_A_BOX:
            found = boxplot_stats(values)[0]
            axes.plot([found["whislo"], found["whishi"]], [row, row], color=colour, linewidth=1.0, zorder=1)
            axes.barh(
                row, found["q3"] - found["q1"], 0.62, found["q1"], facecolor="none", edgecolor=colour, linewidth=1.1,
                zorder=3,
            )  # fmt: skip
            axes.plot([found["med"]] * 2, [row - 0.31, row + 0.31], color=colour, linewidth=1.8, zorder=3)
        if count > 1:
            axes.plot(
                [values.mean()], [row], linestyle="none", marker="D", markersize=4.5, color=theme.text,
                markeredgecolor=theme.back, markeredgewidth=0.8, zorder=4, gid="mean",
            )  # fmt: skip


def convergence(
    scores: Mapping[str, Sequence[float | None]],
    path: str | PathLike[str] | None = None,
    *,
    level: float = 0.95,
    title: str | None = None,
    dark: bool = False,
) -> Figure:
    """How the mean settles: the mean of the first n repetitions and Student's interval for it, against n.

    `scores` has the scores of each treatment in the order of its repetitions; those that are missing are passed over. A
    panel for each treatment, all on the same scales. Further arguments are those of `critical_differences`.

    Raises `ValueError` where a treatment has fewer than two scores or an infinite one, and for too many treatments.
    """
    kind = checked(path)
    require("numpy", "scipy.stats", "matplotlib.figure")
    import numpy as np

    check_level(level)
    rows = {str(name): as_numbers(values, f"the scores of {name!r}") for name, values in scores.items()}
    rows = {name: row[~np.isnan(row)] for name, row in rows.items()}
    short = [name for name, row in rows.items() if len(row) < 2 or not np.isfinite(row).all()]
    if short or not rows:
        raise ValueError(
            f"nothing can converge without two finite scores or more: {', '.join(short) or 'there is no treatment'}\n"
            "hint: leave such treatments out"
        )
    if len(rows) > _MOST_PANELS:
        raise ValueError(f"{len(rows)} treatments are more than one picture can show; choose up to {_MOST_PANELS}")
    canvas = Canvas(DARK if dark else LIGHT)
    shown = "How the means settle with repetitions" if title is None else title
    low, high = min(float(row.min()) for row in rows.values()), max(float(row.max()) for row in rows.values())
    room = (high - low) * 0.08 or abs(high) * 0.01 or 1.0
    heights = ticks((low - room, high + room), 6)
    shown_heights = tick_labels(heights)
    grid = _Grid(canvas, len(rows), max(canvas.width_of(label, 9) for label in shown_heights) + _GAP, 1.5)
    caption = f"Mean of the first n repetitions, and its {level * 100:g} % interval; dots are single repetitions."
    top = canvas.heading(shown, caption, grid.width)
    longest = max(len(row) for row in rows.values())
    for place, (name, row) in enumerate(rows.items()):
        axes = grid.axes(place, top)
        axes.set_xlim(0.5, longest + 0.5)
        axes.set_ylim(low - room, high + room)
        half = _settling(axes, row, level, canvas.theme)
        canvas.panel_title(axes, name, _PANEL, f"{row.mean():.4g} ± {half:.2g}")
        axes.set_yticks(heights, shown_heights if grid.is_first(place) else [""] * len(heights))
        canvas.dress(axes, _PANEL, counts=True)
    return canvas.finished(grid.width, top + grid.height, path, kind, shown)


def _settling(axes: Axes, values: NDArray[float64], level: float, theme: Theme) -> float:
    """Draws the running mean and its interval; the last half-width."""
    import numpy as np
    from scipy import stats

    count = np.arange(1, len(values) + 1)
    # About the last mean, sums of squares do not lose what is small beside it.
    aside = values - values.mean()
    sums = np.cumsum(aside)
    means = sums / count
    variances = np.maximum(np.cumsum(aside**2)[1:] - sums[1:] * means[1:], 0) / (count[1:] - 1)
    half = stats.t.ppf((1 + level) / 2, count[1:] - 1) * np.sqrt(variances / count[1:])
    middle = means + values.mean()
    axes.axhline(float(values.mean()), color=theme.faint, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    axes.fill_between(
        count[1:], middle[1:] - half, middle[1:] + half, color=theme.accent, alpha=0.25, linewidth=0, zorder=2,
        gid="interval",
    )  # fmt: skip
    axes.plot(count, values, linestyle="none", marker="o", markersize=2.4, color=theme.faint, alpha=0.8, zorder=3)
    axes.plot(count, middle, color=theme.accent, linewidth=1.8, zorder=4, gid="mean")
    return float(half[-1])
