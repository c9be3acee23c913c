"""`Experiment`: a function, a grid of what it is called with, and the store that keeps what it gave.

Owns what a program writes and is told. What is run is decided in `plan.py`, run in `running.py`, kept in `store.py`.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from paceline.errors import WorkerDied
from paceline.experiments.axes import Space, sampled
from paceline.experiments.cells import TREATMENTS, Cell, Randomness, canonical, seed_of
from paceline.experiments.execution import Call, Execution, Grid
from paceline.experiments.plan import RERUNS, StaleCells, chosen, is_stale
from paceline.experiments.store import Writer
from paceline.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from inspect import Signature
    from os import PathLike
    from typing import Any

    from paceline.backends import Backend
    from paceline.experiments.results import Results, Status
    from paceline.experiments.store import Known
    from paceline.pool import Pool
    from paceline.progress import ProgressTo

    Kind = type[BaseException]

__all__ = ["Experiment"]

# Of stale cells, in a warning.
_SHOWN = 5


class Experiment:
    """A grid of calls, each finished one safe on disk at once, rerun and extended at will.

    >>> import paceline
    >>> def evaluate(alg, dataset, rep, rng):
    ...     return {"accuracy": len(alg) + 0.1 * rep + 0.01 * rng.random()}
    >>> exp = paceline.Experiment(evaluate, seed=42)
    >>> exp.add_grid(alg=["svm", "forest"], dataset={"digits": [1, 2, 3], "wine": [4, 5]}, rep=range(3))
    >>> results = exp.run(workers=2)
    >>> len(results), results["alg"][0], results["dataset"][-1]
    (12, 'svm', 'wine')

    `function` is called with the axes by name, and returns a number, or a dict of numbers, texts and other JSON values.
    If it has an argument `rng` it is given a generator of random numbers of the cell's own (of numpy, or of the
    standard library where there is no numpy), and by an argument `seed` an integer below 2**32.

    `store` is the file that keeps the results: SQLite, made by the first run. Without one they are kept in memory, as
    long as this object lives. Each run does only what the store does not have yet. `name` is what the store calls the
    experiment, by default the function's name; another experiment's store is refused.

    Random numbers are a function of `seed` and of the cell's axes alone: not of the order, the worker, the run, or
    which other cells there are. Cells that differ only in the axes of `treatment` have the same ones, so that
    algorithms are compared on equal terms (*common random numbers*); by default that is every axis with one of the
    usual names of what is compared: `alg`, `algorithm`, `method`, `model`, `classifier`, `estimator`, `solver` and some
    more (`paceline.experiments.cells.TREATMENTS`). With `common_random_numbers=False` every cell has its own.

    When the function's source changes, what it computed before is *stale*; `run` says so and changes nothing unasked.
    Functions that it calls are not looked into: declare a `version` (a number or a text), which then counts alone.
    With `keep_objects`, results that are no JSON are pickled into the store; they are unpickled only by
    `Results.objects`.

    Raises `TypeError` for what cannot be called, for coroutine functions, and for a seed that is no integer.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        store: str | PathLike[str] | None = None,
        *,
        seed: int = 0,
        name: str | None = None,
        version: str | float | None = None,
        treatment: str | Iterable[str] | None = None,
        common_random_numbers: bool = True,
        keep_objects: bool = False,
    ) -> None:
        from paceline.errors import function_name
        from paceline.functions import gives_coroutine

        if not callable(function):
            raise TypeError(f"an experiment needs a function, not {function!r}")
        if gives_coroutine(function):
            raise TypeError("a cell is an ordinary function; have it call `asyncio.run` for its coroutines")
        if type(seed) is not int:
            raise TypeError(f"seed must be an integer, not {seed!r}")
        if treatment is not None and not common_random_numbers:
            raise TypeError("treatment names the axes with common random numbers, which are switched off")
        self.function = function
        self.store = None if store is None or store == ":memory:" else os.fspath(store)
        self.name = function_name(function) if name is None else name
        self.seed = seed
        self.version = None if version is None else str(version)
        self.keep_objects = keep_objects
        given = TREATMENTS if treatment is None else (treatment,) if isinstance(treatment, str) else tuple(treatment)
        self.treatment = frozenset(given if common_random_numbers else ())
        self._treatment_is_given = treatment is not None
        self._randomness = Randomness(seed, self.treatment)
        self._space = Space()
        self._cells: list[Cell] | None = None
        self._memory: Writer | None = None

    def __repr__(self) -> str:
        # Counting the cells of a large grid takes a while, and is not done for this.
        counted = "" if self._cells is None else f", {len(self._cells)} cells"
        where = "in memory" if self.store is None else f"in `{self.store}`"
        return f"<paceline experiment of `{self.name}` {where}{counted}>"

    # -- the grid ------------------------------------------------------------------------------------------------------

    def add_grid(self, /, **axes: Any) -> None:
        """Adds every combination of these axes, the last of them changing fastest.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda n, k: n * k)
        >>> exp.add_grid(n=[10, 20], k=lambda n: n // 2)
        >>> [cell.axes for cell in exp.cells()]
        [{'n': 10, 'k': 5}, {'n': 20, 'k': 10}]

        An axis is an iterable of numbers, texts, True, False or None, or one of them; or a dict from names to values of
        any kind, of which the names are stored. A function of other axes gives what depends on them: one value, or
        several as a list; `paceline.experiments.when` gives values that only some cells have. A large value is sent to
        each worker once; one made by `paceline.experiments.loader` is loaded by each worker that needs it. Every cell
        has a fresh copy of a named value; large ones (of more than 16 kB) it must not change, but for arrays.

        A combination that is there already is not added again. Raises `TypeError` and `ValueError` for other values.
        """
        self._space.add_grid(axes)
        self._cells = None

    def add_cases(self, cases: Any, /, **named: dict[Any, Any]) -> None:
        """Adds single combinations: a list of dicts from axes to values, or a data frame with a column for each axis.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda alg, rep: rep)
        >>> exp.add_cases([{"alg": "svm", "rep": 1}, {"alg": "forest", "rep": 7}])
        >>> len(exp.cells())
        2

        `named` has, for axes with named values, a dict from the names in the cases to those values.
        """
        self._space.add_cases(cases, named)
        self._cells = None

    def exclude(self, predicate: Callable[..., object] | None = None, /, **conditions: Any) -> None:
        """Leaves out the cells that are as `conditions` say, or for which `predicate` is true.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda alg, n: n)
        >>> exp.add_grid(alg=["slow", "fast"], n=[10, 1000])
        >>> exp.exclude(alg="slow", n=[1000])
        >>> exp.exclude(lambda n: n < 10)
        >>> len(exp.cells())
        3

        A condition is a value, or a list, tuple, set or range of them; a predicate is given the axes that it names.
        It does not matter whether the cells are added before or after. Their results, if there are any, stay stored.
        """
        self._space.exclude(predicate, conditions)
        self._cells = None

    def sample(self, count: int | None) -> None:
        """Keeps `count` of all cells, chosen by chance from the experiment's seed; all for None.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda n, m: n * m)
        >>> exp.add_grid(n=range(100), m=range(100))
        >>> exp.sample(50)
        >>> len(exp.cells())
        50

        A larger sample later has the same cells and more. All combinations are looked at, some hundred thousand a
        second.
        """
        if count is not None and (type(count) is not int or count < 0):
            raise ValueError(f"a sample has a number of cells, not {count!r}")
        self._space.sample = count
        self._cells = None

    def cells(self) -> list[Cell]:
        """All cells, in the order of the grid."""
        if self._cells is None:
            cells = list(dict.fromkeys(map(Cell, self._space.cells())))
            if self._space.sample is not None:
                lot = Randomness(self.seed, ())
                cells = sampled(cells, self._space.sample, lambda cell: lot.entropy(cell.axes))
            self._cells = cells
        return list(self._cells)

    def seed_of(self, /, **axes: Any) -> int:
        """The `seed` of the cell with these axes, as its function is given it."""
        return seed_of(self._randomness.entropy(axes))

    # -- running -------------------------------------------------------------------------------------------------------

    def run(
        self,
        workers: int | None = None,
        *,
        pool: Pool | None = None,
        backend: Backend | None = None,
        timeout: float | None = None,
        grace: float = 1.0,
        retries: int = 0,
        retry_on: Kind | tuple[Kind, ...] = WorkerDied,
        memory_limit: int | str | None = None,
        rerun: str | Iterable[str] = (),
        accept_stale: bool = False,
        progress: ProgressTo = False,
    ) -> Results:
        """Runs the cells that the store has no result of, and gives the results of all.

        `workers`, `backend` and `memory_limit` are those of `Pool`, or `pool` is one that is open; `timeout`, `grace`
        and `progress` are those of `Pool.options` and `Pool.map`; without a `timeout`, that of the pool holds. A cell
        whose function raises, that is over its `timeout`, or whose worker dies is a row like any other, with a status
        of its own (`error`, `timeout`, `died`); nothing is raised. It is tried again, at most `retries` times, after an
        exception of the classes `retry_on`.

        `rerun="failed"` runs those once more whose last attempt failed, `"stale"` those that another source, version
        or seed computed, `"all"` everything. Each attempt has its row, and the last one counts; none is deleted. Stale
        results that are not run again are told by a `StaleCells` warning, unless `accept_stale`.

        The cells that took longest begin first, as far as earlier ones tell. There are no more cells under way than
        workers, and what has ended is stored before another begins: whatever is killed at whatever moment costs at most
        one cell for each worker. Only cells of less than 10 ms are stored together, some 50 ms of work for each worker.
        Ctrl-C stops what runs, and raises `KeyboardInterrupt` when everything that has ended is safe.

        Raises `StoreInUse` if another run writes to the store, `StoreError` if it cannot be read or written,
        `TypeError` if the function does not take the axes, and `ArgumentNotPicklable` for values that cannot be sent.
        """
        from paceline.experiments.results import Results

        again = _reruns(rerun)
        if pool is not None and (workers, backend, memory_limit) != (None, None, None):
            raise TypeError("workers, backend and memory_limit are for a pool that is opened, and there is one")
        options = Options(timeout=timeout, grace=grace, retries=retries, retry_on=retry_on)
        cells = self.cells()
        self._check_arguments(cells)
        source = self._source()
        execution = None
        store = self._open()
        try:
            numbers = store.place(cells)
            known_by_number = store.known()
            known = [known_by_number.get(number) for number in numbers]
            entropies = [self._randomness.entropy(cell.axes) for cell in cells]
            stale = self._stale(known, entropies, source)
            plan = chosen(known, stale, again)
            if plan.stale and not accept_stale:
                _warn_of_stale([cells[place] for place in plan.stale], len(cells), self.version)
            if plan.to_run:
                opening = {"processes": workers, "backend": backend, "memory_limit": memory_limit}
                call = Call(self.function, self.name, *self._wants(self._axes(cells)), self.keep_objects)
                execution = Execution(store, Grid(cells, numbers, entropies, known, self._space.named), call)
                facts = self._facts(source)
                execution.run(plan.to_run, facts, pool=pool, opening=opening, options=options, progress=progress)
            return Results.of(store, numbers)
        except KeyboardInterrupt as error:
            error.add_note(self._how_to_go_on(execution))
            raise
        finally:
            store.close()

    def status(self) -> Status:
        """How many cells there are, how many of them the store has, and how those ended.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda n: 1 / n)
        >>> exp.add_grid(n=range(3))
        >>> _ = exp.run(workers=1)
        >>> print(exp.status())
        3 cells: 2 ok, 1 error
        """
        from paceline.experiments.results import Status
        from paceline.experiments.store import Reader

        cells = self.cells()
        known: dict[str, Known] = {}
        reader: Reader | None = self._memory
        if reader is None and self.store is not None and os.path.exists(self.store):
            reader = Reader.find(self.store)
        if reader is not None:
            with reader:
                by_number = reader.known()
                keys = reader.ask("SELECT key, id FROM cells")
                known = {key: by_number[number] for key, number in keys if number in by_number}
        found = [known.get(cell.key) for cell in cells]
        entropies = [self._randomness.entropy(cell.axes) if one else 0 for cell, one in zip(cells, found, strict=True)]
        counts: dict[str | None, int] = {}
        for one in found:
            status = None if one is None else one.status
            counts[status] = counts.get(status, 0) + 1
        return Status.of(counts, stale=sum(self._stale(found, entropies, self._source())))

    def call(self, /, **axes: Any) -> Any:
        """Calls the function for one cell, here and now, with its random numbers; nothing is stored.

        >>> import paceline
        >>> exp = paceline.Experiment(lambda n, seed: n + seed % 7, seed=7)
        >>> exp.add_grid(n=range(3))
        >>> exp.call(n=2) == exp.run(workers=1)["value"][2]
        True

        For a debugger, where a cell fails. Raises what the function raises.
        """
        from paceline.experiments.attempts import ready

        named = self._space.named
        arguments = {
            axis: named[axis][value] if axis in named and value in named[axis] else value
            for axis, value in axes.items()
        }
        return self.function(**ready(arguments, self._wants(axes), self._randomness.entropy(axes)))

    # -- what these have in common -------------------------------------------------------------------------------------

    def _open(self) -> Writer:
        if self.store is not None:
            return Writer(self.store, self.name)
        if self._memory is None:
            self._memory = Writer(None, self.name)
        return self._memory

    def _source(self) -> str:
        from paceline.experiments.environment import source_hash

        return source_hash(self.function)

    def _facts(self, source: str) -> dict[str, Any]:
        from json import dumps

        from paceline.experiments.environment import environment

        told = environment(self.function)
        return {
            **told,
            "packages": dumps(told["packages"]),
            "source": source,
            "version": self.version,
            "seed": str(self.seed),
            "treatment": canonical(sorted(self.treatment)),
        }

    def _how_to_go_on(self, execution: Execution | None) -> str:
        recorded = 0 if execution is None else execution.recorded
        where = "in memory" if self.store is None else f"in `{self.store}`"
        return (
            f"interrupted: {recorded} cells of this run have ended, and are safe {where}\n"
            "hint: the same run again does what is missing"
        )

    def _stale(self, known: Sequence[Known | None], entropies: Sequence[int], source: str) -> list[bool]:
        return [
            one is not None and one.status != "cancelled" and is_stale(one, source, self.version, seed_of(entropy))
            for one, entropy in zip(known, entropies, strict=True)
        ]

    def _signature(self) -> Signature | None:
        from inspect import signature

        try:
            return signature(self.function)
        except (TypeError, ValueError):  # Of functions in C it may not be known.
            return None

    def _wants(self, axes: Iterable[str]) -> tuple[bool, bool]:
        """Whether the function is to be given `rng` and `seed`."""
        signature = self._signature()
        parameters = () if signature is None else signature.parameters
        wants_rng, wants_seed = (name in parameters and name not in axes for name in ("rng", "seed"))
        return wants_rng, wants_seed

    def _axes(self, cells: list[Cell]) -> set[str]:
        return {axis for cell in cells for axis in cell.axes}

    def _check_arguments(self, cells: list[Cell]) -> None:
        """Raises `TypeError` if the function cannot be called with these axes, before anything is run."""
        if not cells:
            raise ValueError("the experiment has no cells\nhint: add some by `add_grid` or `add_cases`")
        signature = self._signature()
        axes = self._axes(cells)
        if self._treatment_is_given and (unknown := self.treatment - axes):
            raise ValueError(f"`{min(unknown)}` is to be the treatment, and is no axis of the grid")
        if signature is None:
            return
        wants_rng, wants_seed = self._wants(axes)
        given = {name: None for name, wanted in (("rng", wants_rng), ("seed", wants_seed)) if wanted}
        for names in {tuple(cell.axes) for cell in cells}:
            try:
                signature.bind(**dict.fromkeys(names), **given)
            except TypeError as error:
                raise TypeError(
                    f"`{self.name}` cannot be called with the axes {', '.join(names)}: {error}\n"
                    "hint: its arguments are the axes of the grid, and `rng` or `seed` if it wants random numbers"
                ) from None


def _reruns(rerun: str | Iterable[str]) -> frozenset[str]:
    asked = frozenset({rerun} if isinstance(rerun, str) else rerun)
    if not asked <= RERUNS:
        raise ValueError(f"rerun must be 'failed', 'stale', 'all', or several of them, not {rerun!r}")
    return asked


def _warn_of_stale(stale: list[Cell], total: int, version: str | None) -> None:
    shown = "".join(f"\n    {cell!r}" for cell in stale[:_SHOWN])
    more = f"\n    ... ({len(stale) - _SHOWN} more)" if len(stale) > _SHOWN else ""
    earlier = "; or give the earlier `version=`" if version is not None else ""
    message = (
        f"{len(stale)} of {total} cells are stale: what is stored of them was computed by another source, version or "
        f"seed{shown}{more}\nhint: `run(rerun='stale')` computes them again; `run(accept_stale=True)` takes them "
        f"as they are{earlier}"
    )
    warnings.warn(message, StaleCells, stacklevel=3)
