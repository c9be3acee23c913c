"""Modules that workers are born with: they are there, they cost nobody else anything, and a bad one does no harm."""

import importlib.util
import os
import sys

import pytest

import paceline
from program import run_script

LOADED = "pool.apply(eval, (\"sorted(name for name in __import__('sys').modules if name in %r)\",))"


def test_workers_are_born_with_what_was_preloaded(tmp_path):
    script = (
        "import sys, paceline\n"
        "paceline.preload('decimal', 'no_such_module', 'fractions')\n"
        "with paceline.Pool(2) as pool:\n"
        f"    print({LOADED % (['decimal', 'fractions', 'statistics'],)})\n"
        "print('decimal' in sys.modules)\n"
    )
    assert run_script(tmp_path, script) == "['decimal', 'fractions']\nFalse\n"


def test_module_beside_the_script_is_found_and_nothing_else_changes(tmp_path):
    (tmp_path / "beside.py").write_text("import os\nseen = os.environ['OMP_NUM_THREADS']\n", encoding="utf-8")
    script = (
        "import os, sys, paceline\n"
        "def look():\n"
        "    module = sys.modules['beside']\n"
        "    return module.seen, sys.path == path, os.environ.get('SOME'), os.environ.get('OMP_NUM_THREADS')\n"
        "path = list(sys.path)\n"
        "paceline.preload('beside')\n"
        "with paceline.Pool(1, threads_per_worker=3) as pool:\n"
        "    print(pool.apply(look))\n"
    )
    assert run_script(tmp_path, script, SOME="thing") == "('1', True, 'thing', '3')\n"


def test_module_that_starts_a_thread_is_left_to_the_workers(tmp_path):
    (tmp_path / "busy.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n", encoding="utf-8"
    )
    script = (
        "import paceline\n"
        "with paceline.Pool(1) as pool:\n"
        "    print(pool.apply(abs, (-1,)))\n"
        "paceline.preload('busy')\n"
        "with paceline.Pool(2) as pool:\n"
        f"    print({LOADED % (['busy'],)})\n"
        "    print(pool.map(abs, [-1, -2]))\n"
    )
    assert run_script(tmp_path, script) == "1\n[]\n[1, 2]\n"


def test_module_that_ends_the_interpreter_is_left_to_the_workers(tmp_path):
    (tmp_path / "ender.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    script = (
        "import paceline\n"
        "paceline.preload('ender')\n"
        "with paceline.Pool(2) as pool:\n"
        "    print(pool.map(abs, [-1, -2]))\n"
    )
    assert run_script(tmp_path, script) == "[1, 2]\n"


def test_names_that_name_nothing_are_refused_at_the_call():
    with pytest.raises(TypeError, match="modules are named by strings, not module"):
        paceline.preload(sys)
    for name in ("", ".relative", "a..b"):
        with pytest.raises(ValueError, match="is not the full name of a module"):
            paceline.preload(name)
    with pytest.raises(ValueError, match="too long to be sent"):
        paceline.preload(*(f"package.module_{number}" for number in range(5000)))


# Not imported here, where its libraries would start their threads.
needs_scikit_learn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn")

FOLLOWER = (
    "import paceline\n"
    "from sklearn.svm import SVC\n"
    "with paceline.Pool(2) as pool:\n"
    f"    print({LOADED % (['sklearn', 'sklearn.svm'],)})\n"
    "    print(pool.apply(eval, (\"len(__import__('os').listdir('/proc/self/task'))\",)))\n"
)


@needs_scikit_learn
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_scikit_learn_that_is_imported_here_is_there_in_the_workers(tmp_path):
    # pandas, which scikit-learn imports, imports pyarrow where it is installed; that starts a thread, and the fork
    # server keeps nothing that does.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pyarrow.py").write_text("raise ImportError('hidden')")
    loaded, threads = run_script(tmp_path, FOLLOWER, PYTHONPATH=str(hidden)).splitlines()
    assert loaded == "['sklearn', 'sklearn.svm']"
    # The main thread, and the one that watches the life line: none of a library's.
    assert threads == "2"


@needs_scikit_learn
@pytest.mark.parametrize("refusal", [{"PACELINE_PRELOAD": "0"}, {"OMP_NUM_THREADS": "2"}], ids=str)
def test_scikit_learn_is_left_alone_where_the_user_wants_it(tmp_path, refusal):
    assert run_script(tmp_path, FOLLOWER, **refusal).startswith("[]\n")
