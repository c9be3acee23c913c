"""Summaries of values: they agree with SciPy and with printed examples, and say in words what cannot be known."""

import doctest
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paceline.experiments import libraries, summaries
from paceline.experiments.summaries import repetitions_needed, summarise

# Hours of additional sleep; Student, "The Probable Error of a Mean", 1908. R prints of it: mean 1.58, 95 percent
# confidence interval 0.7001142 to 2.4598858.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Squares of much smaller numbers are no numbers of full precision.
SAMPLES = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), min_size=2, max_size=30)


@pytest.mark.parametrize("module", [libraries, summaries])
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)


# -- intervals


def test_summary_of_student_s_sleep_is_as_printed():
    summary = summarise(SLEEP)
    assert (round(summary.mean, 2), round(summary.low, 7), round(summary.high, 7)) == (1.58, 0.7001142, 2.4598858)
    assert (summary.n, summary.interval, summary.level, summary.warnings) == (10, "t", 0.95, ())
    assert summary.std == pytest.approx(np.std(SLEEP, ddof=1))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_t_interval_agrees_with_scipy(level):
    interval = stats.ttest_1samp(SLEEP, 0).confidence_interval(level)
    summary = summarise(SLEEP, level=level)
    assert (summary.low, summary.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert summary.half_width == pytest.approx((interval.high - interval.low) / 2)


def test_bca_interval_agrees_with_scipy_and_with_itself():
    values = np.random.default_rng(1).exponential(size=40)
    expected = stats.bootstrap((values,), np.mean, method="BCa", random_state=np.random.default_rng(7))
    summary = summarise(values, interval="bca", seed=7)
    interval = expected.confidence_interval
    assert (summary.low, summary.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert summary == summarise(values, interval="bca", seed=7)
    other = summarise(values, interval="bca", seed=8)
    assert other.low != summary.low
    assert other.low == pytest.approx(summary.low, rel=0.05)


def test_bca_interval_of_skewed_values_reaches_further_on_their_side():
    values = np.random.default_rng(2).lognormal(sigma=1.5, size=60)
    summary = summarise(values, interval="bca")
    assert summary.high - summary.mean > 1.2 * (summary.mean - summary.low)


def test_bca_interval_is_the_same_in_small_pieces(monkeypatch):
    values = np.random.default_rng(3).normal(size=50)
    whole = summarise(values, interval="bca")
    monkeypatch.setattr(summaries, "_AT_ONCE", 50 * 1000)
    pieces = summarise(values, interval="bca")
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.02)


# -- what cannot be known


def test_single_value_has_a_mean_and_nothing_else():
    summary = summarise([0.5])
    assert (summary.mean, summary.n) == (0.5, 1)
    assert all(map(math.isnan, (summary.std, summary.low, summary.high)))
    assert summary.warnings == ("there is one value only: its spread cannot be known without further repetitions",)
    assert str(summary) == "0.5 (n = 1, no interval)"


@pytest.mark.parametrize("values", [[], [math.nan], [None, math.nan]])
def test_no_values_have_no_mean(values):
    summary = summarise(values)
    assert summary.n == 0
    assert math.isnan(summary.mean)
    assert summary.warnings[-1] == "there are no values, so there is no mean"
    assert str(summary) == "no values"


def test_missing_values_are_left_out_and_told():
    summary = summarise([1.0, math.nan, 3.0, None, 2.0])
    expected = summarise([1.0, 3.0, 2.0])
    assert (summary.mean, summary.std, summary.low, summary.n) == (2.0, 1.0, expected.low, 3)
    assert summary.warnings[0].startswith("2 of 5 values are missing and were left out")


@pytest.mark.parametrize("interval", ["t", "bca"])
@pytest.mark.parametrize("value", [0.1, 0.0, -1e300])
def test_values_that_are_all_the_same_are_exactly_that(interval, value):
    summary = summarise([value] * 7, interval=interval)
    assert (summary.mean, summary.std, summary.low, summary.high) == (value, 0.0, value, value)
    assert "all 7 values are the same" in summary.warnings[0]


@pytest.mark.parametrize("values", [[1.0, math.inf], [1.7e308, 1.7e308], [-math.inf, math.inf]])
def test_infinite_values_have_no_interval(values):
    summary = summarise(values)
    assert not math.isfinite(summary.mean)
    assert math.isnan(summary.low)
    assert "infinite" in summary.warnings[0]


def test_bootstrap_of_few_values_is_warned_of():
    assert "intervals that are too short" in summarise([1.0, 2.0, 4.0], interval="bca").warnings[0]
    assert summarise([1.0, 2.0, 4.0]).warnings == ()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (SLEEP, {"interval": "normal"}, ValueError, "interval must be 't' or 'bca', not 'normal'"),
        (SLEEP, {"level": 95}, ValueError, "level must be between 0 and 1, not 95\nhint: 0.95"),
        (SLEEP, {"level": 0}, ValueError, "level must be"),
        (["good"], {}, TypeError, "values must be a sequence of numbers: could not convert"),
        ("123", {}, TypeError, "not a string"),
        ([[1.0, 2.0], [3.0, 4.0]], {}, TypeError, "values must be a sequence of numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, options, error, words):
    with pytest.raises(error, match=words):
        summarise(arguments, **options)


# -- how many repetitions


def test_as_many_repetitions_are_needed_as_gave_the_same_interval():
    assert repetitions_needed(SLEEP, summarise(SLEEP).half_width) == len(SLEEP)


def test_half_the_width_needs_four_times_as_many():
    assert repetitions_needed(SLEEP, summarise(SLEEP).half_width / 2) == 4 * len(SLEEP)


def test_number_of_repetitions_holds_its_promise():
    chance, reached = np.random.default_rng(5), 0
    for _ in range(300):
        first = chance.normal(size=6)
        needed = repetitions_needed(first, 0.5)
        everything = np.append(first, chance.normal(size=max(0, needed - 6)))
        reached += abs(everything.mean()) <= 0.5
    # Stein's rule promises 95 %, here 285; its standard deviation is 3.8.
    assert reached >= 273


def test_values_that_do_not_vary_need_two_repetitions():
    assert repetitions_needed([0.5, 0.5, 0.5], 0.01) == 2


@pytest.mark.parametrize(
    ("values", "half_width", "words"),
    [
        ([1.0], 0.1, "do not tell how much they vary\nhint: repeat"),
        ([], 0.1, "0 values do not tell"),
        ([1.0, math.nan], 0.1, "missing or infinite"),
        ([1.0, math.inf], 0.1, "missing or infinite"),
        (SLEEP, 0, "half_width must be a positive number"),
        (SLEEP, math.nan, "half_width must be a positive number"),
        (SLEEP, math.inf, "half_width must be a positive number"),
    ],
)
def test_number_of_repetitions_is_refused_where_nothing_can_be_said(values, half_width, words):
    with pytest.raises(ValueError, match=words):
        repetitions_needed(values, half_width)


# -- properties


@given(SAMPLES, st.randoms())
def test_order_of_values_does_not_matter(values, chance):
    shuffled = values.copy()
    chance.shuffle(shuffled)
    one, other = summarise(values), summarise(shuffled)
    size = max(map(abs, values)) or 1.0
    for name in ("mean", "std", "low", "high"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9, abs=1e-9 * size, nan_ok=True)


@given(SAMPLES, st.integers(-20, 20))
def test_scale_of_values_is_that_of_the_summary(values, power):
    factor = 2.0**power
    one, other = summarise(values), summarise([value * factor for value in values])
    for name in ("mean", "std", "low", "high"):
        assert getattr(one, name) * factor == pytest.approx(getattr(other, name), rel=1e-12, abs=1e-290)


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(0.01, 10))
def test_finer_precision_never_needs_fewer_repetitions(values, half_width):
    assert repetitions_needed(values, half_width) <= repetitions_needed(values, half_width / 2)


# -- libraries


@pytest.mark.parametrize(("module", "library"), [("numpy", "numpy"), ("scipy", "scipy"), ("scipy.stats", "scipy")])
def test_missing_library_is_named_with_the_way_out(monkeypatch, module, library):
    monkeypatch.setitem(sys.modules, module, None)
    if module == "scipy":
        monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ModuleNotFoundError, match=rf"need {library}, .*\nhint: `pip install 'paceline\[experiment\]'`"):
        summarise(SLEEP)


def test_import_of_the_statistics_imports_no_library():
    program = (
        "import sys\n"
        "from paceline.experiments import blocks, canvas, comparisons, pairs, paired, ranks\n"
        "from paceline.experiments import pictures, summaries, tables\n"
        "print([name for name in ('numpy', 'scipy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
