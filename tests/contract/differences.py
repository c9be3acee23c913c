"""The table of deliberate differences, as the tests read it from the documentation."""

import functools
from pathlib import Path

TABLE = Path(__file__).parents[2] / "docs" / "differences.md"


@functools.cache
def names():
    """The names of the differences, in the order of the table."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    head, _, *rows = rows
    assert head == ["name", "of", "the standard library", "Paceline", "why"]
    for row in rows:
        assert len(row) == len(head), row
        assert all(row), row
        assert row[1] in {"Pool", "executor", "both", "threads"}, row
    return [row[0] for row in rows]


shown = {}


def shows(name):
    """Marks a test as the one that shows a difference, on both sides."""

    def mark(test):
        assert name not in shown, f"{name} is shown twice"
        shown[name] = test
        return test

    return mark
