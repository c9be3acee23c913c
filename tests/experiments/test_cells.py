"""Keys and random numbers of cells: what they follow from, and that they never change."""

import random
import sys

import numpy as np
import pytest

import paceline
from paceline.experiments.cells import TREATMENTS, Cell, Randomness


def test_key_does_not_depend_on_the_order_of_the_axes():
    assert Cell({"a": 1, "b": "x"}) == Cell({"b": "x", "a": 1})
    assert Cell({"a": 1, "b": "x"}).key == Cell({"b": "x", "a": 1}).key


def test_key_tells_kinds_of_values_apart():
    assert len({Cell({"a": value}).key for value in (1, 1.0, True, "1", None, "None", 10**30)}) == 7


def test_keys_and_seeds_are_those_of_earlier_versions():
    """Stores are found again by the keys, and results repeated by the seeds: neither may ever change."""
    cell = Cell({"alg": "svm", "dataset": "größe", "rep": 3})
    assert cell.text == '{"alg":"svm","dataset":"größe","rep":3}'
    assert cell.key == "4ced0c86f3495d185bbdd1573332556b"
    assert Randomness(42, {"alg"}).entropy(cell.axes) == 120255942974761513946202631098689836173
    assert paceline.Experiment(len, seed=42).seed_of(**cell.axes) == 1517843392


def test_cells_that_differ_in_the_treatment_alone_have_the_same_numbers():
    randomness = Randomness(1, {"alg"})
    svm, forest = ({"alg": alg, "dataset": "wine", "rep": 3} for alg in ("svm", "forest"))
    assert randomness.entropy(svm) == randomness.entropy(forest)
    assert randomness.entropy(svm) != randomness.entropy({**svm, "rep": 4})
    assert randomness.entropy(svm) != Randomness(2, {"alg"}).entropy(svm)
    assert Randomness(1, ()).entropy(svm) != Randomness(1, ()).entropy(forest)


def test_experiment_has_common_random_numbers_by_default_with_a_switch():
    def function(method, rep, seed):
        return seed

    def seeds(**settings):
        exp = paceline.Experiment(function, **settings)
        exp.add_grid(method=["a", "b"], rep=range(2))
        return exp.run(backend="serial")["value"]

    first, second, *again = seeds()
    assert again == [first, second]
    assert first != second
    assert len(set(seeds(common_random_numbers=False))) == 4
    assert len(set(seeds(treatment="rep"))) == 2
    assert len(set(seeds(treatment=["rep", "method"]))) == 1
    assert "method" in TREATMENTS


def test_seeds_fit_32_bits_and_are_spread():
    exp = paceline.Experiment(len)
    seeds = [exp.seed_of(n=n) for n in range(4000)]
    assert len(set(seeds)) == 4000
    assert 0 <= min(seeds) < 2**24
    assert 2**32 - 2**24 < max(seeds) < 2**32


def test_generator_is_that_of_the_entropy():
    exp = paceline.Experiment(lambda n, rng: rng.random(), seed=5)
    exp.add_grid(n=[1])
    expected = np.random.default_rng(np.random.SeedSequence(Randomness(5, ()).entropy({"n": 1}))).random()
    assert exp.run(backend="serial")["value"] == [expected]


def test_without_numpy_the_generator_is_of_the_standard_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy.random", None)
    exp = paceline.Experiment(lambda n, rng: rng.random(), seed=5)
    exp.add_grid(n=[1])
    assert exp.run(backend="serial")["value"] == [random.Random(Randomness(5, ()).entropy({"n": 1})).random()]


def test_axis_called_seed_or_rng_is_the_users_own():
    exp = paceline.Experiment(lambda seed: seed)
    exp.add_grid(seed=range(3))
    results = exp.run(backend="serial")
    assert results["seed"] == results["value"] == [0, 1, 2]
    assert results.field("seed") == [exp.seed_of(seed=n) for n in range(3)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "an experiment needs a function"),
        ((len, None, {"seed": "x"}), TypeError, "seed must be an integer"),
        ((len, None, {"treatment": "alg", "common_random_numbers": False}), TypeError, "switched off"),
    ],
)
def test_wrong_experiments_are_refused(arguments, error, message):
    *positional, settings = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(error, match=message):
        paceline.Experiment(*positional, **settings)


def test_coroutine_functions_are_refused():
    async def later(n):
        return n

    with pytest.raises(TypeError, match="ordinary function"):
        paceline.Experiment(later)
