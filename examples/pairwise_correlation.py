"""A doubly nested loop, spread over threads and over processes: the correlation of every pair of real series.

The series are the measurements of scikit-learn's breast cancer data, of 569 patients each. A pair is a call of its own,
submitted where the serial program has its call. The results are the same to the last bit; the times tell what the calls
are made of. This one is Python code, of which threads run one at a time (unless the interpreter is free-threaded),
while processes share the cores.

    python examples/pairwise_correlation.py [SERIES]
"""

import sys
import time
from itertools import combinations
from math import sqrt

from sklearn.datasets import load_breast_cancer

from paceline import Pool

Series = dict[str, list[float]]
Correlations = dict[tuple[str, str], float]


def real_series(count: int) -> Series:
    """The first `count` measurements by their names."""
    data = load_breast_cancer()
    return dict(zip(data.feature_names.tolist()[:count], data.data.T.tolist(), strict=False))


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Kendall's correlation: how much more often two patients are in the same order in both series than not."""
    agreement = left_differs = right_differs = 0
    for (left_1, right_1), (left_2, right_2) in combinations(zip(left, right, strict=True), 2):
        left_order = (left_1 > left_2) - (left_1 < left_2)
        right_order = (right_1 > right_2) - (right_1 < right_2)
        agreement += left_order * right_order
        left_differs += left_order != 0
        right_differs += right_order != 0
    return agreement / sqrt(left_differs * right_differs)


def correlate_serially(series: Series) -> Correlations:
    """The program as it is without a pool."""
    found = {}
    for left in series:
        for right in series:
            if left < right:
                found[left, right] = rank_correlation(series[left], series[right])
    return found


def correlate_on(pool: Pool, series: Series) -> Correlations:
    """The same loop; the calls are submitted, and their results taken after it."""
    futures = {}
    for left in series:
        for right in series:
            if left < right:
                futures[left, right] = pool.submit(rank_correlation, series[left], series[right])
    return {pair: future.result() for pair, future in futures.items()}


def main(count: int = 15) -> None:
    """Does all pairs serially, with threads, and with processes, and compares."""
    series = real_series(count)
    start = time.perf_counter()
    serial = correlate_serially(series)
    serial_s = time.perf_counter() - start
    print(f"{len(serial)} pairs of {count} series\nserial    {serial_s:.3f} s")

    for backend in ("threads", "processes"):
        start = time.perf_counter()
        with Pool(backend=backend) as pool:
            found = correlate_on(pool, series)
        elapsed_s = time.perf_counter() - start
        same = "identical" if found == serial else "DIFFERENT"
        print(f"{backend:9} {elapsed_s:.3f} s, {serial_s / elapsed_s:.2f} times as fast, results {same}")

    (left, right), strongest = max(serial.items(), key=lambda item: abs(item[1]))
    print(f"the strongest: {left} and {right}, {strongest:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
