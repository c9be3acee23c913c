"""Spans of OpenTelemetry: one for each stretch of work, with its times, its failures and the right parent."""

import gc
import subprocess
import sys
import time
import weakref

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import tasks
from paceline import Pool, ProcessPoolExecutor, TaskTimeout, WorkerDied, telemetry
from paceline.telemetry import instrument


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test")
    provider.shutdown()


def test_span_tells_what_a_worker_did_and_when(pool, tracer, exporter):
    before = time.time_ns()
    with instrument(pool, tracer=tracer):
        pid = pool.apply(tasks.pid)
        pool.apply(time.sleep, (0.05,))
    first, second = exporter.get_finished_spans()
    assert (first.name, first.kind) == ("pid", SpanKind.INTERNAL)
    assert first.status.status_code is StatusCode.UNSET
    waited = first.attributes["paceline.waited"]
    assert waited >= 0
    assert dict(first.attributes) == {
        "code.function.name": "pid",
        "process.pid": pid,
        "paceline.first_item": 0,
        "paceline.items": 1,
        "paceline.attempt": 1,
        "paceline.ending": "done",
        "paceline.waited": waited,
    }
    assert second.end_time - second.start_time >= 49_000_000
    clocks_may_differ_ns = 5_000_000_000
    assert before - clocks_may_differ_ns < first.start_time < time.time_ns() + clocks_may_differ_ns


def test_spans_of_a_map_have_all_of_its_items(pool, tracer, exporter):
    with instrument(pool, tracer=tracer):
        pool.map(tasks.identity, range(1000))
    spans = exporter.get_finished_spans()
    assert sum(span.attributes["paceline.items"] for span in spans) == 1000
    assert {span.name for span in spans} == {"identity"}


def test_span_belongs_to_the_one_that_was_current_at_the_submission(pool, tracer, exporter):
    with tracer.start_as_current_span("outermost") as outermost, instrument(pool, tracer=tracer):
        with tracer.start_as_current_span("request 1") as one:
            first = pool.submit(tasks.square, 1)
            maps = pool.map_async(tasks.square, [1, 2], chunksize=1)
        with tracer.start_as_current_span("request 2") as two:
            second = pool.submit(tasks.square, 2)
        token = contexts.attach(contexts.Context())
        try:
            orphan = pool.submit(tasks.square, 3)
        finally:
            contexts.detach(token)
        assert [future.result() for future in (first, second, orphan)] == [1, 4, 9]
        assert maps.get() == [1, 4]
    spans = [span for span in exporter.get_finished_spans() if span.name == "square"]
    spans.sort(key=lambda span: span.attributes["paceline.first_item"])
    parents = [span.parent.span_id for span in spans]
    expected = [one, one, one, two, outermost]
    assert parents == [span.get_span_context().span_id for span in expected]


def test_failures_are_errors_that_name_the_exception(tracer, exporter):
    with Pool(1) as pool, instrument(pool, tracer=tracer):
        with pytest.raises(ValueError, match="no"):
            pool.apply(tasks.fail)
        pool.starmap(tasks.fail_on, [(1, 0), (1, 1), (1, 2)], 3, on_error="skip")
        with pytest.raises(WorkerDied):
            pool.apply(tasks.die)
        with pytest.raises(TaskTimeout):
            pool.options(timeout=0.05).apply(time.sleep, (60,))
    spans = exporter.get_finished_spans()
    told = [(span.attributes["paceline.ending"], span.attributes["error.type"]) for span in spans]
    assert told == [("raised", "ValueError"), ("raised", "ValueError"), ("lost", "lost"), ("stopped", "stopped")]
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
    assert [span.status.description for span in spans] == [
        "ValueError",
        "1 of 3 items: ValueError",
        "the worker ended with it",
        "stopped: over its time, or cancelled",
    ]
    assert [span.attributes["paceline.failures"] for span in spans] == [1, 1, 1, 1]


def test_each_attempt_has_a_span_and_all_the_same_parent(tracer, exporter):
    request = tracer.start_as_current_span("request")
    with Pool(1, retries=1) as pool, instrument(pool, tracer=tracer), request as parent, pytest.raises(WorkerDied):
        pool.apply(tasks.die)
    spans = [span for span in exporter.get_finished_spans() if span.name == "die"]
    assert [span.attributes["paceline.attempt"] for span in spans] == [1, 2]
    assert {span.parent.span_id for span in spans} == {parent.get_span_context().span_id}


def test_executors_can_be_traced_and_threads_cannot(tracer, exporter):
    with ProcessPoolExecutor(1) as executor, instrument(executor, tracer=tracer):
        assert executor.submit(pow, 2, 3).result() == 8
    assert [span.name for span in exporter.get_finished_spans()] == ["pow"]
    with Pool(1, backend="threads") as pool, pytest.raises(ValueError, match="worker processes"):
        instrument(pool, tracer=tracer)


def test_without_a_tracer_it_is_the_global_one_which_may_make_nothing(pool):
    with instrument(pool):
        assert pool.apply(abs, (-1,)) == 1
    assert not isinstance(trace.get_tracer_provider(), TracerProvider), "the tests set none up"


def test_submissions_are_witnessed_only_as_long_as_somebody_traces(pool, tracer, exporter, monkeypatch):
    asked = []
    current = telemetry._contexts.current
    monkeypatch.setattr(telemetry._contexts, "current", lambda: asked.append(1) or current())
    with instrument(pool, tracer=tracer):
        with instrument(pool, tracer=tracer):
            pool.apply(abs, (-1,))
        pool.apply(abs, (-1,))
    assert len(asked) == 2, "one look, however many trace"
    pool.apply(abs, (-1,))
    assert len(asked) == 2
    assert len(exporter.get_finished_spans()) == 3


def test_contexts_that_are_kept_are_bounded(tracer, monkeypatch):
    monkeypatch.setattr(telemetry, "_MOST_CONTEXTS", 3)
    kept = telemetry._Contexts()
    numbers = []
    for number in range(10):
        with tracer.start_as_current_span(f"request {number}"):
            numbers.append(kept.current())
            assert kept.current() == numbers[-1], "the same context has the same number"
    assert len(set(numbers)) == 10
    assert [kept.of(number) is not None for number in numbers] == [False] * 7 + [True] * 3
    assert kept.current() == 0, "no span is current"


def test_tracing_keeps_no_pool(tracer, exporter):
    pool = Pool(1)
    tracing = instrument(pool, tracer=tracer)
    pool.apply(abs, (-1,))
    known = weakref.ref(pool)
    del pool
    gc.collect()
    assert known() is None
    tracing.close()
    tracing.close()
    assert len(exporter.get_finished_spans()) == 1


def test_missing_library_is_named_and_only_asked_for_when_it_is_used():
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import paceline, paceline.telemetry\n"
        "with paceline.Pool(1) as pool:\n"
        "    try:\n"
        "        paceline.telemetry.instrument(pool)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout == (
        "spans are made by opentelemetry-api, which is not installed\nhint: `pip install 'paceline[telemetry]'`\n"
    )
