"""The package as a whole: cheap to import, complete by its names, and documented by examples that run."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import paceline


def modules_after(program):
    answer = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(answer.stdout.split())


def test_import_loads_nothing_else():
    assert {name for name in modules_after("import paceline") if name.startswith("paceline")} == {
        "paceline",
        "paceline.adapters",
        "paceline.imports",
    }


def test_pool_is_at_work_before_anything_slow_is_loaded():
    loaded = modules_after("from paceline import Pool\nengine = Pool.__module__")
    assert not loaded & {"concurrent.futures", "logging", "threading", "_pickle", "typing", "cloudpickle"}


def test_names_of_experiments_load_no_database_and_no_third_party_before_they_are_used():
    loaded = modules_after("import paceline\nassert 'Experiment' in dir(paceline)")
    assert not loaded & {"sqlite3", "numpy", "pandas", "paceline.experiments"}
    loaded = modules_after("from paceline import Experiment, open_store\nExperiment(len).add_grid(n=range(3))")
    assert not loaded & {"numpy", "pandas", "polars", "pyarrow", "scipy", "matplotlib"}


def test_pool_of_plain_functions_never_loads_what_it_does_not_need():
    loaded = modules_after("from paceline import Pool\nwith Pool(1) as pool: pool.map(lambda x: x + 1, range(3))")
    assert not loaded & {"multiprocessing", "asyncio", "typing", "cloudpickle", "inspect", "dataclasses", "pickle"}


def test_worker_of_plain_functions_never_loads_what_it_does_not_need():
    program = (
        "from paceline import Pool\n"
        "def look():\n"
        "    import sys\n"
        "    return list(sys.modules)\n"
        "with Pool(1) as pool: print(*pool.apply(look))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(answer.stdout.split())
    assert "paceline.worker" in loaded
    assert not loaded & {"concurrent.futures", "logging", "threading", "typing", "cloudpickle", "paceline.pool"}


@pytest.mark.parametrize("name", paceline.__all__)
def test_every_name_is_there_and_documented(name):
    assert getattr(paceline, name).__doc__
    assert name in dir(paceline)


def test_names_that_are_not_there_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'paceline' has no attribute 'nothing'"):
        _ = paceline.nothing


def test_star_import_gives_every_name():
    namespace = {}
    exec("from paceline import *", namespace)
    assert set(paceline.__all__) <= set(namespace)


def test_version_is_that_of_the_distribution():
    assert paceline.__version__[0].isdigit()


def test_package_says_that_it_is_typed():
    assert Path(paceline.__file__).with_name("py.typed").exists()


@pytest.mark.parametrize(
    "module",
    [
        "paceline",
        "paceline.calls",
        "paceline.compat.pyrallel",
        "paceline.events",
        "paceline.executor",
        "paceline.experiments.axes",
        "paceline.experiments.experiment",
        "paceline.experiments.results",
        "paceline.experiments.columns",
        "paceline.future",
        "paceline.options",
        "paceline.pool",
        "paceline.report",
        "paceline.imports",
        "paceline.preloading",
        "paceline.board",
        "paceline.telemetry",
        "paceline.watching",
    ],
)
def test_examples_in_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    result = doctest.testmod(importlib.import_module(module))
    if module == "paceline.watching":
        importlib.import_module(module).close()
    assert result.failed == 0
    assert result.attempted > 0
