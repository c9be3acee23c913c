"""joblib on Paceline: what comes back, what is raised, what is left; and scikit-learn on top of it."""

import doctest
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from operator import mul
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config

import tasks
from paceline import ArgumentNotPicklable, WorkerDied
from paceline.adapters import joblib as adapter
from paceline.adapters.joblib import PacelineBackend, shut_down
from program import run_script


@pytest.fixture(autouse=True)
def our_backend(nothing_left_behind):
    with parallel_config(backend="paceline", n_jobs=2):
        yield
    shut_down()


def squares(count):
    return (delayed(mul)(number, number) for number in range(count))


def worker_ids():
    return {pid for workers in adapter._idle for pid in workers.pool._engine.pids()}


# -- the name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "imports", ["import paceline, joblib", "import joblib, paceline", "import joblib.parallel as j; import paceline"]
)
def test_import_of_paceline_alone_registers_the_backend(tmp_path, imports):
    script = (
        f"{imports}\nimport joblib\nwith joblib.parallel_config(backend='paceline', n_jobs=2):\n"
        "    print(joblib.Parallel()(joblib.delayed(abs)(-n) for n in range(3)))\n"
        "print(joblib.Parallel(n_jobs=2, backend='paceline')(joblib.delayed(abs)(-n) for n in range(3)))\n"
    )
    assert run_script(tmp_path, script) == "[0, 1, 2]\n[0, 1, 2]\n"


def test_import_of_paceline_imports_no_joblib():
    program = (
        "import sys, paceline; print([name for name in ('joblib', 'threading', 'logging') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(adapter.__file__).parent.parent.parent)}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert answer.stdout == b"[]\n"


PAGE = Path(__file__).parent.parent / "docs" / "joblib.md"


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL), ids=len
)
def test_block_of_the_page_prints_what_it_says(tmp_path, block):
    assert run_script(tmp_path, block) == "".join(f"{line}\n" for line in re.findall("#> (.*)", block))


def test_example_in_the_docstring_runs():
    result = doctest.testmod(adapter)
    assert result.failed == 0
    assert result.attempted > 0


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "got"),
    [(1, 1), (3, 3), (None, 1), (-1, 4), (-2, 3), (-4, 1), (-100, 1), (10_000, 512)],
    ids=str,
)
def test_number_of_jobs_is_counted_as_joblib_counts(monkeypatch, asked, got):
    monkeypatch.setattr(adapter, "cpu_count", lambda: 4)
    assert PacelineBackend(nesting_level=0).effective_n_jobs(asked) == got


def test_no_jobs_at_all_is_refused():
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        Parallel(n_jobs=0)(squares(2))


def test_one_job_runs_here():
    assert set(Parallel(n_jobs=1)(delayed(os.getpid)() for _ in range(3))) == {os.getpid()}


def test_unknown_setting_is_refused_at_once():
    with pytest.raises(TypeError, match="idle_worker_timout"):
        parallel_config(backend="paceline", idle_worker_timout=3)


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_results_come_in_order(count):
    assert Parallel()(squares(count)) == [number * number for number in range(count)]


def test_small_calls_travel_together():
    parallel = Parallel()
    parallel(squares(5000))
    assert parallel.n_dispatched_batches < 500


def test_long_calls_do_not_travel_together(gate):
    parallel = Parallel(pre_dispatch="all")
    results = parallel(delayed(time.sleep)(0.03) for _ in range(8))
    assert results == [None] * 8
    assert parallel.n_dispatched_batches == 8


def test_generator_gives_results_while_others_run(gate):
    calls = [delayed(abs)(0), delayed(abs)(-1), *(delayed(tasks.through)(gate.path, n) for n in (2, 3))]
    results = Parallel(return_as="generator", batch_size=1)(calls)
    assert [next(results), next(results)] == [0, 1]
    gate.let_through(2)
    assert list(results) == [2, 3]


def test_unordered_generator_gives_what_is_ready(gate):
    calls = [delayed(tasks.through)(gate.path, "late"), delayed(abs)(-1)]
    results = Parallel(return_as="generator_unordered", batch_size=1)(calls)
    assert next(results) == 1
    gate.let_through()
    assert list(results) == ["late"]


def test_input_is_read_no_further_than_asked(gate):
    read = []

    def numbers():
        for number in range(10):
            read.append(number)
            yield number

    calls = (delayed(tasks.through)(gate.path, n) for n in numbers())
    results = Parallel(return_as="generator", pre_dispatch=3, batch_size=1)(calls)
    gate.wait_for_arrival()
    assert read == [0, 1, 2]
    gate.let_through(10)
    assert list(results) == list(range(10))


def test_progress_is_printed_as_joblib_prints_it(capsys):
    Parallel(verbose=60, batch_size=1)(squares(4))
    text = capsys.readouterr().out
    assert "Using backend PacelineBackend with 2 concurrent workers." in text
    assert "Done   4 out of   4" in text


def test_functions_of_a_script_and_what_they_capture_are_sent(tmp_path):
    script = (
        "import paceline, joblib\n"
        "import numpy as np\n"
        "factor = 3\n"
        "class Number:\n"
        "    def __init__(self, value): self.value = value\n"
        "def times(number, array): return number.value * factor + int(array.sum())\n"
        "array = np.ones(300_000)\n"
        "with joblib.parallel_config(backend='paceline', n_jobs=2):\n"
        "    print(joblib.Parallel()(joblib.delayed(times)(Number(n), array) for n in range(3)))\n"
        "    print(joblib.Parallel()(joblib.delayed(lambda n: n + factor)(n) for n in range(3)))\n"
        "    print(joblib.Parallel()(joblib.delayed(lambda n, a: int(a[n]))(n, array) for n in range(3)))\n"
    )
    assert run_script(tmp_path, script) == "[300000, 300003, 300006]\n[3, 4, 5]\n[1, 1, 1]\n"


# -- failures ----------------------------------------------------------------------------------------------------------


def test_first_error_is_raised_with_its_type_and_ends_the_rest(gate):
    calls = [delayed(divmod)(1, 0), *(delayed(tasks.through)(gate.path, n) for n in range(100))]
    with pytest.raises(ZeroDivisionError):
        Parallel(batch_size=1, pre_dispatch="all")(calls)
    assert worker_ids() == set()
    assert Parallel()(squares(3)) == [0, 1, 4]


def test_error_in_a_managed_parallel_leaves_it_usable():
    with Parallel() as parallel:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                parallel(delayed(divmod)(1, n) for n in (1, 0, 1))
            assert parallel(squares(4)) == [0, 1, 4, 9]


def test_batches_that_an_aborted_run_has_not_sent_are_not_left_for_the_next():
    class Cut:
        """Of `joblib.Parallel`, what it has cut into batches."""

        _ready_batches = queue.Queue()

    backend = adapter.PacelineBackend()
    backend.configure(2, parallel=Cut)
    for batch in range(3):
        Cut._ready_batches.put(batch)
    backend.abort_everything(ensure_ready=True)
    assert Cut._ready_batches.empty()
    backend.terminate()
    # It is joblib's own name for them.
    assert isinstance(Parallel()._ready_batches, queue.Queue)


def test_argument_that_cannot_be_pickled_is_named():
    with pytest.raises(PicklingError, match="cannot pickle an argument") as caught:
        Parallel()(delayed(id)(threading.Lock()) for _ in range(4))
    assert caught.type is ArgumentNotPicklable


def test_argument_that_cannot_be_pickled_late_in_the_input_is_named_too():
    calls = [*squares(200), delayed(id)(sys._getframe())]
    with pytest.raises(ArgumentNotPicklable):
        Parallel(batch_size=1)(calls)


def test_input_that_raises_is_heard_of():
    def numbers():
        yield from range(50)
        raise OSError("the input is over")

    with pytest.raises(OSError, match="the input is over"):
        Parallel()(delayed(abs)(n) for n in numbers())


def test_timeout_ends_the_call(gate):
    with pytest.raises(joblib.parallel.TimeoutError):
        Parallel(timeout=0.05)(delayed(tasks.through)(gate.path, n) for n in range(2))
    assert worker_ids() == set()


def test_worker_that_dies_is_named_and_the_next_call_works():
    with pytest.raises(WorkerDied):
        Parallel()(
            delayed(os.kill if n == 2 else divmod)(*((0, signal.SIGKILL) if n == 2 else (n, 1))) for n in range(4)
        )
    assert Parallel()(squares(3)) == [0, 1, 4]


def test_generator_that_is_dropped_ends_its_calls(gate):
    results = Parallel(return_as="generator", batch_size=1)(delayed(tasks.through)(gate.path, n) for n in range(6))
    gate.wait_for_arrival()
    with pytest.warns(UserWarning, match="cancelled"):
        results.close()
    assert worker_ids() == set()


# -- workers -----------------------------------------------------------------------------------------------------------


def test_workers_are_kept_for_the_next_call():
    Parallel()(squares(3))
    first = worker_ids()
    Parallel()(squares(3))
    assert len(first) == 2
    assert worker_ids() == first


def test_calls_at_the_same_time_have_workers_of_their_own(gate):
    slow = Parallel(return_as="generator", batch_size=1)(delayed(tasks.through)(gate.path, n) for n in range(2))
    gate.wait_for_arrival()
    assert Parallel()(squares(3)) == [0, 1, 4]
    gate.let_through(2)
    assert list(slow) == [0, 1]
    assert len(adapter._idle) == 2
    assert len(worker_ids()) == 4


def test_workers_leave_when_nothing_is_asked_of_them():
    with parallel_config(backend="paceline", n_jobs=2, idle_worker_timeout=0.01):
        Parallel()(squares(3))
    for timer in [thread for thread in threading.enumerate() if thread.name == "paceline-joblib-idle"]:
        timer.join(30)
    assert adapter._idle == []


def test_another_folder_needs_other_workers(tmp_path, monkeypatch):
    Parallel()(squares(3))
    first = worker_ids()
    monkeypatch.chdir(tmp_path)
    assert Parallel()([delayed(os.getcwd)()]) == [str(tmp_path)]
    assert len(worker_ids()) == 2
    assert not worker_ids() & first


def test_initializer_is_called_in_each_worker():
    with parallel_config(backend="paceline", n_jobs=2, initializer=os.putenv, initargs=("PACELINE_SEEN", "yes")):
        said = Parallel()(delayed(subprocess.check_output)(["printenv", "PACELINE_SEEN"]) for _ in range(2))
    assert said == [b"yes\n"] * 2


def test_program_that_ends_with_idle_workers_leaves_nothing(tmp_path):
    script = (
        "import paceline, joblib\n"
        "print(joblib.Parallel(n_jobs=2, backend='paceline')(joblib.delayed(abs)(-n) for n in range(3)))\n"
    )
    assert run_script(tmp_path, script) == "[0, 1, 2]\n"


# -- nested ------------------------------------------------------------------------------------------------------------


def nested(kind):
    inner = Parallel(n_jobs=2, **kind)
    ran_in = inner(delayed(os.getpid)() for _ in range(4))
    return os.getpid(), set(ran_in), type(inner._backend).__name__


def test_parallel_in_a_task_runs_on_threads_of_its_worker():
    for worker, ran_in, backend in Parallel()(delayed(nested)({}) for _ in range(2)):
        assert ran_in == {worker}
        assert backend == "ThreadingBackend"


# -- large arrays ------------------------------------------------------------------------------------------------------


def look_at(array, *more):
    return float(array.sum()), array.flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_array_is_read_only_and_the_same(order):
    array = np.asarray(np.random.default_rng(1).random((500, 400)), order=order)
    for total, writeable in Parallel(max_nbytes="100K")(delayed(look_at)(array) for _ in range(8)):
        assert total == array.sum()
        assert not writeable


def test_large_array_inside_something_else_is_shared_too():
    array = np.ones(200_000)
    (answer,) = Parallel(max_nbytes="100K")([delayed(look_inside)({"deep": [array]})])
    assert answer == (200_000.0, False)


def look_inside(holder):
    return look_at(holder["deep"][0])


@pytest.mark.parametrize(("mode", "writeable"), [("r", False), ("c", True), (None, True)], ids=str)
def test_mode_of_large_arrays_is_joblibs(mode, writeable):
    array = np.ones(200_000)
    answers = Parallel(max_nbytes="100K", mmap_mode=mode)(delayed(look_at)(array) for _ in range(3))
    assert answers == [(200_000.0, writeable)] * 3


def test_arrays_that_come_and_go_are_given_back():
    before = len(list(Path("/proc/self/fd").iterdir()))
    most = []

    def arrays():
        for number in range(60):
            most.append(len(list(Path("/proc/self/fd").iterdir())))
            yield np.full(50_000, float(number))

    results = Parallel(max_nbytes="100K", batch_size=1)(delayed(look_at)(array) for array in arrays())
    assert [total for total, _ in results] == [50_000.0 * number for number in range(60)]
    assert max(most) - before < 40


def write_own_place(output, place):
    output[place] = place + 1


def test_array_that_is_a_file_is_written_by_the_workers(tmp_path):
    output = np.memmap(tmp_path / "output", dtype=np.int64, mode="w+", shape=(3, 4))
    Parallel()(delayed(write_own_place)(output[:, ::-1], place) for place in range(3))
    assert output.tolist() == [[1] * 4, [2] * 4, [3] * 4]
    Parallel()(delayed(lambda row, value: row.fill(value))(output[2], 7) for _ in range(1))
    assert output[2].tolist() == [7] * 4


# -- scikit-learn ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    # Whatever native threads there are start now, and not in a test.
    (x.T @ x).sum()
    return x[:400], y[:400]


def test_cross_validation_gives_the_serial_result(digits):
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    serial = cross_val_score(SVC(), *digits, cv=4, n_jobs=1)
    assert cross_val_score(SVC(), *digits, cv=4, n_jobs=2).tolist() == serial.tolist()


def test_grid_search_gives_the_serial_result(digits):
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    def search(n_jobs):
        grid = GridSearchCV(SVC(), {"C": [1, 10], "gamma": [0.001, 0.01]}, cv=3, n_jobs=n_jobs).fit(*digits)
        scores = {name: value for name, value in grid.cv_results_.items() if "time" not in name}
        return {name: np.asarray(value).tolist() for name, value in scores.items()}, grid.best_params_

    assert search(2) == search(1)


def test_random_forest_prefers_no_processes_and_gives_the_serial_result(digits):
    from sklearn.ensemble import RandomForestClassifier

    def forest(n_jobs):
        return RandomForestClassifier(20, random_state=3, n_jobs=n_jobs).fit(*digits).predict_proba(digits[0])

    assert np.array_equal(forest(2), forest(1))


def test_call_that_needs_shared_memory_gets_threads():
    seen = []
    Parallel(n_jobs=2, require="sharedmem")(delayed(seen.append)(n) for n in range(5))
    assert sorted(seen) == list(range(5))


def test_hint_for_threads_does_not_override_the_chosen_backend():
    assert type(Parallel(prefer="threads")._backend) is PacelineBackend
    assert joblib.effective_n_jobs(3) == 3
