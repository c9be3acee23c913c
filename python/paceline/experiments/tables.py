"""Tables of means and standard deviations, as plain text, Markdown and LaTeX.

Owns how numbers are rounded and names escaped. It computes nothing that a reader could take for a result: which value
is the best is seen from the values, and which ones cannot be told apart is a comparison's to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.experiments.pairs import p_in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.experiments.comparisons import Comparison
    from paceline.experiments.pairs import Pair
    from paceline.experiments.summaries import Summary

__all__ = ["Cell", "Table", "printable", "scores_table", "summary_table", "told"]

# Decimals beyond these are written with powers of ten.
_MOST_DECIMALS = 7
# So many sentences on pairs are printed; the comparison has all of them.
_MOST_SPOKEN = 30
# More sentences than these that say nothing become one.
_MOST_SILENT = 6

TIED, BETTER, WORSE = "≈", "+", "−"
_LATEX_MARKS = {TIED: r"$\approx$", BETTER: "$+$", WORSE: "$-$"}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "≈": r"$\approx$", "±": r"$\pm$", "−": r"$-$",
}  # fmt: skip
_IN_MARKDOWN = frozenset("\\`*_{}[]()<>#+!|~$&")


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in a table: a `mean` with its `std` (NaN where there is none), in bold if best, and a mark behind."""

    mean: float
    std: float = math.nan
    is_best: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under names, with what its marks mean in `note`.

    >>> table = Table("", ("svm", "forest"), (("wine", (Cell(0.91, 0.012), Cell(0.944, 0.01, is_best=True))),))
    >>> print(table.to_markdown())
    |  | svm | forest |
    | :-- | --: | --: |
    | wine | 0.910 ± 0.012 | **0.944** ± 0.010 |
    """

    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    note: str = ""

    def to_markdown(self) -> str:
        """The table in Markdown, as GitHub and notebooks show it."""
        lines = [
            _line([_markdown(name) for name in (self.corner, *self.columns)]),
            _line([":--", *["--:"] * len(self.columns)]),
        ]
        for label, cells in self.rows:
            decimals = _decimals(cells)
            lines.append(_line([_markdown(label), *(_markdown_cell(cell, decimals) for cell in cells)]))
        return "\n".join([*lines, "", _markdown(self.note)] if self.note else lines)

    def to_latex(self) -> str:
        r"""The table in LaTeX, a `tabular` for the package `booktabs`; names and the note are escaped."""
        lines = [
            rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}",
            r"\toprule",
            _latex_line([_latex(name) for name in (self.corner, *self.columns)]),
            r"\midrule",
        ]
        for label, cells in self.rows:
            decimals = _decimals(cells)
            lines.append(_latex_line([_latex(label), *(_latex_cell(cell, decimals) for cell in cells)]))
        lines.append(r"\bottomrule")
        if self.note:
            lines.append(rf"\multicolumn{{{len(self.columns) + 1}}}{{l}}{{\footnotesize {_latex(self.note)}}} \\")
        return "\n".join([*lines, r"\end{tabular}"])


def summary_table(
    summaries: Mapping[tuple[str, str], Summary], *, corner: str = "", higher_is_better: bool | None = None
) -> Table:
    """A table of summaries by (row, column), such as (data set, treatment).

    The best mean of each row is in bold, unless `higher_is_better` is None; so are others that equal it as printed.
    """
    columns = tuple(dict.fromkeys(column for _, column in summaries))
    rows = []
    for label in dict.fromkeys(row for row, _ in summaries):
        found = [summaries.get((label, column)) for column in columns]
        cells = [None if one is None or one.n == 0 else Cell(one.mean, one.std) for one in found]
        rows.append((label, _with_best(cells, higher_is_better)))
    return Table(corner, columns, tuple(rows))


def scores_table(comparison: Comparison) -> Table:
    """The means of each data set and treatment, and the average ranks, with what the comparison says of them.

    The best of each row is in bold. Without a reference, the others of which no difference from the best can be shown
    are marked; with one, those that are better or worse than the reference.
    """
    blocks = comparison.blocks
    rows = []
    for number, dataset in enumerate(blocks.datasets):
        table = blocks.scores[number]
        has_spread = len(table) > 1
        cells = [
            Cell(float(column.mean()), float(column.std(ddof=1)) if has_spread else math.nan) for column in table.T
        ]
        pairs = comparison.within.get(dataset, ()) if len(blocks.datasets) > 1 else comparison.pairs
        row = _with_best(cells, comparison.higher_is_better)
        rows.append((dataset, _marked(row, blocks.treatments, pairs, comparison.reference)))
    ranks = _with_best([Cell(comparison.ranks[name]) for name in blocks.treatments], higher_is_better=False)
    rows.append(("average rank", _marked(ranks, blocks.treatments, comparison.pairs, comparison.reference)))
    spread = " ± standard deviation over repetitions" if any(count > 1 for count in blocks.repetitions) else ""
    share = f"{comparison.level * 100:g} %"
    if comparison.reference is None:
        marks = f"{TIED}: no difference from the best can be shown at {share}"
    else:
        marks = f"{BETTER} and {WORSE}: better and worse than {comparison.reference} at {share}"
    return Table("data set", blocks.treatments, tuple(rows), f"Means{spread}. Bold: the best of a row. {marks}.")


def _with_best(cells: Sequence[Cell | None], higher_is_better: bool | None) -> tuple[Cell | None, ...]:
    known = [cell.mean for cell in cells if cell is not None and not math.isnan(cell.mean)]
    if higher_is_better is None or not known:
        return tuple(cells)
    best = max(known) if higher_is_better else min(known)
    decimals = _decimals(cells)
    # What is printed as the same is not told apart by its type.
    return tuple(
        cell
        if cell is None or _number(cell.mean, decimals) != _number(best, decimals)
        else Cell(cell.mean, cell.std, is_best=True)
        for cell in cells
    )


def _marked(
    cells: Sequence[Cell | None], treatments: Sequence[str], pairs: Sequence[Pair], reference: str | None
) -> tuple[Cell | None, ...]:
    best = [name for name, cell in zip(treatments, cells, strict=True) if cell is not None and cell.is_best]
    found: list[Cell | None] = []
    for name, cell in zip(treatments, cells, strict=True):
        mark = ""
        for pair in pairs:
            if name not in {pair.first, pair.second}:
                continue
            other = pair.second if pair.first == name else pair.first
            if reference is None and name not in best and other in best and pair.better is None:
                mark = TIED
            elif reference is not None and name != reference and pair.better is not None:
                mark = BETTER if pair.better == name else WORSE
        found.append(cell if cell is None else Cell(cell.mean, cell.std, cell.is_best, mark))
    return tuple(found)


def _decimals(cells: Sequence[Cell | None]) -> int | None:
    """As many decimals as give the largest mean of a row four figures, one of which may be a zero before the point."""
    largest = max((abs(cell.mean) for cell in cells if cell is not None and math.isfinite(cell.mean)), default=0.0)
    if largest == 0:
        return 3
    decimals = 3 - max(0, math.floor(math.log10(largest))) if largest >= 0.1 else 2 - math.floor(math.log10(largest))
    return None if decimals > _MOST_DECIMALS or largest >= 1e9 else max(0, decimals)


def _number(value: float, decimals: int | None) -> str:
    """A number with so many decimals; without them, with a power of ten.

    >>> _number(0.91234, 3), _number(1.2e-12, None), _number(float("nan"), 3)
    ('0.912', '1.20e-12', '–')
    """
    if math.isnan(value):
        return "–"
    shown = f"{value:.2e}" if decimals is None else f"{value:.{decimals}f}"
    # A zero has no sign.
    return shown.lstrip("-") if not any(digit in "123456789" for digit in shown) else shown


def _markdown_cell(cell: Cell | None, decimals: int | None) -> str:
    if cell is None:
        return "–"
    mean = _number(cell.mean, decimals)
    spread = "" if math.isnan(cell.std) else f" ± {_number(cell.std, decimals)}"
    return f"{f'**{mean}**' if cell.is_best else mean}{spread}{f' {cell.mark}' if cell.mark else ''}"


def _latex_cell(cell: Cell | None, decimals: int | None) -> str:
    if cell is None:
        return "--"
    mean = _latex(_number(cell.mean, decimals)).replace("–", "--")
    spread = "" if math.isnan(cell.std) else rf" $\pm$ {_number(cell.std, decimals)}"
    mark = f" {_LATEX_MARKS[cell.mark]}" if cell.mark else ""
    return (rf"\textbf{{{mean}}}" if cell.is_best else mean) + spread + mark


def _markdown(text: str) -> str:
    return "".join(f"\\{letter}" if letter in _IN_MARKDOWN else letter for letter in printable(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in printable(text))


def printable(text: str) -> str:
    """The text without what breaks a line or cannot be written to a file."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex_line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


# -- plain text


def told(comparison: Comparison) -> str:
    """A comparison as plain text: means and ranks, the pairs, the conclusions, and the warnings."""
    blocks = comparison.blocks
    better = "higher" if comparison.higher_is_better else "lower"
    over = f"{comparison.n} {comparison.unit}"
    where = f" of {blocks.datasets[0]}" if len(blocks.datasets) == 1 else _repeated(blocks.repetitions)
    decimals = _decimals([Cell(mean) for mean in comparison.means.values()])
    treatments = [
        (
            name,
            _number(comparison.means[name], decimals),
            _number(comparison.stds[name], decimals),
            f"{comparison.ranks[name]:.3f}",
        )
        for name in comparison.treatments
    ]
    parts = [
        f"{len(comparison.treatments)} treatments over {over}{where}; {better} is better",
        _aligned([("", "mean", "std", "average rank"), *treatments]),
        _aligned([_HEADS, *map(_pair_row, comparison.pairs)]),
        *([f"{_capital(comparison.conclusions[0])}."] if comparison.friedman is not None else []),
        _concluded(comparison.pairs, f"over {over}", "pairs"),
    ]
    if comparison.critical_difference is not None:
        parts.append(f"Critical difference of average ranks (Nemenyi): {comparison.critical_difference:.3f}.")
    within = [pair for found in comparison.within.values() for pair in found]
    if within:
        parts.append(_concluded(within, "on single data sets", "within"))
    if comparison.warnings:
        parts.append("\n".join(f"Warning: {warning}." for warning in comparison.warnings))
    return "\n\n".join(parts)


_HEADS = ("pair", "difference", "interval", "test", "p", "corrected", "rank-biserial", "d_z", "A")


def _pair_row(pair: Pair) -> tuple[str, ...]:
    return (
        f"{pair.first} - {pair.second}",
        f"{pair.difference:.3g}",
        f"{pair.low:.3g} to {pair.high:.3g}",
        pair.test,
        f"{pair.p:.3g}",
        f"{pair.p_corrected:.3g}",
        f"{pair.rank_biserial:.2f}",
        f"{pair.cohens_dz:.2f}",
        f"{pair.vargha_delaney:.2f}",
    )


def _concluded(pairs: Sequence[Pair], where: str, attribute: str) -> str:
    """A sentence for each pair, in their order; many of which nothing can be said have one together."""
    silent = [pair for pair in pairs if pair.better is None and pair.posterior is None]
    is_cut = len(silent) > _MOST_SILENT
    spoken = [pair for pair in pairs if pair not in silent] if is_cut else pairs
    lines = [f"{_capital(pair.conclusion)}." for pair in spoken[:_MOST_SPOKEN]]
    if len(spoken) > _MOST_SPOKEN:
        lines.append(f"... and {len(spoken) - _MOST_SPOKEN} more {where}, in `{attribute}`.")
    if is_cut:
        count = f"{len(silent)} pairs" if len(silent) == len(pairs) else f"the other {len(silent)} pairs"
        least = p_in_words(min(pair.p_corrected for pair in silent))
        lines.append(f"Of {count} {where}, no difference can be shown (the least {least}); they are in `{attribute}`.")
    return "\n".join(lines)


def _repeated(repetitions: Sequence[int]) -> str:
    if max(repetitions) == 1:
        return ""
    least, most = min(repetitions), max(repetitions)
    return f", means of {most} repetitions" if least == most else f", means of {least} to {most} repetitions"


def _capital(sentence: str) -> str:
    """A sentence begins with a capital, unless with a treatment's name."""
    return "".join([sentence[:1].upper(), sentence[1:]]) if sentence.startswith(("no ", "on ", "the ")) else sentence


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as they need to be; the first one to the left, the others to the right."""
    rows = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
