"""Tables: columns by name, shown as text or HTML, and handed to other programs.

Owns every form that a table can be had in. What is in it, its maker knows.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from os import PathLike
    from typing import Any

    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["Table"]

_ROWS_SHOWN = 40
_WIDEST = 60


class Table:
    """Rows under named columns.

    >>> from paceline.experiments.columns import Table
    >>> print(Table({"alg": ["svm", "forest"], "accuracy": [0.5, 0.75]}))
    alg     accuracy
    svm     0.5
    forest  0.75
    """

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> list[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self.columns)}") from None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dict."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    # -- to look at ----------------------------------------------------------------------------------------------------

    def _shown(self) -> Sequence[str]:
        """The columns that people see first."""
        return list(self.columns)

    def _notes(self) -> list[str]:
        """What is told below the table."""
        return []

    def text(self, most_rows: int | None = None) -> str:
        """The table for a terminal, with at most so many rows."""
        names = self._shown()
        shown = [[_text(value) for value in islice(self[name], most_rows)] for name in names]
        widths = [max(map(len, [name, *column])) for name, column in zip(names, shown, strict=True)]
        lines = [names, *zip(*shown, strict=True)]
        told = [
            "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        if most_rows is not None and len(self) > most_rows:
            told.append(f"... ({len(self) - most_rows} more rows)")
        return "\n".join([*told, *self._notes()])

    def __str__(self) -> str:
        return self.text(_ROWS_SHOWN)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} rows: {', '.join(self._shown())}>"

    def _repr_html_(self) -> str:
        from html import escape

        names = self._shown()
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        lines = islice(zip(*(self[name] for name in names), strict=True), _ROWS_SHOWN)
        body = "".join(f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in line)}</tr>" for line in lines)
        left = len(self) - _ROWS_SHOWN
        notes = [*([f"... ({left} more rows)"] if left > 0 else []), *self._notes()]
        return f"<table><tr>{head}</tr>{body}</table>" + "".join(f"<div>{escape(note)}</div>" for note in notes)

    # -- for other programs --------------------------------------------------------------------------------------------

    def to_pandas(self) -> pd.DataFrame:
        """A data frame of pandas, with a row for each row."""
        import pandas as pd

        return pd.DataFrame(self.columns)

    def to_polars(self) -> pl.DataFrame:
        """A data frame of polars. A column of several kinds of values is one of texts."""
        import polars as pl

        return pl.DataFrame({name: _uniform(column) for name, column in self.columns.items()})

    def to_arrow(self) -> pa.Table:
        """A table of Arrow. A column of several kinds of values is one of texts."""
        import pyarrow as pa

        return pa.table({name: _uniform(column) for name, column in self.columns.items()})

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Writes a Parquet file; needs pyarrow."""
        from pyarrow import parquet

        parquet.write_table(self.to_arrow(), os.fspath(path))

    def to_csv(self, path: str | PathLike[str] | None = None) -> str | None:
        """The table as comma-separated values: written to `path`, or returned. Numbers are written in full."""
        import csv
        import io

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_full(value) for value in line] for line in zip(*self.columns.values(), strict=True))
        return _given(text.getvalue(), path)

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str | None:
        """The columns that people see, as a table of Markdown: written to `path`, or returned."""
        names = self._shown()
        lines = [names, ["---:" if _is_numeric(self[name]) else "---" for name in names]]
        lines += [[_text(value).replace("|", "\\|") for value in line] for line in self._lines(names)]
        return _given("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n", path)

    def to_latex(self, path: str | PathLike[str] | None = None) -> str | None:
        """The columns that people see, as a `tabular` of LaTeX (with `booktabs`): written to `path`, or returned."""
        names = self._shown()
        kinds = "".join("r" if _is_numeric(self[name]) else "l" for name in names)
        lines = [" & ".join(_latex(_text(value)) for value in line) + r" \\" for line in self._lines(names)]
        head = " & ".join(map(_latex, names)) + r" \\"
        parts = [
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return _given("\n".join(parts) + "\n", path)

    def export(self, path: str | PathLike[str]) -> None:
        """Writes the table in the form that the suffix of `path` says: .csv, .parquet, .tex or .md.

        Raises `ValueError` for others, and `ModuleNotFoundError` for Parquet without pyarrow.
        """
        ways: dict[str, Callable[[str | PathLike[str]], object]] = {
            ".csv": self.to_csv,
            ".parquet": self.to_parquet,
            ".tex": self.to_latex,
            ".md": self.to_markdown,
        }
        suffix = os.path.splitext(os.fspath(path))[1].lower()
        if suffix not in ways:
            raise ValueError(f"`{os.fspath(path)}` must end with one of {', '.join(ways)}, which says what is written")
        ways[suffix](path)

    def _lines(self, names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        return zip(*(self[name] for name in names), strict=True)


def _given(text: str, path: str | PathLike[str] | None) -> str | None:
    if path is None:
        return text
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return None


def _text(value: Any) -> str:
    """A value for people: rounded, and on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _full(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        from json import dumps

        return dumps(value, ensure_ascii=False)
    return value


def _is_numeric(column: Sequence[Any]) -> bool:
    kinds = {type(value) for value in column} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _uniform(column: list[Any]) -> list[Any]:
    """The column if its values are of one kind, else their texts."""
    kinds = {type(value) for value in column} - {type(None)}
    if len(kinds) <= 1 and not kinds & {list, dict}:
        return column
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in column]
    return [None if value is None else str(_full(value)) for value in column]


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
