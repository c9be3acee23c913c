"""`map_reduce`: a function of every item, and one result out of all of theirs, both made by the workers.

Owns the grouping: which results are combined with which, and where. Workers map *blocks* of items and reduce what comes
out of a block on the spot, so that one partial result travels instead of many; partial results are then combined, a few
at a time, by further tasks. It never says how a task is run, and only `paceline.calls` knows of pools.

The result must not depend on luck, even where the reducer is not quite associative, as with floating point. So nothing
that is measured decides the grouping: a block's size follows from its place in the input, and partial results are the
leaves of a tree whose shape follows from their number. The same input gives the same result on any number of workers.
`commutative=True` gives that up, and combines whatever is there first.
"""

from __future__ import annotations

from itertools import islice

from paceline.functions import MISSING, gives_coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from paceline.engine import Stream
    from paceline.future import Future

    R = TypeVar("R")
    T = TypeVar("T")

    # What a task needs to know of the items that went into a result: the first and the last, counted from zero.
    Span = tuple[int, int]

__all__ = ["Reduction", "Source", "map_reduce"]

# Results are combined by as many at a time. Fewer would send each of them through more hands, more would leave fewer
# workers something to do at the end.
_FAN = 4

# Blocks grow with their distance from the beginning, so that short inputs of long calls spread over all workers and
# long inputs of short calls cost little; and no block is more than this share of what came before it.
_SHARE = 64
_LARGEST_BLOCK = 1024


def map_reduce(
    reduction: Reduction, iterable: Iterable[Any], chunksize: int | None, enter: Callable[[Source], int]
) -> Any:
    """Reads the input into a reduction that has just been made, and gives its result.

    `enter` is told of the input before it is read, so that its pool stays open that long; it gives the input's number.
    """
    if chunksize is not None and chunksize < 1:
        raise ValueError(f"chunksize must be at least 1, not {chunksize}")
    source = Source(iterable)
    reduction.number = enter(source)
    try:
        while not reduction.failed:
            read = reduction.read
            size = min(max(read // _SHARE, 1), _LARGEST_BLOCK) if chunksize is None else chunksize
            try:
                items = source.take(size)
            except Exception as error:
                reduction.fail(read, error)
                break
            if items:
                reduction.add(items)
            if len(items) < size:
                break
        return reduction.finish()
    except BaseException:
        reduction.abandon()
        raise
    finally:
        source.when_read(source)


class Source:
    """The input of a reduction, as its pool sees it: something that is being read, and that can be stopped."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.sized = hasattr(iterable, "__len__")
        self.when_read: Callable[[Source], object] = lambda source: None
        self._items = iter(iterable)
        self._reason: BaseException | None = None

    def take(self, size: int) -> list[Any]:
        """The next items, fewer than `size` only at the end; raises what the input raises."""
        if self._reason is not None:
            raise self._reason
        return list(islice(self._items, size))

    def lift_the_limit(self) -> None:
        """Nothing is to be done for it: somebody waits for the result, so everything is read anyway."""

    def stop(self, reason: BaseException | None) -> None:
        """Reads no further; who waits for the result gets `reason`."""
        self._reason = reason


class Reduction:
    """A reduction on its way: blocks of items go in, one after the other, and one result comes out.

    Whoever adds blocks also takes in what has ended, as soon as `limit` tasks are out: there is no thread. Not for
    several threads at a time. `submit` is an engine's; `read` counts the items so far, and `number` tells
    this reduction from others of the same pool.

    Raises `TypeError` for a mapper or a reducer that cannot be called, or gives a coroutine.
    """

    def __init__(
        self,
        submit: Callable[..., Any],
        mapper: Callable[..., Any],
        reducer: Callable[[Any, Any], Any],
        *,
        limit: int,
        initial: Any = MISSING,
        commutative: bool = False,
    ) -> None:
        from functools import partial

        from paceline.engine import Stream

        for role, function in (("mapper", mapper), ("reducer", reducer)):
            if not callable(function):
                raise TypeError(f"the {role} must be callable, not {function!r}")
            if gives_coroutine(function):
                raise TypeError(
                    f"the {role} must not be a coroutine function\n"
                    "hint: `map`, `imap` and `amap` take one; their results can be reduced"
                )
        # Errors shall name what the user knows.
        self._submit = partial(submit, name=mapper)
        # One object each for the whole of the reduction, because functions are sent once for each object.
        self._map_block = partial(map_block, mapper, reducer)
        self._combine = partial(combine, reducer)
        self._limit = limit
        self._initial = initial
        self._commutative = commutative
        self._grouping: _InOrder | _AsTheyCome = _AsTheyCome() if commutative else _InOrder()
        self._stream: Stream = Stream()
        self._outstanding: dict[Future[Any], _Part] = {}
        self._blocks = 0
        self.read = 0
        self.number = 0
        # The first item, in order, that something failed with, and the failure.
        self._failure: tuple[int, BaseException] | None = None

    @property
    def failed(self) -> bool:
        """Tells whether there is no use in adding more."""
        return self._failure is not None

    def add(self, items: Sequence[Any]) -> None:
        """Has a worker map these items and reduce what comes out; waits while too many tasks are out."""
        if self.failed:
            return
        first, self.read = self.read, self.read + len(items)
        part = _Part(0, self._blocks, (first, self.read - 1))
        arguments: tuple[Any, ...] = (self.number, first, items)
        if self._blocks == 0 and self._initial is not MISSING:
            arguments += (self._initial,)
        self._blocks += 1
        self._start(self._map_block, arguments, part)
        while len(self._outstanding) >= self._limit:
            self._take_in()

    def take_in_what_has_ended(self) -> None:
        """Combines what can be combined by now, without waiting; for who adds blocks without a limit."""
        try:
            while self._outstanding:
                self._take_in(0)
        except TimeoutError:
            pass

    def finish(self) -> Any:
        """The result of all that was added, when everything has ended; raises the first failure in order."""
        self._combine_all(self._grouping.end(self._blocks))
        while self._outstanding:
            self._take_in()
        if self._failure is not None:
            try:
                raise self._failure[1]
            finally:
                self._failure = None  # Its traceback leads here, and nobody shall have to untie that knot.
        if self._blocks:
            return self._grouping.last().value
        if self._initial is MISSING:
            raise TypeError("map_reduce() of empty iterable with no initial value")
        return self._initial

    def fail(self, first: int, error: BaseException) -> None:
        """Notes that from item `first` on there is no result; what comes before may fail as well, and is then first.

        So the failure that is raised does not depend on which of several was quicker. With a commutative reducer it
        does, like the result itself, and nothing is waited for.
        """
        if self._failure is None or first < self._failure[0]:
            self._failure = (first, error)
        for future, part in list(self._outstanding.items()):
            if self._commutative or part.span[0] > first:
                future.cancel()

    def abandon(self) -> None:
        """Cancels what has not begun, and waits for nothing."""
        for future in self._outstanding:
            future.cancel()
        self._outstanding.clear()

    def _start(self, function: Callable[..., Any], arguments: tuple[Any, ...], part: _Part) -> None:
        try:
            future: Future[Any] = self._submit(function, arguments, None, stream=self._stream)
        except Exception as error:
            _note(error, f"for {_items(part.span)}")
            self.fail(part.span[0], error)
        else:
            self._outstanding[future] = part

    def _take_in(self, timeout: float | None = None) -> None:
        future = self._stream.next(timeout)
        part = self._outstanding.pop(future)
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            if not self.failed:
                from concurrent.futures import CancelledError

                self.fail(part.span[0], CancelledError())
        elif error is not None:
            from paceline.errors import WorkerError

            if isinstance(error, WorkerError):
                what = "mapping" if part.level == 0 else "combining the results of"
                _note(error, f"lost while {what} {_items(part.span)}")
            self.fail(part.span[0], error)
        else:
            part.value = future.result()
            self._combine_all(self._grouping.put(part))

    def _combine_all(self, groups: Iterator[list[_Part]]) -> None:
        for group in groups:
            first = group[0].span[0]
            if self._failure is not None and (self._commutative or first > self._failure[0]):
                continue
            whole = _Part(group[0].level + 1, group[0].index // _FAN, (first, group[-1].span[1]))
            arguments = (self.number, [part.span for part in group], [part.value for part in group])
            self._start(self._combine, arguments, whole)


class _Part:
    """The result of some of the items: its place in the tree, the items, and the value once that is known."""

    __slots__ = ("index", "level", "span", "value")

    def __init__(self, level: int, index: int, span: Span) -> None:
        self.level = level
        self.index = index
        self.span = span
        self.value: Any = None


class _InOrder:
    """Combines neighbours only: a tree whose shape follows from the number of its leaves alone.

    The parts of one level are grouped from the left, as many as the fan at a time; the last group has what is left, and
    is known for the last only when the input has ended. A part that is alone in its group moves up as it is.
    """

    _root: _Part

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], dict[int, _Part]] = {}
        self._leaves: int | None = None

    def put(self, part: _Part) -> Iterator[list[_Part]]:
        """Takes in a part, and gives the group that is complete with it, if there is one."""
        key = (part.level + 1, part.index // _FAN)
        self._groups.setdefault(key, {})[part.index] = part
        return self._completed(key)

    def end(self, leaves: int) -> Iterator[list[_Part]]:
        """Takes note of the number of leaves, and gives the groups that turn out to have been complete."""
        self._leaves = leaves
        for key in sorted(self._groups):
            # It is not there any more if a part that was alone below has just completed it.
            if key in self._groups:
                yield from self._completed(key)

    def last(self) -> _Part:
        """The result of all, once everything has been combined."""
        return self._root

    def _completed(self, key: tuple[int, int]) -> Iterator[list[_Part]]:
        while len(group := self._groups[key]) == self._size(key):
            del self._groups[key]
            level, index = key
            parts = [group[number] for number in sorted(group)]
            if len(parts) > 1:
                yield parts
                return
            part = parts[0]
            if self._count(level) == 1:
                self._root = part
                return
            part.level, part.index = level, index
            key = (level + 1, index // _FAN)
            self._groups.setdefault(key, {})[index] = part

    def _size(self, key: tuple[int, int]) -> int:
        level, index = key
        return _FAN if self._leaves is None else min(_FAN, self._count(level - 1) - _FAN * index)

    def _count(self, level: int) -> int:
        """How many parts a level has; unknown, and so not one, before the end of the input."""
        if self._leaves is None:
            return 0
        width: int = _FAN**level
        return -(-self._leaves // width)


class _AsTheyCome:
    """Combines what is there first; only for reducers that do not care."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._wanted = _FAN

    def put(self, part: _Part) -> Iterator[list[_Part]]:
        self._parts.append(part)
        return self._completed()

    def end(self, leaves: int) -> Iterator[list[_Part]]:  # noqa: ARG002 - the other grouping needs it.
        # Nothing more is to come but what is out, so nothing is gained by waiting for a full group.
        self._wanted = 2
        return self._completed()

    def last(self) -> _Part:
        (part,) = self._parts
        return part

    def _completed(self) -> Iterator[list[_Part]]:
        if len(self._parts) >= self._wanted:
            parts, self._parts = self._parts, []
            yield parts


# -- what runs in the workers ------------------------------------------------------------------------------------------


def map_block(
    mapper: Callable[[T], R],
    reducer: Callable[[R, R], R],
    number: int,
    first: int,
    items: Iterable[T],
    *before: R,
) -> R:
    """Maps the items, of which `first` is the number of the first, and reduces what comes out, after `before`."""
    index = first
    _tell_part(lambda: (number, index))
    total = before[0] if before else MISSING
    for index, item in enumerate(items, first):
        try:
            value = mapper(item)
        except BaseException as error:
            _note(error, f"raised by the mapper for item {index}: {_shortened(item)}")
            raise
        if total is MISSING:
            total = value
            continue
        try:
            total = reducer(total, value)
        except BaseException as error:
            left = _items((first, index - 1)) if index > first else "`initial`"
            _note(error, f"raised by the reducer for the results of {left} and of item {index}")
            raise
    return total


def combine(reducer: Callable[[R, R], R], number: int, spans: Sequence[Span], values: Sequence[R]) -> R:
    """Reduces results that stand for `spans` of the items, from left to right."""
    _tell_part(lambda: (number, spans[0][0], spans[-1][1]))
    total = values[0]
    for index in range(1, len(values)):
        try:
            total = reducer(total, values[index])
        except BaseException as error:
            left = _items((spans[0][0], spans[index - 1][1]))
            _note(error, f"raised by the reducer for the results of {left} and of {_items(spans[index])}")
            raise
    return total


def _tell_part(part: Callable[[], tuple[int, ...]]) -> None:
    """Has `task_rng` tell by `part` what is being done, and not by the task.

    How many tasks have been submitted before a block is a matter of time; its items are not.
    """
    from paceline.engine import current_task

    task = current_task()
    if task is not None:
        task.kept["part"] = part


def _note(error: BaseException, text: str) -> None:
    try:
        error.add_note(text)
    except Exception:  # A class that cannot take a note does without.
        pass


def _items(span: Span) -> str:
    return f"item {span[0]}" if span[0] == span[1] else f"items {span[0]} to {span[1]}"


def _shortened(item: object) -> str:
    from reprlib import repr as short_repr

    try:
        return short_repr(item)
    except Exception:
        return f"a `{type(item).__qualname__}` whose `repr` raises"
