"""Native libraries use as many threads in a worker as leave room for the other workers."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from paceline import Pool
from paceline.engine import default_workers
from paceline.worker import THREAD_VARIABLES
from program import Program

CPUS = default_workers()


def chosen():
    return {name: os.environ.get(name) for name in THREAD_VARIABLES}


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("workers", [1, 2, 2 * CPUS])
def test_workers_times_threads_fit_the_machine(workers):
    with Pool(workers) as pool:
        assert pool.apply(chosen) == dict.fromkeys(THREAD_VARIABLES, str(max(1, CPUS // workers)))


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Pool(2) as pool:
        found = pool.apply(chosen)
    assert found.pop("OMP_NUM_THREADS") == "7"
    assert set(found.values()) == {str(max(1, CPUS // 2))}


def test_threads_per_worker_overrides(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Pool(2, threads_per_worker=3) as pool:
        assert set(pool.apply(chosen).values()) == {"3"}


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_threads_per_worker_that_makes_no_sense_is_refused(threads, error):
    with pytest.raises(error, match="threads_per_worker must be"):
        Pool(1, threads_per_worker=threads)


def test_nested_workers_choose_anew():
    def nest():
        import paceline

        with paceline.Pool(CPUS) as inner:
            return chosen(), inner.apply(chosen)

    with Pool(1) as pool:
        outer, inner = pool.apply(nest)
    assert set(outer.values()) == {str(CPUS)}
    assert set(inner.values()) == {"1"}


def test_the_cpus_are_those_of_the_affinity_mask(tmp_path):
    program = (
        "import os, paceline\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "with paceline.Pool(1) as pool: print(pool.apply(os.getenv, ('OMP_NUM_THREADS',)))\n"
    )
    code, out, err = Program("-c", program).finish()
    assert (code, out, err) == (0, "1\n", "")


# Not imported here: its threads would be this process's.
needs_numpy = pytest.mark.skipif(
    find_spec("numpy") is None or find_spec("threadpoolctl") is None, reason="numpy and threadpoolctl are not installed"
)


def pools_of_numpy():
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((8, 8)) @ np.ones((8, 8))
    return [library["num_threads"] for library in threadpool_info()]


@needs_numpy
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_numpy_in_a_worker_has_as_many_threads(threads):
    expected = max(1, CPUS // 2) if threads is None else threads
    with Pool(2, threads_per_worker=threads) as pool:
        found = pool.apply(pools_of_numpy)
    assert found
    # No library starts more threads than there are CPUs.
    assert set(found) <= {expected, min(expected, CPUS)}


@needs_numpy
def test_a_library_that_was_loaded_before_the_worker_is_limited_too(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import numpy\n")
    (tmp_path / "script.py").write_text(
        "import paceline\n"
        "def look():\n"
        "    from threadpoolctl import threadpool_info\n"
        "    return {library['num_threads'] for library in threadpool_info()}\n"
        "print(look())\n"
        "with paceline.Pool(2, threads_per_worker=1) as pool: print(pool.apply(look))\n"
    )
    folders = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    before, within = ran.stdout.splitlines()
    assert within == "{1}"
    assert before == f"{{{CPUS}}}"
    assert ran.stderr == ""
