"""Grids as they are written, and the cells they have, in order."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import paceline
from paceline.experiments import loader, when


def anything(**axes):
    return 0


def experiment(**settings):
    return paceline.Experiment(anything, **settings)


def axes_of(exp):
    return [cell.axes for cell in exp.cells()]


def test_grid_is_every_combination_and_the_last_axis_changes_fastest():
    exp = experiment()
    exp.add_grid(alg=["b", "a"], n=range(2))
    assert axes_of(exp) == [{"alg": "b", "n": 0}, {"alg": "b", "n": 1}, {"alg": "a", "n": 0}, {"alg": "a", "n": 1}]


def test_named_values_are_known_by_their_names():
    exp = experiment()
    exp.add_grid(alg={"one": object(), "two": object()})
    assert axes_of(exp) == [{"alg": "one"}, {"alg": "two"}]


def test_scalars_of_numpy_are_plain_numbers():
    exp = experiment()
    exp.add_grid(n=np.arange(2), x=np.array([0.5]), flag=[np.True_], single=7, nothing=None)
    assert axes_of(exp)[1] == {"n": 1, "x": 0.5, "flag": True, "single": 7, "nothing": None}
    assert [type(value) for value in axes_of(exp)[0].values()] == [int, float, bool, int, type(None)]


def test_combination_that_is_there_already_is_not_added_again():
    exp = experiment()
    exp.add_grid(alg=["a", "b"], n=[1])
    exp.add_grid(n=[1, 2], alg=["b"])
    assert axes_of(exp) == [{"alg": "a", "n": 1}, {"alg": "b", "n": 1}, {"n": 2, "alg": "b"}]


def test_equal_numbers_of_different_kinds_are_different_cells():
    exp = experiment()
    exp.add_grid(x=[1, 1.0, True])
    assert len(exp.cells()) == 3


def test_parameter_depends_on_others_wherever_it_stands():
    exp = experiment()
    exp.add_grid(k=lambda n, m: n * m, n=[1, 2], m=lambda n: list(range(n)), z=lambda k=5: k)
    assert axes_of(exp) == [
        {"k": 0, "n": 1, "m": 0, "z": 0},
        {"k": 0, "n": 2, "m": 0, "z": 0},
        {"k": 2, "n": 2, "m": 1, "z": 2},
    ]


def test_dependence_in_a_circle_or_on_nothing_is_refused():
    with pytest.raises(ValueError, match="in a circle: `a`, `b`"):
        experiment().add_grid(a=lambda b: b, b=lambda a: a)
    with pytest.raises(ValueError, match="`a` depends on `c`, which is no axis"):
        experiment().add_grid(a=lambda c: c, b=[1])


def test_conditional_axis_is_absent_elsewhere():
    exp = experiment()
    exp.add_grid(
        alg=["svm", "tree", "net"], kernel=when({"r": abs, "l": len}, alg="svm"), depth=when([1], alg=["tree"])
    )
    assert axes_of(exp) == [
        {"alg": "svm", "kernel": "r"},
        {"alg": "svm", "kernel": "l"},
        {"alg": "tree", "depth": 1},
        {"alg": "net"},
    ]


def test_condition_on_a_conditional_axis():
    exp = experiment()
    exp.add_grid(gamma=when([1, 2], kernel="r"), alg=["svm", "tree"], kernel=when(["r", "l"], alg="svm"))
    assert axes_of(exp) == [
        {"gamma": 1, "alg": "svm", "kernel": "r"},
        {"gamma": 2, "alg": "svm", "kernel": "r"},
        {"alg": "svm", "kernel": "l"},
        {"alg": "tree"},
    ]


@pytest.mark.parametrize("frame", [list, pd.DataFrame, pl.DataFrame], ids=["list", "pandas", "polars"])
def test_cases_are_dicts_or_a_data_frame(frame):
    exp = experiment()
    exp.add_cases(frame([{"alg": "a", "n": 1}, {"alg": "b", "n": 2}]))
    assert axes_of(exp) == [{"alg": "a", "n": 1}, {"alg": "b", "n": 2}]


def test_cases_use_names_that_are_known_and_no_others():
    exp = experiment()
    exp.add_grid(alg={"a": abs})
    exp.add_cases([{"alg": "b", "n": 3}], alg={"b": len})
    exp.add_grid(alg=["b", "a"])
    assert axes_of(exp) == [{"alg": "a"}, {"alg": "b", "n": 3}, {"alg": "b"}]
    for add in (lambda: exp.add_cases([{"alg": "c"}]), lambda: exp.add_grid(alg=["a", "c"])):
        with pytest.raises(
            ValueError, match=r"no value named 'c'; there are 'a', 'b'\nhint: say what it stands for: alg="
        ):
            add()


def test_excluded_cells_are_left_out_also_of_what_is_added_later():
    exp = experiment()
    exp.exclude(alg="slow", n=(100, 1000))
    exp.exclude(lambda n, depth: n * depth > 10)
    exp.add_grid(alg=["slow", "fast"], n=[1, 100])
    exp.add_cases([{"n": 6, "depth": 2}, {"n": 2, "depth": 2}])
    assert axes_of(exp) == [
        {"alg": "slow", "n": 1},
        {"alg": "fast", "n": 1},
        {"alg": "fast", "n": 100},
        {"n": 2, "depth": 2},
    ]


def test_larger_sample_has_the_same_cells_and_more_and_seed_chooses():
    def sample(count, seed=1):
        exp = experiment(seed=seed)
        exp.add_grid(n=range(40), m=range(50))
        exp.sample(count)
        return exp.cells()

    small, large = sample(30), sample(300)
    assert (len(small), len(large), len(sample(5000))) == (30, 300, 2000)
    assert set(small) < set(large)
    assert large == [cell for cell in sample(None) if cell in set(large)], "the order is that of the grid"
    assert set(sample(30, seed=2)) != set(small)


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({"a": [object()]}, TypeError, r"`a` has the value .* no number, text.*\nhint: give it a name"),
        ({"a": [(1, 2)]}, TypeError, "`a` has the value"),
        ({"a": [float("nan")]}, ValueError, "cannot be NaN"),
        ({"a": []}, ValueError, "`a` has no values"),
        ({"no name": [1]}, ValueError, "cannot be called 'no name'"),
        ({}, TypeError, "a grid needs an axis"),
        ({"a": lambda *rest: 1, "b": [1]}, TypeError, "must name the axes"),
    ],
    ids=["object", "tuple", "nan", "empty", "name", "nothing", "star"],
)
def test_axes_that_cannot_be_are_refused_and_change_nothing(axes, error, message):
    exp = experiment()
    exp.add_grid(b=[7])
    with pytest.raises(error, match=message):
        exp.add_grid(**axes)
    assert axes_of(exp) == [{"b": 7}]


def test_names_and_plain_values_on_one_axis_are_refused():
    exp = experiment()
    exp.add_grid(alg=["a", "b"])
    with pytest.raises(ValueError, match="`alg` has named values in one place and plain ones in another"):
        exp.add_grid(alg={"c": abs})
    exp = experiment()
    exp.add_grid(alg={"c": abs})
    exp.add_grid(alg={"c": abs, "d": len})
    with pytest.raises(ValueError, match="`alg` has another value named 'c' already"):
        exp.add_grid(alg={"c": len})


def test_wrong_use_of_loader_when_sample_exclude_is_refused():
    with pytest.raises(TypeError, match="without arguments"):
        loader(3)
    with pytest.raises(TypeError, match="needs a condition"):
        when([1])
    with pytest.raises(ValueError, match="a number of cells"):
        experiment().sample(-1)
    with pytest.raises(TypeError, match="exclude takes a function, or conditions"):
        experiment().exclude()


def test_experiment_says_what_it_is_of(tmp_path):
    exp = paceline.Experiment(abs, seed=1)
    exp.add_grid(x=range(3))
    assert repr(exp) == "<paceline experiment of `abs` in memory>"
    exp.cells()
    assert repr(exp) == "<paceline experiment of `abs` in memory, 3 cells>"
    stored = paceline.Experiment(abs, tmp_path / "results.db", name="sizes")
    assert repr(stored) == f"<paceline experiment of `sizes` in `{tmp_path / 'results.db'}`>"
