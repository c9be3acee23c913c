"""The axes of a grid: what values they have, which depend on others, and which combinations there are.

Owns how values are written down and named, and the order of the cells. It never runs anything but the functions by
which parameters depend on one another. A cell here is a plain dict from axes to scalars; of a named value, the name.
"""

from __future__ import annotations

import os
from heapq import nsmallest
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    Scalar: TypeAlias = str | int | float | bool | None
    Axes: TypeAlias = dict[str, Scalar]

__all__ = ["Axes", "Loader", "Scalar", "Space", "When", "loader", "sampled", "scalar_of", "when"]

_SCALARS = (str, int, float, bool, type(None))


class Loader:
    """Stands for what its function loads; made by `loader`."""

    __slots__ = ("_loaded", "function", "token")

    def __init__(self, function: Callable[[], Any], token: str | None = None) -> None:
        self.function = function
        # By which a process knows what it has loaded, for each call that comes to it unpickles this anew.
        self.token = os.urandom(16).hex() if token is None else token
        self._loaded: tuple[Any] | None = None

    def __reduce__(self) -> tuple[type[Loader], tuple[Callable[[], Any], str]]:
        return Loader, (self.function, self.token)

    def __repr__(self) -> str:
        return f"loader({getattr(self.function, '__qualname__', self.function)!s})"


def loader(function: Callable[[], Any]) -> Loader:
    """Marks a function that loads a value: each worker calls it once, when a cell first needs it, and keeps the result.

    >>> import paceline
    >>> from paceline.experiments import loader
    >>> def evaluate(data, rep):
    ...     return sum(data) + rep
    >>> exp = paceline.Experiment(evaluate)
    >>> exp.add_grid(data={"squares": loader(lambda: [n * n for n in range(10)])}, rep=range(2))
    >>> exp.run(workers=1)["value"]
    [285, 286]

    So a data set is read where it is used, and never sent. A cell must not change what it is given so. Raises
    `TypeError` for what cannot be called.
    """
    if not callable(function):
        raise TypeError(f"loader takes a function without arguments, not {function!r}")
    return Loader(function)


class When:
    """The values of an axis that some cells have; made by `when`."""

    __slots__ = ("conditions", "values")

    def __init__(self, values: Any, conditions: Mapping[str, Any]) -> None:
        self.values = values
        self.conditions = {axis: _alternatives(axis, wanted) for axis, wanted in conditions.items()}

    def holds(self, cell: Axes) -> bool:
        return _matches(cell, self.conditions)


def when(values: Any, /, **conditions: Any) -> When:
    """Values for an axis that only some cells have: those in which other axes are as `conditions` say.

    >>> import paceline
    >>> from paceline.experiments import when
    >>> def evaluate(alg, kernel="none"):
    ...     return len(kernel)
    >>> exp = paceline.Experiment(evaluate)
    >>> exp.add_grid(alg=["svm", "forest"], kernel=when(["linear", "rbf"], alg="svm"))
    >>> [cell.axes for cell in exp.cells()]
    [{'alg': 'svm', 'kernel': 'linear'}, {'alg': 'svm', 'kernel': 'rbf'}, {'alg': 'forest'}]

    A condition is a value, or a list, tuple, set or range of them. Elsewhere the function is called without that
    argument, so it needs a default. Raises `TypeError` without conditions.
    """
    if not conditions:
        raise TypeError("when needs a condition, such as when(['linear', 'rbf'], alg='svm')")
    return When(values, conditions)


class _Axis:
    """One axis of one grid: its values, the axes that they depend on, and whether a cell has it at all."""

    def __init__(self, name: str, given: Any, named: dict[str, dict[Scalar, Any]]) -> None:
        self.name = name
        self.condition: When | None = None
        if isinstance(given, When):
            self.condition = given
            given = given.values
        self.function: Callable[..., Any] | None = None
        self.values: list[Scalar] = []
        self.needs: set[str] = set() if self.condition is None else set(self.condition.conditions)
        if callable(given) and not isinstance(given, type):
            self.function = given
            self.arguments = _parameters(name, given)
            self.needs |= {argument for argument, is_needed in self.arguments.items() if is_needed}
        else:
            self.values = _values_of(name, given, named)

    @property
    def depends(self) -> bool:
        return self.condition is not None or self.function is not None

    def values_in(self, cell: Axes) -> Sequence[Scalar]:
        """The values that it has beside those; none if the cell has no such axis."""
        if self.condition is not None and not self.condition.holds(cell):
            return ()
        if self.function is None:
            return self.values
        if not self.needs <= cell.keys():
            return ()
        given = self.function(**{argument: cell[argument] for argument in self.arguments if argument in cell})
        if isinstance(given, (list, tuple, range)):
            return [scalar_of(self.name, value) for value in given]
        return [scalar_of(self.name, given)]


class Space:
    """All cells of an experiment: grids and cases in the order in which they were added, less what was excluded."""

    def __init__(self) -> None:
        self.named: dict[str, dict[Scalar, Any]] = {}
        self._parts: list[Callable[[], Iterator[Axes]]] = []
        self._scalar_axes: set[str] = set()
        self._excluded: list[Callable[[Axes], bool]] = []
        self.sample: int | None = None

    def add_grid(self, given: Mapping[str, Any]) -> None:
        if not given:
            raise TypeError("a grid needs an axis, such as add_grid(alg=['a', 'b'], rep=range(20))")
        named = {axis: dict(names) for axis, names in self.named.items()}
        axes = [_Axis(name, values, named) for name, values in given.items()]
        ordered = _ordered(axes)
        for axis in axes:
            _check_names(axis.name, axis.values, named)
        self._settle(named, [axis.name for axis in axes if axis.name not in named])
        if any(axis.depends for axis in axes):
            names = [axis.name for axis in axes]
            self._parts.append(lambda: _dependent(ordered, names))
        else:
            self._parts.append(lambda: _products(axes))

    def add_cases(self, cases: Any, given_names: Mapping[str, Any]) -> None:
        named = {axis: dict(names) for axis, names in self.named.items()}
        for axis, values in given_names.items():
            if not isinstance(values, dict):
                raise TypeError(f"`{axis}` of add_cases must be a dict from names to values, not {values!r}")
            _values_of(axis, values, named)
        listed: list[Axes] = []
        for case in _records(cases):
            if not case:
                raise ValueError("a case must have at least one axis")
            listed.append({_axis_name(axis): scalar_of(axis, value) for axis, value in case.items()})
        for case in listed:
            for axis, value in case.items():
                _check_names(axis, [value], named)
        self._settle(named, [axis for case in listed for axis in case if axis not in named])
        self._parts.append(lambda: iter(listed))

    def _settle(self, named: dict[str, dict[Scalar, Any]], scalar_axes: Iterable[str]) -> None:
        """Takes what was added, unless an axis would have both names and plain values."""
        mixed = (self._scalar_axes | set(scalar_axes)) & named.keys()
        if mixed:
            axis = min(mixed)
            raise ValueError(
                f"`{axis}` has named values in one place and plain ones in another\n"
                "hint: give all of them as a dict from names to values, or all plain"
            )
        self._scalar_axes.update(scalar_axes)
        self.named = named

    def exclude(self, predicate: Callable[..., object] | None, conditions: Mapping[str, Any]) -> None:
        if (predicate is None) == (not conditions):
            raise TypeError("exclude takes a function, or conditions such as alg='svm'")
        if predicate is None:
            wanted = {axis: _alternatives(axis, value) for axis, value in conditions.items()}
            self._excluded.append(lambda cell: _matches(cell, wanted))
            return
        arguments = _parameters("exclude", predicate)
        needed = {argument for argument, is_needed in arguments.items() if is_needed}

        def is_out(cell: Axes) -> bool:
            if not needed <= cell.keys():
                return False
            return bool(predicate(**{argument: cell[argument] for argument in arguments if argument in cell}))

        self._excluded.append(is_out)

    def cells(self) -> Iterator[Axes]:
        """Every combination, some of them perhaps several times, without the sample being taken."""
        for part in self._parts:
            for cell in part():
                if not any(is_out(cell) for is_out in self._excluded):
                    yield cell


def sampled(cells: list[Any], count: int, rank: Callable[[Any], Any]) -> list[Any]:
    """The `count` of them that rank lowest, in their order; of a larger count, the same and more."""
    if count >= len(cells):
        return cells
    chosen = {id(cell) for cell in nsmallest(count, cells, key=rank)}
    return [cell for cell in cells if id(cell) in chosen]


def _products(axes: list[_Axis]) -> Iterator[Axes]:
    names = [axis.name for axis in axes]
    for values in product(*(axis.values for axis in axes)):
        yield dict(zip(names, values, strict=True))


def _dependent(ordered: list[_Axis], names: list[str]) -> Iterator[Axes]:
    def grow(cell: Axes, position: int) -> Iterator[Axes]:
        if position == len(ordered):
            yield {name: cell[name] for name in names if name in cell}
            return
        axis = ordered[position]
        values = axis.values_in(cell)
        for value in values:
            yield from grow({**cell, axis.name: value}, position + 1)
        if not values:
            yield from grow(cell, position + 1)

    return grow({}, 0)


def _ordered(axes: list[_Axis]) -> list[_Axis]:
    """Each after those that it depends on, otherwise as given. Raises `ValueError` if that cannot be."""
    names = {axis.name for axis in axes}
    for axis in axes:
        unknown = axis.needs - names
        if unknown:
            raise ValueError(f"`{axis.name}` depends on `{min(unknown)}`, which is no axis of this grid")
    left = list(axes)
    placed: list[_Axis] = []
    while left:
        there = {axis.name for axis in placed}
        ready = next((axis for axis in left if _wanted_of(axis, names) <= there), None)
        if ready is None:
            circle = ", ".join(f"`{axis.name}`" for axis in left)
            raise ValueError(f"these axes depend on one another in a circle: {circle}")
        left.remove(ready)
        placed.append(ready)
    return placed


def _wanted_of(axis: _Axis, names: set[str]) -> set[str]:
    """The axes that must be known before it: also those that its function can do without."""
    optional = set() if axis.function is None else names & set(axis.arguments)
    return (axis.needs | optional) - {axis.name}


def _parameters(what: str, function: Callable[..., object]) -> dict[str, bool]:
    """The arguments of a function of other axes, and whether it needs them."""
    from inspect import Parameter, signature

    found = {}
    for name, parameter in signature(function).parameters.items():
        if parameter.kind not in {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}:
            raise TypeError(f"the function for `{what}` must name the axes that it takes, without `{parameter}`")
        found[name] = parameter.default is Parameter.empty
    return found


def _values_of(axis: str, given: Any, named: dict[str, dict[Scalar, Any]]) -> list[Scalar]:
    """The scalars of an axis; what names stand for is added to `named`."""
    _axis_name(axis)
    if isinstance(given, dict):
        known = named.setdefault(axis, {})
        names = [scalar_of(axis, name) for name in given]
        for name, value in zip(names, given.values(), strict=True):
            if name in known and known[name] is not value:
                raise ValueError(f"`{axis}` has another value named {name!r} already")
            known[name] = value
        values = names
    elif isinstance(given, _SCALARS) or not hasattr(given, "__iter__"):
        values = [scalar_of(axis, given)]
    else:
        values = [scalar_of(axis, value) for value in given]
    if not values:
        raise ValueError(f"`{axis}` has no values")
    return list(dict.fromkeys(values)) if len({type(value) for value in values}) == 1 else values


def _check_names(axis: str, values: Iterable[Scalar], named: Mapping[str, dict[Scalar, Any]]) -> None:
    """Raises `ValueError` for a value that is no name, on an axis with names."""
    for value in values:
        if axis in named and value not in named[axis]:
            raise ValueError(
                f"`{axis}` has no value named {value!r}; there are {_listed(named[axis])}\n"
                f"hint: say what it stands for: {axis}={{{value!r}: ...}}"
            )


def _axis_name(axis: object) -> str:
    if not isinstance(axis, str) or not axis.isidentifier():
        raise ValueError(f"an axis is an argument of the function, and cannot be called {axis!r}")
    return axis


def scalar_of(axis: str, value: Any) -> Scalar:
    """A value that is stored as it is. Raises `TypeError` for what needs a name, `ValueError` for NaN."""
    kind = type(value)
    if kind not in _SCALARS:
        plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
        if type(plain) not in _SCALARS:
            raise TypeError(
                f"`{axis}` has the value {_short(value)}, which is no number, text, True, False or None\n"
                f"hint: give it a name, under which it is stored: {axis}={{'a name': ...}}"
            )
        value = plain
    if value != value:  # noqa: PLR0124 - only NaN is not itself.
        raise ValueError(f"`{axis}` cannot be NaN: it equals nothing, so its cell would never be found again")
    scalar: Scalar = value
    return scalar


def _alternatives(axis: str, wanted: Any) -> list[Scalar]:
    if isinstance(wanted, (list, tuple, set, frozenset, range)):
        return [scalar_of(axis, value) for value in wanted]
    return [scalar_of(axis, wanted)]


def _matches(cell: Axes, conditions: Mapping[str, list[Scalar]]) -> bool:
    return all(axis in cell and cell[axis] in wanted for axis, wanted in conditions.items())


def _records(cases: Any) -> list[dict[str, Any]]:
    """The cases as dicts: of a list of them, or of a data frame of pandas or polars."""
    if hasattr(cases, "to_dicts"):
        return list(cases.to_dicts())
    if hasattr(cases, "to_dict") and hasattr(cases, "columns"):
        return list(cases.to_dict("records"))
    listed = list(cases)
    for case in listed:
        if not isinstance(case, dict):
            raise TypeError(f"a case must be a dict from axes to values, not {_short(case)}")
    return listed


def _listed(values: Iterable[Scalar]) -> str:
    return ", ".join(repr(value) for value in values)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
