"""What a store holds, as a table: a row for each cell, in the order of the grid; and what can be made of it.

Owns which columns there are, how rows are grouped and paired, and `open_store`. The statistics themselves are those of
`summaries.py` and `comparisons.py`. Nothing here writes to a store; only `objects` unpickles anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import TYPE_CHECKING

from paceline.experiments.columns import Table
from paceline.experiments.plan import FAILED
from paceline.experiments.store import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike
    from typing import Any, Literal, Self

    from paceline.experiments.axes import Scalar

__all__ = ["REPETITIONS", "Failure", "OpenStore", "Pairs", "Results", "Status", "Summary", "open_store"]

# What the axis is usually called along which the same is done again.
REPETITIONS = frozenset({
    "fold", "iteration", "rep", "repeat", "repetition", "replicate", "replication", "run", "seed", "split", "trial",
})  # fmt: skip

# What is known of an attempt beside its axes and its result, in the order of `Reader.rows`.
_ATTEMPT = [
    "attempt", "status", "result", "error", "traceback", "seconds", "cpu_seconds", "peak_memory", "seed", "worker",
    "began", "ended",
]  # fmt: skip
_RUN = ["host", "python", "paceline", "git"]
_FIELDS = [name for name in _ATTEMPT if name != "result"] + _RUN


class Results(Table):
    """The cells of an experiment and what they gave: a table with one row for each cell, in the order of the grid.

    >>> import paceline
    >>> exp = paceline.Experiment(lambda alg, rep: {"score": rep + len(alg)})
    >>> exp.add_grid(alg=["a", "bb"], rep=range(2))
    >>> print(exp.run(workers=1)["score"])
    [1, 2, 2, 3]

    The columns are the axes, the parts of the results (of a result that is a number: `value`), and what is known of the
    attempt: `status` (`ok`, `error`, `timeout`, `died` or `cancelled`), `attempt` (counted from one), `error`,
    `traceback`, `seconds`, `cpu_seconds`, `peak_memory` (bytes), `seed`, `worker` (a process or thread), `began` and
    `ended` (seconds since 1970), and `host`, `python`, `paceline` and `git` of its run. A part of a result that has the
    name of another column is called `result_` and that name; where an axis has the name of a field (`seed`), the field
    is called `attempt_` and that name. `axes` and `metrics` name those of the first two kinds.
    """

    def __init__(self, rows: Sequence[Sequence[Any]], path: str | None, store: Reader | None) -> None:
        axes, results = _parsed(row[1] for row in rows), _parsed(row[4] or "{}" for row in rows)
        self.axes = list(dict.fromkeys(axis for cell in axes for axis in cell))
        # An axis may have the name of a field, such as `seed`, and comes first then.
        self._fields = {name: f"attempt_{name}" if name in self.axes else name for name in _FIELDS}
        taken = {*self.axes, *self._fields.values()}
        names = dict.fromkeys(name for result in results for name in result)
        metrics = {name: f"result_{name}" if name in taken else name for name in names}
        self.metrics = list(metrics.values())
        columns: dict[str, list[Any]] = {axis: [cell.get(axis) for cell in axes] for axis in self.axes}
        columns |= {shown: [result.get(name) for result in results] for name, shown in metrics.items()}
        for place, name in enumerate((*_ATTEMPT, *_RUN), 2):
            if name != "result":
                columns[self._fields[name]] = [row[place] for row in rows]
        first = self._fields["status"]
        super().__init__({name: columns[name] for name in (*self.axes, *self.metrics, first, *self._fields.values())})
        self._attempts = [row[-1] for row in rows]
        self._path = path
        # A store in memory goes with the last who knows it.
        self._store = store

    @classmethod
    def of(cls, store: Reader, cells: Iterable[int] | None = None, *, every_attempt: bool = False) -> Self:
        """The results that a store has, of all cells or of those with these numbers."""
        rows = store.rows(every_attempt=every_attempt)
        if cells is not None:
            wanted = set(cells)
            rows = [row for row in rows if row[0] in wanted]
        return cls(rows, store.path, store if store.path is None else None)

    def _shown(self) -> list[str]:
        return [*self.axes, *self.metrics, self._fields["status"], self._fields["seconds"]]

    def field(self, name: str) -> list[Any]:
        """The column of a field of the attempts, also where an axis has taken its name."""
        return self[self._fields[name]]

    def failures(self) -> list[Failure]:
        """The cells that failed, and how."""
        fields = [self.field(name) for name in ("status", "attempt", "error", "traceback")]
        return [
            Failure({axis: self[axis][place] for axis in self.axes}, *(field[place] for field in fields))
            for place, status in enumerate(fields[0])
            if status in FAILED
        ]

    def objects(self) -> list[dict[str, Any] | None]:
        """The objects among the results, by name, for each row; None where there are none.

        Only experiments with `keep_objects` store any. They are unpickled, which runs whatever code who wrote the file
        has put there: ask for them only if you trust the file.
        """
        from pickle import loads

        if self._store is not None:
            packed = self._store.objects(self._attempts)
        else:
            with Reader.open(str(self._path)) as store:
                packed = store.objects(self._attempts)
        return [None if data is None else loads(data) for data in packed]

    # -- statistics ----------------------------------------------------------------------------------------------------

    def summary(
        self,
        metric: str,
        by: str | Sequence[str] | None = None,
        *,
        interval: Literal["t", "bca"] = "t",
        level: float = 0.95,
        seed: int = 0,
    ) -> Summary:
        """Mean, standard deviation, interval of confidence and number of `metric`, for each group of cells.

        `by` names the axes that tell the groups apart; by default all but those along which the same is repeated, which
        are known by their usual names (`rep`, `repetition`, `fold`, `split`, `trial`, ...). `interval`, `level` and
        `seed` are those of `paceline.experiments.summaries.summarise`.
        """
        from paceline.experiments.summaries import summarise

        names = self._groups(by)
        groups: dict[tuple[Any, ...], list[float]] = {}
        lost: dict[tuple[Any, ...], int] = {}
        for place, value in enumerate(self._numbers(metric)):
            group = tuple(self[name][place] for name in names)
            values = groups.setdefault(group, [])
            if value is None:
                lost[group] = lost.get(group, 0) + 1
            else:
                values.append(value)
        told = [summarise(values, interval=interval, level=level, seed=seed) for values in groups.values()]
        columns: dict[str, list[Any]] = {name: [group[i] for group in groups] for i, name in enumerate(names)}
        for name in ("mean", "std", "low", "high", "n"):
            columns[name] = [getattr(one, name) for one in told]
        notes = [f"{_named(names, group)}: {count} cells without `{metric}`" for group, count in lost.items()]
        for group, one in zip(groups, told, strict=True):
            notes += [f"{_named(names, group)}: {warning}" for warning in one.warnings]
        return Summary(columns, notes)

    def compare(
        self,
        metric: str,
        treatment: str,
        *,
        reference: Any = None,
        dataset: str | Sequence[str] | None = None,
        repetition: str | None = None,
        higher_is_better: bool = True,
        **options: Any,
    ) -> Any:
        """Compares the values of the axis `treatment` by `metric`, paired over all other axes.

        A block is a data set and a repetition: `repetition` names the axis of the latter, by default the one with a
        usual name for it, and `dataset` those of the former, by default all others. `reference` is the treatment that
        the others are compared with; `options` are those of `paceline.experiments.comparisons.compare`, which this
        returns the result of. Blocks in which a treatment has no number are left out, and the comparison says so.
        """
        from paceline.experiments.comparisons import compare

        found = self.pairs(metric, treatment, dataset=dataset, repetition=repetition)
        if reference is not None:
            reference = str(reference)
        return compare(found.scores, found.blocks, reference=reference, higher_is_better=higher_is_better, **options)

    def plot(
        self,
        metric: str,
        treatment: str,
        path: str | PathLike[str] | None = None,
        *,
        kind: Literal["scores", "critical differences", "convergence"] = "scores",
        dark: bool = False,
        **options: Any,
    ) -> Any:
        """A picture of a comparison, which is written to `path` (.svg or .png) or shows itself in a notebook.

        `"scores"` has the numbers of each data set, `"critical differences"` the ranks and what cannot be told apart,
        `"convergence"` how the mean of each treatment (of several data sets: of their mean in each repetition) settles
        with the repetitions. `options` are those of `compare`;
        `"convergence"`, which tests nothing, takes `dataset` and `repetition` alone.
        """
        from paceline.experiments import pictures

        if kind == "convergence":
            found = self.pairs(metric, treatment, **options)
            datasets = len({dataset for dataset, _ in found.blocks})
            title = None if datasets == 1 else f"How the means over {datasets} data sets settle with repetitions"
            return pictures.convergence(found.by_repetition(), path, title=title, dark=dark)
        drawings = {"scores": pictures.scores, "critical differences": pictures.critical_differences}
        if kind not in drawings:
            raise ValueError(f"kind must be 'scores', 'critical differences' or 'convergence', not {kind!r}")
        return drawings[kind](self.compare(metric, treatment, **options), path, dark=dark)

    def pairs(
        self,
        metric: str,
        treatment: str,
        *,
        dataset: str | Sequence[str] | None = None,
        repetition: str | None = None,
    ) -> Pairs:
        """The numbers of each treatment, aligned by block, NaN where there is none; see `compare`."""
        self._check_axes([treatment])
        repetitions = [axis for axis in self.axes if axis in REPETITIONS and axis != treatment]
        if repetition is None:
            repetition = repetitions[0] if repetitions else None
        others = [axis for axis in self.axes if axis not in {treatment, repetition}]
        if dataset is not None:
            others = [dataset] if isinstance(dataset, str) else list(dataset)
        self._check_axes([*others, *([repetition] if repetition is not None else [])])
        found: dict[tuple[str, Any], dict[str, float | None]] = {}
        names: dict[str, None] = {}
        for place, value in enumerate(self._numbers(metric)):
            block_name = " / ".join(str(self[axis][place]) for axis in others)
            block = (block_name, None if repetition is None else self[repetition][place])
            name = str(self[treatment][place])
            names[name] = None
            scores = found.setdefault(block, {})
            if name in scores:
                raise ValueError(
                    f"{block} has several cells of `{treatment}` {name}, which differ in other axes\n"
                    "hint: name the axes that tell data sets apart by `dataset=`, the repetition by `repetition=`; "
                    f"there are {', '.join(self.axes)}"
                )
            scores[name] = value
        columns = {name: [scores.get(name) for scores in found.values()] for name in names}
        return Pairs(
            {name: [nan if value is None else float(value) for value in column] for name, column in columns.items()},
            list(found),
        )

    def _groups(self, by: str | Sequence[str] | None) -> list[str]:
        if by is None:
            return [axis for axis in self.axes if axis not in REPETITIONS]
        names = [by] if isinstance(by, str) else list(by)
        self._check_axes(names)
        return names

    def _check_axes(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.axes:
                raise ValueError(f"`{name}` is no axis of the experiment; there are {', '.join(self.axes)}")

    def _numbers(self, metric: str) -> list[float | None]:
        """The numbers of a metric; None where a cell has none."""
        if metric not in self.metrics:
            known = ", ".join(f"`{name}`" for name in self.metrics) or "none yet"
            raise ValueError(f"no result has a part `{metric}`; there are {known}")
        column = [
            value if status == "ok" else None for value, status in zip(self[metric], self.field("status"), strict=True)
        ]
        if any(value is not None and not isinstance(value, (int, float)) for value in column):
            raise ValueError(f"`{metric}` is not a number in every cell, and cannot be summarised")
        return column


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that failed: its `axes`, its `status`, which `attempt` it was, the `error` in a line, the `traceback`."""

    axes: dict[str, Any]
    status: str
    attempt: int
    error: str
    traceback: str

    def __str__(self) -> str:
        cell = ", ".join(f"{axis}={value!r}" for axis, value in self.axes.items() if value is not None)
        return f"{cell}: {self.status}: {self.error}"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Numbers by treatment, aligned by `blocks`: (data set, repetition)."""

    scores: dict[str, list[float]]
    blocks: list[tuple[str, Any]]

    def by_repetition(self) -> dict[str, list[float]]:
        """The means over the data sets in each repetition; NaN where a data set has no number."""
        datasets = {dataset for dataset, _ in self.blocks}
        means = {}
        for name, scores in self.scores.items():
            found: dict[Any, list[float]] = {}
            for (_, repetition), score in zip(self.blocks, scores, strict=True):
                found.setdefault(repetition, []).append(score)
            means[name] = [fmean(of) if len(of) == len(datasets) else nan for of in found.values()]
        return means


class Summary(Table):
    """A summary of results; `notes` tells what is to be known of it."""

    def __init__(self, columns: dict[str, list[Any]], notes: list[str]) -> None:
        super().__init__(columns)
        self.notes = notes

    def _notes(self) -> list[str]:
        return [f"note: {note}" for note in self.notes]


@dataclass(frozen=True, slots=True)
class Status:
    """How many cells of an experiment there are, and how they are: by their last attempt.

    `missing` have none; `cancelled` ones are run again by the next run, failed ones (`error`, `timeout`, `died`) on
    request. `stale` ones have a result of another source, version or seed; they count among the others as well.

    >>> print(Status(total=10, ok=7, timeout=1, missing=2))
    10 cells: 7 ok, 1 timeout, 2 missing
    """

    total: int
    ok: int = 0
    error: int = 0
    timeout: int = 0
    died: int = 0
    cancelled: int = 0
    missing: int = 0
    stale: int = 0

    @classmethod
    def of(cls, counts: dict[str | None, int], *, stale: int = 0) -> Status:
        named = {status or "missing": count for status, count in counts.items()}
        return cls(total=sum(counts.values()), **named, stale=stale)

    @property
    def failed(self) -> int:
        """How many failed."""
        return self.error + self.timeout + self.died

    def __str__(self) -> str:
        parts = [f"{getattr(self, name)} {name}" for name in self.__slots__[1:] if getattr(self, name)]
        return f"{self.total} cells: {', '.join(parts)}"


class OpenStore:
    """A store that is read, also while a run writes to it; made by `open_store`."""

    def __init__(self, path: str) -> None:
        self.path = path
        with Reader.open(path) as store:
            self.name = store.fact("name")

    def results(self, *, every_attempt: bool = False) -> Results:
        """The results so far: of each cell the last attempt, or every attempt with a row of its own."""
        with Reader.open(self.path) as store:
            return Results.of(store, every_attempt=every_attempt)

    def status(self) -> Status:
        """How many cells of the grid, as it was in the last run, have a result so far."""
        with Reader.open(self.path) as store:
            return Status.of(store.counts())

    def runs(self) -> Table:
        """A row for each run: when, by which process, on which host, with which versions, source, seed and commit."""
        from json import loads

        names = [
            *("began", "ended", "process", "host", "python", "paceline", "git", "source", "version", "seed"),
            *("treatment", "packages"),
        ]
        with Reader.open(self.path) as store:
            rows = store.ask(f"SELECT {', '.join(names)} FROM runs ORDER BY id")  # noqa: S608 - the names above.
        columns: dict[str, list[Any]] = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        for name in ("treatment", "packages"):
            columns[name] = [loads(text) for text in columns[name]]
        return Table(columns)

    def __repr__(self) -> str:
        return f"<paceline store `{self.path}` of `{self.name}`: {self.status()}>"


def open_store(path: str | PathLike[str]) -> OpenStore:
    """Opens the store of an experiment to read it, also while a run writes to it.

    >>> import os, tempfile, paceline
    >>> exp = paceline.Experiment(lambda n: n * n, os.path.join(tempfile.mkdtemp(), "results.db"))
    >>> exp.add_grid(n=range(4))
    >>> _ = exp.run(workers=1)
    >>> paceline.open_store(exp.store).results()["value"]
    [0, 1, 4, 9]

    `results()` gives what there is now, as `Experiment.run` does at the end; `status()` counts; `runs()` tells of the
    environments. Nothing is unpickled and nothing is written. Raises `StoreError` for what is no store, is damaged, or
    was written by a newer Paceline.
    """
    return OpenStore(os.fspath(path))


def _parsed(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Each text of JSON as a dict; all at once, for there may be very many."""
    from json import loads

    parsed: list[dict[str, Any]] = loads(f"[{','.join(texts)}]")
    return parsed


def _named(names: Sequence[str], group: Sequence[Scalar]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, group, strict=True)) or "all cells"
