"""The main job on real input: many evaluations of many algorithms on many data sets, each a task of its own.

Owns the grid, what is evaluated, and how it is told. Uses nothing of Paceline but what any program may use, and
imports scikit-learn only where it is needed: in the workers, and for the serial run that the results must equal.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import sys
import time
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import paceline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline import Report

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


class Cell(NamedTuple):
    """One evaluation of the grid. Its seeds come from what it is, never from when or where it runs."""

    algorithm: str
    data_set: str
    repetition: int

    def __str__(self) -> str:
        return f"{self.algorithm} on {self.data_set}, split {self.repetition + 1}"

    @property
    def split_seed(self) -> int:
        """The same for all algorithms, so that they are compared on the same splits."""
        return seed_of(self.data_set, self.repetition)

    @property
    def algorithm_seed(self) -> int:
        return seed_of(*self)


# What a cell gave: its accuracy, or the exception that it ended with.
Outcome = float | BaseException


def seed_of(*parts: object) -> int:
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


# What runs in the workers.


def require_sklearn() -> None:
    """Raises `ModuleNotFoundError` with a message for people, if scikit-learn is not installed."""
    from importlib.util import find_spec

    if find_spec("sklearn") is None:
        raise ModuleNotFoundError("the demo evaluates algorithms of scikit-learn, which is not installed")


@cache
def load(data_set: str) -> tuple[Any, Any]:
    """Inputs and labels of a data set that scikit-learn ships."""
    from sklearn import datasets

    loaders = {
        "digits": datasets.load_digits,
        "wine": datasets.load_wine,
        "breast cancer": datasets.load_breast_cancer,
        "iris": datasets.load_iris,
    }
    inputs, labels = loaders[data_set](return_X_y=True)
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


def evaluate(cell: Cell) -> float:
    """The accuracy of one cell of the grid."""
    from sklearn.model_selection import train_test_split

    inputs, labels = load(cell.data_set)
    train_inputs, test_inputs, train_labels, test_labels = train_test_split(
        inputs, labels, test_size=TEST_SHARE, stratify=labels, random_state=cell.split_seed
    )
    algorithm = builders()[cell.algorithm](cell.algorithm_seed)
    return evaluate_algorithm(algorithm, (train_inputs, train_labels), (test_inputs, test_labels))


def evaluate_but_be_killed(cell: Cell) -> float:
    """As `evaluate`, in a worker that is killed before it can answer, as the kernel does when memory runs out."""
    accuracy = evaluate(cell)
    os.kill(os.getpid(), signal.SIGKILL)
    return accuracy


# What runs in the parent.


class Progress:
    """One line that says how far the run is; nothing where nobody watches."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total = total
        self.stream = stream
        self.watched = stream.isatty()
        self.start = time.perf_counter()
        self.ended = 0
        self.lost = 0
        self.told_at = 0.0

    def on_end(self, future: Any) -> None:
        self.ended += 1
        self.lost += future.exception() is not None
        now = time.perf_counter()
        if self.watched and (now - self.told_at > 0.05 or self.ended == self.total):
            self.told_at = now
            self.tell(now - self.start)

    def tell(self, elapsed_s: float) -> None:
        filled = 30 * self.ended // self.total
        lost = f", {self.lost} lost" if self.lost else ""
        bar = "#" * filled + "." * (30 - filled)
        self.stream.write(f"\r[{bar}] {self.ended} of {self.total} evaluations{lost}, {elapsed_s:.1f} s ")
        self.stream.flush()

    def close(self) -> None:
        if self.watched:
            self.stream.write("\n")


def outcome_of(future: Any) -> Outcome:
    error: BaseException | None = future.exception()
    return float(future.result()) if error is None else error


def run_serially(cells: Sequence[Cell]) -> tuple[list[float], float]:
    """The accuracies, and the seconds it took."""
    with limit_threads():
        start = time.perf_counter()
        accuracies = [evaluate(cell) for cell in cells]
        return accuracies, time.perf_counter() - start


def run_on_pool(cells: Sequence[Cell], workers: int | None, doomed: Cell | None) -> tuple[list[Outcome], float, Report]:
    """The outcomes in the order of the cells, the seconds it took with all start-up, and the pool's report."""
    progress = Progress(len(cells), sys.stderr)
    start = time.perf_counter()
    with paceline.Pool(workers, initializer=builders, threads_per_worker=1) as pool:
        futures = [pool.submit(evaluate_but_be_killed if cell == doomed else evaluate, cell) for cell in cells]
        for future in futures:
            future.add_done_callback(progress.on_end)
        outcomes = [outcome_of(future) for future in futures]
        elapsed_s = time.perf_counter() - start
        report = pool.report()
    progress.close()
    return outcomes, elapsed_s, report


def accuracy_table(cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> str:
    """Mean and standard deviation over the splits, in percent: algorithms down, data sets across."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell, outcome in zip(cells, outcomes, strict=True):
        if isinstance(outcome, float):
            found.setdefault((cell.algorithm, cell.data_set), []).append(100 * outcome)

    def entry(algorithm: str, data_set: str) -> str:
        values = found.get((algorithm, data_set), [])
        if not values:
            return "lost"
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.fmean(values):.1f} ± {spread:.1f}"

    width = max(map(len, ALGORITHMS))
    lines = [" " * width + "".join(f"{name:>16}" for name in DATA_SETS)]
    lines += [f"{name:{width}}" + "".join(f"{entry(name, other):>16}" for other in DATA_SETS) for name in ALGORITHMS]
    return "\n".join(lines)


def faults(
    cells: Sequence[Cell], outcomes: Sequence[Outcome], serial: Sequence[float], doomed: Cell | None
) -> list[str]:
    """What is not as it must be: every cell equals the serial run's, but for the one whose worker was killed."""
    found = []
    for cell, outcome, expected in zip(cells, outcomes, serial, strict=True):
        if cell == doomed:
            if not isinstance(outcome, paceline.WorkerDied):
                found.append(f"{cell}: its worker was killed, and yet it gave {outcome!r}")
        elif isinstance(outcome, BaseException):
            found.append(f"{cell}: lost: {outcome!r}")
        elif outcome != expected:
            found.append(f"{cell}: {outcome} on the pool, {expected} in the serial run")
    return found


def run(*, workers: int | None = None, repetitions: int = 20, kill_one: bool = False) -> int:
    """The whole demo; the exit code, which is 0 only if every result is what it must be."""
    cells = [Cell(*names) for names in itertools.product(ALGORITHMS, DATA_SETS, range(repetitions))]
    doomed = cells[len(cells) // 2] if kill_one else None
    print(
        f"{len(ALGORITHMS)} algorithms x {len(DATA_SETS)} data sets x {repetitions} random splits "
        f"= {len(cells)} evaluations, each a task of its own",
        flush=True,
    )
    outcomes, parallel_s, report = run_on_pool(cells, workers, doomed)
    print("the same evaluations again, one after the other in this process, to compare ...", flush=True)
    serial, serial_s = run_serially(cells)

    print(f"\naccuracy in percent: mean ± standard deviation of {repetitions} random splits\n")
    print(accuracy_table(cells, outcomes))
    print(f"\n{report}\n")
    for cell, outcome in zip(cells, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            print(f"lost: {cell}\n  {type(outcome).__name__}: {outcome}".replace("\n", "\n  "))
    wrong = faults(cells, outcomes, serial, doomed)
    equal = sum(outcome == expected for outcome, expected in zip(outcomes, serial, strict=True))
    print(f"{equal} of {len(cells)} results, in the order of the grid, are identical to those of the serial run")
    print(f"wall time {parallel_s:.2f} s with all start-up and imports; the serial run took {serial_s:.2f} s")
    print(f"speed-up {report.speedup:.2f} over the sum of task times, {serial_s / parallel_s:.2f} over the serial run")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0
