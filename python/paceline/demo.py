"""The main job on real input: many evaluations of many algorithms on many data sets, as an experiment.

Owns the grid, what is evaluated, where the results are kept, and how it is told. Uses nothing of Paceline but what any
program may use, and imports scikit-learn only where it is needed: in the workers, and for the serial run that the
results must equal.
"""

from __future__ import annotations

import os
import shlex
import signal
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import paceline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline import Experiment, Report
    from paceline.experiments import Results
    from paceline.experiments.comparisons import Comparison
    from paceline.experiments.results import Failure

ALGORITHMS = (
    "logistic regression",
    "nearest neighbours",
    "decision tree",
    "naive Bayes",
    "random forest",
    "support vectors",
)
DATA_SETS = ("digits", "wine", "breast cancer", "iris")
TEST_SHARE = 0.3
# Of what is evaluated and how. A new one, or another scikit-learn, has the next run compute everything again.
VERSION = "1"


class Cell(NamedTuple):
    """One evaluation of the grid: the axes of the experiment, in their order."""

    alg: str
    dataset: str
    rep: int

    def __str__(self) -> str:
        return f"{self.alg} on {self.dataset}, split {self.rep + 1}"


# What runs in the workers.


def require_sklearn() -> None:
    """Raises `ModuleNotFoundError` with a message for people, if scikit-learn is not installed."""
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        raise ModuleNotFoundError("the demo evaluates algorithms of scikit-learn, which is not installed")


@cache
def load(dataset: str) -> tuple[Any, Any]:
    """Inputs and labels of a data set that scikit-learn ships."""
    from sklearn import datasets

    loaders = {
        "digits": datasets.load_digits,
        "wine": datasets.load_wine,
        "breast cancer": datasets.load_breast_cancer,
        "iris": datasets.load_iris,
    }
    inputs, labels = loaders[dataset](return_X_y=True)
    return inputs, labels


@cache
def builders() -> dict[str, Callable[[int], Any]]:
    """What makes, from a seed, an untrained classifier for each of `ALGORITHMS`."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    return {
        "logistic regression": lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "nearest neighbours": lambda _: make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "decision tree": lambda seed: DecisionTreeClassifier(random_state=seed),
        "naive Bayes": lambda _: GaussianNB(),
        "random forest": lambda seed: RandomForestClassifier(n_estimators=100, random_state=seed),
        "support vectors": lambda seed: make_pipeline(StandardScaler(), SVC(random_state=seed)),
    }


def limit_threads() -> Any:
    """One thread for native code in this process, as each worker has. Used as a context, it ends with it."""
    builders()  # Only libraries that are loaded can be limited.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def evaluate_algorithm(algorithm: Any, train: tuple[Any, Any], test: tuple[Any, Any]) -> float:
    """The accuracy on `test` of an algorithm trained on `train`; each is inputs and labels."""
    return float(algorithm.fit(*train).score(*test))


def evaluate(alg: str, dataset: str, rep: int, seed: int) -> dict[str, float]:  # noqa: ARG001 - `seed` follows from it.
    """The accuracy of one cell of the grid. Its seed, and so the split, is the same for all algorithms."""
    from sklearn.model_selection import train_test_split

    inputs, labels = load(dataset)
    train_inputs, test_inputs, train_labels, test_labels = train_test_split(
        inputs, labels, test_size=TEST_SHARE, stratify=labels, random_state=seed
    )
    algorithm = builders()[alg](seed)
    return {"accuracy": evaluate_algorithm(algorithm, (train_inputs, train_labels), (test_inputs, test_labels))}


def evaluate_but_be_killed(doomed: Cell) -> Callable[[str, str, int, int], dict[str, float]]:
    """As `evaluate`, but one worker is killed before it can answer, as the kernel does when memory runs out."""

    def evaluate_or_die(alg: str, dataset: str, rep: int, seed: int) -> dict[str, float]:
        result = evaluate(alg, dataset, rep, seed)
        if (alg, dataset, rep) == doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return evaluate_or_die


# What runs in the parent.


class ProgressLine:
    """One line that says how far the run is."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __call__(self, progress: paceline.Progress) -> None:
        total = progress.total or 1
        filled = 30 * progress.done // total
        bar = "#" * filled + "." * (30 - filled)
        self.stream.write(f"\r[{bar}] {progress.done} of {total} evaluations, {progress.seconds:.1f} s ")
        if progress.done == total:
            self.stream.write("\n")
        self.stream.flush()


class Ran(NamedTuple):
    """What a run gave: the results of all cells, which of them it ran, the seconds it took, and the pool's report."""

    results: Results
    cells: list[Cell]
    elapsed_s: float
    report: Report | None


def default_store() -> str:
    """The file in the user's cache folder, which is made if it is not there."""
    cache_folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache_folder):
        cache_folder = os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache_folder, "paceline")
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, "paceline-demo.db")


def experiment(store: str, repetitions: int, doomed: Cell | None = None) -> Experiment:
    """The evaluation of all algorithms on all data sets; with a `doomed` cell, its worker is killed."""
    from importlib.metadata import version

    function = evaluate if doomed is None else evaluate_but_be_killed(doomed)
    version_of_all = f"{VERSION}, scikit-learn {version('scikit-learn')}"
    exp = paceline.Experiment(function, store, name="paceline demo", version=version_of_all, treatment="alg")
    exp.add_grid(alg=ALGORITHMS, dataset=DATA_SETS, rep=range(repetitions))
    return exp


def cells_of(results: Results) -> list[Cell]:
    return [Cell(*axes) for axes in zip(results["alg"], results["dataset"], results["rep"], strict=True)]


def attempts_at(exp: Experiment) -> tuple[dict[Cell, int], bool]:
    """How often each cell was run so far, and whether all of them have what this experiment would give them."""
    if exp.store is None or not os.path.exists(exp.store):
        return {}, False
    try:
        results = paceline.open_store(exp.store).results()
        status = exp.status()
    except paceline.StoreError:
        # An empty file is a beginning; of a damaged one, the run itself has more to say.
        return {}, False
    attempts = dict(zip(cells_of(results), results["attempt"], strict=True)) if len(results) else {}
    return attempts, status.ok == status.total and not status.stale


def run_on_pool(exp: Experiment, workers: int | None, *, fresh: bool) -> Ran:
    """Runs what the store has no good result of; everything if `fresh`. The seconds are those with all start-up."""
    before, is_complete = attempts_at(exp)
    if is_complete and not fresh:
        return Ran(exp.run(), [], 0.0, None)
    progress = ProgressLine(sys.stderr) if sys.stderr.isatty() else False
    start = time.perf_counter()
    with paceline.Pool(workers, initializer=builders, threads_per_worker=1) as pool:
        results = exp.run(pool=pool, rerun="all" if fresh else ("failed", "stale"), progress=progress)
        elapsed_s = time.perf_counter() - start
        report = pool.report()
    attempts = zip(cells_of(results), results["attempt"], strict=True)
    return Ran(results, [cell for cell, number in attempts if number != before.get(cell)], elapsed_s, report)


def run_serially(exp: Experiment, cells: Sequence[Cell]) -> tuple[dict[Cell, float], dict[Cell, float]]:
    """The accuracy of each cell, and the seconds it took."""
    accuracies, seconds = {}, {}
    with limit_threads():
        for cell in cells:
            start = time.perf_counter()
            accuracies[cell] = evaluate(*cell, exp.seed_of(**cell._asdict()))["accuracy"]
            seconds[cell] = time.perf_counter() - start
    return accuracies, seconds


def accuracies_of(results: Results) -> dict[Cell, float]:
    """Those of the cells that have one."""
    if "accuracy" not in results.metrics:
        return {}
    found = zip(cells_of(results), results["accuracy"], results["status"], strict=True)
    return {cell: accuracy for cell, accuracy, status in found if status == "ok"}


def accuracy_table(accuracies: Mapping[Cell, float]) -> str:
    """Mean and standard deviation over the splits, in percent: algorithms down, data sets across."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell, accuracy in accuracies.items():
        found.setdefault((cell.alg, cell.dataset), []).append(100 * accuracy)

    def entry(alg: str, dataset: str) -> str:
        values = found.get((alg, dataset), [])
        if not values:
            return "lost"
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.fmean(values):.1f} ± {spread:.1f}"

    width = max(map(len, ALGORITHMS))
    lines = [" " * width + "".join(f"{name:>16}" for name in DATA_SETS)]
    lines += [f"{name:{width}}" + "".join(f"{entry(name, other):>16}" for other in DATA_SETS) for name in ALGORITHMS]
    return "\n".join(lines)


def comparison_text(comparison: Comparison) -> str:
    """Ranks, what can be shown, how much cannot, and the warnings; the whole has a line for each pair and data set."""
    width = max(map(len, comparison.treatments))
    ranked = sorted(comparison.treatments, key=comparison.ranks.__getitem__)
    lines = [f"{'':{width}}{'mean':>8}{'average rank':>15}"]
    lines += [f"{name:{width}}{comparison.means[name]:8.3f}{comparison.ranks[name]:15.2f}" for name in ranked]
    # The first is about all of them together, the others about each pair.
    lines += ["", comparison.conclusions[0]]
    on_one = [pair for pairs in comparison.within.values() for pair in pairs]
    for pairs, where in ((comparison.pairs, "over the data sets together"), (on_one, "on single data sets")):
        shown = [pair.conclusion for pair in pairs if pair.better is not None]
        lines += [f"of {len(pairs)} pairs {where}, {len(shown)} can be told apart", *(f"  {told}" for told in shown)]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in comparison.warnings)])


def tell_comparison(results: Results, store: str, *, is_kept: bool) -> None:
    """Prints what the accuracies say of the algorithms, and draws their ranks; or what is missing for it."""
    # Random splits share most of their data, so they are no independent observations.
    ratio = round(TEST_SHARE / (1 - TEST_SHARE), 4)
    try:
        comparison = results.compare("accuracy", treatment="alg", resampled=ratio)
        print(f"\nthe algorithms beside each other, by accuracy\n\n{comparison_text(comparison)}")
        if is_kept:
            line = shlex.join(["paceline", "compare", store, "--metric", "accuracy", "--treatment", "alg"])
            print(f"all pairs: {line} --resampled {ratio}")
            picture = f"{os.path.splitext(store)[0]}.svg"
            comparison.plot(picture)
            print(f"critical-difference diagram: {picture}")
    except ModuleNotFoundError as error:
        print(f"\nnot shown: {error.name} is not installed; `pip install 'paceline[demo]'` brings all that it needs")
    except ValueError as error:
        print(f"\nno comparison: {error}")
    except OSError as error:
        print(f"the critical-difference diagram cannot be written: {error}")


def faults(
    accuracies: Mapping[Cell, float],
    failures: Mapping[Cell, Failure],
    serial: Mapping[Cell, float],
    doomed: Cell | None,
) -> list[str]:
    """What is not as it must be: every cell equals the serial run's, but for the one whose worker was killed."""
    found = []
    for cell, expected in serial.items():
        if cell == doomed:
            if cell not in failures or failures[cell].status != "died":
                found.append(f"{cell}: its worker was killed, and yet it gave {accuracies.get(cell)!r}")
        elif cell not in accuracies:
            found.append(f"{cell}: lost: {failures[cell].error if cell in failures else 'it has no result'}")
        elif accuracies[cell] != expected:
            found.append(f"{cell}: {accuracies[cell]} in the store, {expected} in the serial run")
    return found


def run(
    *,
    workers: int | None = None,
    repetitions: int = 20,
    kill_one: bool = False,
    store: str | None = None,
    fresh: bool = False,
) -> int:
    """The whole demo; the exit code, which is 0 only if every result is what it must be.

    A run with a killed worker has a store of its own, which goes with it: what is stored is not run, and cannot die.
    """
    with tempfile.TemporaryDirectory(prefix="paceline-demo-") if kill_one else nullcontext() as folder:
        try:
            path = os.path.join(folder, "paceline-demo.db") if folder else store or default_store()
            return run_with_store(path, workers, repetitions, kill_one=kill_one, fresh=fresh)
        except paceline.StoreError as error:
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            print(f"error: {error}\nhint: name another file for the results by `--store`", file=sys.stderr)
    return 1


def run_with_store(path: str, workers: int | None, repetitions: int, *, kill_one: bool, fresh: bool) -> int:
    """The demo on this store; raises `StoreError` if it cannot be used."""
    grid = [Cell(alg, dataset, rep) for alg in ALGORITHMS for dataset in DATA_SETS for rep in range(repetitions)]
    doomed = grid[len(grid) // 2] if kill_one else None
    print(
        f"{len(ALGORITHMS)} algorithms x {len(DATA_SETS)} data sets x {repetitions} random splits "
        f"= {len(grid)} evaluations, each a cell of an experiment\nstore: {path}",
        flush=True,
    )
    exp = experiment(path, repetitions, doomed)
    ran = run_on_pool(exp, workers, fresh=fresh)
    accuracies = accuracies_of(ran.results)
    serial: dict[Cell, float] = {}
    seconds: dict[Cell, float] = {}
    if ran.cells:
        stored = len(grid) - len(ran.cells)
        print(f"{stored} of {len(grid)} evaluations were in the store already, and {len(ran.cells)} were run")
        print("all of them again, one after the other in this process, to compare ...", flush=True)
        serial, seconds = run_serially(exp, grid)

    print(f"\naccuracy in percent: mean ± standard deviation of {repetitions} random splits\n")
    print(accuracy_table(accuracies))
    tell_comparison(ran.results, path, is_kept=not kill_one)
    if ran.report is None:
        print(f"\n{len(grid)} of {len(grid)} evaluations were in the store already ({path}), and none was run again")
        return 0
    return tell_run(ran, accuracies, (serial, sum(seconds[cell] for cell in ran.cells)), doomed)


def tell_run(
    ran: Ran, accuracies: Mapping[Cell, float], serially: tuple[Mapping[Cell, float], float], doomed: Cell | None
) -> int:
    """Prints what the run was like beside the serial one: its accuracies, and the seconds of the same cells."""
    serial, serial_s = serially
    print(f"\n{ran.report}\n")
    failures = {Cell(**failure.axes): failure for failure in ran.results.failures()}
    for cell, failure in failures.items():
        # The first line of both is the same, but for the class of the error.
        details = failure.traceback.partition("\n")[2] if failure.status == "died" else failure.traceback
        print(f"{failure.status}: {cell}\n{failure.error}\n{details}".rstrip().replace("\n", "\n  "))
    equal = sum(accuracies.get(cell) == expected for cell, expected in serial.items())
    print(f"{equal} of {len(serial)} results, those from the store too, are identical to those of the serial run")
    print(f"wall time {ran.elapsed_s:.2f} s with all start-up and imports; serially the same took {serial_s:.2f} s")
    speedup = ran.report.speedup if ran.report is not None else 1.0
    print(f"speed-up {speedup:.2f} over the sum of task times, {serial_s / ran.elapsed_s:.2f} over the serial run")
    wrong = faults(accuracies, failures, serial, doomed)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0
