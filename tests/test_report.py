"""The report as an object and as a table."""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError
from functools import partial

import pytest

import tasks
from histories import stretch
from paceline import Pool, TaskTimeout, WorkerDied, current_task
from paceline.__main__ import main
from paceline.history import History
from paceline.report import Report, WorkerReport


def test_report_prints_as_a_table():
    report = Report(
        6.489,
        (
            WorkerReport(4916, 4.8323, 1, ((0, 1),)),
            WorkerReport(4917, 4.8496, 3, ((1, 1), (12, 1), (16, 1))),
        ),
    )
    assert str(report) == (
        "Process  1 (4916)    4.8323(s)    1 job(s) (0,)\n"
        "Process  2 (4917)    4.8496(s)    3 job(s) (1, 12, 16)\n"
        "      Total work done (s)       9.6819\n"
        "      Wall clock time (s)       6.4890"
    )


def test_report_aligns_growing_widths():
    report = Report(100.0, (WorkerReport(7, 1.5, 2, ((0, 2),)), WorkerReport(12345, 123.25, 100, ((2, 100),))))
    shown = ", ".join(map(str, range(2, 22)))
    assert str(report).splitlines()[:2] == [
        "Process  1 (    7)      1.5000(s)      2 job(s) (0, 1)",
        f"Process  2 (12345)    123.2500(s)    100 job(s) ({shown}, ... (80 more))",
    ]


def test_report_with_more_than_99_workers_stays_aligned():
    report = Report(1.0, tuple(WorkerReport(1000 + number, 1.0, 1, ((number, 1),)) for number in range(100)))
    lines = str(report).splitlines()
    assert lines[0].startswith("Process   1 (1000)")
    assert lines[99].startswith("Process 100 (1099)")


def test_report_before_any_work_has_only_totals():
    assert str(Report(0.0, ())) == "      Total work done (s)       0.0000\n      Wall clock time (s)       0.0000"
    assert Report(0.0, ()).speedup == 0.0


def test_report_sums_up_its_workers():
    report = Report(2.0, (WorkerReport(1, 1.5, 2, ((0, 1), (3, 1))), WorkerReport(2, 1.5, 2, ((1, 2),))))
    assert report.work_seconds == 3.0
    assert report.items == 4
    assert report.speedup == 1.5
    assert report.workers[0].indices == (0, 3)
    assert report.workers[1].indices == (1, 2)


def test_least_time_goes_by_tasks_and_not_by_the_chunks_they_came_in():
    whole = stretch(0, 0.0, 4.0, items=40)
    workers = (WorkerReport(1, 4.0, 40, ((0, 40),)),)
    assert Report(4.0, workers, History((1,), (whole,)), 2).lower_bound_seconds == 2.0
    # Neighbours that are told as one are tasks nevertheless.
    singly = stretch(0, 0.0, 4.0, items=40, merged=40, longest=3.0)
    assert Report(4.0, workers, History((1,), (singly,)), 2).lower_bound_seconds == 3.0


def test_report_with_a_million_indices_prints_at_once():
    assert "... (999980 more)" in str(Report(1.0, (WorkerReport(1, 1.0, 10**6, ((0, 10**6),)),)))


def test_report_is_immutable_and_can_be_pickled():
    report = Report(2.0, (WorkerReport(1, 1.5, 1, ((0, 1),)),))
    with pytest.raises(FrozenInstanceError):
        report.wall_seconds = 3.0
    assert pickle.loads(pickle.dumps(report)) == report


# -- of real pools -----------------------------------------------------------------------------------------------------


def act(what):
    if what == "die" and current_task().attempt == 1:
        os._exit(3)
    if what == "raise":
        raise ValueError
    time.sleep(60 if what == "hang" else 0.02)


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """What draws keeps its fonts open, and a thread."""
    pytest.importorskip("matplotlib")
    Report(1.0, (), History((1,), ()), 1).plot(tmp_path_factory.mktemp("first") / "first.png")


@pytest.fixture(scope="module")
def eventful():
    """The report of a run with a death that is made good, a failure and a timeout."""
    with Pool(2, retries=1, retry_on=WorkerDied) as pool:
        pool.map(act, ["work"] * 6 + ["die", "raise"] + ["work"] * 6, on_error="return")
        with pytest.raises(TaskTimeout):
            pool.options(timeout=1.0).submit(act, "hang").result()
        return pool.report()


def test_report_of_a_pool_tells_what_went_wrong(eventful):
    assert eventful.failures == {"raised": 1, "stopped": 1, "lost": 1}
    assert eventful.retries == 1
    assert eventful.capacity == 2
    assert 0 < eventful.efficiency <= 1
    assert eventful.imbalance >= 1
    assert 0 < eventful.lower_bound_seconds <= eventful.wall_seconds
    assert eventful.slowest(1)[0].ending.name == "STOPPED"
    assert "1 raised, 1 stopped, 1 lost" in str(eventful)
    assert pickle.loads(pickle.dumps(eventful)) == eventful


def test_failures_are_counted_by_items_and_not_by_what_they_travelled_in(tmp_path):
    with Pool(1) as pool:
        pool.map(act, ["raise", "work"] * 10, chunksize=20, on_error="return")
        report = pool.report()
    assert report.failures == {"raised": 10}
    assert [stretch.items for stretch in report.history.stretches] == [20]
    assert "10 raised" in str(report)
    assert report.to_dict()["failures"] == {"raised": 10}
    report.save(tmp_path / "run.json")
    assert Report.load(tmp_path / "run.json") == report


def test_history_agrees_with_the_accounts(eventful):
    history, done = eventful.history, {}
    for one in history.stretches:
        assert 0 <= one.submitted <= one.began <= one.ended <= eventful.wall_seconds + 1e-6
        assert one.busy <= one.ended - one.began + 1e-9
        if one.ending.name != "LOST":
            numbers = range(one.first_item, one.first_item + one.items)
            done.setdefault(history.pids[one.worker], []).extend(numbers)
    assert {worker.pid: sorted(worker.indices) for worker in eventful.workers} == {
        pid: sorted(numbers) for pid, numbers in done.items()
    }
    assert {stretch.function for stretch in history.stretches} == {"act"}


def test_report_goes_elsewhere(drawing, eventful, tmp_path):
    plain = json.loads(json.dumps(eventful.to_dict()))
    assert len(plain["stretches"]) == len(eventful.history.stretches)
    assert plain["items"] == 15
    frame = eventful.to_pandas()
    assert list(frame["ending"]) == [stretch.ending.name.lower() for stretch in eventful.history.stretches]
    assert set(frame["pid"]) == set(eventful.history.pids)
    assert "<table>" in eventful._repr_html_()
    for name in ("run.svg", "run.png", "run.html"):
        eventful.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1_000
    eventful.to_trace(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text())["traceEvents"]


def test_saved_report_is_the_same_when_it_is_loaded(eventful, tmp_path, capsys):
    file = tmp_path / "run.json"
    eventful.save(file)
    assert Report.load(file) == eventful
    small = Report(1.0, (WorkerReport(1, 0.5, 2, ((0, 2),)),))
    small.save(file)
    assert Report.load(file) == small
    for wrong in ('{"paceline_report": 99}', "[]", "not JSON", '{"paceline_report": 1}'):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"version of Paceline|no report"):
            Report.load(file)
        assert main(["report", str(file)]) == 1
    assert "error:" in capsys.readouterr().err


def places(value, path=()):
    """Where each value stands in what JSON gives, the whole included."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*path, key))


def test_file_with_anything_else_anywhere_is_a_report_or_is_none(eventful, tmp_path):
    file = tmp_path / "run.json"
    eventful.save(file)
    whole = json.loads(file.read_text())
    # Those that are left out are like these.
    text = json.dumps({**whole, "stretches": whole["stretches"][:2], "advice": []})
    others = (None, True, -1, 1.5, 10**400, float("nan"), "text", [], [[]], [1, 2, 3, 4], {}, {"largest": []})
    refused = 0
    for place in places(json.loads(text)):
        for other in others:
            damaged = json.loads(text)
            if place:
                whole = damaged
                for key in place[:-1]:
                    whole = whole[key]
                whole[place[-1]] = other
            else:
                damaged = other
            file.write_text(json.dumps(damaged))
            try:
                report = Report.load(file)
            except ValueError:
                refused += 1
            else:
                # Whatever of it is shown, nothing raises.
                assert str(report), (place, other)
                assert report.to_dict()["workers"] is not None, (place, other)
    assert refused > 300


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"paceline_report": 1, "workers": 1' + "0" * 5_000 + "}", "\ud800", '"paceline_report"', "null"],
    ids=["deep", "digits", "surrogate", "string", "null"],
)
def test_file_that_is_no_report_is_called_so(text, tmp_path, capsys):
    file = tmp_path / "run.json"
    file.write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match="is no report that Paceline has saved"):
        Report.load(file)
    assert main(["report", str(file)]) == 1
    assert capsys.readouterr().err == f"error: {file} is no report that Paceline has saved\n"


def test_picture_of_another_kind_is_wrong_use_before_anything_is_shown(eventful, tmp_path, capsys):
    file = tmp_path / "run.json"
    eventful.save(file)
    with pytest.raises(SystemExit) as wrong:
        main(["report", str(file), "--plot", str(tmp_path / "run.txt")])
    assert wrong.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: paceline report" in err
    assert ".html, .svg, .png" in err


def test_report_whose_reader_has_left_ends_quietly(tmp_path):
    # More than a pipe holds, or the program buffers.
    workers = tuple(WorkerReport(pid, 1.0, 40, ((0, 40),)) for pid in range(1_000, 3_000))
    Report(1.0, workers).save(tmp_path / "run.json")
    command = [sys.executable, "-m", "paceline", "report", str(tmp_path / "run.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("Process")
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, "")


def test_saved_report_is_shown_and_drawn_by_the_command(eventful, tmp_path, capsys):
    file = tmp_path / "run.json"
    eventful.save(file)
    page, trace = tmp_path / "run.html", tmp_path / "trace.json.gz"
    assert main(["report", str(file), "--plot", str(page), "--trace", str(trace)]) == 0
    assert capsys.readouterr().out == f"{eventful}\n"
    assert page.exists()
    assert trace.exists()


def test_run_of_a_million_items_is_told_whole_and_small():
    with Pool(2) as pool:
        for _ in range(10):
            pool.map(abs, range(100_000))
        for future in [pool.submit(abs, number) for number in range(200_000)]:
            future.result()
        report = pool.report()
    stretches = report.history.stretches
    assert sum(stretch.items for stretch in stretches) == report.items == 1_200_000
    assert len(stretches) < 140_000
    assert sum(stretch.busy for stretch in stretches) == pytest.approx(report.work_seconds, rel=1e-3)


def test_report_of_an_unused_pool_is_saved_and_loaded(tmp_path):
    with Pool(1) as pool:
        report = pool.report()
    report.save(tmp_path / "run.json")
    assert Report.load(tmp_path / "run.json") == report
    assert str(Report.load(tmp_path / "run.json")) == str(report)


def test_report_without_a_history_cannot_be_drawn():
    report = Report(1.0, (WorkerReport(1, 0.5, 1, ((0, 1),)),))
    assert report.advice == ()
    assert report.to_dict()["stretches"] == []
    with pytest.raises(ValueError, match="has no history"):
        report.plot("run.svg")


# -- of one call -------------------------------------------------------------------------------------------------------


def test_report_of_one_map_has_its_items_alone(pool):
    pool.map(tasks.square, range(50))
    future = pool.map_async(tasks.square, range(300), chunksize=10)
    pool.map(tasks.square, range(50))
    future.wait()
    report = future.report()
    assert report.items == 300
    assert sorted(index for worker in report.workers for index in worker.indices) == list(range(300))
    assert report.capacity == 2
    assert 0 < report.work_seconds <= 2 * report.wall_seconds
    assert {one.function for one in report.history.stretches} == {"square"}
    assert "Total work done" in str(report)


def fail_twice():
    if current_task().attempt < 3:
        raise OSError("not yet")


def test_report_of_a_call_that_failed_and_was_run_again(pool):
    future = pool.options(retries=3, retry_on=OSError).submit(fail_twice)
    future.wait()
    report = future.report()
    assert report.retries == 2
    assert report.failures == {"raised": 2}
    assert [worker.indices for worker in report.workers if worker.items]


@pytest.mark.parametrize("backend", ["threads", "serial"])
def test_threads_have_a_history_too(backend):
    with Pool(2, backend=backend) as pool:
        pool.map(tasks.square, range(10))
        starred = pool.starmap_async(
            tasks.fail_on, [(3, number) for number in range(5)], on_error="return", chunksize=1
        )
        starred.wait()
        assert starred.report().items == 5
        assert starred.report().failures == {"raised": 1}
        report = pool.report()
    assert report.items == 15
    assert {one.function for one in report.history.stretches} == {"square", "fail_on"}
    assert report.capacity == (2 if backend == "threads" else 1)
    assert report.history.pids[report.history.stretches[0].worker] in [worker.pid for worker in report.workers]
    assert all(one.submitted <= one.began <= one.ended for one in report.history.stretches)


class Doubler:
    def __call__(self, number):
        return 2 * number


@pytest.mark.parametrize("backend", ["processes", "threads"])
def test_functions_of_all_kinds_have_the_names_that_people_know(backend):
    functions = [tasks.square, abs, (3).__add__, partial(partial(tasks.add, 1)), Doubler(), lambda number: number]
    with Pool(1, backend=backend) as pool:
        for function in functions:
            pool.apply(function, (3,))
        names = {one.function for one in pool.report().history.stretches}
    assert {"square", "abs", "int.__add__", "add", "Doubler"} <= names
    assert any(name.endswith("<lambda>") for name in names)


def test_idle_time_is_told_and_how_much_of_it_nothing_was_there_to_do():
    rows = [
        # worker, submitted, began, ended
        (0, 0.0, 0.0, 1.0),
        (1, 0.0, 0.5, 1.0),
        (0, 2.0, 2.0, 3.0),
    ]
    made = [stretch(worker, began, ended - began, submitted=submitted) for worker, submitted, began, ended in rows]
    history = History((11, 12), tuple(made))
    assert history.idleness(2, 4.0) == {0: (2.0, 2.0), 1: (3.5, 3.0)}


def test_workers_tell_how_much_memory_they_had_and_how_long_they_were_idle(pool):
    pool.map(time.sleep, [0.05, 0.05])
    time.sleep(0.1)
    pool.map(time.sleep, [0.05, 0.05])
    report = pool.report()
    for worker in report.workers:
        assert worker.peak_bytes > 5_000_000
        assert 0.09 < worker.waiting_seconds <= worker.idle_seconds < report.wall_seconds
    assert "nothing submitted in" in str(report)
    assert "peak (MB)" in report._repr_html_()
