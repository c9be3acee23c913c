"""What pictures of experiments are drawn on: a figure measured in inches from its upper left corner.

Owns the colours, the measuring of texts, and the writing of files. It knows nothing of what is drawn.
"""

from __future__ import annotations

import math
import os
from functools import cache
from typing import NamedTuple

from paceline.experiments.tables import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "MARGIN", "Canvas", "Theme", "checked", "shortened", "tick_labels", "ticks"]

_DOTS_PER_INCH = 150
_POINTS = 72
# Inches, and points.
MARGIN = 0.3
_TITLE, _CAPTION = 13, 9


class Theme(NamedTuple):
    """The colours of a picture, on the grounds that timelines have; Okabe and Ito's, for colour-blind people too."""

    back: str
    text: str
    faint: str
    line: str
    accent: str
    best: str


LIGHT = Theme("#ffffff", "#1b1f24", "#5c6570", "#dfe3e8", "#0072b2", "#d55e00")
DARK = Theme("#14171c", "#e8eaed", "#a3abb5", "#343a43", "#56b4e9", "#ff7f2a")


class Canvas:
    """A figure of which each thing is kept until its size is known; all places are in inches, y runs downwards."""

    def __init__(self, theme: Theme) -> None:
        self.theme = theme
        self._figure = _figure_class()(figsize=(1, 1), dpi=_DOTS_PER_INCH, facecolor=theme.back)
        self._page = self._figure.add_axes((0, 0, 1, 1), zorder=-1)
        self._page.set_axis_off()
        self._panels: list[tuple[Axes, tuple[float, float, float, float]]] = []

    def width_of(self, text: str, points: float, *, bold: bool = False) -> float:
        """How wide a text of this size is."""
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextToPath

        font = FontProperties(size=points, weight="bold" if bold else "normal")
        width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
        return float(width) / _POINTS

    def line(self, points: Sequence[tuple[float, float]], colour: str, thick: float, *, gid: str | None = None) -> None:
        """A line through these points."""
        self._page.plot(
            [x for x, _ in points], [y for _, y in points], color=colour, linewidth=thick, solid_capstyle="butt",
            solid_joinstyle="miter", gid=gid,
        )  # fmt: skip

    def dots(self, x: Sequence[float], y: Sequence[float], colour: str, size: float) -> None:
        """Round dots, with a rim that keeps them apart from lines."""
        self._page.plot(
            x, y, linestyle="none", marker="o", markersize=size + 1.5, color=colour, markeredgecolor=self.theme.back,
            markeredgewidth=1.0, zorder=3,
        )  # fmt: skip

    def text(
        self,
        x: float,
        y: float,
        text: str,
        points: float,
        *,
        across: Literal["left", "center", "right"] = "left",
        upright: Literal["center", "top", "bottom"] = "center",
        colour: Literal["text", "faint", "accent"] = "text",
        bold: bool = False,
        gid: str | None = None,
    ) -> None:
        """A text of which this is the left end, the middle or the right end."""
        self._page.text(
            x, y, text, fontsize=points, ha=across, va="center_baseline" if upright == "center" else upright,
            color=getattr(self.theme, colour), weight="bold" if bold else "normal", parse_math=False, gid=gid,
        )  # fmt: skip

    def heading(self, title: str, caption: str, width: float) -> float:
        """A title and what the picture shows, in as many lines as they need; where what follows may begin."""
        y = MARGIN
        for words, points, bold in ((printable(title), _TITLE, True), (printable(caption), _CAPTION, False)):
            for line in self._wrapped(words, points, width - 2 * MARGIN, bold=bold):
                self.text(
                    MARGIN, y, line, points, upright="top", bold=bold, colour="text" if bold else "faint",
                    gid="title" if bold else "caption",
                )  # fmt: skip
                y += points * 1.4 / _POINTS
            y += 0.04
        return y + 0.1

    def _wrapped(self, text: str, points: float, width: float, *, bold: bool) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.width_of(longer, points, bold=bold) <= width:
                lines[-1] = longer
            else:
                lines.append(self.fitting(word, points, width, bold=bold))
        return lines

    def fitting(self, text: str, points: float, width: float, *, bold: bool = False) -> str:
        """The text, or as much of it as fits."""
        if self.width_of(text, points, bold=bold) <= width:
            return text
        letters = len(text)
        while letters > 1 and self.width_of(shortened(text, letters), points, bold=bold) > width:
            letters -= 1
        return shortened(text, letters)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """A panel with its upper left corner there."""
        axes = self._figure.add_axes((0, 0, 1, 1), label=f"panel {len(self._panels)}", facecolor=self.theme.back)
        self._panels.append((axes, (x, y, width, height)))
        return axes

    def panel_title(self, axes: Axes, name: str, width: float, aside: str = "") -> None:
        """The name above a panel, with something smaller at its right end."""
        room = width - (self.width_of(aside, 8) + 0.12 if aside else 0)
        shown = self.fitting(printable(name), 10, room, bold=True)
        axes.set_title(
            shown, loc="left", fontsize=10, color=self.theme.text, weight="bold", parse_math=False, pad=5, gid="panel"
        )
        if aside:
            axes.set_title(aside, loc="right", fontsize=8, color=self.theme.faint, parse_math=False, pad=5)

    def dress(self, axes: Axes, width: float, *, counts: bool = False) -> None:
        """Ticks, a grid and colours, once a panel of this width has what it shows; `counts` are whole numbers."""
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(visible=True, axis="both" if counts else "x", color=self.theme.line, linewidth=0.8)
        axes.tick_params(colors=self.theme.faint, labelcolor=self.theme.text, labelsize=9, length=0)
        axes.tick_params(axis="x", labelsize=8)
        most, room = 4, math.inf
        places: list[float] = []
        while room > width:
            places = ticks(axes.get_xlim(), most, counts=counts)
            room = sum(self.width_of(label, 8) + 0.15 for label in tick_labels(places))
            most -= 1
        axes.set_xticks(places, tick_labels(places))
        for label in axes.get_yticklabels():
            label.set_parse_math(False)

    def finished(
        self, width: float, height: float, path: str | os.PathLike[str] | None, kind: str, title: str
    ) -> Figure:
        """The figure of this size, written to the file if there is one."""
        # Of whole pixels; else the last ones are half transparent.
        width, height = (math.ceil(side * _DOTS_PER_INCH) / _DOTS_PER_INCH for side in (width, height))
        self._figure.set_size_inches(width, height)
        self._page.set_xlim(0, width)
        self._page.set_ylim(height, 0)
        for axes, (x, y, wide, high) in self._panels:
            axes.set_position((x / width, 1 - (y + high) / height, wide / width, high / height))
        if path is not None:
            metadata: dict[str, Any] = {"Title": printable(title)}
            if kind == ".svg":
                # Without a date, the same results are the same picture.
                metadata["Date"] = None
            self._figure.savefig(
                path, format=kind[1:], dpi=_DOTS_PER_INCH, facecolor=self.theme.back, metadata=metadata
            )
        return self._figure


def ticks(limits: tuple[float, float], most: int, *, counts: bool = False) -> list[float]:
    """Round numbers between two limits, and not at their very ends, where labels would be beside the panel."""
    from matplotlib.ticker import MaxNLocator

    low, high = limits
    room = 0 if counts else (high - low) * 0.04
    found = MaxNLocator(most, integer=counts).tick_values(low, high)
    return [float(place) for place in found if low + room <= place <= high - room]


def tick_labels(places: Sequence[float]) -> list[str]:
    """Round numbers as they are written, all with as many decimals.

    >>> tick_labels([0.875, 0.9]), tick_labels([1e6, 2e6]), tick_labels([2.5e-13])
    (['0.875', '0.900'], ['1000000', '2000000'], ['2.5e-13'])
    """
    labels = [f"{place:.10g}" for place in places]
    if any("e" in label for label in labels):
        return labels
    decimals = max((len(label.partition(".")[2]) for label in labels), default=0)
    return [f"{place:.{decimals}f}" for place in places]


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that notebooks show by itself, whether or not they use pyplot."""

        def _repr_png_(self) -> bytes:
            from io import BytesIO

            file = BytesIO()
            self.savefig(file, format="png", dpi=100, facecolor=self.get_facecolor())
            return file.getvalue()

    return Picture


def checked(path: str | os.PathLike[str] | None) -> str:
    """The kind of file that a path names; raises `ValueError` unless it is `.svg` or `.png`."""
    if path is None:
        return ""
    name = os.fspath(path)
    kind = os.path.splitext(name)[1].lower()
    if kind not in {".svg", ".png"}:
        raise ValueError(
            f"pictures are drawn as `.svg` or `.png`, but the name is `{name}`\n"
            "hint: choose one of the two by the end of the file's name"
        )
    return kind


def shortened(text: str, letters: int) -> str:
    """A text of at most so many letters: what is in the middle is left out, for names often differ at their ends.

    >>> shortened("forest-of-500-trees-depth-12", 16)
    'forest-of…pth-12'
    """
    shown = printable(text)
    if len(shown) <= letters:
        return shown
    behind = (letters - 1) * 2 // 5
    return shown[: letters - 1 - behind] + "…" + shown[len(shown) - behind :]
