"""The work of a pool as spans of OpenTelemetry, made by the public API of that library where it is installed.

Owns what a span is called and what it tells. It is one subscriber of `pool.subscribe` among others; where the spans go
(and whether they go anywhere) is for the program to set up, with an SDK of its choice. It needs `opentelemetry-api`,
which `pip install 'paceline[telemetry]'` brings, and nothing else of it.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from weakref import WeakKeyDictionary, ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, Self

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

    from paceline.engine import AnyEngine, Engine
    from paceline.events import Event, Subscription

    class Subscribable(Protocol):
        """A pool or an executor of worker processes."""

        _engine: AnyEngine

        def subscribe(self, callback: Any, /) -> Subscription: ...


__all__ = ["Tracing", "instrument"]

# Of so many contexts it is known that they were current when something was submitted.
_MOST_CONTEXTS = 10_000


def instrument(pool: Subscribable, *, tracer: Tracer | None = None) -> Tracing:
    """Makes a span of each stretch of work that a worker of the pool, or of the executor, does from now on.

    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    >>> spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    >>> provider.add_span_processor(SimpleSpanProcessor(spans))
    >>> from paceline import Pool
    >>> from paceline.telemetry import instrument
    >>> with Pool(1) as pool, instrument(pool, tracer=provider.get_tracer("example")):
    ...     results = pool.map(abs, [-1, 2, -3], chunksize=2)
    >>> [(span.name, span.attributes["paceline.items"]) for span in spans.get_finished_spans()]
    [('abs', 2), ('abs', 1)]

    A span is named after the function, begins and ends when the worker did, and belongs to the span that was current
    where the call was submitted, or else where this was called. Its attributes are `code.function.name`, `process.pid`
    (the worker's), `paceline.first_item`, `paceline.items`, `paceline.attempt`, `paceline.ending`, and
    `paceline.waited`, the seconds from the submission to the beginning. If something failed, its status is an error,
    `paceline.failures` says how many items, and `error.type` is the type of the exception (`_OTHER` where that is not
    known), `stopped`, or `lost`.

    Without a `tracer`, it is that of the global provider. Ends by `close()`, with a `with` block, or with the pool.

    Raises `ModuleNotFoundError` without `opentelemetry-api`, and `ValueError` if the workers are not processes.
    """
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "spans are made by opentelemetry-api, which is not installed\nhint: `pip install 'paceline[telemetry]'`"
        ) from None
    return Tracing(pool, tracer or trace.get_tracer("paceline"))


class Tracing:
    """What `instrument` gives: makes spans until it is closed, or the pool has ended."""

    def __init__(self, pool: Subscribable, tracer: Tracer) -> None:
        from opentelemetry.context import get_current

        self._tracer = tracer
        self._context: Context = get_current()
        self._subscription = pool.subscribe(self._on_event)
        # The thread of the subscription holds this, and nobody is to hold the pool but who uses it.
        engine: Any = pool._engine  # noqa: SLF001 - no word for users.
        self._engine: ref[Engine] | None = ref(engine)
        _witnesses.add(engine)

    def close(self) -> None:
        """Makes no more spans; returns when there are all of what had ended before."""
        self._subscription.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            _witnesses.remove(engine())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_event(self, event: Event) -> None:
        if event.kind == "ended":
            self._make_span(event)
        elif event.kind == "missed":
            from logging import getLogger

            getLogger("paceline").warning("spans are missing: there were %s events too many to be told", event.items)

    def _make_span(self, event: Event) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        began, seconds = event.began or 0.0, event.seconds or 0.0
        began_ns = round(began * 1e9)
        attributes: dict[str, str | int | float] = {
            "code.function.name": event.function or "",
            "paceline.first_item": event.first_item or 0,
            "paceline.items": event.items or 0,
            "paceline.attempt": event.attempt or 0,
            "paceline.ending": event.ending or "",
            "paceline.waited": max(0.0, began - (event.submitted or began)),
        }
        if event.pid is not None:
            attributes["process.pid"] = event.pid
        if event.ending != "done":
            attributes["error.type"] = _error_type(event)
            attributes["paceline.failures"] = event.failures or 0
        span = self._tracer.start_span(
            event.function or "",
            context=_contexts.of(event.origin) or self._context,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=began_ns,
        )
        if event.ending != "done":
            span.set_status(Status(StatusCode.ERROR, _what_happened(event)))
        span.end(end_time=began_ns + round(seconds * 1e9))


def _error_type(event: Event) -> str:
    """By the semantic conventions: a word of which there are few, and `_OTHER` where nothing better is known."""
    return (event.exception or "_OTHER") if event.ending == "raised" else event.ending or "_OTHER"


def _what_happened(event: Event) -> str:
    what = {
        "raised": event.exception or "an exception was raised",
        "stopped": "stopped: over its time, or cancelled",
        "lost": "the worker ended with it",
    }.get(event.ending or "", "failed")
    return what if event.items == 1 else f"{event.failures} of {event.items} items: {what}"


class _Contexts:
    """The contexts in which something was submitted, the latest of them, by number."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._next = 1
        self._numbers: dict[int, int] = {}
        self._contexts: OrderedDict[int, Context] = OrderedDict()

    def current(self) -> int:
        """The number of the current context; zero if no span is current."""
        from opentelemetry.context import get_current
        from opentelemetry.trace import get_current_span

        context = get_current()
        # As long as a context is kept here, no other can take its identity.
        number = self._numbers.get(id(context))
        if number is not None:
            return number
        if not get_current_span(context).get_span_context().is_valid:
            return 0
        with self._lock:
            number = self._numbers.setdefault(id(context), self._next)
            if number == self._next:
                self._next += 1
                self._contexts[number] = context
                if len(self._contexts) > _MOST_CONTEXTS:
                    _, oldest = self._contexts.popitem(last=False)
                    del self._numbers[id(oldest)]
        return number

    def of(self, number: int) -> Context | None:
        return self._contexts.get(number)


class _Witnesses:
    """For how many tracings each engine asks at each submission in which context that is."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._counts: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()

    def add(self, engine: Engine) -> None:
        with self._lock:
            self._counts[engine] = self._counts.get(engine, 0) + 1
            engine.set_witness(_contexts.current)

    def remove(self, engine: Engine | None) -> None:
        if engine is None:
            return
        with self._lock:
            self._counts[engine] -= 1
            if not self._counts[engine]:
                del self._counts[engine]
                engine.set_witness(None)


_contexts = _Contexts()
_witnesses = _Witnesses()
