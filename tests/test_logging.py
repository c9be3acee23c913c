"""Log records of workers are handled by their parent's loggers, in order, once, and also if the worker dies."""

import logging
import os

import pytest

import tasks
from paceline import Pool, WorkerDied
from program import Program, run_script


class Collector(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def collector():
    """The records of loggers below "job", which lets everything from INFO on through."""
    collector = Collector()
    logger = logging.getLogger("job")
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    yield collector
    logger.removeHandler(collector)
    logger.setLevel(logging.NOTSET)


def log(level, message, *arguments, **options):
    import logging

    logging.getLogger("job.step").log(level, message, *arguments, **options)
    return os.getpid()


def test_a_record_arrives_with_all_that_it_says(collector):
    with Pool(1) as pool:
        pid = pool.apply(log, (logging.WARNING, "%s of %d", "one", 2), {"extra": {"place": (1, 2)}})
    (record,) = collector.records
    assert record.getMessage() == "one of 2"
    assert (record.name, record.levelno, record.levelname) == ("job.step", logging.WARNING, "WARNING")
    assert (record.process, record.processName) == (pid, f"PacelineWorker-{pid}")
    assert record.funcName == "log"
    assert record.pathname == __file__
    assert record.place == (1, 2)


def test_records_of_one_worker_stay_in_order(collector):
    def count(seat):
        for number in range(1000):
            log(logging.INFO, "%d %d", seat, number)

    with Pool(2) as pool:
        pool.map(count, range(2), chunksize=1)
    messages = [record.getMessage() for record in collector.records]
    for seat in range(2):
        mine = [message for message in messages if message.startswith(f"{seat} ")]
        assert mine == [f"{seat} {number}" for number in range(1000)]


def test_records_below_the_level_of_a_logger_never_cross(collector):
    def count_sent():
        from paceline import records

        sent = []
        before = records.packed
        records.packed = lambda record: sent.append(record.getMessage()) or before(record)
        log(logging.DEBUG, "low")
        log(logging.INFO, "high")
        logging.getLogger("elsewhere").info("below the root's")
        return sent

    with Pool(1) as pool:
        assert pool.apply(count_sent) == ["high"]
    assert [record.getMessage() for record in collector.records] == ["high"]


def test_logging_disable_of_the_parent_holds_in_workers(collector):
    logging.disable(logging.WARNING)
    try:
        with Pool(1) as pool:
            pool.apply(log, (logging.WARNING, "disabled"))
            pool.apply(log, (logging.ERROR, "enabled"))
            assert pool.apply(lambda: logging.getLogger("job").isEnabledFor(logging.WARNING)) is False
    finally:
        logging.disable(logging.NOTSET)
    assert [record.getMessage() for record in collector.records] == ["enabled"]


def test_the_parent_has_the_last_word_on_the_level(collector):
    with Pool(1) as pool:
        logging.getLogger("job").setLevel(logging.ERROR)
        pool.apply(log, (logging.INFO, "sent, and not wanted"))
        pool.apply(log, (logging.ERROR, "wanted"))
    assert [record.getMessage() for record in collector.records] == ["wanted"]


def test_caplog_sees_records_of_workers(caplog):
    with caplog.at_level(logging.INFO), Pool(1) as pool:
        pool.apply(log, (logging.INFO, "seen"))
    assert "seen" in caplog.messages


def test_an_exception_arrives_as_its_text(collector):
    def fail():
        try:
            tasks.fail("inner")
        except ValueError:
            logging.getLogger("job").exception("outer")

    with Pool(1) as pool:
        pool.apply(fail)
    (record,) = collector.records
    text = logging.Formatter().format(record)
    assert text.startswith("outer\nTraceback (most recent call last):")
    assert text.endswith("ValueError: inner")
    assert record.exc_info is None


class Rude:
    def __str__(self):
        raise RuntimeError("no text for you")


def test_what_cannot_be_pickled_or_formatted_does_no_harm(collector):
    def speak():
        import threading

        log(logging.INFO, "with %s", threading.Lock(), extra={"lock": threading.Lock(), "fine": {1: [2]}})
        log(logging.INFO, "too few %s %s", 1)
        log(logging.INFO, "rude %s", Rude())
        log(logging.INFO, "object", extra={"collector": ValueError("kept")})

    with Pool(1) as pool:
        pool.apply(speak)
    first, second, third, fourth = collector.records
    assert first.getMessage().startswith("with <unlocked _thread.lock")
    assert first.lock.startswith("<unlocked _thread.lock")
    assert first.fine == {1: [2]}
    assert "too few" in second.getMessage()
    assert "rude" in third.getMessage()
    assert isinstance(fourth.collector, ValueError)


def test_a_record_longer_than_a_datagram_arrives_whole(collector):
    text = "x" * 1_000_000
    with Pool(1) as pool:
        pool.apply(log, (logging.INFO, text))
    assert collector.records[0].getMessage() == text


def test_records_of_a_worker_that_dies_arrive(collector, gate):
    def chatter():
        for number in range(200):
            log(logging.INFO, "%d", number)
        tasks.die()

    with Pool(1) as pool, pytest.raises(WorkerDied):
        pool.apply(chatter)
    assert [record.getMessage() for record in collector.records] == [str(number) for number in range(200)]


def test_records_of_a_nested_worker_arrive(collector):
    def nest():
        from paceline import Pool

        with Pool(1) as inner:
            return inner.apply(log, (logging.INFO, "from within"))

    with Pool(1) as pool:
        pid = pool.apply(nest)
    (record,) = collector.records
    assert (record.getMessage(), record.process) == ("from within", pid)


def test_a_worker_that_configures_handlers_speaks_through_them_only(collector, capsys):
    def configure():
        logging.basicConfig(level=logging.DEBUG, format="configured: %(message)s")

    with Pool(1, initializer=configure) as pool:
        pool.apply(log, (logging.INFO, "once"))
    assert collector.records == []
    assert capsys.readouterr().err == "configured: once\n"


def test_the_functions_of_the_module_are_heard_too(caplog):
    def speak():
        logging.warning("by the module")  # noqa: LOG015
        logging.basicConfig()
        logging.warning("again")  # noqa: LOG015

    with Pool(1) as pool:
        pool.apply(speak)
    assert caplog.messages == ["by the module", "again"]


def test_a_handler_that_does_nothing_does_not_keep_a_record_from_the_parent(collector):
    def speak():
        logging.getLogger("job.step").addHandler(logging.NullHandler())
        log(logging.INFO, "heard all the same")

    with Pool(1) as pool:
        pool.apply(speak)
    assert [record.getMessage() for record in collector.records] == ["heard all the same"]


def test_a_record_factory_of_the_parent_is_used(collector):
    class Record(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Record)
    try:
        with Pool(1) as pool:
            pool.apply(log, (logging.INFO, "made"))
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert type(collector.records[0]) is Record
    assert collector.records[0].getMessage() == "made"


def test_records_leave_no_trace_in_threading(collector):
    import threading

    before = threading.enumerate()
    with Pool(1) as pool:
        pool.apply(log, (logging.INFO, "heard"))
    assert len(collector.records) == 1
    assert threading.enumerate() == before


def test_a_worker_that_does_not_log_does_not_import_logging():
    def loaded():
        import sys

        return [name for name in ("logging", "paceline.records", "paceline.output") if name in sys.modules]

    with Pool(1) as pool:
        assert pool.apply(loaded) == []


def test_a_parent_without_logging_prints_warnings_as_any_program_does(tmp_path):
    source = (
        "import paceline, sys\n"
        "def warn():\n"
        "    import logging\n"
        "    logging.warning('careful')\n"
        "    logging.info('never mind')\n"
        "assert 'logging' not in sys.modules\n"
        "with paceline.Pool(1) as pool: pool.apply(warn)\n"
    )
    (tmp_path / "script.py").write_text(source)
    code, out, err = Program(str(tmp_path / "script.py")).finish()
    assert (code, out, err) == (0, "", "careful\n")


def test_basic_config_of_a_script_is_enough(tmp_path):
    out = run_script(
        tmp_path,
        "import logging, sys, paceline\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(name)s %(levelname)s %(message)s')\n"
        "def work(number): logging.getLogger('work').info('item %d', number)\n"
        "with paceline.Pool(2) as pool: pool.map(work, range(3))\n",
    )
    assert sorted(out.splitlines()) == [f"work INFO item {number}" for number in range(3)]
