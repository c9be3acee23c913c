"""An experiment in a notebook with a real kernel: functions and values of cells, the table, an interrupt, a change."""

import contextlib
import time

import pytest

import paceline
from notebook import Notebook


@pytest.fixture
def notebook(tmp_path):
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.close()


def rows(path):
    with contextlib.suppress(paceline.StoreError):  # It is being made.
        return len(paceline.open_store(path).results())
    return 0


def test_experiment_of_a_notebook_runs_is_shown_interrupted_and_goes_on(notebook, tmp_path):
    notebook.run(
        "import time, paceline\n"
        "class Scorer:\n"
        "    def __init__(self, bonus):\n"
        "        self.bonus = bonus\n"
        "def evaluate(alg, rep, rng):\n"
        "    return {'score': alg.bonus + rep, 'draw': rng.random()}\n"
        "exp = paceline.Experiment(evaluate, 'results.db', seed=1)\n"
        "exp.add_grid(alg={'a': Scorer(10), 'b': Scorer(20)}, rep=range(3))\n"
        "results = exp.run(workers=2)"
    )
    assert notebook.run("results['score']") == "[10, 11, 12, 20, 21, 22]"
    assert notebook.run("results['draw'][:3] == results['draw'][3:]") == "True"
    (shown,) = notebook.outputs("results")
    assert "<th>alg</th><th>rep</th><th>score</th>" in shown["data"]["text/html"]

    notebook.run("def slow(rep):\n    time.sleep(0.02 if rep < 5 else 600)\n    return rep")
    notebook.run("exp = paceline.Experiment(slow, 'slow.db')\nexp.add_grid(rep=range(9))")
    notebook.process.stdin.write('"exp.run(workers=1)"\n')
    notebook.process.stdin.flush()
    deadline = time.monotonic() + 60
    while rows(tmp_path / "slow.db") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    notebook.interrupt()
    (error,) = (output for output in notebook.answer() if output["output_type"] == "error")
    assert error["ename"] == "KeyboardInterrupt"
    assert notebook.run("exp.status().ok") == "5"

    notebook.run("def slow(rep):\n    return -rep")
    out = notebook.outputs(
        "exp = paceline.Experiment(slow, 'slow.db')\nexp.add_grid(rep=range(9))\nexp.run(workers=1)['value']"
    )
    assert any("5 of 9 cells are stale" in output.get("text", "") for output in out), out
    assert notebook.run("exp.run(workers=1, rerun='stale')['value']") == "[0, -1, -2, -3, -4, -5, -6, -7, -8]"
