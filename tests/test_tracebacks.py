"""Remote tracebacks read like local ones: what Python prints for the same call at home is the oracle."""

import copyreg
import linecache
import re
import sys
import traceback

import pytest

import paceline
from program import Program, run_script


def local_text(function, *args):
    """What Python prints for this call, from the function's own frame on."""
    try:
        function(*args)
    except BaseException as error:
        return "".join(traceback.format_exception(error.with_traceback(error.__traceback__.tb_next)))
    raise AssertionError("nothing was raised")


def remote_text(pool, function, *args):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - compared as text.
        pool.apply(function, args)
    assert isinstance(caught.value.__cause__, paceline.RemoteTraceback)
    return caught.value.__cause__.text


def fail(x):
    return {}[x]


def fail_deeper(x):
    return 1 + len(fail(x)) + 1


def fail_from(x):
    try:
        fail(x)
    except KeyError as error:
        raise ValueError("with a cause") from error


def fail_while_handling(x):
    try:
        fail_from(x)
    except ValueError:
        raise RuntimeError("with a context")  # noqa: B904


def fail_from_none(x):
    try:
        fail(x)
    except KeyError:
        raise ValueError("alone") from None


def fail_with_notes(x):
    try:
        fail(x)
    except KeyError as error:
        error.add_note("a note")
        error.add_note("another\nof two lines")
        raise


def fail_as_group(x):
    errors = []
    for function in (fail, fail_from, fail_from_none, fail_with_notes):
        try:
            function(x)
        except Exception as error:
            errors.append(error)
    inner = ExceptionGroup("inner", [*errors, OSError(2, "never raised")])
    inner.add_note("a note on a group")
    try:
        raise inner
    except ExceptionGroup as group:
        raise ExceptionGroup("outer", [group, ValueError("last")]) from errors[0]


def fail_over_several_lines(x):
    return (
        x
        + 1
        / (x - x)
    )  # fmt: skip


def fail_in_a_comprehension(x):
    return [1 / (y - x) for y in range(x, x + 1)]


def recurse(x):
    return recurse(x + 1)


FAILURES = [
    fail,
    fail_deeper,
    fail_from,
    fail_while_handling,
    fail_from_none,
    fail_with_notes,
    fail_as_group,
    fail_over_several_lines,
    fail_in_a_comprehension,
    lambda x: fail(x) + 1,
]


@pytest.mark.parametrize("function", FAILURES, ids=lambda function: function.__name__)
def test_text_of_a_traceback_is_what_python_prints_at_home(pool, function):
    assert remote_text(pool, function, 3) == local_text(function, 3)


def test_traceback_of_endless_recursion_is_abridged_as_at_home(pool):
    text = remote_text(pool, recurse, 1)
    assert "in recurse\n    return recurse(x + 1)\n" in text
    assert re.search(r"\[Previous line repeated \d+ more times\]", text)
    assert text.count("\n") < 30


def raised_again(args, traceback):
    return RecursionError(*args).with_traceback(traceback)


def recurse_where_tracebacks_are_pickled(_):
    def endlessly():
        return endlessly()

    # As `tblib` does, and whoever imports it (Dask, for one).
    copyreg.pickle(RecursionError, lambda error: (raised_again, (error.args, error.__traceback__)))
    return endlessly()


def test_traceback_is_never_sent_as_an_object(pool):
    with pytest.raises(RecursionError) as caught:
        pool.apply(recurse_where_tracebacks_are_pickled, (1,))
    assert "in endlessly" in str(caught.value.__cause__)


def test_notes_and_members_of_groups_survive_as_objects(pool):
    with pytest.raises(ExceptionGroup) as caught:
        pool.apply(fail_as_group, (3,))
    outer = caught.value
    inner = outer.exceptions[0]
    assert isinstance(inner, ExceptionGroup)
    assert inner.__notes__ == ["a note on a group"]
    assert [type(error) for error in inner.exceptions] == [
        KeyError,
        ValueError,
        ValueError,
        KeyError,
        FileNotFoundError,
    ]
    assert inner.exceptions[3].__notes__ == ["a note", "another\nof two lines"]


def test_group_with_members_that_cannot_cross_describes_only_those(pool):
    class Local(Exception):
        def __init__(self, left, right):
            super().__init__(f"{left}{right}")

    def function():
        import threading

        held = ValueError("held")
        held.lock = threading.Lock()
        raise ExceptionGroup("some", [Local(1, 2), ExceptionGroup("deep", [held]), KeyError(1)])

    with pytest.raises(ExceptionGroup) as caught:
        pool.apply(function)
    first, deep, last = caught.value.exceptions
    assert isinstance(first, paceline.RemoteError)
    assert (first.type_name.rpartition(".")[2], first.message) == ("Local", "12")
    assert "missing 1 required positional argument" in first.reason
    assert isinstance(deep.exceptions[0], paceline.RemoteError)
    assert deep.exceptions[0].message == "held"
    assert repr(last) == "KeyError(1)"


def test_nested_pool_shows_no_frame_of_ours(pool):
    def outer(x):
        return paceline.map(fail, [x], 1)

    text = remote_text(pool, outer, 1)
    assert text.count("Traceback (most recent call last):") == 2
    assert "in outer\n    return paceline.map(fail, [x], 1)\n" in text
    assert "/paceline/" not in text


# -- code that stands in no file ---------------------------------------------------------------------------------------

CELL = """\
import functools

@functools.lru_cache
def ratio(x):
    return 1 / x

class Machine:
    def run(self, x):
        return (
            ratio(x)
        )

half = lambda x: x / 0
"""


@pytest.fixture
def cell():
    """As a notebook has it: the source is known to `linecache` and to nothing else."""
    name = "<cell of a test>"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(keepends=True), name)
    namespace = {"__name__": "__cell__"}
    exec(compile(CELL, name, "exec"), namespace)
    yield namespace
    del linecache.cache[name]


def test_code_without_a_file_shows_its_lines(pool, cell):
    machine = cell["Machine"]()
    assert remote_text(pool, machine.run, 0) == local_text(machine.run, 0)
    assert remote_text(pool, cell["half"], 1) == local_text(cell["half"], 1)
    assert "return 1 / x" in remote_text(pool, machine.run, 0)


def test_code_without_a_file_can_be_inspected_in_the_worker(pool, cell):
    def function(inspected):
        import inspect

        return inspect.getsource(inspected)

    assert pool.apply(function, (cell["half"],)) == "half = lambda x: x / 0\n"


def test_doctest_shows_the_lines_of_its_functions(tmp_path):
    (tmp_path / "documented.py").write_text(
        '''
def documented():
    """
    >>> import paceline
    >>> def work(x):
    ...     return 1 / x
    >>> paceline.map(work, [1, 2], 2)
    [1.0, 0.5]
    >>> try:
    ...     paceline.map(work, [0], 1)
    ... except ZeroDivisionError as error:
    ...     print(error.__cause__.text)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      File "<doctest documented.documented[1]>", line 2, in work
        return 1 / x
               ~~^~~
    ZeroDivisionError: division by zero
    <BLANKLINE>
    """
'''.replace("Traceback (most", "Trace...k (most")
    )  # Or doctest would take it for the end of the example.
    program = Program("-m", "doctest", str(tmp_path / "documented.py"))
    assert program.finish() == (0, "", "")


# -- what the user sees ------------------------------------------------------------------------------------------------

SCRIPT = """\
import paceline

def ratio(x):
    return 1 / x

def work(x):
    try:
        return ratio(x) + 1
    except ZeroDivisionError as error:
        error.add_note(f"x was {x}")
        raise ValueError("cannot work") from error

with paceline.Pool(2) as pool:
    pool.map(work, [1, 0])
"""


def less_details(text):
    """The text without the line that tells of the task, which has to be there, and has other numbers each time."""
    line = r"task `work\[1\]` called with \(0,\): process \d+, attempt 1(, after [\de.-]+ s)?, peak memory [\d.]+ MB\n"
    rest, count = re.subn(line, "", text)
    assert count > 0, text
    return rest


REMOTE = '''\
paceline.errors.RemoteTraceback: 
"""
Traceback (most recent call last):
  File "script.py", line 8, in work
    return ratio(x) + 1
           ^^^^^^^^
  File "script.py", line 4, in ratio
    return 1 / x
           ~~^~~
ZeroDivisionError: division by zero
x was 0

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "script.py", line 11, in work
    raise ValueError("cannot work") from error
ValueError: cannot work
"""

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
'''  # noqa: W291 - the blank is Python's.


if sys.version_info >= (3, 13):  # It underlines the arguments of a call in another way.
    REMOTE = REMOTE.replace("^^^^^^^^\n", "~~~~~^^^\n")


def test_uncaught_remote_exception_prints_both_tracebacks(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    code, out, err = Program("script.py", cwd=tmp_path).finish()
    err = less_details(err.replace(f"{tmp_path}/", ""))
    assert (code, out) == (1, "")
    assert err.startswith(REMOTE + '  File "script.py", line 14, in <module>\n    pool.map(work, [1, 0])\n'), err
    assert err.endswith("ValueError: cannot work\n")


def test_pdb_shows_the_remote_text_before_its_post_mortem(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    program = Program("-m", "pdb", "-c", "continue", "script.py", cwd=tmp_path, stdin=-1)
    code, out, err = program.finish(b"where\nquit\n")
    assert code == 0
    assert REMOTE in less_details((err + out).replace(f"{tmp_path}/", ""))
    assert "script.py(14)<module>()" in out


def test_post_mortem_of_an_interactive_session_reaches_the_remote_text(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    program = Program("-i", "script.py", cwd=tmp_path, stdin=-1)
    code, out, err = program.finish(
        b"import pdb, sys\npdb.pm()\nwhere\n!import sys; print(sys.last_value.__cause__)\nquit\n"
    )
    assert code == 0
    assert REMOTE in less_details(err.replace(f"{tmp_path}/", ""))
    assert "script.py(14)<module>()" in out
    remote = REMOTE.split('"""')[1]
    assert remote in less_details(out.replace(f"{tmp_path}/", ""))


def test_initializer_that_raises_shows_the_users_frames_only(tmp_path):
    source = """
import paceline

def initialize():
    1 / 0

pool = paceline.Pool(1, initialize)
try:
    pool.apply(abs, (1,))
except paceline.WorkerStartError as error:
    print(error.remote_traceback)
pool.terminate()
pool.join()
"""
    assert run_script(tmp_path, source) == (
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/script.py", line 5, in initialize\n'
        "    1 / 0\n"
        "    ~~^~~\n"
        "ZeroDivisionError: division by zero\n\n"
    )
