"""Notebooks: cells are run by a real kernel, one after the other, as a person would."""

import re
import threading

import pytest

from notebook import Notebook

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    kernel = Notebook(tmp_path_factory.mktemp("notebook"))
    # What the kernel's process has once, as `conftest` has it for this one.
    kernel.run("import paceline\npaceline.map(abs, [1], 1)")
    yield kernel
    kernel.close()


@pytest.fixture
def notebook(kernel):
    """The notebook with a pool, and nothing else that an earlier test has left."""
    kernel.run("%reset -f\nimport paceline\npool = paceline.Pool(2)")
    yield kernel
    kernel.run("pool.terminate(); pool.join()")


def test_functions_of_cells_follow_their_redefinition(notebook):
    notebook.run("factor = 2\ndef scale(x):\n    return x * factor\ndef outer(x):\n    return scale(x) + 1")
    assert notebook.run("pool.map(outer, range(3))") == "[1, 3, 5]"
    notebook.run("factor = 3")
    assert notebook.run("pool.map(outer, range(3))") == "[1, 4, 7]"
    notebook.run("def scale(x):\n    return -x")
    assert notebook.run("pool.map(outer, range(3)), pool.apply(scale, (5,))") == "([1, 0, -1], -5)"
    assert notebook.run("pool.map(lambda x: outer(x) * 10, range(3))") == "[10, 0, -10]"


def test_imports_of_a_cell_are_found_by_functions_of_another(notebook):
    notebook.run("import math, os.path as paths\nfrom collections import Counter")
    notebook.run("def work(x):\n    return math.factorial(x), paths.join('a', 'b'), Counter('aab')['a']")
    assert notebook.run("pool.map(work, [3, 4])") == "[(6, 'a/b', 2), (24, 'a/b', 2)]"
    notebook.run("def imports_inside(x):\n    import json\n    return json.dumps([x])")
    assert notebook.run("pool.apply(imports_inside, (1,))") == "'[1]'"


def test_classes_of_cells_keep_their_identity_and_follow_their_redefinition(notebook):
    notebook.run(
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "    def moved(self):\n"
        "        return Point(self.x + 1)\n"
        "class Failure(Exception):\n"
        "    pass\n"
        "def fail(x):\n"
        "    raise Failure(x)\n"
        "def moved(point):\n"
        "    return point.moved()"
    )
    assert notebook.run("moved_point = pool.apply(moved, (Point(1),))\nmoved_point, type(moved_point) is Point") == (
        "(Point(x=2), True)"
    )
    notebook.run("Point.moved = lambda self: Point(self.x + 10)")
    assert notebook.run("pool.apply(moved, (Point(1),))") == "Point(x=11)"
    notebook.run("@dataclasses.dataclass\nclass Point:\n    x: int\n    def moved(self):\n        return Point(0)")
    assert notebook.run("[pool.apply(moved, (Point(1),)), pool.apply(moved, (moved_point,))]") == (
        "[Point(x=0), Point(x=12)]"
    )
    assert notebook.run(
        "try:\n    pool.apply(fail, (3,))\nexcept Failure as error:\n    print(error, type(error) is Failure)"
    ) == ("3 True\n")


def test_magic_cells_and_helpers_of_the_shell_do_no_harm(notebook):
    out = notebook.run("%%time\ndef timed(x):\n    return x + 1\nprint(pool.map(timed, range(3)))")
    assert out.startswith("[1, 2, 3]\n")
    assert "Wall time" in out
    assert notebook.run("pool.map(timed, range(2))") == "[1, 2]"
    assert "per loop" in notebook.run("%timeit -n 1 -r 1 pool.apply(timed, (1,))")
    # What a cell displayed, and the shell's own names, are globals too.
    assert notebook.run("Out[len(Out)] if False else pool.apply(lambda: _ if False else 1)") == "1"


def test_traceback_of_a_cell_shows_its_lines(notebook):
    notebook.run("def ratio(x):\n    y = x - 1\n    return 1 / y")
    name, shown = notebook.run_failing("pool.map(ratio, [3, 1])")
    assert name == "ZeroDivisionError"
    assert re.search(
        r"RemoteTraceback.*line 3, in ratio\n    return 1 / y\n           ~~\^~~\nZeroDivisionError", shown, re.DOTALL
    )
    name, shown = notebook.run_failing("pool.apply(lambda: {}['missing'])")
    assert name == "KeyError"
    assert "in <lambda>\n    pool.apply(lambda: {}['missing'])\n" in shown


def test_source_of_a_cells_function_can_be_had_in_the_worker(notebook):
    notebook.run("def documented(x):\n    return x  # as it stands")
    notebook.run("def source(x):\n    import inspect\n    return inspect.getsource(documented)")
    assert (
        notebook.run("print(pool.apply(source, (1,)), end='')") == "def documented(x):\n    return x  # as it stands\n"
    )


def test_pool_of_one_cell_serves_all_and_with_blocks_work(notebook):
    assert notebook.run("with paceline.Pool(1) as other:\n    print(other.map(abs, [-1]), pool.map(abs, [-2]))") == (
        "[1] [2]\n"
    )
    assert notebook.run("paceline.map(lambda x: x + 1, range(3), 2)") == "[1, 2, 3]"


def test_calls_are_awaited_at_the_top_level_of_a_cell(notebook):
    notebook.run("def work(x):\n    return x * x")
    assert notebook.run("await pool.run(work, 4)") == "16"
    assert (
        notebook.run("import asyncio\nawait asyncio.gather(*(pool.run(work, x) for x in range(4)))") == "[0, 1, 4, 9]"
    )
    assert notebook.run("[result async for result in pool.amap(work, range(4))]") == "[0, 1, 4, 9]"


def test_interrupted_cell_ends_its_map_and_the_pool_goes_on(notebook, gate):
    notebook.run("import tasks")

    def interrupt():
        gate.wait_for_arrival()
        notebook.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    name, _ = notebook.run_failing(f"results = pool.map(lambda _: tasks.through({gate.path!r}), range(2))")
    thread.join()
    assert name == "KeyboardInterrupt"
    gate.let_through(2)
    assert notebook.run("pool.map(lambda x: x + 1, range(3))") == "[1, 2, 3]"


def test_output_of_workers_appears_in_the_cell_that_caused_it(notebook):
    notebook.run(
        "import logging, os, sys\n"
        "def speak(word):\n"
        "    print('prints', word)\n"
        "    os.write(1, b'raw\\n')\n"
        "    print('half', end='')\n"
    )
    for word in ("first", "second", "third"):
        lines = notebook.run(f"pool.apply(speak, ({word!r},))").splitlines()
        assert sorted(lines) == sorted([f"prints {word}", "raw", "half"])
    assert notebook.run("with paceline.Pool(1) as own: own.apply(speak, ('own',))").splitlines() == [
        "prints own",
        "raw",
        "half",
    ]
    assert notebook.run("1 + 1") == "2"


def test_output_of_workers_while_a_cell_runs_appears_before_it_ends(notebook, gate):
    notebook.run(
        "import sys, time\n"
        "def say_and_wait(gate):\n"
        "    print('while it runs')\n"
        "    with open(gate, 'rb', buffering=0) as entrance:\n"
        "        entrance.read(1)\n"
        "class Told:\n"
        "    def __init__(self, stream):\n"
        "        self.stream = stream\n"
        "    def write(self, text):\n"
        "        os.write(entrance, b'.')\n"
        "        return self.stream.write(text)\n"
        "    def flush(self):\n"
        "        self.stream.flush()\n"
    )
    # The worker is let through by the arrival of its line, while the cell waits for the worker.
    source = (
        "import contextlib, os\n"
        f"entrance = os.open({gate.path!r}, os.O_RDWR)\n"
        "with contextlib.redirect_stdout(Told(sys.stdout)):\n"
        f"    pool.apply(say_and_wait, ({gate.path!r},))\n"
        "os.close(entrance)\n"
    )
    assert notebook.run(source) == "while it runs\n"


def test_output_of_calls_that_outlive_their_cell_goes_to_the_latest(notebook, gate):
    notebook.run(
        "def late(gate):\n"
        "    with open(gate, 'rb', buffering=0) as entrance:\n"
        "        entrance.read(1)\n"
        "    print('late')\n"
    )
    assert notebook.run(f"future = pool.submit(late, {gate.path!r})\nprint('submitted')") == "submitted\n"
    source = f"with open({gate.path!r}, 'wb', buffering=0) as opened: opened.write(b'.')\nfuture.result()"
    assert notebook.run(source) == "late\n"


def test_progress_and_reports_show_in_a_notebook(notebook):
    outputs = notebook.outputs("results = pool.map(abs, range(-30, 0), progress=True)\nresults[0]")
    shown = "".join(output.get("text", "") + str(output.get("data", "")) for output in outputs)
    assert "30/30" in shown
    [output] = notebook.outputs("pool.report()")
    assert "<table>" in output["data"]["text/html"]
    assert len(output["data"]["text/plain"]) < 1_000
