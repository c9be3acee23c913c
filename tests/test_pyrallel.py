"""`paceline.compat.pyrallel`: what pyrallel's names mean, and none of its faults."""

import os
import threading
from functools import partial
from operator import add

import pytest

import tasks
from paceline import WorkerDied, WorkerStartError
from paceline.compat import pyrallel
from paceline.compat.pyrallel import Mapper, MapReduce, ParallelProcessor, ProgressThread
from program import run_script


def process(mapper, items, workers=2, **options):
    """Runs a processor over single arguments; what the collector was called with, in order."""
    collected = []
    options.setdefault("collector", lambda *result: collected.append(result))
    processor = ParallelProcessor(workers, mapper, **options)
    processor.start()
    processor.map(items)
    processor.task_done()
    processor.join()
    return sorted(collected, key=repr)


def reduce(mapper, reducer, items, workers=2, **options):
    """Runs a reduction over single arguments."""
    reduction = MapReduce(workers, mapper, reducer, **options)
    reduction.start()
    reduction.map(items)
    reduction.task_done()
    return reduction.join()


# -- ParallelProcessor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_processor_calls_the_mapper_for_each_task(batch_size):
    assert process(tasks.square, range(10), batch_size=batch_size) == sorted([(n * n,) for n in range(10)], key=repr)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_processor_passes_arguments_and_keywords(batch_size):
    collected = []
    processor = ParallelProcessor(2, tasks.collect, collector=lambda *it: collected.append(it), batch_size=batch_size)
    processor.start()
    processor.add_task(1, 2, three=3)
    processor.add_task()
    processor.map([(4, 5)])
    processor.task_done()
    processor.join()
    expected = [((), {}), (((4, 5),), {}), ((1, 2), {"three": 3})]
    assert sorted(collected, key=repr) == sorted(expected, key=repr)


def test_collector_gets_tuples_as_its_arguments_and_anything_else_as_one():
    results = [(1, 2), [3, 4], None, ()]
    assert process(lambda index: results[index], range(4)) == [(), (1, 2), (None,), ([3, 4],)]


def test_processor_without_a_collector_drops_results(tmp_path):
    notes = tmp_path / "notes"
    assert process(partial(tasks.note, str(notes)), range(20), collector=None) == []
    assert sorted(map(int, notes.read_text().split())) == list(range(20))


def test_collector_runs_on_one_thread_of_this_process():
    threads = set()
    process(tasks.identity, range(50), collector=lambda _: threads.add((os.getpid(), threading.get_ident())))
    assert len(threads) == 1
    assert threads != {(os.getpid(), threading.get_ident())}


def test_collector_may_add_tasks():
    collected = []

    def collect(number):
        collected.append(number)
        if number == 5:
            processor.task_done()
        elif number < 5:
            processor.add_task(number + 1)

    processor = ParallelProcessor(1, tasks.identity, max_size_per_mapper_queue=1, collector=collect)
    processor.start()
    processor.add_task(0)
    processor.join()
    assert collected == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_tasks_added_before_the_start_are_run(batch_size):
    collected = []
    options = {"max_size_per_mapper_queue": 1, "batch_size": batch_size}
    processor = ParallelProcessor(1, tasks.square, collector=collected.append, **options)
    processor.map(range(10))
    processor.task_done()
    processor.start()
    processor.join()
    assert sorted(collected) == [n * n for n in range(10)]


def test_processor_without_tasks_ends():
    assert process(tasks.fail, []) == []


def test_processor_passes_the_process_number_if_asked():
    found = process(lambda value, _idx: (value, _idx), range(40), workers=3, enable_process_id=True)
    assert sorted(value for value, _ in found) == list(range(40))
    assert {index for _, index in found} <= {0, 1, 2}


def test_process_number_stays_with_the_process():
    found = process(lambda _, _idx: (_idx, os.getpid()), range(200), workers=3, enable_process_id=True)
    assert len({pid for _, pid in set(found)}) == len({index for index, _ in set(found)})


def test_options_without_effect_are_taken():
    options = {"use_shm": True, "enable_collector_queues": False, "single_mapper_queue": True}
    assert process(tasks.square, range(3), max_size_per_collector_queue=5, **options) == [(0,), (1,), (4,)]


def test_full_queue_makes_add_task_wait(gate):
    added = []
    processor = ParallelProcessor(1, partial(tasks.through, gate.path), max_size_per_mapper_queue=2)
    processor.start()

    def add_all():
        for number in range(40):
            processor.add_task(number)
            added.append(number)
        processor.task_done()

    producer = threading.Thread(target=add_all)
    producer.start()
    most_ahead = 0
    for begun in range(1, 41):
        gate.wait_for_arrival()
        most_ahead = max(most_ahead, len(added) - begun)
        gate.let_through()
    processor.join()
    producer.join()
    assert len(added) == 40
    # Two wait in the queue, and one more may have been taken the moment before it was looked at.
    assert most_ahead <= 3


def test_idle_worker_takes_the_tasks_of_one_that_is_held(gate):
    """Dealt out in turns, half of the tasks would wait behind the held one."""
    collected = []
    enough = threading.Event()

    def collect(value):
        collected.append(value)
        if len(collected) == 100:
            enough.set()

    def mapper(value):
        return tasks.through(gate.path, value) if value == "held" else value

    processor = ParallelProcessor(2, mapper, collector=collect)
    processor.start()
    processor.add_task("held")
    gate.wait_for_arrival()
    processor.map(range(100))
    assert enough.wait(30)
    assert "held" not in collected
    gate.let_through()
    processor.task_done()
    processor.join()
    assert len(collected) == 101


@pytest.mark.parametrize("batch_size", [1, 4])
def test_progress_is_told_to_the_end(batch_size):
    told = []
    process(tasks.identity, range(10), progress=told.append, batch_size=batch_size)
    added, loaded, processed = ProgressThread.P_ADDED, ProgressThread.P_LOADED, ProgressThread.P_PROCESSED
    assert told[-1] == {added: 10, loaded: 10, processed: 10}
    assert all(info[added] >= info[loaded] >= info[processed] for info in told)
    assert [info[processed] for info in told] == sorted(info[processed] for info in told)


def test_join_waits_for_task_done_of_another_thread(gate):
    collected = []
    processor = ParallelProcessor(1, tasks.identity, collector=collected.append)
    processor.start()

    def produce():
        gate.wait_for_arrival()
        processor.add_task("late")
        processor.task_done()

    producer = threading.Thread(target=produce)
    producer.start()
    processor.add_task("early")
    helper = threading.Thread(target=tasks.through, args=(gate.path,))
    helper.start()
    processor.join()
    gate.let_through()
    helper.join()
    producer.join()
    assert collected == ["early", "late"]


# -- mappers with a state ----------------------------------------------------------------------------------------------


class Diary(Mapper):
    """Writes down when it is entered and left, each in a file of its own."""

    folder = "."

    def enter(self):
        self.seen = []

    def process(self, value):
        self.seen.append(value)
        return self._idx, os.getpid()

    def exit(self, *reason):
        with open(f"{self.folder}/{self._idx}-{os.getpid()}", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{reason} {len(self.seen)}")


def test_each_worker_enters_and_exits_its_own_mapper(tmp_path):
    class Here(Diary):
        folder = str(tmp_path)

    found = process(Here, range(300), workers=3)
    assert len(found) == 300
    diaries = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(name.partition("-")[0] for name in diaries) == ["0", "1", "2"]
    assert {f"{index}-{pid}" for index, pid in found} <= set(diaries)
    assert all(text.startswith("(None, None, None) ") for text in diaries.values())
    assert sum(int(text.split()[-1]) for text in diaries.values()) == 300


def test_exit_is_called_without_any_task(tmp_path):
    class Here(Diary):
        folder = str(tmp_path)

    process(Here, [], workers=2)
    assert len(list(tmp_path.iterdir())) == 2


def test_worker_in_the_place_of_a_dead_one_has_its_number(tmp_path):
    class Dying(Diary):
        folder = str(tmp_path)

        def process(self, value):
            tasks.die_on("bad", value)
            return super().process(value)

    with pytest.raises(WorkerDied):
        process(Dying, ["good", "bad", "good"], workers=1)
    # The dead worker never came to its exit.
    assert [path.name[0] for path in tmp_path.iterdir()] == ["0"]


def test_join_raises_what_exit_raises():
    class Leaving(Mapper):
        def process(self, value):
            return value

        def exit(self, *reason):
            raise OSError(f"the disk is full, says {self._idx}")

    with pytest.raises(OSError, match=r"the disk is full, says [01]") as caught:
        process(Leaving, range(5), workers=2)
    assert "1 more failed" in caught.value.__notes__[-1]


def test_join_raises_what_enter_raises():
    class Entering(Mapper):
        def enter(self):
            raise ValueError("no way in")

    with pytest.raises(WorkerStartError) as caught:
        process(Entering, range(5))
    assert "ValueError: no way in" in str(caught.value.__cause__)


def test_join_says_if_a_mapper_has_no_process_method():
    with pytest.raises(NotImplementedError, match="Mapper without a `process` method"):
        process(Mapper, [1])


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 8])
def test_join_raises_what_a_mapper_raised_and_nothing_else_is_lost(batch_size):
    collected = []
    with pytest.raises(ValueError, match="bad 3") as caught:
        process(partial(tasks.fail_on, 3), range(20), batch_size=batch_size, collector=collected.append)
    assert sorted(collected) == [number for number in range(20) if number != 3]
    assert not hasattr(caught.value, "__notes__")
    assert "fail_on" in str(caught.value.__cause__)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_join_raises_the_first_failure_in_order_and_counts_the_others(batch_size):
    def mapper(number):
        if number >= 5:
            raise ValueError(f"bad {number}")

    with pytest.raises(ValueError, match=r"^bad 5\n") as caught:
        process(mapper, range(100), batch_size=batch_size)
    note = caught.value.__notes__[-1]
    assert note.startswith("94 more failed:\n  task 6: ValueError: bad 6\n")
    assert note.endswith("and 90 more")


def test_join_raises_the_death_of_a_worker():
    collected = []
    with pytest.raises(WorkerDied):
        process(partial(tasks.die_on, 3), range(20), collector=collected.append)
    assert sorted(collected) == [number for number in range(20) if number != 3]


def test_join_raises_what_the_collector_raised_and_the_rest_is_collected():
    collected = []

    def collect(value):
        collected.append(value)
        if value == 7:
            raise KeyError("collector")

    with pytest.raises(KeyError, match="collector") as caught:
        process(tasks.identity, range(20), collector=collect)
    assert caught.value.__notes__ == ["raised by the collector for the result of task 7"]
    assert sorted(collected) == list(range(20))


def test_join_raises_what_progress_raised():
    def progress(info):
        raise KeyError("progress")

    with pytest.raises(KeyError, match="progress"):
        process(tasks.identity, range(20), progress=progress)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_join_raises_what_cannot_be_sent_and_nothing_else_is_lost(batch_size):
    collected = []
    items = [1, 2, tasks.Unpicklable(), 4]
    with pytest.raises(TypeError, match="this one stays at home"):
        process(tasks.identity, items, batch_size=batch_size, collector=collected.append)
    assert sorted(collected) == [1, 2, 4]


# -- MapReduce ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 16, 17, 100, 600])
def test_reduction_combines_all_results_in_order(size, workers):
    assert reduce(str, add, range(size), workers) == "".join(map(str, range(size)))


def test_reduction_without_tasks_is_none():
    assert reduce(tasks.fail, tasks.fail, []) is None


def test_reduction_passes_arguments_and_keywords():
    reduction = MapReduce(2, tasks.add, add)
    reduction.start()
    reduction.add_task(1)
    reduction.add_task(2, right=30)
    reduction.add_task(left=100)
    reduction.task_done()
    assert reduction.join() == 133


def test_reduction_keeps_results_that_are_none():
    assert reduce(lambda _: None, lambda left, right: (left, right), [1, 2]) == (None, None)
    assert reduce(lambda _: None, add, [1]) is None


def test_reduction_with_a_bound_is_the_same():
    assert reduce(str, add, range(100), mapper_queue_size=1, reducer_queue_size=1) == "".join(map(str, range(100)))


@pytest.mark.parametrize("early", [False, True])
def test_reduction_raises_what_the_mapper_raised(early):
    reduction = MapReduce(2, partial(tasks.fail_on, 3), add, mapper_queue_size=2)
    if not early:
        reduction.start()
    reduction.map(range(500))
    if early:
        reduction.start()
    reduction.task_done()
    with pytest.raises(ValueError, match="bad 3"):
        reduction.join()


def test_reduction_raises_what_the_reducer_raised():
    with pytest.raises(TypeError):
        reduce(lambda item: item or "zero", add, range(10))


def test_reduction_raises_the_death_of_a_worker():
    with pytest.raises(WorkerDied):
        reduce(partial(tasks.die_on, 3), add, range(100))


# -- wrong use ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ParallelProcessor, partial(MapReduce, reducer=add)])
def test_wrong_order_of_calls_is_told(kind):
    paralleller = kind(1, mapper=tasks.identity)
    with pytest.raises(RuntimeError, match=r"join\(\) before start\(\)"):
        paralleller.join()
    paralleller.start()
    with pytest.raises(RuntimeError, match="has been started already"):
        paralleller.start()
    paralleller.task_done()
    with pytest.raises(RuntimeError, match=r"add_task\(\) after task_done\(\)"):
        paralleller.add_task(1)
    paralleller.join()
    with pytest.raises(RuntimeError, match="join"):
        paralleller.join()


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        ParallelProcessor(0, tasks.identity)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        ParallelProcessor(1, tasks.identity, batch_size=0)
    with pytest.raises(TypeError, match="mapper must be"):
        ParallelProcessor(1, "identity")
    with pytest.raises(TypeError, match="reducer must be callable"):
        MapReduce(1, tasks.identity, None)


def test_shm_queue_is_left_out_with_a_reason():
    with pytest.raises(ImportError, match=r"has no `ShmQueue`.*\nhint: return what is to travel"):
        from paceline.compat.pyrallel import ShmQueue  # noqa: F401
    with pytest.raises(AttributeError, match="nothing"):
        _ = pyrallel.nothing


# -- a program of pyrallel's -------------------------------------------------------------------------------------------

PROGRAM = """
from paceline.compat.pyrallel import ParallelProcessor, Mapper, MapReduce, ProgressThread

words = "the quick brown fox jumps over the lazy dog and the cat".split() * 20
lengths = []


class Counting(Mapper):
    def enter(self):
        self.count = 0

    def process(self, word, scale=1):
        self.count += 1
        return word, len(word) * scale

    def exit(self, *args, **kwargs):
        print("worker", self._idx, "is done", flush=True)


def collect(word, length):
    lengths.append(length)


def progress(info):
    if info[ProgressThread.P_PROCESSED] == len(words):
        print("all of", info[ProgressThread.P_ADDED])


pp = ParallelProcessor(2, Counting, max_size_per_mapper_queue=10, collector=collect, batch_size=3, progress=progress)
pp.start()
for word in words:
    pp.add_task(word, scale=2)
pp.task_done()
pp.join()
print(len(lengths), sum(lengths))


def count(word):
    return {word: 1}


def merge(left, right):
    for word, number in right.items():
        left[word] = left.get(word, 0) + number
    return left


mr = MapReduce(2, count, merge)
mr.start()
for word in words:
    mr.add_task(word)
mr.task_done()
print(sorted(mr.join().items())[-2:])
"""


def test_program_of_pyrallel_runs_with_its_import_changed(tmp_path):
    lines = run_script(tmp_path, PROGRAM).splitlines()
    assert sorted(lines[:3]) == ["all of 240", "worker 0 is done", "worker 1 is done"]
    assert lines[3:] == ["240 1760", "[('quick', 20), ('the', 60)]"]
