"""Runs: what is run and what not, on every backend, and what becomes of cells that fail."""

import os
import threading
import time
import warnings

import numpy as np
import pytest

import paceline
import study
from paceline.experiments import StaleCells, loader
from tasks import note

SETTINGS = [
    {"backend": "serial"},
    {"workers": 1},
    {"workers": 2},
    {"workers": 8},
    {"workers": 1, "backend": "threads"},
    {"workers": 8, "backend": "threads"},
]


def study_of(store=None, algs="ab", reps=5, **settings):
    exp = paceline.Experiment(study.score, store, seed=42, **settings)
    exp.add_grid(alg=list(algs), dataset=["digits", "wine"], rep=range(reps))
    return exp


def told(results):
    """What must be the same, however it was run."""
    return {name: results[name] for name in (*results.axes, *results.metrics, "status", "seed", "attempt")}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_results_and_seeds_are_the_same_for_any_workers_on_any_backend(settings):
    results = study_of().run(**settings)
    expected = study_of().run(backend="serial")
    assert told(results) == told(expected)
    assert len(set(results["accuracy"])) == 10, "the same for both algorithms, and different otherwise"


def test_order_of_the_grid_and_other_cells_change_no_result():
    exp = paceline.Experiment(study.score, seed=42)
    exp.add_grid(rep=[4, 1], dataset=["wine"], alg=["other", "b"])
    results = exp.run(workers=2)
    expected = study_of().run(backend="serial")
    for row in results.rows():
        if row["alg"] == "b":
            (same,) = (
                one for one in expected.rows() if [one[a] for a in results.axes] == [row[a] for a in results.axes]
            )
            assert (row["accuracy"], row["seed"]) == (same["accuracy"], same["seed"])


def test_given_pool_is_used_and_stays_open():
    with paceline.Pool(2) as pool:
        assert (
            told(study_of().run(pool=pool)) == told(study_of().run(pool=pool)) == told(study_of().run(backend="serial"))
        )
        assert pool.apply(abs, (-1,)) == 1
        assert pool.report().items == 41


def test_given_pool_keeps_its_own_time_limit_unless_another_is_given():
    exp = paceline.Experiment(study.failing)
    exp.add_grid(kind=["timeout"], rep=[1])
    with paceline.Pool(1, timeout=0.3, grace=0.1, retries=2, retry_on=paceline.TaskTimeout) as pool:
        results = exp.run(pool=pool)
        assert (results["status"], results["attempt"]) == (["timeout"], [1])
        assert exp.run(pool=pool, rerun="failed", timeout=0.6)["seconds"][0] >= 0.6
    with pytest.raises(TypeError, match="are for a pool that is opened"), paceline.Pool(1) as pool:
        exp.run(2, pool=pool)


def noted_study(store, log, algs, reps):
    exp = paceline.Experiment(lambda alg, rep: note(log, f"{alg}{rep}"), store, keep_objects=True, version=1)
    exp.add_grid(alg=algs, rep=range(reps))
    return exp


def test_added_algorithm_and_repetitions_run_only_the_new_cells(tmp_path):
    log = tmp_path / "log"
    store = tmp_path / "results.db"
    before = list(noted_study(store, log, ["a", "b"], 10).run(workers=2).rows())
    log.unlink()
    results = noted_study(store, log, ["a", "c", "b"], 15).run(workers=2)
    assert sorted(log.read_text().split()) == sorted(
        [f"{alg}{rep}" for alg in "ab" for rep in range(10, 15)] + [f"c{rep}" for rep in range(15)]
    )
    assert [row for row in results.rows() if row["alg"] != "c" and row["rep"] < 10] == before
    assert results["alg"] == ["a"] * 15 + ["c"] * 15 + ["b"] * 15
    log.unlink()
    assert len(noted_study(store, log, ["a", "c", "b"], 15).run(workers=2)) == 45
    assert not log.exists(), "nothing was missing, so nothing was run"


def test_failures_are_rows_with_their_kind_and_traceback(tmp_path):
    exp = paceline.Experiment(study.failing, tmp_path / "results.db")
    exp.add_grid(kind=["fine", "error", "died", "timeout"], rep=[1])
    results = exp.run(workers=2, timeout=0.5, grace=0.2)
    assert results["status"] == ["ok", "error", "died", "timeout"]
    assert results["value"] == [1, None, None, None]
    assert results["attempt"] == [1, 1, 1, 1]
    assert results["error"][0] is None
    error, died, late = results.failures()
    assert error.error == "ValueError: bad 1"
    assert 'raise ValueError(f"bad {rep}")' in error.traceback
    assert "paceline/" not in error.traceback, "a user's traceback shows the user's code"
    assert died.error.startswith("WorkerDied: `failing` was lost with its worker")
    assert "SIGKILL" in died.error
    assert late.error.startswith("TaskTimeout: `failing` ran over its time limit of 0.5 s")
    assert "time.sleep(600)" in late.traceback
    assert results["seconds"][3] >= 0.5
    assert str(exp.status()) == "4 cells: 1 ok, 1 error, 1 timeout, 1 died"
    assert str(error) == "kind='error', rep=1: error: ValueError: bad 1"


def test_failed_cells_run_again_on_request_alone_and_each_attempt_keeps_its_row(tmp_path):
    exp = paceline.Experiment(study.fails_at_first, tmp_path / "results.db")
    exp.add_grid(folder=[str(tmp_path)], name=["x", "y"])
    assert exp.run(workers=1)["status"] == ["error", "error"]
    assert exp.run(workers=1)["status"] == ["error", "error"]
    assert exp.run(workers=1)["attempt"] == [1, 1]
    assert exp.run(workers=1, rerun="failed")["attempt"] == [2, 2]
    results = exp.run(workers=1, rerun=["failed"])
    assert results["value"] == [3, 3]
    assert exp.run(workers=1, rerun="failed")["attempt"] == [3, 3]
    every = paceline.open_store(exp.store).results(every_attempt=True)
    assert every["status"] == ["error", "error", "ok"] * 2
    assert [line.rpartition(" ")[2] for line in every["error"][:2]] == ["1", "2"]


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_retries_have_a_row_for_each_attempt(tmp_path, backend):
    exp = paceline.Experiment(study.fails_at_first, tmp_path / "results.db")
    exp.add_grid(folder=[str(tmp_path)], name=["x"])
    results = exp.run(workers=1, backend=backend, retries=5, retry_on=OSError)
    assert (results["status"], results["attempt"], results["value"]) == (["ok"], [3], [3])
    every = paceline.open_store(exp.store).results(every_attempt=True)
    assert every["attempt"] == [1, 2, 3]


def test_retries_are_for_what_they_are_asked_for_and_end(tmp_path):
    exp = paceline.Experiment(study.failing, tmp_path / "results.db")
    exp.add_grid(kind=["error", "died"], rep=[1])
    assert exp.run(workers=1, retries=2)["attempt"] == [1, 3]
    with pytest.raises(TypeError, match="retry_on must be an exception class"):
        exp.run(workers=1, retry_on="ValueError")


def stale_study(function, store, **settings):
    exp = paceline.Experiment(function, store, name="study", **settings)
    exp.add_grid(n=range(7))
    return exp


def test_stale_cells_are_told_and_kept_until_the_user_chooses(tmp_path):
    store = tmp_path / "results.db"
    stale_study(lambda n: n, store).run(workers=1)
    changed = stale_study(lambda n: n + 1, store)
    with pytest.warns(
        StaleCells,
        match=r"^7 of 7 cells are stale: (.|\n)*Cell\(n=4\)\n    \.\.\. \(2 more\)\nhint: `run\(rerun='stale'\)",
    ):
        assert changed.run(workers=1)["value"] == list(range(7))
    assert changed.status().stale == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert changed.run(workers=1, accept_stale=True)["value"] == list(range(7))
        assert changed.run(workers=1, rerun="stale")["value"] == list(range(1, 8))
        assert changed.run(workers=1)["attempt"] == [2] * 7
    assert len(paceline.open_store(store).results(every_attempt=True)) == 14


def test_what_is_run_again_anyway_is_not_told_as_stale(tmp_path):
    store = tmp_path / "results.db"
    assert stale_study(lambda n: 1 / (n - 3), store).run(workers=1)["status"].count("error") == 1
    with pytest.warns(StaleCells, match="^6 of 7 cells"):
        results = stale_study(lambda n: n, store).run(workers=1, rerun="failed")
    assert results["value"][3] == 3


def test_declared_version_counts_alone(tmp_path):
    store = tmp_path / "results.db"
    stale_study(lambda n: n, store, version="1").run(workers=1)
    assert stale_study(lambda n: n + 1, store, version="1").run(workers=1)["value"] == list(range(7))
    with pytest.warns(StaleCells, match="7 of 7"):
        stale_study(lambda n: n, store, version="2").run(workers=1)
    assert stale_study(lambda n: n + 1, store, version="2").run(workers=1, rerun="stale")["value"] == list(range(1, 8))


def test_another_seed_makes_cells_stale(tmp_path):
    store = tmp_path / "results.db"
    stale_study(lambda n: n, store, seed=1).run(workers=1)
    with pytest.warns(StaleCells):
        stale_study(lambda n: n, store, seed=2).run(workers=1)


def test_comments_docstrings_and_layout_make_nothing_stale(tmp_path):
    from paceline.experiments.environment import source_hash

    path = tmp_path / "one.py"
    hashes = []
    for source in (
        "def f(n):\n    return n + 1\n",
        "# x\ndef f(n):\n    '''Doc.'''\n    return (n +\n  1)  # y\n",
        "def f(n):\n    return n + 2\n",
    ):
        path.write_text(source)
        namespace = {}
        exec(compile(source, str(path), "exec"), namespace)
        import linecache

        linecache.checkcache()
        hashes.append(source_hash(namespace["f"]))
    assert hashes[0] == hashes[1] != hashes[2]
    namespace = {}
    exec("def g(n): return n + 1\ndef h(n): return n + 2", namespace)
    assert source_hash(namespace["g"]) != source_hash(namespace["h"]), "without any source it is the code that counts"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("None", "returned None; what is stored is a number, or a dict"),
        ("'text'", "returned 'text'"),
        ("{1: 2}", "1 is no name"),
        ("{'a': {1}}", r"returned \{1\} as 'a'"),
        ("np.zeros(3)", "hint: convert it"),
    ],
)
def test_results_that_cannot_be_stored_are_errors_of_their_cells(result, message):
    exp = paceline.Experiment(lambda n: eval(result, {"np": np}))
    exp.add_grid(n=[1])
    results = exp.run(workers=1)
    assert results["status"] == ["error"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(results["traceback"][0])


def test_results_are_numbers_and_json_to_the_last_bit():
    given = {"pi": np.pi / 1e300, "f": np.float32(0.1), "i": np.int64(2**40), "b": np.bool_(True), "inf": float("inf"),
             "list": [1, {"x": None}], "text": "größer\n", "big": 10**30}  # fmt: skip
    exp = paceline.Experiment(lambda n: given)
    exp.add_grid(n=[1])
    results = exp.run(workers=1)
    assert {name: results[name][0] for name in given} == {**given, "f": float(np.float32(0.1))}
    assert [type(results[name][0]) for name in "fib"] == [float, int, bool]


def test_objects_are_kept_only_when_asked_for():
    exp = paceline.Experiment(lambda n: {"n2": n * n, "array": np.arange(n), "f": lambda: n}, keep_objects=True)
    exp.add_grid(n=range(3))
    results = exp.run(workers=1)
    assert results["n2"] == [0, 1, 4]
    assert results.metrics == ["n2"]
    *_, last = results.objects()
    assert last["array"].tolist() == [0, 1]
    assert last["f"]() == 2
    exp = paceline.Experiment(lambda n: {n}, keep_objects=True)
    exp.add_grid(n=[1])
    assert exp.run(workers=1).objects() == [{"value": {1}}]


class Counter:
    def __init__(self):
        self.calls = 0

    def call(self):
        self.calls += 1
        return self.calls


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_cell_has_a_fresh_copy_of_a_named_value(settings):
    counter = Counter()
    exp = paceline.Experiment(lambda counter, rep: counter.call())
    exp.add_grid(counter={"it": counter}, rep=range(20))
    assert exp.run(**settings)["value"] == [1] * 20
    assert counter.calls == 0


def test_large_values_are_sent_once_and_what_a_cell_writes_to_arrays_is_its_own():
    data = np.ones(200_000)

    def change(data, rep):
        data += rep
        return {"sum": float(data.sum())}

    exp = paceline.Experiment(change)
    exp.add_grid(data={"ones": data, "shared": paceline.share(data * 2)}, rep=range(10))
    with paceline.Pool(2) as pool:
        sums = exp.run(pool=pool)["sum"]
        assert pool.statistics().peak_input_bytes < data.nbytes, "the calls themselves are small"
    assert sums == [200_000.0 * (1 + rep) for rep in range(10)] + [200_000.0 * (2 + rep) for rep in range(10)]


@pytest.mark.parametrize("backend", ["processes", "threads", "serial"])
def test_loader_is_called_once_in_each_worker(tmp_path, backend):
    log = tmp_path / "log"

    def load():
        note(log, os.getpid())
        return [1, 2, 3]

    exp = paceline.Experiment(lambda data, rep: sum(data) + rep)
    exp.add_grid(data={"list": loader(load)}, rep=range(50))
    assert exp.run(workers=2, backend=backend)["value"] == [6 + rep for rep in range(50)]
    loads = log.read_text().split()
    assert len(loads) == len(set(loads)) <= 2


def test_loading_is_not_charged_to_the_cell_that_comes_first():
    def load():
        time.sleep(1.0)
        return 1

    exp = paceline.Experiment(lambda data, rep: rep)
    exp.add_grid(data={"slow": loader(load)}, rep=range(3))
    assert max(exp.run(workers=1)["seconds"]) < 1.0


def test_loader_that_fails_is_an_error_of_the_cells():
    def load():
        raise FileNotFoundError("no such data")

    exp = paceline.Experiment(lambda data: 1)
    exp.add_grid(data={"gone": loader(load)})
    assert exp.run(workers=1)["error"] == ["FileNotFoundError: no such data"]


def test_value_that_cannot_be_sent_is_refused_before_anything_is_run():
    exp = paceline.Experiment(lambda lock: 1)
    exp.add_grid(lock={"a": threading.Lock()})
    with pytest.raises(paceline.ArgumentNotPicklable):
        exp.run(workers=1)


@pytest.mark.parametrize(
    ("axes", "message"),
    [({"alg": ["a"], "deep": [1]}, "cannot be called with the axes alg, deep"), ({"alg": ["a"]}, "missing a required")],
)
def test_axes_that_the_function_does_not_take_are_refused_at_once(axes, message):
    exp = paceline.Experiment(study.score)
    exp.add_grid(**axes)
    with pytest.raises(TypeError, match=message):
        exp.run(workers=1)


def test_wrong_runs_are_refused():
    exp = study_of()
    with pytest.raises(ValueError, match="rerun must be 'failed', 'stale', 'all'"):
        exp.run(rerun="everything")
    with pytest.raises(ValueError, match="timeout is for worker processes"):
        exp.run(backend="threads", timeout=3)
    with pytest.raises(ValueError, match="the experiment has no cells"):
        paceline.Experiment(study.score).run()
    with pytest.raises(ValueError, match="`algorithm` is to be the treatment, and is no axis"):
        study_of(treatment="algorithm").run()


def test_longest_cells_begin_first_by_what_earlier_ones_took(tmp_path):
    log = tmp_path / "log"

    def work(seconds, rep):
        note(log, f"{seconds}/{rep}")
        time.sleep(seconds)
        return seconds

    def run(reps):
        exp = paceline.Experiment(work, tmp_path / "results.db")
        exp.add_grid(seconds=[0.02, 0.2, 0.08], rep=range(reps))
        exp.run(workers=1)
        return log.read_text().split()

    run(1)
    log.unlink()
    assert run(3) == [f"{seconds}/{rep}" for seconds in (0.2, 0.08, 0.02) for rep in (1, 2)]


def test_order_of_long_cells_follows_what_the_same_run_has_seen(tmp_path):
    log = tmp_path / "log"

    def work(rep, seconds):
        note(log, seconds)
        time.sleep(seconds)
        return seconds

    exp = paceline.Experiment(work)
    exp.add_grid(rep=range(8), seconds=[0.02, 0.08])
    exp.run(workers=1)
    begun = log.read_text().split()
    assert begun[:8] == ["0.02", "0.08"] * 4, "at first nothing is known"
    assert begun[8:] == ["0.08"] * 4 + ["0.02"] * 4


def test_progress_is_told_and_ends_with_all(tmp_path):
    seen = []
    exp = study_of(tmp_path / "results.db")
    exp.run(workers=2, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (20, 20)
    exp.add_grid(alg=["c"], dataset=["wine"], rep=range(3))
    exp.run(workers=2, progress=seen.append)
    assert (seen[-1].done, seen[-1].total) == (3, 3), "only what is run counts"


def test_many_short_cells_are_all_stored(tmp_path):
    exp = paceline.Experiment(study.nothing, tmp_path / "results.db")
    exp.add_grid(n=range(2000))
    assert exp.run(workers=2)["value"] == list(range(2000))
    results = paceline.open_store(exp.store).results()
    assert results["value"] == list(range(2000))
    assert set(results["attempt"]) == {1}


def test_peak_memory_is_that_of_the_cell(tmp_path):
    def grow(megabytes):
        time.sleep(0.002)
        return len(b"x" * (megabytes * 2**20))

    exp = paceline.Experiment(grow)
    exp.add_grid(megabytes=[100, 0, 300, 1])
    peaks = exp.run(workers=1)["peak_memory"]
    assert peaks[2] - peaks[0] == pytest.approx(200 * 2**20, rel=0.05)
    assert peaks[3] < peaks[0] - 50 * 2**20


def test_broken_pool_is_raised_and_what_was_stored_stays(tmp_path):
    exp = study_of(tmp_path / "results.db")
    with paceline.Pool(1) as pool:
        exp.run(pool=pool)
        exp.add_grid(alg=["c"], dataset=["wine"], rep=range(3))
        pool.terminate()
        with pytest.raises(paceline.PoolClosed):
            exp.run(pool=pool)
    assert exp.status().ok == 20
    assert exp.status().missing == 3
