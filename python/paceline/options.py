"""What can be asked for a call beside its function and arguments, apart from both so that no name can clash.

Owns the options' names, defaults and checks. What an option does is the engine's affair.
"""

from __future__ import annotations

from paceline.engine import LocalEngine, Terms, on_terms
from paceline.limits import check_resources, check_seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from paceline.engine import AnyEngine, Engine

    Kind = type[BaseException]

__all__ = ["DEFAULT_GRACE_S", "Options"]

_PRIORITIES = range(-(2**15), 2**15)
DEFAULT_GRACE_S = 1.0


class Options:
    """Options of calls; unchangeable, `replace` gives a copy with some of them changed.

    >>> from paceline.options import Options
    >>> Options(retries=2).replace(priority=5)
    Options(retries=2, priority=5)

    `timeout` is the time limit of each call, or item of a map, in seconds from the moment it begins in its worker. At
    the limit it is asked to stop by a `TaskInterrupted` raised in it (a coroutine is cancelled, as `asyncio` does it);
    `grace` seconds later its worker is killed.
    `retries` is how often it may be run again after an exception that is one of `retry_on`: a class, or a tuple of
    classes, by default `WorkerDied`; `TaskTimeout`, `MemoryLimitExceeded` and whatever the function raises may be among
    them. `backoff` is how many seconds it then waits the first time, doubled each time, and shortened by chance to no
    less than half. With `retry_alone`, what ran out of memory is run again while nothing else of its pool runs: tasks
    must not wait for one another then. Of the calls that wait, those of the highest `priority` (from -32768 to 32767)
    begin first. `name` stands for the function in errors and in `paceline.dump`. `resources` is what each has to have
    of its pool's `resources` while it is out, by name.

    Raises `TypeError` and `ValueError` for what is none of these.
    """

    __slots__ = ("backoff", "grace", "name", "priority", "resources", "retries", "retry_alone", "retry_on", "timeout")

    timeout: float | None
    grace: float
    retries: int
    retry_on: tuple[Kind, ...] | None
    backoff: float
    retry_alone: bool
    priority: int
    name: str | None
    resources: dict[str, float] | None

    def __init__(
        self,
        *,
        timeout: float | None = None,
        grace: float = DEFAULT_GRACE_S,
        retries: int = 0,
        retry_on: Kind | tuple[Kind, ...] | None = None,
        backoff: float = 0.0,
        retry_alone: bool = False,
        priority: int = 0,
        name: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        for option, number in (("retries", retries), ("priority", priority)):
            if type(number) is not int:
                raise TypeError(f"{option} must be an integer, not {number!r}")
        if not 0 <= retries < 2**16:
            raise ValueError(f"retries must be from 0 to 65535, not {retries}")
        if priority not in _PRIORITIES:
            raise ValueError(f"priority must be from -32768 to 32767, not {priority}")
        if type(name) not in {str, type(None)}:
            raise TypeError(f"name must be a string or None, not {name!r}")
        if timeout is not None and check_seconds("timeout", timeout) == 0:
            raise ValueError("timeout must be more than 0 seconds: nothing ends at once")
        values = {
            "timeout": timeout,
            "grace": check_seconds("grace", grace),
            "retries": retries,
            "retry_on": None if retry_on is None else _check_kinds(retry_on),
            "backoff": check_seconds("backoff", backoff),
            "retry_alone": bool(retry_alone),
            "priority": priority,
            "name": name,
            "resources": check_resources(resources),
        }
        for option, value in values.items():
            object.__setattr__(self, option, value)

    def __setattr__(self, option: str, value: object) -> None:
        raise AttributeError(f"options cannot be changed: use `replace({option}=...)`")

    def replace(self, **changes: Any) -> Options:
        """The same options but for `changes`."""
        return Options(**{**self._given(), **changes})

    def _given(self) -> dict[str, Any]:
        values = {option: getattr(self, option) for option in _ORDER}
        return {option: value for option, value in values.items() if value != _DEFAULTS[option]}

    def __repr__(self) -> str:
        given = ", ".join(f"{option}={value!r}" for option, value in self._given().items())
        return f"Options({given})"

    def bind(self, engine: AnyEngine) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The engine's `submit` and `map` with these options.

        Raises `ValueError` for a time limit, and for resources, where the workers are threads, and for resources that
        the pool does not have.
        """
        if not self._given():
            return on_terms(engine, Terms())
        if isinstance(engine, LocalEngine):
            if engine.carrier is not None:
                bound: tuple[Callable[..., Any], Callable[..., Any]] = engine.carrier.bind(engine, self)
                return bound
            terms = Terms(priority=self.priority, name=self.name)
            wrap = self._wrap_in_thread(engine)
        else:
            terms = self._terms(engine)
            wrap = self._wrap()
        submit, start_map = on_terms(engine, terms)
        return (submit, start_map) if wrap is None else (_wrapping(wrap, submit), _wrapping(wrap, start_map))

    def _terms(self, engine: Engine) -> Terms:
        deaths = outgrowths = True
        overruns = False
        if self.retry_on is not None:
            from paceline.errors import MemoryLimitExceeded, TaskTimeout, WorkerDied

            deaths, outgrowths, overruns = (
                any(issubclass(error, kind) for kind in self.retry_on)
                for error in (WorkerDied, MemoryLimitExceeded, TaskTimeout)
            )
        return Terms(
            retries=self.retries,
            priority=self.priority,
            timeout=self.timeout,
            grace=self.grace,
            backoff=self.backoff,
            retry_deaths=deaths,
            retry_overruns=overruns,
            retry_outgrowths=outgrowths,
            retry_failures=bool(self._kinds_raised()),
            retry_alone=self.retry_alone,
            name=self.name,
            **({} if self.resources is None else {"tokens": engine.tokens(list(self.resources.items()))}),
        )

    def _kinds_raised(self) -> tuple[Kind, ...]:
        """Those of `retry_on` that functions raise: any, for a function may have a pool of its own."""
        return () if self.retries == 0 or self.retry_on is None else self.retry_on

    def _wrap(self) -> Callable[[Any], Any] | None:
        kinds = self._kinds_raised()
        if not kinds:
            return None
        from paceline.retrying import Retried

        return lambda function: Retried(function, kinds)

    def _wrap_in_thread(self, engine: LocalEngine) -> Callable[[Any], Any] | None:
        if self.timeout is not None:
            raise ValueError(
                "timeout is for worker processes: a thread cannot be stopped\n"
                "hint: use `backend='processes'`, or have the function itself look at the clock"
            )
        if self.resources is not None:
            raise ValueError("resources are for worker processes: use `backend='processes'`, or a semaphore")
        kinds = self._kinds_raised()
        if not kinds:
            return None
        from paceline.retrying import RetriedInThread

        return lambda function: RetriedInThread(function, kinds, self.retries, self.backoff, engine)


_ORDER = ("timeout", "grace", "retries", "retry_on", "backoff", "retry_alone", "priority", "name", "resources")
_DEFAULTS: dict[str, Any] = {
    "timeout": None,
    "grace": DEFAULT_GRACE_S,
    "retries": 0,
    "retry_on": None,
    "backoff": 0.0,
    "retry_alone": False,
    "priority": 0,
    "name": None,
    "resources": None,
}
# The engine knows functions by identity, so the same stand-in is used for the same function.
_MOST_KEPT = 256


def _wrapping(wrap: Callable[[Any], Any], start: Callable[..., Any]) -> Callable[..., Any]:
    kept: dict[int, tuple[Any, Any]] = {}

    def start_wrapped(function: Any, /, *args: Any, **options: Any) -> Any:
        known = kept.get(id(function))
        if known is None:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            # The function is kept with it, so that no other can take its identity.
            known = kept[id(function)] = (function, wrap(function))
        return start(known[1], *args, **options)

    return start_wrapped


def _check_kinds(kinds: object) -> tuple[Kind, ...]:
    given = kinds if isinstance(kinds, tuple) else (kinds,)
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on must be an exception class or a tuple of them, not {kind!r}")
    return given
