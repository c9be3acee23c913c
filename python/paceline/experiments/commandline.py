"""The commands `run`, `show`, `compare` and `export`: experiments without a program around them.

Owns how grids are written on a command line and in a file of TOML, and what is printed. What is run and computed is the
package's affair, as for any program.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from paceline.errors import PacelineError, StoreError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from paceline.experiments.comparisons import Comparison
    from paceline.experiments.experiment import Experiment
    from paceline.experiments.results import Results

__all__ = ["compare", "export", "run", "show"]

# Of a file: what belongs to the experiment, and what to a run of it.
_OF_EXPERIMENT = ("store", "seed", "name", "version", "treatment", "common_random_numbers", "keep_objects")
_OF_RUN = ("workers", "backend", "timeout", "grace", "retries", "memory_limit", "rerun", "accept_stale")
_TABLES = ("grid", "case", "exclude", "sample", "function")
_LARGEST_RANGE = 10_000_000
_TRACEBACKS_SHOWN = 3


class _Misuse(Exception):
    """What was asked for makes no sense; the message is for the user."""


def run(options: Namespace) -> int:
    """Runs an experiment; 0 if every cell is ok, 1 if some are not."""
    return _told(lambda: _run(options))


def show(options: Namespace) -> int:
    """Shows what a store holds."""
    return _told(lambda: _show(options))


def compare(options: Namespace) -> int:
    """Compares the values of an axis."""
    return _told(lambda: _compare(options))


def export(options: Namespace) -> int:
    """Writes what a store holds as a table of another kind."""
    return _told(lambda: _export(options))


def _told(command: Callable[[], int]) -> int:
    """Runs a command; errors are told on stderr, and as an exit code."""
    try:
        return command()
    except _Misuse as error:
        return _fail(error, 2)
    except ModuleNotFoundError as error:
        return _fail(error, 2)
    except (PacelineError, OSError, ValueError) as error:
        return _fail(error, 1)


def _fail(error: BaseException, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


# -- run ---------------------------------------------------------------------------------------------------------------


def _run(options: Namespace) -> int:
    experiment, settings = _experiment(options)
    try:
        with _stale_cells_told():
            results = experiment.run(**settings, progress=_bar())
    except TypeError as error:
        raise _Misuse(str(error)) from error
    except KeyboardInterrupt as error:
        print("\n".join(["", *getattr(error, "__notes__", ["interrupted"])]), file=sys.stderr)
        raise
    status = experiment.status()
    print(status)
    _tell_failures(results, experiment.store)
    print(f"shown by `paceline show {experiment.store}`")
    return 0 if status.ok == status.total else 1


@contextmanager
def _stale_cells_told() -> Iterator[None]:
    """Has the warning of stale cells be shown as a line of a command's."""
    import warnings

    from paceline.experiments.plan import StaleCells

    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, StaleCells):
                usual(message, category, *rest, **more)
                return
            facts = str(message).partition("\nhint: ")[0]
            hint = "`--rerun stale` computes them again; `--accept-stale` takes them as they are, without a word"
            print(f"warning: {facts}\nhint: {hint}", file=sys.stderr)

        warnings.showwarning = show
        warnings.simplefilter("always", StaleCells)
        yield


def _bar() -> Any:
    """A line on stderr that says how far the run is; nothing where nobody watches."""
    if not sys.stderr.isatty():
        return False

    def tell(progress: Any) -> None:
        left = progress.remaining_seconds
        more = "" if left is None or progress.done == progress.total else f", about {left:.0f} s left"
        end = "\n" if progress.done == progress.total else ""
        sys.stderr.write(f"\r\x1b[K{progress.done} of {progress.total} cells, {progress.seconds:.0f} s{more}{end}")
        sys.stderr.flush()

    return tell


def _tell_failures(results: Results, store: str | None) -> None:
    failures = results.failures()
    for failure in failures[:_TRACEBACKS_SHOWN]:
        print(f"failed: {failure}")
    if len(failures) > _TRACEBACKS_SHOWN:
        print(f"failed: ... ({len(failures) - _TRACEBACKS_SHOWN} more)")
    if failures:
        print(f"hint: `paceline show {store} --failures` has the tracebacks; `--rerun failed` runs them again")


def _experiment(options: Namespace) -> tuple[Experiment, dict[str, Any]]:
    """The experiment that is meant, and how it is to be run."""
    target: str = options.target
    told = _from_file(target) if target.endswith(".toml") else {"function": target}
    settings = {name: told[name] for name in _OF_RUN if name in told}
    for name in _OF_RUN:
        if (given := getattr(options, name, None)) not in (None, False):
            settings[name] = given
    made = {name: told[name] for name in _OF_EXPERIMENT if name in told}
    for name in _OF_EXPERIMENT:
        if (given := getattr(options, name, None)) is not None:
            made[name] = given
    return _made(told, made, options.grid or ()), settings


def _made(told: dict[str, Any], made: dict[str, Any], more_axes: Sequence[str]) -> Experiment:
    """The experiment of a function that is told of, or the one that is told of itself."""
    from paceline.experiments.experiment import Experiment

    thing = _imported(told["function"])
    grid = _grid_of(told.get("grid", {}), more_axes)
    if isinstance(thing, Experiment):
        if made or grid:
            raise _Misuse(f"`{told['function']}` is an experiment, which has its grid, its store and its seed already")
        if thing.store is None:
            raise _Misuse(
                f"the experiment `{told['function']}` has no store\nhint: give it one: Experiment(..., store=...)"
            )
        return thing
    if not callable(thing):
        raise _Misuse(f"`{told['function']}` is neither a function nor an `Experiment`")
    if "store" not in made:
        raise _Misuse("where are the results to be kept?\nhint: --store results.db")
    try:
        experiment = Experiment(thing, **made)
        if grid:
            experiment.add_grid(**grid)
        if "case" in told:
            experiment.add_cases(told["case"])
        for conditions in told.get("exclude", ()):
            experiment.exclude(**conditions)
        experiment.sample(told.get("sample"))
    except (TypeError, ValueError) as error:
        raise _Misuse(str(error)) from error
    if not experiment.cells():
        raise _Misuse("there are no cells to run\nhint: --grid alg=svm,forest --grid rep=0..19")
    return experiment


def _from_file(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            told = tomllib.load(file)
    except OSError as error:
        raise _Misuse(f"`{path}` cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _Misuse(f"`{path}` is no TOML: {error}") from error
    unknown = told.keys() - {*_OF_EXPERIMENT, *_OF_RUN, *_TABLES}
    if unknown:
        known = ", ".join(sorted({*_OF_EXPERIMENT, *_OF_RUN, *_TABLES}))
        raise _Misuse(f"`{path}` has `{min(unknown)}`, which means nothing\nhint: there are {known}")
    if "function" not in told:
        raise _Misuse(f'`{path}` must say which function is called\nhint: function = "module:function"')
    for name, kind in (("grid", dict), ("case", list), ("exclude", list)):
        if name in told and not isinstance(told[name], kind):
            raise _Misuse(f"`{name}` of `{path}` must be written as {'[grid]' if kind is dict else f'[[{name}]]'}")
    return told


def _imported(name: str) -> Any:
    """The object that `module:name` names; modules of the folder at hand are found as by a script."""
    from importlib import import_module

    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise _Misuse(f"`{name}` must be `module:function`, or a file that ends with .toml")
    if (folder := os.getcwd()) not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise
        raise _Misuse(f"there is no module `{module_name}` here or on the path") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _Misuse(f"the module `{module_name}` has no `{attribute}`") from None
    return found


def _grid_of(told: dict[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """The axes of a file, and of the command line, which win."""
    grid = {axis: _values(axis, values) if isinstance(values, str) else values for axis, values in told.items()}
    for text in given:
        axis, equals, values = text.partition("=")
        if not equals or not axis:
            raise _Misuse(f"`--grid {text}` must be an axis, an equals sign and its values, such as alg=svm,forest")
        grid[axis] = _values(axis, values)
    return grid


def _values(axis: str, text: str) -> list[Any]:
    """`a,b,c`, `0..19` (both ends included) or `0..100..10` (in tens), or several of these."""
    values: list[Any] = []
    for part in text.split(","):
        ends = part.split("..")
        if len(ends) == 1:
            values.append(_scalar(part))
            continue
        try:
            first, last, step = int(ends[0]), int(ends[1]), int(ends[2]) if len(ends) == 3 else 1
            span = range(first, last + (1 if step > 0 else -1), step)
        except (ValueError, IndexError):
            _refuse_range(axis, part)
        if len(ends) > 3 or not span or len(span) > _LARGEST_RANGE:
            _refuse_range(axis, part)
        values += span
    return values


def _refuse_range(axis: str, part: str) -> NoReturn:
    raise _Misuse(f"`{part}` of `{axis}` must be a range of integers such as 0..19, or 0..100..10")


def _scalar(text: str) -> Any:
    """A number, `true`, `false` or `none` if it is written like one, else the text; in quotes it is always a text."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        # `nan` and `inf` are names, and so are numbers with underscores.
        if text.lstrip("+-")[:1].isdigit() or text.lstrip("+-")[:1] == ".":
            return value if "_" not in text else text
    return text


# -- show, compare, export ---------------------------------------------------------------------------------------------


def _show(options: Namespace) -> int:
    from paceline.experiments.results import open_store

    store = open_store(options.store)
    results = store.results(every_attempt=options.attempts)
    if options.failures:
        _print_failures(results)
        return 0
    print(f"{store.name}: {store.status()}")
    if len(results):
        print()
        print(results.text(None if options.all else 40))
    failures = results.failures()
    if failures:
        print()
        for failure in failures[:_TRACEBACKS_SHOWN]:
            _print_failure(failure)
        if len(failures) > _TRACEBACKS_SHOWN:
            print(
                f"{len(failures) - _TRACEBACKS_SHOWN} more failed: `paceline show {options.store} --failures` has all"
            )
    return 0


def _print_failures(results: Results) -> None:
    failures = results.failures()
    for failure in failures:
        _print_failure(failure)
    if not failures:
        print("no cell failed")


def _print_failure(failure: Any) -> None:
    attempt = f" (attempt {failure.attempt})" if failure.attempt > 1 else ""
    print(f"failed: {failure}{attempt}")
    for line in (failure.traceback or "").rstrip().splitlines():
        print(f"    {line}")


def _compare(options: Namespace) -> int:
    from paceline.experiments.results import open_store

    results = open_store(options.store).results()
    names = ("dataset", "repetition", "reference", "resampled", "rope", "correction")
    given = {name: getattr(options, name) for name in names}
    comparison = results.compare(
        options.metric,
        options.treatment,
        higher_is_better=not options.lower_is_better,
        **{name: value for name, value in given.items() if value is not None},
    )
    print(comparison)
    if options.plot is not None:
        _draw(comparison, options.plot)
    return 0


def _draw(comparison: Comparison, path: str) -> None:
    try:
        comparison.plot(path)
    except ValueError as error:
        raise _Misuse(str(error)) from error
    except OSError as error:
        raise StoreError(f"`{path}` cannot be written: {error.strerror}") from error
    print(f"\ncritical-difference diagram: {path}")


def _export(options: Namespace) -> int:
    from paceline.experiments.results import open_store

    results = open_store(options.store).results(every_attempt=options.attempts)
    try:
        results.export(options.file)
    except ValueError as error:
        raise _Misuse(str(error)) from error
    except OSError as error:
        raise StoreError(f"`{options.file}` cannot be written: {error.strerror}") from error
    print(f"{len(results)} rows in {options.file}")
    return 0
