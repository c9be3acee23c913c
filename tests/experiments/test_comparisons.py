"""Comparisons: they agree with SciPy and with printed examples, and refuse or warn where a test does not hold."""

import doctest
import math
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from demsar import BLOCKS, SCORES, VARIANTS, scores_of
from made_up_scores import on, over, random_scores, warned
from paceline.experiments import blocks, comparisons, paired, pairs, ranks
from paceline.experiments.comparisons import compare
from paceline.experiments.paired import SignedRanks, bayesian_signed_rank, bayesian_t, corrected_t

# Student's sleep data: additional hours with one drug and with the other. R prints of the paired t-test: t = 4.0621,
# df = 9, p-value = 0.002833, 95 percent confidence interval 0.7001142 to 2.4598858.
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


@pytest.mark.parametrize("module", [comparisons, paired, pairs, ranks])
def test_examples_in_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


def test_example_of_compare_is_there():
    assert doctest.testmod(comparisons).attempted > 0


# -- Demšar's example


def test_friedman_of_demsar_is_as_printed():
    comparison = compare(SCORES, BLOCKS)
    assert {name: round(rank, 3) for name, rank in comparison.ranks.items()} == {
        "C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964,
    }  # fmt: skip
    chi_squared, f = comparison.friedman.uncorrected
    assert (round(chi_squared, 2), round(f, 2)) == (9.28, 3.69)
    assert comparison.friedman.degrees == (3, 39)
    assert comparison.treatments == ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert comparison.conclusions[0].startswith("the treatments differ (Friedman chi-squared(3) = ")


def test_friedman_agrees_with_scipy():
    expected = stats.friedmanchisquare(*SCORES.values())
    friedman = compare(SCORES, BLOCKS).friedman
    assert (friedman.chi_squared, friedman.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    f = 13 * expected.statistic / (14 * 3 - expected.statistic)
    assert (friedman.f, friedman.f_p) == pytest.approx((f, stats.f.sf(f, 3, 39)), rel=1e-12)


def test_nemenyi_of_demsar_is_as_printed():
    comparison = compare(SCORES, BLOCKS, correction="nemenyi")
    assert round(comparison.critical_difference, 2) == 1.25
    assert round(comparison.critical_difference / math.sqrt(4 * 5 / (6 * 14)), 3) == 2.569
    # The best and the worst are nearer than that.
    assert [pair.better for pair in comparison.pairs] == [None] * 6
    assert comparison.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")]


def test_nemenyi_of_demsar_at_ten_percent_is_as_printed():
    comparison = compare(SCORES, BLOCKS, correction="nemenyi", level=0.9)
    assert round(comparison.critical_difference, 2) == 1.12
    assert comparison.pair("C4.5", "C4.5+m").better == "C4.5+m"
    assert comparison.pair("C4.5+m+cf", "C4.5").better == "C4.5+m+cf"
    assert sum(pair.better is not None for pair in comparison.pairs) == 2
    assert comparison.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")]


def test_distances_of_ranks_from_the_reference_are_as_demsar_prints_them():
    comparison = compare(SCORES, BLOCKS, correction="nemenyi", reference="C4.5")
    # The paper divides 1.179 by 0.488, both rounded.
    found = {pair.first: pair.statistic for pair in comparison.pairs}
    assert found == pytest.approx({"C4.5+m": 2.342, "C4.5+cf": 0.512, "C4.5+m+cf": 2.416}, abs=0.001)
    assert [round(comparison.pair(name, "C4.5").p, 3) for name in ("C4.5+m", "C4.5+m+cf")] == [0.019, 0.016]
    assert warned(comparison, "corrects for all pairs, though only those with the reference")


def test_nemenyi_agrees_with_scikit_posthocs():
    # `posthoc_nemenyi_friedman` of scikit-posthocs 0.17.1 on the same table.
    expected = {
        ("C4.5", "C4.5+m"): 0.088673, ("C4.5", "C4.5+cf"): 0.956177, ("C4.5", "C4.5+m+cf"): 0.074185,
        ("C4.5+m", "C4.5+cf"): 0.259228, ("C4.5+m", "C4.5+m+cf"): 0.999859, ("C4.5+cf", "C4.5+m+cf"): 0.226697,
    }  # fmt: skip
    found = {
        (pair.first, pair.second): pair.p_corrected for pair in compare(SCORES, BLOCKS, correction="nemenyi").pairs
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_holm_agrees_with_statsmodels():
    # `multipletests(..., method="holm")` of statsmodels 0.15.0.
    assert ranks.holm([0.01, 0.04, 0.03, 0.005, 0.2]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])


def test_wilcoxon_of_demsar_is_as_printed():
    comparison = compare(scores_of("C4.5", "C4.5+m"), BLOCKS)
    (pair,) = comparison.pairs
    assert (pair.statistic, pair.n, pair.test) == (12.0, 14, "Wilcoxon signed-rank")
    assert pair.p < 0.05
    assert (pair.better, pair.p_corrected) == ("C4.5+m", pair.p)
    # R+ = 93 and R- = 12.
    assert pair.rank_biserial == pytest.approx(-(93 - 12) / 105)
    assert comparison.friedman is None
    assert comparison.pair("C4.5+m", "C4.5") is pair


def test_critical_values_are_those_of_demsar_s_table():
    printed = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for treatments, value in printed.items():
        unit = math.sqrt(treatments * (treatments + 1) / 6)
        assert ranks.critical_difference(treatments, 1, 0.95) / unit == pytest.approx(value, abs=0.0011)


# -- two treatments


def test_wilcoxon_agrees_with_scipy():
    scores = random_scores(2, 20, step=0.01)
    (pair,) = compare(scores, on("wine", 20)).pairs
    expected = stats.wilcoxon(scores["a"], scores["b"])
    assert (pair.statistic, pair.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-12)
    assert pair.unit == "repetitions"


@pytest.mark.parametrize("count", [3, 6, 9])
def test_wilcoxon_with_ties_and_zeros_is_exact(count):
    chance = np.random.default_rng(count)
    differences = chance.integers(-3, 4, size=count).astype(float)
    differences[:3] = [0.0, 2.0, 2.0]
    ours = SignedRanks.of(differences, np.zeros(count))
    found = stats.wilcoxon(differences, zero_method="zsplit", method=stats.PermutationMethod())
    assert ours.wilcoxon() == pytest.approx((found.statistic, found.pvalue))
    assert ours.zeros >= 1
    assert ours.ties >= 2
    assert ours.is_exact


def test_wilcoxon_of_many_differences_with_ties_agrees_with_scipy():
    chance = np.random.default_rng(0)
    differences = chance.integers(-3, 5, size=40).astype(float)
    ours = SignedRanks.of(differences, np.zeros(40))
    found = stats.wilcoxon(differences, zero_method="zsplit", method="asymptotic")
    assert ours.wilcoxon() == pytest.approx((found.statistic, found.pvalue))
    assert not ours.is_exact


def test_corrected_t_test_without_overlap_is_the_paired_t_test():
    differences = np.array(SECOND_DRUG) - np.array(FIRST_DRUG)
    t, p = corrected_t(differences, 0.0)
    assert (round(t, 4), round(p, 6)) == (4.0621, 0.002833)
    assert paired.interval(differences, 0.0, 0.95) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


def test_resampled_repetitions_get_the_corrected_t_test():
    comparison = compare({"second": SECOND_DRUG, "first": FIRST_DRUG}, on("sleep", 10), resampled=1 / 9)
    (pair,) = comparison.pairs
    # Nadeau and Bengio: the variance of the mean is (1/J + ratio) of that of the differences.
    t = 4.062128 / math.sqrt((1 / 10 + 1 / 9) / (1 / 10))
    assert pair.test == "corrected resampled t"
    assert pair.statistic == pytest.approx(t, rel=1e-6)
    assert pair.p == pytest.approx(2 * stats.t.sf(t, 9), rel=1e-5)
    assert (pair.difference, pair.better) == (pytest.approx(1.58), "second")
    assert not warned(comparison, "taken as independent")


def test_overlap_of_samples_makes_differences_less_sure():
    found = [
        compare({"a": SECOND_DRUG, "b": FIRST_DRUG}, on("sleep", 10), resampled=ratio).pairs[0]
        for ratio in (0.01, 1 / 9, 1.0)
    ]
    assert found[0].p < found[1].p < found[2].p
    assert found[0].low > found[1].low > found[2].low


def test_data_sets_count_once_by_their_means():
    scores = random_scores(2, 40, step=0.02)
    comparison = compare(scores, over(8, 5))
    means = {name: np.reshape(values, (8, 5)).mean(axis=1) for name, values in scores.items()}
    expected = stats.wilcoxon(means["a"], means["b"])
    (pair,) = comparison.pairs
    assert (pair.n, pair.unit, comparison.n, comparison.unit) == (8, "data sets", 8, "data sets")
    assert pair.p == pytest.approx(expected.pvalue)
    assert list(comparison.within) == [f"data {number}" for number in range(8)]
    first = comparison.within["data 0"][0]
    assert (first.n, first.unit, first.dataset) == (5, "repetitions", "data 0")
    assert first.p == pytest.approx(stats.wilcoxon(scores["a"][:5], scores["b"][:5]).pvalue)


def test_pairs_within_data_sets_are_corrected_for_all_of_them_together():
    comparison = compare(random_scores(3, 60, step=0.02), over(3, 20), resampled=0.1)
    within = [pair for found in comparison.within.values() for pair in found]
    assert len(within) == 9
    assert [pair.p_corrected for pair in within] == ranks.holm([pair.p for pair in within])
    assert comparison.pair("a", "b", "data 1").dataset == "data 1"


def test_rounding_does_not_hide_ties():
    # 0.1 + 0.2 is not 0.3, and means of the same scores in another order differ in the last place.
    scores = {"a": [0.1 + 0.2, 0.5, 0.7, 0.9, 0.2, 0.4, 0.6], "b": [0.3, 0.4, 0.6, 0.8, 0.1, 0.5, 0.7]}
    (pair,) = compare(scores, over(7)).pairs
    # One difference is zero, the others are 0.1: four for the first, two against it.
    assert pair.statistic == pytest.approx(2 * 4.5 + 0.5)
    assert pair.vargha_delaney == pytest.approx((4 + 0.5) / 7)


# -- effect sizes


def test_effect_sizes_are_as_defined():
    scores = random_scores(2, 12, step=-0.01)
    (pair,) = compare(scores, on("wine", 12)).pairs
    differences = scores["a"] - scores["b"]
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in scores["a"] for b in scores["b"])
    sizes = stats.rankdata(np.abs(differences))
    for_first, against = sizes[differences > 0].sum(), sizes[differences < 0].sum()
    assert pair.cohens_dz == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert pair.vargha_delaney == pytest.approx(wins / 144)
    assert pair.vargha_delaney == pytest.approx(stats.mannwhitneyu(scores["a"], scores["b"]).statistic / 144)
    assert pair.cliffs_delta == pytest.approx(2 * wins / 144 - 1)
    assert pair.rank_biserial == pytest.approx((for_first - against) / 78)


def test_lower_scores_can_be_better():
    scores = random_scores(2, 12, step=0.05)
    (high,) = compare(scores, on("wine", 12)).pairs
    (low,) = compare(scores, on("wine", 12), higher_is_better=False).pairs
    assert (high.better, low.better) == ("b", "a")
    assert high.difference == low.difference < 0
    assert (high.low, high.high) == pytest.approx((low.low, low.high))
    assert (low.rank_biserial, low.cohens_dz) == pytest.approx((-high.rank_biserial, -high.cohens_dz))
    assert low.vargha_delaney == pytest.approx(1 - high.vargha_delaney)
    assert "though" not in high.conclusion + low.conclusion


def test_effect_sizes_within_data_sets_do_not_mix_them():
    # The data sets are far apart, and the first wins on each.
    scores = {"a": [0.11, 0.12, 0.51, 0.52, 0.91, 0.92], "b": [0.09, 0.10, 0.49, 0.50, 0.89, 0.90]}
    (pair,) = compare(scores, over(3, 2)).pairs
    assert pair.vargha_delaney == 1.0


# -- Bayesian comparisons


def test_bayesian_t_test_is_the_posterior_of_the_mean_difference():
    differences = np.array(SECOND_DRUG) - np.array(FIRST_DRUG)
    posterior = bayesian_t(differences, 1 / 9, 1.0)
    scale = math.sqrt((1 / 10 + 1 / 9) * differences.var(ddof=1))
    assert posterior.better == pytest.approx(stats.t.sf((1.0 - 1.58) / scale, 9))
    assert posterior.worse == pytest.approx(stats.t.cdf((-1.0 - 1.58) / scale, 9))
    assert posterior.better + posterior.equivalent + posterior.worse == pytest.approx(1)


def test_bayesian_tests_agree_with_baycomp():
    # baycomp 1.0.3: `CorrelatedTTest.probs` of ten folds, and `SignedRankTest.probs` with 200,000 samples.
    differences = np.array(SECOND_DRUG) - np.array(FIRST_DRUG)
    for rope, expected in ((1.0, (0.834226, 0.165096, 0.000678)), (0.5, (0.955841, 0.041623, 0.002536))):
        found = bayesian_t(differences, 1 / 9, rope)
        assert (found.better, found.equivalent, found.worse) == pytest.approx(expected, abs=1e-6)
    comparison = compare(SCORES, BLOCKS, rope=0.01)
    for first, second, expected in (
        ("C4.5", "C4.5+m", (0.0, 0.32865, 0.67135)),
        ("C4.5", "C4.5+m+cf", (0.00037, 0.032345, 0.967285)),
        ("C4.5+m", "C4.5+m+cf", (0.0026, 0.72792, 0.26948)),
    ):
        found = comparison.pair(first, second).posterior
        assert (found.better, found.equivalent, found.worse) == pytest.approx(expected, abs=0.01)


def test_bayesian_signed_rank_test_agrees_with_a_plain_sum_over_pairs():
    chance = np.random.default_rng(4)
    z = chance.normal(0.01, 0.02, size=9)
    with_prior = np.append(z, 0.0)
    weights = chance.dirichlet([1] * 9 + [0.5], 20_000)
    sums = with_prior[:, None] + with_prior
    shares = np.stack(
        [
            np.einsum("si,sj,ij->s", weights, weights, (region).astype(float))
            for region in (sums > 0.02, np.abs(sums) <= 0.02, sums < -0.02)
        ]
    )
    expected = np.bincount(shares.argmax(axis=0), minlength=3) / 20_000
    found = bayesian_signed_rank(z, 0.01, seed=0)
    assert (found.better, found.equivalent, found.worse) == pytest.approx(tuple(expected), abs=0.02)


def test_bayesian_signed_rank_test_is_a_function_of_its_seed_and_turns_with_the_pair():
    z = np.random.default_rng(6).normal(0.01, 0.03, size=11)
    found = bayesian_signed_rank(z, 0.005, seed=1)
    assert found == bayesian_signed_rank(z[::-1], 0.005, seed=1)
    turned = bayesian_signed_rank(-z, 0.005, seed=1)
    assert (turned.better, turned.equivalent, turned.worse) == (found.worse, found.equivalent, found.better)
    assert found != bayesian_signed_rank(z, 0.005, seed=2)


def test_bayesian_signed_rank_test_of_nothing_but_zeros_prefers_nobody():
    zeros = np.zeros(8)
    assert bayesian_signed_rank(zeros, 0.0, seed=0).better == 0.5
    assert bayesian_signed_rank(zeros, 0.1, seed=0).equivalent == 1.0


def test_practical_equivalence_is_said_in_words():
    scores = random_scores(2, 60)
    comparison = compare(scores, over(12, 5), rope=0.05)
    (pair,) = comparison.pairs
    assert pair.posterior.equivalent > 0.99
    assert "no difference between a and b can be shown" in pair.conclusion
    assert "they are practically equivalent (within ±0.05) with probability" in pair.conclusion
    within = comparison.within["data 0"][0]
    differences = np.array(scores["a"][:5]) - np.array(scores["b"][:5])
    expected = bayesian_t(differences, 0.0, 0.05)
    assert within.posterior.better == pytest.approx(expected.better)


def test_undecided_posterior_stays_open():
    comparison = compare(random_scores(2, 10), on("wine", 10), rope=0.005)
    assert "short of 0.95, so it stays open" in comparison.pairs[0].conclusion


# -- what it prints


def test_conclusion_is_never_that_nothing_differs():
    comparison = compare(random_scores(2, 10), on("wine", 10))
    (pair,) = comparison.pairs
    assert pair.better is None
    assert pair.conclusion == (
        f"on wine, no difference between a and b can be shown (p = {pair.p:.3g}, mean difference "
        f"{pair.difference:.3g} over 10 repetitions)"
    )


def test_printed_comparison_has_table_conclusions_and_warnings():
    text = str(compare(SCORES, BLOCKS, correction="nemenyi"))
    lines = text.splitlines()
    assert lines[0] == "4 treatments over 14 data sets; higher is better"
    assert [line.split()[0] for line in lines[3:7]] == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert [line.split()[-1] for line in lines[3:7]] == ["1.964", "2.000", "2.893", "3.143"]
    assert "Critical difference of average ranks (Nemenyi): 1.254." in lines
    assert any(line.startswith("No difference between C4.5 and C4.5+m can be shown (p = ") for line in lines)
    assert all(len(line) == len(line.rstrip()) for line in lines)


def test_printed_comparison_tells_of_single_data_sets():
    text = str(compare(random_scores(2, 30, step=0.1), over(3, 10)))
    assert "2 treatments over 3 data sets, means of 10 repetitions; higher is better" in text
    assert "\nOn data 0, b is better than a (p = " in text
    assert "\nWarning: Wilcoxon's test over 3 data sets cannot come below p = 0.25" in text


def test_many_pairs_of_which_nothing_can_be_said_are_one_sentence():
    comparison = compare(random_scores(6, 60, step=0.01), over(3, 20))
    on_one = [pair for pairs in comparison.within.values() for pair in pairs]
    shown = [f"O{pair.conclusion[1:]}." for pair in on_one if pair.better is not None]
    assert 0 < len(shown) < len(on_one) - 6
    lines = str(comparison).splitlines()
    assert [line for line in lines if line.startswith("On data")] == shown
    assert "Of 15 pairs over 3 data sets, no difference can be shown (the least p = 1); they are in `pairs`." in lines
    silent = [pair.p_corrected for pair in on_one if pair.better is None]
    assert (
        f"Of the other {len(silent)} pairs on single data sets, no difference can be shown "
        f"(the least p = {min(silent):.3g}); they are in `within`."
    ) in lines


def test_many_sentences_are_cut_short():
    comparison = compare(random_scores(6, 60, step=0.1), over(3, 20), rope=0.01)
    lines = str(comparison).splitlines()
    assert sum(line.startswith("On data") for line in lines) == 30
    assert "... and 15 more on single data sets, in `within`." in lines


def test_mean_that_says_otherwise_is_told():
    # Fifteen small wins, and one large loss.
    scores = {"a": [*(1 + number / 1000 for number in range(1, 16)), 0.1], "b": [1.0] * 16}
    (pair,) = compare(scores, over(16)).pairs
    assert (pair.better, pair.difference < 0) == ("a", True)
    assert pair.conclusion.endswith("though the mean says otherwise")


def test_frame_has_a_row_for_each_pair():
    comparison = compare(random_scores(3, 30, step=0.05), over(3, 10), rope=0.01)
    frame = comparison.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 3 + 9
    assert frame["dataset"].isna().sum() == 3
    for column in ("first", "second", "p", "p_corrected", "better", "cliffs_delta", "p_equivalent", "conclusion"):
        assert column in frame.columns
    assert frame.loc[0, "p"] == comparison.pairs[0].p


def test_pair_that_was_not_compared_is_a_key_error():
    comparison = compare(SCORES, BLOCKS, reference="C4.5")
    assert len(comparison.pairs) == 3
    with pytest.raises(KeyError, match=r"'C4\.5\+m' and 'C4\.5\+cf' were not compared"):
        comparison.pair("C4.5+m", "C4.5+cf")
    with pytest.raises(KeyError, match="on 'wine'"):
        comparison.pair("C4.5", "C4.5+m", "wine")


def test_groups_of_a_reference_are_what_cannot_be_told_from_it():
    comparison = compare(random_scores(3, 40, step=0.001) | {"far": np.full(40, 0.9)}, over(40), reference="a")
    assert comparison.pair("far", "a").better == "far"
    assert all("far" not in group for group in comparison.groups)


def test_groups_need_not_be_neighbours():
    found = ranks.groups({"a": 1.0, "b": 2.0, "c": 3.0}, {frozenset("ab"), frozenset("bc")})
    assert found == [("a", "c")]


# -- properties


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 4), st.integers(3, 7), st.integers(1, 3), st.integers(0, 10**6), st.randoms())
def test_order_of_blocks_and_treatments_does_not_matter(treatments, datasets, repetitions, seed, chance):
    places = over(datasets, repetitions)
    # Coarse scores have ties.
    scores = {
        name: np.round(values, 2) for name, values in random_scores(treatments, len(places), seed, step=0.01).items()
    }
    order = random.Random(chance.random()).sample(range(len(places)), len(places))
    names = chance.sample(list(scores), treatments)
    one = compare(scores, places)
    other = compare({name: scores[name][order] for name in names}, [places[place] for place in order])
    assert other.ranks == pytest.approx(one.ranks)
    assert other.treatments == one.treatments
    assert other.groups == one.groups
    # In the words, the names of a pair may be turned.
    assert len(other.warnings) == len(one.warnings)
    for pair in one.pairs:
        same = other.pair(pair.first, pair.second)
        sign = 1 if same.first == pair.first else -1
        assert (same.p, same.p_corrected) == pytest.approx((pair.p, pair.p_corrected))
        assert same.better == pair.better
        assert (sign * same.difference, sign * same.rank_biserial) == pytest.approx(
            (pair.difference, pair.rank_biserial), abs=1e-12
        )
        assert sign * same.cliffs_delta == pytest.approx(pair.cliffs_delta, abs=1e-12)
    if one.friedman is not None:
        assert other.friedman.p == pytest.approx(one.friedman.p)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 8), st.floats(0.001, 1000), st.integers(0, 10**6), st.booleans())
def test_scale_of_scores_does_not_matter(datasets, factor, seed, turned):
    scores = random_scores(3, datasets, seed, step=0.01)
    scaled = {name: values * (-factor if turned else factor) for name, values in scores.items()}
    one = compare(scores, over(datasets))
    other = compare(scaled, over(datasets), higher_is_better=not turned)
    assert other.ranks == pytest.approx(one.ranks)
    for pair, same in zip(one.pairs, other.pairs, strict=True):
        assert (same.p, same.better) == (pytest.approx(pair.p), pair.better)
        assert same.cohens_dz == pytest.approx(pair.cohens_dz)
        assert abs(same.difference) == pytest.approx(factor * abs(pair.difference))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_upwards_and_keeps_the_order(p_values):
    corrected = ranks.holm(p_values)
    assert all(p <= found <= min(1, p * len(p_values)) for p, found in zip(p_values, corrected, strict=True))
    assert all(
        corrected[one] <= corrected[other]
        for one in range(len(p_values)) for other in range(len(p_values)) if p_values[one] < p_values[other]
    )  # fmt: skip


@settings(max_examples=50)
@given(st.integers(2, 7), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_groups_are_all_the_largest_ones(count, apart):
    names = [f"t{number}" for number in range(count)]
    differ = {frozenset((f"t{one}", f"t{other}")) for one, other in apart if one != other}
    found = ranks.groups({name: float(place) for place, name in enumerate(names)}, differ)
    alike = [{name for place, name in enumerate(names) if chosen >> place & 1} for chosen in range(2**count)]
    whole = [group for group in alike if not any(pair <= group for pair in differ)]
    largest = [group for group in whole if len(group) > 1 and not any(group < other for other in whole)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, largest))


def test_null_hypothesis_is_rejected_as_often_as_the_level_says():
    wrong = 0
    for seed in range(200):
        comparison = compare(random_scores(3, 12, seed), over(12))
        wrong += any(pair.better for pair in comparison.pairs)
    # 10 of 200 are allowed; 20 would come about once in four hundred such tests.
    assert wrong < 20


def test_blocks_are_told_as_they_were_given():
    found = blocks.Blocks.of({"a": [1, 2, 3], "b": [3, 2, 1]}, [("x", 0), ("y", 0), ("x", 1)])
    assert found.datasets == ("x", "y")
    assert found.repetitions == (2, 1)
    assert found.means.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_variants_of_the_example_are_complete():
    assert tuple(SCORES) == VARIANTS
    assert {len(values) for values in SCORES.values()} == {14}


def test_difference_in_a_sentence_is_that_of_the_better_one_less_the_other():
    blocks = [("wine", repetition) for repetition in range(8)]
    low, high = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [1.1, 1.3, 1.2, 1.5, 1.6, 1.5, 1.9, 1.7]
    (pair,) = compare({"worse": low, "better": high}, blocks).pairs
    assert pair.difference < 0
    assert "better is better than worse" in pair.conclusion
    assert "mean difference 1.02 over" in pair.conclusion
    (lower,) = compare({"worse": high, "better": low}, blocks, higher_is_better=False).pairs
    assert "mean difference -1.02 over" in lower.conclusion
