"""What comparisons refuse, and what they warn of: each in the words that a user reads."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

from demsar import BLOCKS, SCORES, scores_of
from made_up_scores import on, over, random_scores, warned
from paceline.experiments.comparisons import compare

# -- refusals


@pytest.mark.parametrize(
    ("scores", "blocks", "options", "words"),
    [
        ({"a": [1, 2, 3]}, on("x", 3), {}, "there are 1 treatments, and a comparison needs two or more"),
        ({"a": [1, 2, 3], "b": [1, 2]}, on("x", 3), {}, "'b' has 2 scores, but there are 3 blocks\nhint: give a score"),
        ({"a": [], "b": []}, [], {}, "there are no blocks"),
        ({"a": [1, 2], "b": [1, 2]}, [("x", 0), ("x", 0)], {}, r"the block \('x', 0\) occurs twice"),
        ({"a": [1, 2], "b": [1, 2]}, ["xy", "zw"], {}, "a block is a pair of a data set and a repetition"),
        ({"a": [1, 2], "b": [1, 2]}, [("x", 0, 1), ("y", 0, 1)], {}, "a block is a pair"),
        ({"a": [1, 2, 3], "b": [math.nan] * 3}, on("x", 3), {}, "'b' has no score in any block\nhint: run it first"),
        ({"a": [1, 2, math.inf], "b": [1, 2, 3]}, on("x", 3), {}, r"infinite score in the block \('x', 2\)"),
        ({"a": [1, math.nan], "b": [math.nan, 1]}, on("x", 2), {}, "no block in which every treatment has a score"),
        ({"a": [1, 2], "b": [1, 2]}, on("x", 2), {}, "2 repetitions cannot show a difference, whatever the scores"),
        ({"a": [1], "b": [1]}, on("x", 1), {}, "1 repetitions cannot show"),
        ({"a": [1, 2], "b": [1, 2]}, over(2), {}, "2 data sets cannot show a difference, .*\nhint: run more data sets"),
        (SCORES, BLOCKS, {"reference": "ID3"}, "the reference 'ID3' is none of the treatments, which are C4.5, "),
        (SCORES, BLOCKS, {"level": 5}, "level must be between 0 and 1"),
        (SCORES, BLOCKS, {"resampled": 0}, "test set over that of the training set, not 0\nhint: 1/9"),
        (SCORES, BLOCKS, {"resampled": math.inf}, "not inf"),
        (SCORES, BLOCKS, {"rope": -0.01}, "rope must be the largest difference that does not matter"),
        (SCORES, BLOCKS, {"rope": math.nan}, "not nan"),
        (SCORES, BLOCKS, {"correction": "bonferroni"}, "correction must be 'holm' or 'nemenyi'"),
        (scores_of("C4.5", "C4.5+m"), BLOCKS, {"correction": "nemenyi"}, "is for three treatments or more\nhint"),
        (
            random_scores(3, 10), on("x", 10), {"correction": "nemenyi", "resampled": 0.1},
            "Nemenyi's test takes rows as independent, and resamplings of the same data are not\nhint",
        ),
        (random_scores(3, 10), over(2, 5), {"correction": "nemenyi"}, "needs 3 data sets or more.*\nhint: run more"),
        (
            {name: [0.5] * 5 for name in "abc"}, on("x", 5), {"correction": "nemenyi"},
            "needs 3 repetitions or more, in which scores vary",
        ),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(scores, blocks, options, words):
    with pytest.raises(ValueError, match=words):
        compare(scores, blocks, **options)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="the scores of 'a' must be a sequence of numbers"):
        compare({"a": ["good", "bad", "good"], "b": [1, 2, 3]}, on("x", 3))


@pytest.mark.parametrize("module", ["numpy", "scipy.stats"])
def test_missing_library_is_named_with_the_way_out(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"\nhint: `pip install 'paceline\[experiment\]'`"):
        compare(SCORES, BLOCKS)


def test_missing_pandas_is_named_with_the_way_out(monkeypatch):
    comparison = compare(SCORES, BLOCKS)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"need pandas, which is not installed\nhint"):
        comparison.to_pandas()


# -- warnings about the blocks


def test_block_without_a_score_is_left_out_for_all_treatments():
    scores = {name: list(values) for name, values in random_scores(2, 20, step=0.05).items()}
    scores["a"][3] = math.nan
    scores["b"][7] = None
    comparison = compare(scores, on("wine", 20))
    kept = [place for place in range(20) if place not in {3, 7}]
    expected = compare({name: [values[place] for place in kept] for name, values in scores.items()}, on("wine", 18))
    assert (comparison.n, comparison.pairs[0].p) == (18, expected.pairs[0].p)
    (warning,) = warned(comparison, "2 blocks were left out of 20")
    assert warning == (
        "2 blocks were left out of 20, as a score is missing there (a in wine, repetition 3; b in wine, repetition 7): "
        "if runs fail where they would have been bad, what is left flatters them"
    )


def test_many_blocks_without_scores_are_counted():
    scores = {"a": [math.nan] * 10 + [0.5] * 20, "b": np.linspace(0, 1, 30)}
    assert warned(compare(scores, on("wine", 30)), "repetition 2 and 7 more)")


def test_data_set_of_which_nothing_is_left_is_named():
    scores = random_scores(2, 8)
    scores["a"][2] = math.nan
    comparison = compare(scores, over(8))
    assert comparison.n == 7
    assert warned(comparison, "nothing is left of data 2: the comparison does not speak of what it is not over")


def test_unequal_numbers_of_repetitions_are_told():
    places = [*over(7, 4), ("small", 0), ("small", 1)]
    comparison = compare(random_scores(2, 30), places)
    assert warned(comparison, "the numbers of repetitions differ, from 2 (small) to 4 (data 0)")
    assert "means of 2 to 4 repetitions" in str(comparison)


def test_scores_of_other_sizes_are_told():
    scores = {name: values * ([1.0] * 7 + [500.0]) for name, values in random_scores(2, 8).items()}
    (warning,) = warned(compare(scores, over(8)), "times as large as those of")
    assert warning.startswith("scores of data 7 are some ")


def test_scores_that_never_vary_are_one_result():
    chance = np.random.default_rng(0)
    scores = {"fixed": [0.7] * 10, "random": 0.6 + 0.01 * chance.normal(size=10)}
    comparison = compare(scores, on("wine", 10))
    assert warned(comparison, "fixed: the same score in all 10 repetitions of wine")
    # Against something that varies, it can be compared.
    assert comparison.pairs[0].better == "fixed"


def test_two_treatments_that_never_vary_are_not_tested():
    comparison = compare({"a": [0.7] * 20, "b": [0.6] * 20}, on("wine", 20), rope=0.01)
    (pair,) = comparison.pairs
    assert (pair.p, pair.better, pair.posterior) == (1.0, None, None)
    assert math.isnan(pair.statistic)
    assert pair.difference == pytest.approx(0.1)
    assert warned(comparison, "a, b: the same score in all 20 repetitions of wine")


def test_differences_that_never_vary_are_no_certainty_to_the_corrected_test():
    scores = {"a": [0.9, 0.8, 0.7], "b": [0.85, 0.75, 0.65], "c": [0.9, 0.8, 0.7]}
    comparison = compare(scores, on("wine", 3), resampled=0.43)
    pair, same = comparison.pair("a", "b"), comparison.pair("a", "c")
    assert (pair.p, pair.better) == (1.0, None)
    assert math.isnan(pair.statistic)
    assert (same.statistic, same.p, same.difference) == (0.0, 1.0, 0.0)
    assert warned(comparison, "a and b, and 1 more: the same difference in all 3 repetitions on wine")


def test_repetitions_without_a_word_are_taken_as_independent_and_that_is_told():
    assert warned(compare(random_scores(2, 10), on("wine", 10)), "repetitions are taken as independent runs")
    assert warned(compare(random_scores(2, 20), over(10, 2)), "give `resampled` then")
    assert not warned(compare(random_scores(2, 10), over(10)), "independent")


def test_repetitions_are_never_pooled_over_data_sets():
    # Two data sets of fifty repetitions: as a hundred blocks, they would be very significant.
    scores = random_scores(2, 100, step=0.02)
    assert stats.wilcoxon(scores["a"], scores["b"]).pvalue < 1e-6
    comparison = compare(scores, over(2, 50))
    assert comparison.pairs[0].better is None
    assert warned(comparison, "Wilcoxon's test over 2 data sets cannot come below p = 0.5")
    # What can be said is about each of the two.
    assert [found[0].better for found in comparison.within.values()] == ["b", "b"]


# -- warnings about the tests


@pytest.mark.parametrize(("treatments", "datasets", "needed"), [(2, 5, 6), (3, 7, 7), (3, 6, 7), (4, 7, 8)])
def test_wilcoxon_over_too_few_says_how_many_it_needs(treatments, datasets, needed):
    comparison = compare(random_scores(treatments, datasets, step=1.0), over(datasets))
    found = warned(comparison, "are the fewest that can show one")
    assert bool(found) == (datasets < needed)
    assert not found or f"{needed} data sets are the fewest" in found[0]
    assert all((pair.better is None) == (datasets < needed) for pair in comparison.pairs)


def test_fewest_differences_that_can_be_significant_are_six():
    assert compare({"a": np.arange(6) + 1.0, "b": np.zeros(6)}, over(6)).pairs[0].better == "a"
    assert compare({"a": np.arange(5) + 1.0, "b": np.zeros(5)}, over(5)).pairs[0].better is None


def test_wilcoxon_of_mostly_equal_scores_is_warned_of():
    scores = {"a": np.ones(12), "b": np.array([1.0] * 7 + [0.5, 0.6, 0.7, 0.8, 0.9])}
    assert warned(
        compare(scores, over(12)), "Wilcoxon's test needs 6 differences that are not zero, which a and b have not"
    )


def test_equal_scores_show_nothing():
    scores = {"a": np.linspace(0, 1, 12), "b": np.linspace(0, 1, 12)}
    (pair,) = compare(scores, over(12), rope=0.0).pairs
    assert (pair.p, pair.better, pair.rank_biserial, pair.cohens_dz) == (1.0, None, 0.0, 0.0)
    assert pair.vargha_delaney == 0.5
    assert pair.posterior.better == 0.5


def test_ties_make_p_values_approximations():
    tied = {name: np.round(values, 2) for name, values in random_scores(2, 16).items()}
    assert warned(compare(tied, over(16)), "the p-values of Wilcoxon's test are approximations")
    assert not warned(compare(random_scores(2, 16), over(16)), "approximations")
    assert not warned(compare({name: values[:15] for name, values in tied.items()}, over(15)), "approximations")


def test_friedman_over_two_data_sets_is_left_out():
    comparison = compare(random_scores(3, 20), over(2, 10))
    assert comparison.friedman is None
    assert warned(
        comparison, "Friedman's test is left out: over 2 data sets it says nothing; there have to be 3 at least"
    )


def test_friedman_over_few_data_sets_is_rough():
    comparison = compare(random_scores(3, 5), over(5))
    assert comparison.friedman is not None
    assert warned(comparison, "over 5 data sets the p-values of Friedman's test are rough approximations")
    assert not warned(compare(random_scores(3, 10), over(10)), "rough")


def test_friedman_of_resamplings_is_left_out():
    comparison = compare(random_scores(3, 10), on("wine", 10), resampled=1 / 9)
    assert comparison.friedman is None
    assert warned(comparison, "Friedman's test is left out: it takes rows as independent")


def test_friedman_of_scores_that_never_vary_is_left_out():
    comparison = compare({"a": [0.1] * 5, "b": [0.2] * 5, "c": [0.3] * 5}, on("wine", 5))
    assert comparison.friedman is None
    assert warned(comparison, "scores that are the same in each repetition count as one")


def test_friedman_of_ties_alone_shows_nothing():
    comparison = compare({name: np.linspace(0, 1, 10) for name in "abc"}, over(10))
    assert (comparison.friedman.chi_squared, comparison.friedman.p, comparison.friedman.f_p) == (0.0, 1.0, 1.0)
    assert comparison.conclusions[0].startswith("no difference among the treatments can be shown")


def test_perfect_agreement_of_few_rows_is_not_impossible_by_chance():
    comparison = compare({"a": [1, 2, 3], "b": [2, 3, 4], "c": [3, 4, 5]}, over(3))
    assert math.isinf(comparison.friedman.f)
    # Three rows of three agree by chance once in 36 times.
    assert comparison.friedman.f_p == pytest.approx(1 / 36)


def test_nemenyi_over_too_few_data_sets_is_told():
    comparison = compare(random_scores(4, 3, step=0.1), over(3), correction="nemenyi")
    assert comparison.critical_difference > 2.5
    assert not warned(comparison, "no difference could be shown")
    many = compare(random_scores(8, 3, step=1.0), over(3), correction="nemenyi")
    assert bool(warned(many, "no difference could be shown")) == (many.critical_difference > 7)


def test_posterior_over_few_data_sets_is_told():
    assert warned(compare(random_scores(2, 5), over(5), rope=0.01), "takes 5 data sets for all there are")
    assert not warned(compare(random_scores(2, 6), over(6), rope=0.01), "for all there are")
    assert not warned(compare(random_scores(2, 5), on("wine", 5), rope=0.01), "for all there are")


def test_pair_that_differs_where_friedman_sees_nothing_is_told():
    for seed in range(400):
        comparison = compare(random_scores(3, 10, seed, step=0.008), over(10))
        differs = any(pair.better for pair in comparison.pairs)
        assert bool(warned(comparison, "though a pair by itself differs")) == (
            differs and comparison.friedman.f_p >= 0.05
        )
        if differs and comparison.friedman.f_p >= 0.05:
            return
    pytest.fail("no such case was found")
