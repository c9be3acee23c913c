"""Functions from wherever people write them: scripts without a guard, `python -c`, the REPL, `exec`, closures."""

import os
import pty
import sys

import pytest

import paceline
import tasks
from program import Program, run_script


def test_unguarded_script_runs_once(tmp_path):
    assert (
        run_script(
            tmp_path,
            """
import os
from paceline import Pool

print("running")
offset = 100

def work(x):
    return helper(x) + offset

def helper(x):
    return x * x

with Pool(2) as pool:
    print(pool.map(work, range(5)))
    print(pool.apply_async(lambda: os.path.basename(__file__)).get())
""",
        )
        == "running\n[100, 101, 104, 109, 116]\nscript.py\n"
    )


def test_script_may_use_the_guard_as_well(tmp_path):
    source = """
from paceline import ProcessPoolExecutor

def work(x):
    return x + 1

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as executor:
        print(list(executor.map(work, range(3))))
"""
    assert run_script(tmp_path, source) == "[1, 2, 3]\n"


def test_script_imports_its_neighbour_in_the_workers(tmp_path):
    (tmp_path / "neighbour.py").write_text("def work(x):\n    return -x\n")
    source = """
from neighbour import work
import paceline
print(paceline.map(work, range(3), 2))
"""
    assert run_script(tmp_path, source) == "[0, -1, -2]\n"


def test_script_with_an_initializer_that_sets_a_global(tmp_path):
    source = """
from paceline import Pool

shared = None

def initialize(value):
    global shared
    shared = value

def work(x):
    return x, shared

with Pool(2, initialize, ("set",)) as pool:
    print(pool.map(work, range(2)))
"""
    assert run_script(tmp_path, source) == "[(0, 'set'), (1, 'set')]\n"


def test_changed_globals_are_never_stale(tmp_path):
    source = """
from paceline import Pool

factor = 1
table = {"a": 1}

def scale(x):
    return x * factor

def look(key):
    return table.get(key)

with Pool(2) as pool:
    for factor in (1, 2, 3):
        print(pool.apply(scale, (10,)), pool.map(scale, [1, 2]))
    print(pool.apply(look, ("b",)))
    table["b"] = 2
    print(pool.apply(look, ("b",)))
    def scale(x):
        return -x
    print(pool.apply(scale, (10,)))
"""
    assert run_script(tmp_path, source) == "10 [1, 2]\n20 [2, 4]\n30 [3, 6]\nNone\n2\n-10\n"


def test_classes_of_a_script_come_back_as_themselves(tmp_path):
    source = """
import dataclasses, enum
from paceline import Pool

@dataclasses.dataclass
class Point:
    x: int
    def moved(self, by=1):
        return Point(self.x + by)

class Color(enum.Enum):
    RED = 1

class Broken(Exception):
    pass

def work(point, color):
    return point.moved(), color

def fail():
    raise Broken("as expected")

with Pool(2) as pool:
    point, color = pool.apply(work, (Point(1), Color.RED))
    print(point, type(point) is Point, color is Color.RED)
    print(pool.map(Point(5).moved, range(2)))
    print(pool.map(Point, range(2)))
    try:
        pool.apply(fail)
    except Broken as error:
        print(error)
"""
    assert run_script(tmp_path, source) == (
        "Point(x=2) True True\n[Point(x=5), Point(x=6)]\n[Point(x=0), Point(x=1)]\nas expected\n"
    )


def test_command_line_program():
    program = Program("-c", "import paceline\nfactor = 3\nprint(paceline.map(lambda x: x * factor, range(3), 2))")
    assert program.finish() == (0, "[0, 3, 6]\n", "")
    program.wait_until_nothing_is_left()


def test_program_read_from_standard_input():
    program = Program("-", stdin=-1)
    code, out, err = program.finish(b"import paceline\ndef f(x): return x + 1\nprint(paceline.map(f, [1, 2], 2))\n")
    assert (code, out, err) == (0, "[2, 3]\n", "")


def test_module_run_with_dash_m_resolves_relative_imports(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("value = 7\n")
    (package / "program.py").write_text(
        "import paceline\n"
        "def work(x):\n"
        "    from .part import value\n"
        "    return x + value\n"
        "print(paceline.map(work, [1, 2], 2))\n"
    )
    assert Program("-m", "package.program", cwd=tmp_path).finish() == (0, "[8, 9]\n", "")


def test_interactive_session_at_a_terminal():
    """As typed by a person: the terminal is real, and the prompt waits for each answer."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-q", "-i"])
    lines = [
        "import paceline",
        "offset = 40",
        "def work(x):",
        "    return x + offset",
        "",
        "pool = paceline.Pool(2)",
        "pool.map(work, [1, 2])",
        "offset = 50",
        "pool.map(lambda x: work(x), [1, 2])",
        "pool.close(); pool.join(); print('good' + 'bye')",
        "exit()",
    ]
    seen = b""
    for line in lines:
        os.write(terminal, line.encode() + b"\n")
    while b"goodbye" not in seen:
        seen += os.read(terminal, 4096)
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"[41, 42]" in seen
    assert b"[51, 52]" in seen
    assert b"Traceback" not in seen


def test_function_made_by_exec(pool):
    namespace = {}
    exec("base = 5\ndef outer(x):\n    return inner(x) + base\ndef inner(x):\n    return x * 2\n", namespace)
    assert pool.map(namespace["outer"], range(3)) == [5, 7, 9]
    namespace["base"] = 6
    assert pool.map(namespace["outer"], range(3)) == [6, 8, 10]


def test_lambda_closure_partial_and_bound_method(pool):
    from functools import partial

    def outer(base):
        def inner(x, times=1):
            return base + x * times

        return inner

    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def apply(self, x):
            return self.factor * x

        @classmethod
        def name(cls, _):
            return cls.__name__

        @staticmethod
        def double(x):
            return 2 * x

        def __call__(self, x):
            return -self.factor * x

    assert pool.map(lambda x: x + 1, range(2)) == [1, 2]
    assert pool.map(outer(10), range(2)) == [10, 11]
    assert pool.map(partial(outer(10), times=2), range(2)) == [10, 12]
    assert pool.map(Scale(3).apply, range(2)) == [0, 3]
    assert pool.map(Scale(3), range(2)) == [0, -3]
    assert pool.map(Scale.name, range(1)) == ["Scale"]
    assert pool.map(Scale.double, range(2)) == [0, 2]
    assert pool.map(str.upper, "ab") == ["A", "B"]
    assert pool.map("-".join, ["ab"]) == ["a-b"]
    assert pool.map([1, 2, 2].count, [2]) == [2]


def test_bound_method_takes_the_instance_as_it_is_at_each_call(pool):
    class Counter:
        value = 0

        def get(self):
            return self.value

    counter = Counter()
    results = []
    for counter.value in range(3):
        results.append(pool.apply(counter.get))
    assert results == [0, 1, 2]


def test_generator_function_runs_inside_another(pool):
    def numbers(n):
        yield from range(n)

    assert pool.apply(lambda n: list(numbers(n)), (3,)) == [0, 1, 2]


def test_function_that_does_not_exist_in_the_workers_says_so(pool, monkeypatch):
    import types

    def gone(x):
        return x

    module = types.ModuleType("never_there")
    module.__spec__ = tasks.__spec__
    monkeypatch.setitem(sys.modules, "never_there", module)
    gone.__module__ = "never_there"
    gone.__qualname__ = "gone"
    module.gone = gone
    assert pool.apply(gone, (1,)) == 1


def test_decorated_functions_of_modules_and_scripts(tmp_path):
    source = """
import functools
from paceline import Pool

def loud(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args).upper()
    return wrapper

@loud
def shout(x):
    return x

@functools.lru_cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

with Pool(2) as pool:
    print(pool.map(shout, ["a", "b"]), pool.map(fibonacci, range(10)))
"""
    assert run_script(tmp_path, source) == "['A', 'B'] [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]\n"


def test_module_that_opens_a_pool_while_it_is_imported(tmp_path):
    (tmp_path / "library.py").write_text(
        "import paceline\ndef work(x):\n    return x + 1\nresults = paceline.map(work, range(3), 2)\n"
    )
    assert run_script(tmp_path, "import library\nprint(library.results)\n") == "[1, 2, 3]\n"


def test_pool_inside_a_worker_of_another_pool(tmp_path):
    source = """
import paceline

def inner(x):
    return x * x

def outer(n):
    return sum(paceline.map(inner, range(n), 2))

print(paceline.map(outer, [2, 3, 4], 2))
"""
    assert run_script(tmp_path, source) == "[1, 5, 14]\n"


@pytest.mark.parametrize("flags", [["-O"], ["-X", "dev"], ["-W", "error"]], ids="".join)
def test_interpreter_flags_do_no_harm(flags):
    program = Program(*flags, "-c", "import paceline\nprint(paceline.map(lambda x: x + 1, range(3), 2))")
    assert program.finish() == (0, "[1, 2, 3]\n", "")


def test_unpicklable_argument_fails_at_the_call(pool):
    with pytest.raises(paceline.ArgumentNotPicklable) as caught:
        pool.apply_async(tasks.identity, (1, [tasks.Unpicklable()]))
    assert "positional argument 1, `[0]`" in str(caught.value)
    assert "stays at home" in str(caught.value)
    assert pool.apply(tasks.square, (2,)) == 4


def test_unpicklable_result_fails_its_own_future_only(pool):
    futures = [pool.submit(tasks.square, 2), pool.submit(tasks.unpicklable_result), pool.submit(tasks.square, 3)]
    assert futures[0].result() == 4
    assert futures[2].result() == 9
    with pytest.raises(paceline.ResultNotPicklable, match=r"at `\['list'\]`, `\[1\]`"):
        futures[1].result()


@pytest.mark.parametrize("kind", [tasks.HoldsLock, tasks.BreaksWhenRebuilt])
def test_exception_that_cannot_cross_arrives_described(pool, kind):
    with pytest.raises(paceline.RemoteError) as caught:
        pool.apply(tasks.raise_error, (kind, "details"))
    assert caught.value.type_name == f"tasks.{kind.__name__}"
    assert caught.value.message == "details"
    assert "raise kind(*args)" in caught.value.traceback


def test_exception_that_pickle_cannot_rebuild_still_arrives_as_itself(pool):
    with pytest.raises(tasks.TwoArguments, match="1 and 2"):
        pool.apply(tasks.raise_error, (tasks.TwoArguments, 1, 2))


def test_result_that_cannot_be_unpickled_raises_on_its_own_future(pool):
    class Trap:
        def __reduce__(self):
            return tasks.explode, ()

    future = pool.submit(Trap)
    with pytest.raises(paceline.ResultNotRebuilt, match="rebuilding is not to be had"):
        future.result()
    assert isinstance(future.exception().__cause__, OSError)
    assert pool.apply(tasks.square, (2,)) == 4


def test_argument_that_cannot_be_unpickled_fails_its_own_call(pool):
    class Trap:
        def __reduce__(self):
            return tasks.explode, ()

    future = pool.submit(tasks.identity, Trap())
    with pytest.raises(paceline.ArgumentNotRebuilt, match=r"in the worker: OSError: rebuilding is not to be had"):
        future.result()
    assert pool.apply(tasks.square, (2,)) == 4


def test_remote_traceback_shows_the_users_frames_only(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import paceline\ndef work(x):\n    return 1 / x\nwith paceline.Pool(1) as pool:\n    pool.map(work, [1, 0])\n"
    )
    code, _, err = Program(str(script)).finish()
    assert code == 1
    remote, _, local = err.partition("The above exception was the direct cause of the following exception:")
    assert remote.startswith('paceline.errors.RemoteTraceback: \n"""\nTraceback (most recent call last):\n')
    assert "in work\n    return 1 / x\n" in remote
    assert "paceline/" not in remote.partition('"""')[2]
    assert local.rstrip().endswith("ZeroDivisionError: division by zero")
