"""Workers look like their parent: its interpreter flags, its environment, and its search path when that has changed."""

import os
import sys

import pytest

import tasks
from paceline import Pool
from program import Program

LOOK = """
import sys
import paceline

def look():
    import sys
    names = ("optimize", "dev_mode", "utf8_mode", "isolated", "ignore_environment", "no_user_site", "safe_path",
             "dont_write_bytecode", "bytes_warning", "int_max_str_digits", "hash_randomization",
             "warn_default_encoding")
    options = {name: value for name, value in sys._xoptions.items() if name != "utf8"}
    return {name: getattr(sys.flags, name) for name in names}, options, sorted(set(sys.warnoptions)), __debug__

with paceline.Pool(1) as pool:
    ours, theirs = look(), pool.apply(look)
assert ours == theirs, (ours, theirs)
print("same")
"""

EVERYTHING = """
import logging, os, signal, sys, time
sys.path.insert(0, os.environ["PACKAGE"])
import paceline

def work(number):
    "A text that -OO takes away."
    print("line", number)
    logging.getLogger("job").warning("record %d", number)
    return number * number

def fail(number):
    raise ValueError(number)

def nest():
    with paceline.Pool(1) as inner:
        return inner.map(abs, [-1, -2])

class Point:
    def __init__(self, x):
        self.x = x

if __name__ == "__main__":
    with paceline.Pool(2, initializer=work, initargs=(0,)) as pool:
        assert_equal = lambda left, right: left == right or sys.exit(f"{left} is not {right}")
        assert_equal(pool.map(work, range(10)), [number * number for number in range(10)])
        assert_equal(list(pool.imap(work, range(3))), [0, 1, 4])
        assert_equal(sorted(pool.imap_unordered(work, range(3))), [0, 1, 4])
        assert_equal(pool.apply(lambda point: point.x, (Point(5),)), 5)
        try:
            pool.apply(fail, (3,))
        except ValueError as error:
            assert_equal("in fail" in str(error.__cause__), True)
        try:
            pool.apply(lambda: os.kill(os.getpid(), signal.SIGKILL))
        except paceline.WorkerDied as error:
            assert_equal(error.signal_name, "SIGKILL")
        assert_equal(pool.apply(nest), [1, 2])
        str(pool.report())
    with paceline.ProcessPoolExecutor(2) as executor:
        assert_equal(list(executor.map(abs, [-1, -2])), [1, 2])
    sys.stdout.flush()
    print("done")
"""

FLAGS = [
    ("-O",),
    ("-OO",),
    ("-X", "dev"),
    ("-W", "error"),
    ("-X", "dev", "-W", "error"),
    ("-B",),
    ("-s",),
    ("-E",),
    ("-I",),
    ("-P",),
    ("-bb",),
    ("-X", "utf8=0"),
    ("-X", "utf8"),
    ("-X", "int_max_str_digits=5000"),
    ("-X", "warn_default_encoding"),
]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_workers_are_started_with_the_flags_of_their_parent(tmp_path, flags):
    # Where the environment is ignored, the package has to be found by the code itself.
    code, out, err = Program(*flags, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{LOOK}").finish()
    assert (code, out, err) == (0, "same\n", "")


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_everything_works_under_every_flag(tmp_path, flags):
    (tmp_path / "script.py").write_text(EVERYTHING)
    package = os.path.dirname(os.path.dirname(sys.modules["paceline"].__file__))  # noqa: PTH120
    code, out, err = Program(*flags, str(tmp_path / "script.py"), PACKAGE=package).finish()
    assert code == 0, err
    *lines, last = out.splitlines()
    assert last == "done"
    assert lines.count("line 9") == 1
    assert sorted(err.splitlines()) == sorted(line.replace("line", "record") for line in lines)


def test_the_environment_is_the_one_when_the_pool_was_opened(monkeypatch):
    monkeypatch.setenv("SET_BEFORE_THE_POOL", "yes")
    monkeypatch.delenv("HOME", raising=False)
    with Pool(1) as pool:
        monkeypatch.setenv("SET_AFTER_THE_POOL", "yes")
        names = pool.apply(lambda: set(os.environ))
    assert "SET_BEFORE_THE_POOL" in names
    assert not {"HOME", "SET_AFTER_THE_POOL"} & names


def test_a_function_finds_modules_on_a_path_that_was_added_after_the_pool_was_opened(pool, tmp_path, monkeypatch):
    pool.apply(tasks.identity, (1,))
    (tmp_path / "late_module.py").write_text("def answer(x): return x * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    import late_module  # type: ignore[import-not-found]

    try:
        assert pool.map(late_module.answer, range(3)) == [0, 2, 4]
        assert pool.apply(lambda x: late_module.answer(x) + 1, (4,)) == 9
    finally:
        del sys.modules["late_module"]


def test_a_changed_folder_counts_for_an_empty_entry_of_the_path(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "late_module.py").write_text("def answer(x): return x * 2\n")
    program = (
        "import os, sys, paceline\n"
        "with paceline.Pool(1) as pool:\n"
        "    pool.apply(abs, (1,))\n"
        "    os.chdir('elsewhere')\n"
        "    sys.path.append('')\n"
        "    import late_module\n"
        "    print(pool.apply(late_module.answer, (4,)))\n"
    )
    code, out, err = Program("-c", program, cwd=tmp_path).finish()
    assert (code, out, err) == (0, "8\n", "")
