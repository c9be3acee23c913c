"""The history as a trace: what viewers of the Trace Event Format ask of it, and what it tells."""

import gzip
import json
import random
from collections import defaultdict
from itertools import pairwise

import pytest

from histories import stretch
from paceline.history import Ending, History
from paceline.trace import trace, write

METADATA = {"process_name": str, "thread_name": str, "thread_sort_index": int}


def history_of(*stretches, pids=(4916, 4917), forgotten=0):
    return History(tuple(pids), tuple(sorted(stretches, key=lambda one: one.began)), forgotten)


def a_long_history(count, seed=0):
    chance = random.Random(seed)
    clocks = [0.0, 0.0, 0.0]
    stretches = []
    for item in range(count):
        worker = clocks.index(min(clocks))
        took = chance.random() * 1e-3
        began = clocks[worker] + chance.choice([0.0, 1e-6, 1e-4])
        ending = chance.choices(list(Ending), [50, 1, 1, 1])[0]
        stretches.append(
            stretch(worker, began, took, first_item=item, items=chance.randint(1, 9), ending=ending,
                    attempt=chance.choice([0, 0, 0, 1]), submitted=chance.random() * began)
        )  # fmt: skip
        clocks[worker] = began + took
    return history_of(*stretches, pids=(1, 2, 3))


def events_of(told, phase):
    return [event for event in told["traceEvents"] if event["ph"] == phase]


def check_format(told):
    """The rules of the format, for the phases that we use."""
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["displayTimeUnit"] in {"ms", "ns"}
    for event in told["traceEvents"]:
        assert event["ph"] in {"M", "X", "i", "C"}
        assert isinstance(event["name"], str)
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert isinstance(event["args"], dict)
        assert type(event["ts"]) in {int, float}
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "i":
            assert event["s"] in {"t", "p", "g"}
        if event["ph"] == "C":
            assert event["args"]
            assert all(type(value) is int for value in event["args"].values())
        if event["ph"] == "M":
            kind = METADATA[event["name"]]
            assert isinstance(event["args"]["sort_index" if kind is int else "name"], kind)
    moments = [event["ts"] for event in told["traceEvents"]]
    assert moments == sorted(moments)


def check_threads(told):
    """Stretches of one thread do not overlap by a nanosecond, which is what viewers count in."""
    named = {event["tid"] for event in events_of(told, "M") if event["name"] == "thread_name"}
    of_each = defaultdict(list)
    for event in events_of(told, "X"):
        began = round(event["ts"] * 1000)
        of_each[event["tid"]].append((began, began + round(event["dur"] * 1000)))
    assert set(of_each) == named
    for spans in of_each.values():
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def check_counters(told):
    last = {}
    for event in events_of(told, "C"):
        (value,) = event["args"].values()
        assert value >= 0
        last[event["name"]] = value
    assert all(value == 0 for value in last.values()), "in the end nothing waits and nothing runs"


@pytest.mark.parametrize("seed", range(5))
def test_trace_of_any_history_keeps_to_the_format(seed):
    told = trace(a_long_history(500, seed))
    check_format(told)
    check_threads(told)
    check_counters(told)
    assert len(events_of(told, "X")) == 500


def test_trace_of_nothing_is_a_trace():
    told = trace(History((), ()))
    check_format(told)
    assert [event["ph"] for event in told["traceEvents"]] == ["M"]


def test_stretch_tells_what_it_was():
    told = trace(
        history_of(
            stretch(1, 0.5, 0.25, function="f", first_item=7, items=3, submitted=0.1, ending=Ending.RAISED, attempt=2)
        )
    )
    (event,) = events_of(told, "X")
    assert (event["name"], event["cat"], event["ts"], event["dur"]) == ("f", "raised,retry", 500_000, 250_000)
    assert event["args"] == {
        "first item": 7, "items": 3, "attempt": 2, "ending": "raised", "waited ms": 400.0, "pid": 4917,
    }  # fmt: skip
    names = {event["tid"]: event["args"]["name"] for event in events_of(told, "M") if event["name"] == "thread_name"}
    assert names == {event["tid"]: "worker 2 (4917)"}


def test_stretches_told_as_one_say_so():
    told = trace(history_of(stretch(0, 0.0, 1.0, merged=10, items=10, busy=0.5, longest=0.125)))
    args = events_of(told, "X")[0]["args"]
    assert (args["stretches told as one"], args["busy ms"], args["longest ms"]) == (10, 500.0, 125.0)


def test_death_of_a_worker_is_an_instant_at_the_end_of_what_was_lost():
    told = trace(
        history_of(stretch(0, 0.0, 0.25, ending=Ending.LOST), stretch(1, 0.5, 0.25, attempt=1, function="simulate"))
    )
    (death,) = events_of(told, "i")
    assert death["ts"] == 250_000
    assert death["args"]["pid"] == 4916
    lost = next(event for event in events_of(told, "X") if event["cat"] == "lost")
    assert lost["tid"] == death["tid"]


def test_backlog_counts_what_waits_and_a_retry_once():
    told = trace(
        history_of(
            stretch(0, 0.5, 1.0, items=2, ending=Ending.LOST),
            stretch(1, 1.0, 1.0, items=3, submitted=0.25),
            stretch(1, 2.0, 1.0, items=2, attempt=1),
        )
    )
    backlog = [(event["ts"], event["args"]["items"]) for event in events_of(told, "C") if event["name"] == "backlog"]
    assert backlog == [(0, 2), (250_000, 5), (500_000, 3), (1_000_000, 0)]
    busy = [(event["ts"], event["args"]["calls"]) for event in events_of(told, "C") if event["name"] == "busy"]
    assert busy == [(500_000, 1), (1_000_000, 2), (1_500_000, 1), (3_000_000, 0)]


def test_coroutines_that_take_turns_are_threads_beside_each_other():
    told = trace(history_of(stretch(0, 0.0, 1.0), stretch(0, 0.5, 1.0), stretch(0, 1.0, 1.0), pids=(8,)))
    check_threads(told)
    names = [event["args"]["name"] for event in events_of(told, "M") if event["name"] == "thread_name"]
    assert names == ["worker 1 (8)", "worker 1 (8), beside it 1"]
    assert [event["dur"] for event in events_of(told, "X")] == [1e6] * 3


def test_process_id_given_to_two_workers_does_not_mix_them():
    told = trace(history_of(stretch(0, 0.0, 1.0), stretch(1, 2.0, 1.0), pids=(8, 8)))
    assert len({event["tid"] for event in events_of(told, "X")}) == 2


def test_overlap_by_a_clocks_noise_is_none():
    told = trace(history_of(stretch(0, 0.0, 1.0), stretch(0, 1.0 - 5e-7, 1.0)))
    assert len({event["tid"] for event in events_of(told, "X")}) == 1
    check_threads(told)


def test_counters_of_a_long_history_have_no_more_points_than_can_be_seen():
    told = trace(a_long_history(20_000))
    check_format(told)
    check_counters(told)
    assert len(events_of(told, "X")) == 20_000
    assert len(events_of(told, "C")) < 21_000


def test_forgotten_stretches_are_mentioned():
    assert trace(history_of(stretch(0, 0.0, 1.0), forgotten=12))["otherData"]["forgotten"] == 12


def test_trace_is_written_plain_or_packed(tmp_path):
    history = history_of(stretch(0, 0.0, 1.0, function="name of half a character: \ud800"))
    write(history, tmp_path / "run.json")
    write(history, str(tmp_path / "run.json.gz"))
    assert json.loads((tmp_path / "run.json").read_bytes()) == trace(history)
    with gzip.open(tmp_path / "run.json.gz") as packed:
        assert json.load(packed) == trace(history)
