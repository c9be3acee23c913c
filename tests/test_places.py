"""Programs from wherever they come: packages, zip files, editable installs, other folders, threads, test runners."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import paceline
from program import Program, run_script

PACKAGE = {
    "shapes/__init__.py": "from .square import Square, area, make_scaler\n",
    "shapes/square.py": """
from . import constants

class Square:
    def __init__(self, side):
        self.side = side
    def area(self):
        return self.side ** 2 + constants.OFFSET

def area(square):
    return square.area()

def make_scaler(factor):
    return lambda square: Square(square.side * factor)

def fail(square):
    raise ValueError(square.side)
""",
    "shapes/constants.py": "OFFSET = 1000\n",
}

USE = """
import paceline
import shapes
from shapes import square as module

with paceline.Pool(2) as pool:
    print(pool.map(shapes.area, [shapes.Square(1), shapes.Square(2)]))
    print(pool.map(shapes.Square(3).area.__func__, [shapes.Square(3)]))
    print(pool.apply(shapes.Square(4).area))
    [scaled] = pool.map(shapes.make_scaler(3), [shapes.Square(2)])
    print(type(scaled) is shapes.Square, scaled.side)
    try:
        pool.apply(module.fail, (shapes.Square(5),))
    except ValueError as error:
        print(error, "raise ValueError(square.side)" in error.__cause__.text)
"""
USED = "[1001, 1004]\n[1009]\n1016\nTrue 6\n5 True\n"


def write_files(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_package_beside_the_script(tmp_path):
    write_files(tmp_path, PACKAGE)
    assert run_script(tmp_path, USE) == USED


def test_package_in_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "packages.zip", "w") as archive:
        for name, text in PACKAGE.items():
            archive.writestr(name, text)
    source = f"import sys\nsys.path.insert(0, {str(tmp_path / 'packages.zip')!r})\n" + USE
    assert run_script(tmp_path, source) == USED


def test_program_that_is_a_zip_file_itself(tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pyz", "w") as archive:
        for name, text in (PACKAGE | {"__main__.py": USE}).items():
            archive.writestr(name, text)
    assert Program(str(tmp_path / "program.pyz")).finish() == (0, USED, "")


def test_package_on_a_path_added_before_the_pool_opens(tmp_path):
    write_files(tmp_path / "elsewhere", PACKAGE)
    assert run_script(tmp_path, f"import sys\nsys.path.append({str(tmp_path / 'elsewhere')!r})\n" + USE) == USED


def test_package_on_a_path_relative_to_a_changed_folder(tmp_path):
    write_files(tmp_path / "elsewhere" / "lib", PACKAGE)
    source = f"import os, sys\nos.chdir({str(tmp_path / 'elsewhere')!r})\nsys.path.insert(0, 'lib')\n" + USE
    assert run_script(tmp_path, source) == USED


def test_tasks_run_in_the_folder_where_the_pool_was_opened(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.txt").write_text("1 2 3")
    source = f"""
import os
import paceline
os.chdir({str(tmp_path / "data")!r})
from pathlib import Path
print(paceline.map(lambda name: Path(name).read_text(), ["numbers.txt"], 1))
"""
    assert run_script(tmp_path, source) == "['1 2 3']\n"


def test_editable_installs(tmp_path):
    # As pip makes them: a path in a `.pth` file, or an import hook that a `.pth` file puts up.
    write_files(tmp_path / "src", PACKAGE)
    write_files(tmp_path / "hooked", {"hidden_place/__init__.py": "def work(x):\n    return (lambda y: y + 1)(x)\n"})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    import cloudpickle

    homes = {str(Path(module.__file__).parent.parent) for module in (paceline, cloudpickle)}
    (packages / "paths.pth").write_text("\n".join([*homes, str(tmp_path / "src")]) + "\n")
    (packages / "__editable__.pth").write_text("import __editable_finder; __editable_finder.install()\n")
    (packages / "__editable_finder.py").write_text(f"""
import importlib.util, sys
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "renamed":
            return importlib.util.spec_from_file_location(
                name, {str(tmp_path / "hooked" / "hidden_place" / "__init__.py")!r}
            )
def install():
    sys.meta_path.append(Finder)
""")
    script = tmp_path / "script.py"
    script.write_text(USE + "import renamed\nprint(paceline.map(renamed.work, [1, 2], 2))\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    answer = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )
    assert (answer.stdout, answer.stderr) == (USED + "[2, 3]\n", "")


def test_module_run_by_its_name_or_path_from_another_program(tmp_path):
    write_files(tmp_path, PACKAGE | {"shapes/__main__.py": "from . import area, Square\n" + USE})
    assert Program("-m", "shapes", cwd=tmp_path).finish() == (0, USED, "")
    source = """
import runpy
runpy.run_module("shapes", run_name="__main__", alter_sys=True)
runpy.run_path("use.py")
runpy.run_path("use.py", run_name="__main__")
"""
    (tmp_path / "use.py").write_text(
        "def local(x):\n    return other(x)\ndef other(x):\n    return -x\n"
        + USE
        + "print(paceline.map(local, [1], 1))\n"
    )
    program = Program("-c", source, cwd=tmp_path)
    assert program.finish() == (0, USED + (USED + "[-1]\n") * 2, "")


def test_file_loaded_as_a_module_by_hand(tmp_path):
    (tmp_path / "plugin.py").write_text(
        "BASE = 5\n"
        "class Thing:\n    pass\n"
        "def work(x):\n    return helper(x) + BASE\n"
        "def helper(x):\n    return x * 2\n"
    )
    source = f"""
import importlib.util, sys
import paceline
spec = importlib.util.spec_from_file_location("loaded_by_hand", {str(tmp_path / "plugin.py")!r})
plugin = importlib.util.module_from_spec(spec)
sys.modules["loaded_by_hand"] = plugin
spec.loader.exec_module(plugin)
unregistered = importlib.util.module_from_spec(importlib.util.spec_from_file_location("nowhere", spec.origin))
unregistered.__spec__.loader.exec_module(unregistered)
with paceline.Pool(1) as pool:
    print(pool.map(plugin.work, [1, 2]), pool.map(unregistered.work, [3]))
    print(type(pool.apply(lambda thing: thing, (plugin.Thing(),))) is plugin.Thing)
    plugin.BASE = 50
    print(pool.map(plugin.work, [1, 2]))
"""
    assert run_script(tmp_path, source) == "[7, 9] [11]\nTrue\n[52, 54]\n"


def test_interactive_session_fed_by_a_pipe():
    program = Program("-i", "-q", stdin=-1)
    code, out, err = program.finish(b"""\
import paceline
class Point:
    def __init__(self, x):
        self.x = x

def work(point):
    return Point(point.x + 1)

pool = paceline.Pool(2)
[type(point) is Point and point.x for point in pool.map(work, [Point(1), Point(2)])]
def work(point):
    return point.x * 100

pool.map(work, [Point(1), Point(2)])
pool.close(); pool.join()
""")
    assert code == 0
    assert out == "[2, 3]\n[100, 200]\n"
    assert "Traceback" not in err


def test_doctest_finds_its_functions_and_classes(tmp_path):
    (tmp_path / "documented.py").write_text('''
def documented():
    """
    >>> import paceline
    >>> base = 10
    >>> class Point:
    ...     def __init__(self, x):
    ...         self.x = x
    >>> def work(point):
    ...     return Point(point.x + base)
    >>> [type(point) is Point and point.x for point in paceline.map(work, [Point(1), Point(2)], 2)]
    [11, 12]
    >>> base = 20
    >>> [point.x for point in paceline.map(work, [Point(1)], 1)]
    [21]
    """
''')
    assert Program("-m", "doctest", str(tmp_path / "documented.py")).finish() == (0, "", "")


def test_pool_works_in_threads_and_daemon_threads(tmp_path):
    source = """
import threading
import paceline

def work(x):
    return x * 2

def use(results, name):
    with paceline.Pool(2) as pool:
        results[name] = pool.map(work, range(3)) + [pool.submit(work, 5).result()]

for daemon in (False, True):
    results = {}
    threads = [threading.Thread(target=use, args=(results, name), daemon=daemon) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(results == {name: [0, 2, 4, 10] for name in range(3)})
"""
    assert run_script(tmp_path, source) == "True\nTrue\n"


def test_program_may_end_while_a_daemon_thread_waits_for_its_pool(tmp_path, gate):
    source = """
import sys, threading
import paceline
sys.path.insert(0, sys.argv[1])
import tasks

def use():
    with paceline.Pool(1) as pool:
        pool.apply(tasks.through, (sys.argv[2],))

threading.Thread(target=use, daemon=True).start()
with open(sys.argv[2] + ".arrived", "rb", buffering=0) as arrived:
    arrived.readline()
print("leaving")
"""
    (tmp_path / "script.py").write_text(source)
    program = Program(str(tmp_path / "script.py"), str(Path(__file__).parent), gate.path)
    code, out, _ = program.finish()
    assert (code, out) == (0, "leaving\n")
    program.wait_until_nothing_is_left()


TESTS = """
import enum
import pytest
import paceline

class Color(enum.Enum):
    RED = 1

class Custom(Exception):
    pass

def check(x):
    assert x != 3, "three is refused"
    return x

def fail(x):
    print("printed in a worker", x)
    raise Custom(x)

@pytest.fixture
def pool():
    with paceline.Pool(2) as pool:
        yield pool

def test_functions_and_classes_of_a_test_module(pool):
    assert pool.map(check, range(3)) == [0, 1, 2]
    assert pool.apply(lambda color: color, (Color.RED,)) is Color.RED
    class Local:
        pass
    assert type(pool.apply(lambda thing: thing, (Local(),))) is Local
    with pytest.raises(Custom):
        pool.apply(fail, (1,))

def test_rewritten_assertions_say_what_was_compared(pool):
    with pytest.raises(AssertionError, match="three is refused"):
        pool.map(check, range(4))

@pytest.mark.parametrize("factor", [2, 3])
def test_closures_over_fixtures_and_parameters(pool, factor, tmp_path):
    assert pool.map(lambda x: x * factor, range(3)) == [0, factor, 2 * factor]
    assert pool.apply(lambda: tmp_path.name) == tmp_path.name

def test_with_captured_output(pool, capfd):
    assert pool.map(str, range(2)) == ["0", "1"]
"""


def test_modules_collected_by_pytest(tmp_path):
    (tmp_path / "test_of_a_user.py").write_text(TESTS)
    for options in ([], ["--import-mode=importlib"], ["-s", "-p", "no:cacheprovider"]):
        program = Program("-m", "pytest", "-q", "-W", "error", *options, str(tmp_path), cwd=tmp_path)
        code, out, err = program.finish()
        assert code == 0, out + err
        assert "5 passed" in out
        program.wait_until_nothing_is_left()
