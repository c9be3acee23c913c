"""The exception tree: bases that programs catch, messages with a way out, and a journey through pickle."""

import concurrent.futures
import pickle
import subprocess
import sys

import pytest

from paceline import errors

EXAMPLES = [
    errors.ArgumentNotPicklable("what"),
    errors.PoolClosed("Pool not running"),
    errors.ResultNotPicklable("what"),
    errors.RemoteError("module.Odd", "text", "Traceback...", "why"),
    errors.RemoteTraceback("Traceback..."),
    errors.WorkerDied("work", index=17, pid=4242, signal=9, attempt=2, last_words="last line"),
    errors.TaskTimeout("work", arguments="(1,)", pid=4242, limit=0.5, stack="in work", seconds=0.51),
    errors.MemoryLimitExceeded("work", pid=4242, signal=9, peak_memory=2**30, memory_limit=10**9),
    errors.TooManyFailures("work", {0: 1}, {}),
    errors.WorkerStartError("the initializer raised", "last line", "Traceback..."),
    errors.InternalError("what"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_survives_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        ("ArgumentNotPicklable", (errors.CallError, pickle.PicklingError, TypeError)),
        ("PoolClosed", (errors.CallError, ValueError, RuntimeError)),
        ("ResultNotPicklable", (errors.FunctionError, pickle.PicklingError, TypeError)),
        ("RemoteError", (errors.FunctionError,)),
        ("WorkerDied", (errors.WorkerError,)),
        ("TaskTimeout", (errors.FunctionError, TimeoutError)),
        ("MemoryLimitExceeded", (errors.WorkerDied, MemoryError)),
        ("TooManyFailures", ()),
        ("WorkerStartError", (errors.WorkerError, concurrent.futures.BrokenExecutor)),
        ("InternalError", (errors.PacelineError,)),
    ],
)
def test_error_is_caught_by_the_names_that_programs_know(error, bases):
    assert issubclass(getattr(errors, error), (errors.PacelineError))
    for base in bases:
        assert issubclass(getattr(errors, error), base)


def test_worker_died_by_signal_names_it_and_gives_a_hint():
    error = errors.WorkerDied("work", index=17, pid=4242, signal=9, last_words="one\ntwo\n")
    assert error.signal_name == "SIGKILL"
    assert str(error) == (
        "`work[17]` was lost with its worker: process 4242 was killed by SIGKILL\n"
        "hint: possibly the kernel's out-of-memory killer; try fewer workers or smaller inputs (`dmesg` may tell)\n"
        "last lines that it wrote to stderr:\n"
        "    one\n"
        "    two"
    )


def test_worker_died_by_exit_tells_code_and_attempt():
    assert str(errors.WorkerDied("work", index=3, pid=4242, exit_code=7, attempt=2, retries=3)) == (
        "`work[3]` was lost with its worker: process 4242 exited with code 7 (attempt 2)\n"
        "hint: the function, or a library that it uses, ended the process, for instance by `os._exit`"
    )


def test_worker_died_of_unknown_cause_says_so():
    error = errors.WorkerDied("work", pid=4242)
    assert error.signal_name is None
    assert str(error).endswith("process 4242 is gone, and how it ended could not be found out")


def test_worker_died_by_signal_without_a_name_gives_its_number():
    assert errors.WorkerDied("work", pid=1, signal=45).signal_name == "signal 45"


def test_worker_that_ran_out_of_memory_says_what_it_had_and_what_it_may():
    error = errors.MemoryLimitExceeded("work", pid=7, signal=9, peak_memory=812 * 10**6, memory_limit=500 * 10**6)
    assert str(error).startswith("`work` was ended with its worker: process 7 had 812 MB of memory, over the limit of")
    assert error.hint.startswith("raise `memory_limit=`")


def test_kernel_that_ran_out_of_memory_is_told_as_a_hint():
    error = errors.WorkerDied("work", pid=7, signal=9, is_memory_short=True)
    assert "`oom_kill`" in error.hint
    assert error.hint in str(error)


def test_task_that_is_not_run_again_any_more_is_quarantined():
    assert not errors.WorkerDied("work", pid=7, signal=9, attempt=2, retries=2).is_quarantined
    error = errors.WorkerDied("work", pid=7, signal=9, attempt=3, retries=2)
    assert error.is_quarantined
    assert "(attempt 3 of 3: it is not run again)" in str(error)


def test_detail_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="no such detail of a task: colour"):
        errors.WorkerDied("work", colour="red")


def test_worker_start_error_has_the_remote_traceback_as_its_cause():
    error = errors.WorkerStartError("the initializer raised ValueError: no", "", "Traceback...\nValueError: no\n")
    assert isinstance(error.__cause__, errors.RemoteTraceback)
    assert "ValueError: no" in str(error.__cause__)
    assert str(error).startswith("the workers cannot start: the initializer raised ValueError: no\nhint: ")


def test_remote_error_describes_what_could_not_come():
    error = errors.RemoteError("module.Odd", "text", "Traceback...", "TypeError: no")
    assert str(error) == (
        "module.Odd: text\nhint: it is described here because it could not come itself: TypeError: no"
    )


def test_errors_are_cheap_to_import():
    program = "import sys, paceline.errors; print([m for m in ('typing', 'concurrent', 'logging') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout == "[]\n"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = errors.Nothing
