"""Tables: the best in bold, ties by significance, and names that cannot break Markdown or LaTeX."""

import doctest
import math
import re

import numpy as np
import pytest

from demsar import BLOCKS, SCORES
from paceline.experiments import tables
from paceline.experiments.comparisons import compare
from paceline.experiments.summaries import summarise
from paceline.experiments.tables import Cell, Table, summary_table

NASTY = "a|b_c*d$e%f&g{h}\\i~j^k#l`m<n>\no"


def test_examples_in_docstrings_run():
    result = doctest.testmod(tables)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_markdown_of_demsar_has_the_best_of_each_row_in_bold():
    lines = compare(SCORES, BLOCKS, correction="nemenyi", level=0.9).to_markdown().splitlines()
    assert lines[0] == r"| data set | C4.5 | C4.5\+m | C4.5\+cf | C4.5\+m\+cf |"
    assert lines[1] == "| :-- | --: | --: | --: | --: |"
    assert lines[2] == r"| adult \(sample\) | 0.763 | 0.768 | 0.771 | **0.798** |"
    assert "| mushroom | **1.000** | **1.000** | **1.000** | **1.000** |" in lines
    # At ten percent, C4.5 is worse than the best; the others are not.
    assert "| average rank | 3.143 | 2.000 ≈ | 2.893 ≈ | **1.964** |" in lines
    assert lines[-1] == "Means. Bold: the best of a row. ≈: no difference from the best can be shown at 90 %."


def test_latex_of_demsar_is_a_table_of_booktabs():
    text = compare(SCORES, BLOCKS, correction="nemenyi", level=0.9).to_latex()
    lines = text.splitlines()
    assert lines[:2] == [r"\begin{tabular}{lrrrr}", r"\toprule"]
    assert r"average rank & 3.143 & 2.000 $\approx$ & 2.893 $\approx$ & \textbf{1.964} \\" in lines
    assert lines[-3] == r"\bottomrule"
    assert lines[-2].startswith(r"\multicolumn{5}{l}{\footnotesize Means.")
    assert r"90 \%" in lines[-2]
    assert lines[-1] == r"\end{tabular}"


def test_rows_of_repetitions_have_deviations_and_marks_of_their_own():
    chance = np.random.default_rng(0)
    places = [(name, number) for name in ("easy", "hard") for number in range(20)]
    noise = chance.normal(size=(3, 40)) * 0.01
    scores = {"a": 0.8 + noise[0], "b": 0.8005 + noise[1], "c": 0.6 + noise[2]}
    comparison = compare(scores, places)
    rows = [line for line in comparison.to_markdown().splitlines() if line.startswith(("| easy", "| hard"))]
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        assert all(" ± 0.0" in cell for cell in cells)
        assert sum(cell.startswith("**") for cell in cells) == 1
        assert sum(cell.endswith(" ≈") for cell in cells[:2]) == 1
        assert not cells[2].endswith("≈")
    assert "standard deviation over repetitions" in comparison.to_markdown()


def test_marks_with_a_reference_say_better_and_worse():
    chance = np.random.default_rng(0)
    noise = chance.normal(size=(3, 20)) * 0.01
    scores = {"old": 0.7 + noise[0], "new": 0.8 + noise[1], "bad": 0.5 + noise[2]}
    comparison = compare(scores, [("wine", number) for number in range(20)], reference="old")
    row = comparison.to_markdown().splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[1].endswith(" +")
    assert cells[2].endswith(" −")
    assert cells[0][-1].isdigit()
    latex = comparison.to_latex()
    assert " $+$" in latex
    assert " $-$" in latex
    assert "better and worse than old" in latex


def test_names_cannot_break_a_table():
    table = Table("", (NASTY,), ((NASTY, (Cell(1.0),)),), NASTY)
    markdown = table.to_markdown().splitlines()
    assert len(markdown) == 5
    assert len(re.findall(r"(?<!\\)\|", markdown[2])) == 3
    latex = table.to_latex()
    assert len(latex.splitlines()) == 8
    row = latex.splitlines()[4]
    name = r"a\textbar{}b\_c*d\$e\%f\&g\{h\}\textbackslash{}i\textasciitilde{}j\textasciicircum{}k\#l`m"
    assert row.startswith(name + r"\textless{}n\textgreater{} o & ")


def test_summaries_make_a_table():
    summaries = {
        ("wine", "svm"): summarise([0.9, 0.92, 0.94]),
        ("wine", "forest"): summarise([0.8, 0.9]),
        ("digits", "svm"): summarise([0.5]),
        ("digits", "forest"): summarise([]),
    }
    assert summary_table(summaries, corner="data", higher_is_better=True).to_markdown().splitlines() == [
        "| data | svm | forest |",
        "| :-- | --: | --: |",
        "| wine | **0.920** ± 0.020 | 0.850 ± 0.071 |",
        "| digits | **0.500** | – |",
    ]
    assert "**" not in summary_table(summaries).to_markdown()
    assert "**0.850** ± 0.071" in summary_table(summaries, higher_is_better=False).to_markdown()


def test_places_without_a_summary_are_empty():
    summaries = {("x", "a"): summarise([1.0, 2.0]), ("y", "b"): summarise([3.0, 4.0])}
    assert summary_table(summaries).to_latex().splitlines()[4:6] == [
        r"x & 1.500 $\pm$ 0.707 & -- \\",
        r"y & -- & 3.500 $\pm$ 0.707 \\",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.98765, 0.5), ("0.988", "0.500")),
        ((98.765, 5.0), ("98.77", "5.00")),
        ((12345.6, 1.0), ("12346", "1")),
        ((0.00123, 0.000456), ("0.00123", "0.00046")),
        ((1.5e-12, 2.5e-13), ("1.50e-12", "2.50e-13")),
        ((2.5e12, 1.0), ("2.50e+12", "1.00e+00")),
        ((0.0, 0.0), ("0.000", "0.000")),
        ((1.0, -0.0001), ("1.000", "0.000")),
        ((1.0, math.nan), ("1.000", "–")),
    ],
)
def test_numbers_have_the_decimals_of_the_largest_in_their_row(values, shown):
    row = Table("", ("a", "b"), (("x", tuple(map(Cell, values))),)).to_markdown().splitlines()[2]
    assert tuple(cell.strip() for cell in row.split("|")[2:-1]) == shown
