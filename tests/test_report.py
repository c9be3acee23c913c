"""The report as an object and as a table."""

import pickle
from dataclasses import FrozenInstanceError

import pytest

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


def test_report_with_a_million_indices_prints_at_once():
    assert "... (999980 more)" in str(Report(1.0, (WorkerReport(1, 1.0, 10**6, ((0, 10**6),)),)))


def test_report_is_immutable_and_can_be_pickled():
    report = Report(2.0, (WorkerReport(1, 1.5, 1, ((0, 1),)),))
    with pytest.raises(FrozenInstanceError):
        report.wall_seconds = 3.0
    assert pickle.loads(pickle.dumps(report)) == report
