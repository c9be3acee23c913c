"""Pictures: files that are what they say, with every name in them, nothing outside, and no text on another."""

import doctest
import struct
import sys
from itertools import combinations
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import paceline
import study
from demsar import BLOCKS, SCORES
from paceline.experiments import canvas
from paceline.experiments.comparisons import compare
from paceline.experiments.pictures import convergence, critical_differences, scores
from paceline.experiments.results import Pairs

LONG = "gradient boosting with a very long list of parameters, each of which is in its name"
HARMFUL = ["$unbalanced {math", "--> & <b>\"'", "a\nb\x00c", "\ud800half", "\\textbf{x}_1^2", ""]


@pytest.fixture(scope="module", autouse=True)
def fonts_that_stay_open():
    """What matplotlib opens once, so that no test is charged with it."""
    texts_of(critical_differences(compare(SCORES, BLOCKS)))


def texts_of(figure):
    """Each text that is drawn, with its box in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high or not axes.axison:
                    hidden |= {id(tick.label1), id(tick.label2)}
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]


def check_layout(figure):
    """Nothing is outside, and no text is on another; the texts."""
    found = texts_of(figure)
    page = figure.bbox
    for text, box in found:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1, f"{text!r} is outside"  # noqa: PT018 - of one box.
    for (one, first), (other, second) in combinations(found, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        high = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 0.5 or high <= 0.5, f"{one!r} is on {other!r}"
    return [text for text, _ in found]


def comparison_of(names, datasets=8, repetitions=1, seed=0, step=0.01, **options):
    chance = np.random.default_rng(seed)
    places = [(f"data set {number}", one) for number in range(datasets) for one in range(repetitions)]
    base = 0.6 + 0.05 * chance.normal(size=len(places))
    values = {name: base + 0.02 * chance.normal(size=len(places)) + step * place for place, name in enumerate(names)}
    return compare(values, places, **options)


def names_of(count):
    return [f"treatment {number}" for number in range(count)]


def check_svg(path):
    assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def check_png(path, figure):
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int(side * 150) for side in figure.get_size_inches())
    assert struct.unpack(">II", content[16:24]) == pytest.approx((width, height), abs=1)


def test_examples_in_docstrings_run():
    assert doctest.testmod(canvas).failed == 0


# -- all three


PICTURES = {
    "critical differences": lambda path=None, **options: critical_differences(compare(SCORES, BLOCKS), path, **options),
    "scores": lambda path=None, **options: scores(comparison_of("abc", 4, 8), path, **options),
    "convergence": lambda path=None, **options: convergence({"a": [1, 2, 4, 3], "b": [2, 2, 3]}, path, **options),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("picture", PICTURES)
def test_files_are_what_their_names_say(tmp_path, picture, dark):
    figure = PICTURES[picture](tmp_path / "picture.svg", dark=dark)
    check_svg(tmp_path / "picture.svg")
    assert isinstance(figure, Figure)
    figure = PICTURES[picture](tmp_path / "picture.PNG", dark=dark)
    check_png(tmp_path / "picture.PNG", figure)
    corner = mpl.image.imread(tmp_path / "picture.PNG")[0, 0, :3]
    assert (corner.mean() < 0.2) == dark


@pytest.mark.parametrize("picture", PICTURES)
def test_same_results_are_the_same_picture(tmp_path, picture):
    with mpl.rc_context({"svg.hashsalt": "salt"}):
        PICTURES[picture](tmp_path / "one.svg")
        PICTURES[picture](tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@pytest.mark.parametrize("picture", PICTURES)
def test_other_kinds_of_files_are_refused_before_anything_is_drawn(tmp_path, picture):
    with pytest.raises(ValueError, match=r"drawn as `\.svg` or `\.png`, but the name is `.*picture\.pdf`\nhint"):
        PICTURES[picture](tmp_path / "picture.pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("title", ["A title", "A title of very many words " * 8, *HARMFUL])
@pytest.mark.parametrize("picture", PICTURES)
def test_title_of_any_length_and_letters_is_only_a_title(tmp_path, picture, title):
    figure = PICTURES[picture](tmp_path / "picture.svg", title=title)
    check_svg(tmp_path / "picture.svg")
    check_layout(figure)


@pytest.mark.parametrize("picture", PICTURES)
def test_missing_matplotlib_is_named_with_the_way_out(monkeypatch, picture):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"need matplotlib, .*\nhint: `pip install 'paceline\[experiment\]'`"):
        PICTURES[picture]()


@pytest.mark.parametrize("picture", PICTURES)
def test_notebooks_show_the_figure_by_itself(picture):
    assert PICTURES[picture]()._repr_png_().startswith(b"\x89PNG")


def test_pictures_leave_the_user_s_plots_alone():
    before = dict(mpl.rcParams)
    for draw in PICTURES.values():
        draw()
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


# -- critical differences


@pytest.mark.parametrize("correction", ["holm", "nemenyi"])
@pytest.mark.parametrize("count", [3, 4, 7, 12, 20])
def test_diagram_has_every_treatment_and_its_rank(count, correction):
    comparison = comparison_of(names_of(count), step=0.004, correction=correction)
    texts = check_layout(critical_differences(comparison))
    for name in names_of(count):
        assert name in texts
    for rank in comparison.ranks.values():
        assert f"{rank:.2f}" in texts
    assert any(text.startswith("CD = ") for text in texts) == (correction == "nemenyi")


@pytest.mark.parametrize("count", [2, 5, 20])
def test_diagram_of_long_names_has_room_for_them(count):
    comparison = comparison_of([f"{LONG} {number}" for number in range(count)])
    texts = check_layout(critical_differences(comparison))
    assert sum("…" in text for text in texts) == count
    for number in range(count):
        assert sum(text.endswith(f" {number}") and "…" in text for text in texts) == 1


def test_diagram_of_harmful_names_is_a_diagram(tmp_path):
    figure = critical_differences(comparison_of(HARMFUL), tmp_path / "picture.svg")
    check_svg(tmp_path / "picture.svg")
    assert "$unbalanced {math" in check_layout(figure)


def test_diagram_where_all_have_one_rank_is_drawn():
    scores_alike = {name: np.linspace(0, 1, 10) for name in names_of(6)}
    comparison = compare(scores_alike, [(f"data {number}", 0) for number in range(10)])
    assert sum(text == "3.50" for text in check_layout(critical_differences(comparison))) == 6


def bars(figure):
    """The ends of the bars, in inches along the axis."""
    lines = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == "group"]
    return [tuple(line.get_xdata()) for line in lines]


def test_diagram_joins_what_cannot_be_told_apart():
    comparison = compare(SCORES, BLOCKS, correction="nemenyi", level=0.9)
    figure = critical_differences(comparison)
    found = bars(figure)
    assert len(found) == 2
    lengths = [comparison.ranks[group[-1]] - comparison.ranks[group[0]] for group in comparison.groups]
    inches = 4.5 / 3
    assert sorted(end - begin for begin, end in found) == pytest.approx(sorted(length * inches for length in lengths))
    assert any(text.startswith("CD = 1.12") for text in check_layout(figure))


def test_diagram_without_anything_to_join_has_no_bar():
    comparison = comparison_of(names_of(3), datasets=12, step=0.2)
    figure = critical_differences(comparison)
    assert bars(figure) == []
    assert any("all differ" in text for text in check_layout(figure))


def test_diagram_with_a_reference_joins_it_with_its_own():
    comparison = comparison_of(names_of(5), datasets=12, step=0.006, reference="treatment 0")
    figure = critical_differences(comparison)
    assert len(bars(figure)) == 1
    assert "no difference from treatment 0 can be shown" in " ".join(check_layout(figure))


def test_comparison_plots_its_diagram(tmp_path):
    figure = compare(SCORES, BLOCKS).plot(tmp_path / "ranks.png", title="C4.5", dark=True)
    check_png(tmp_path / "ranks.png", figure)
    assert "C4.5" in check_layout(figure)


def test_critical_difference_longer_than_the_axis_is_told():
    comparison = comparison_of(names_of(3), datasets=3, correction="nemenyi")
    assert comparison.critical_difference > 1.9
    check_layout(critical_differences(comparison))
    comparison = comparison_of(names_of(9), datasets=3, correction="nemenyi", level=0.99999)
    texts = check_layout(critical_differences(comparison))
    assert any("more than any two can differ by" in text for text in texts) == (comparison.critical_difference > 8.5)


# -- scores


@pytest.mark.parametrize("repetitions", [1, 3, 10, 100])
@pytest.mark.parametrize("datasets", [3, 7])
def test_scores_have_a_panel_for_each_data_set(datasets, repetitions):
    comparison = comparison_of(names_of(4), datasets, repetitions)
    figure = scores(comparison)
    texts = check_layout(figure)
    for number in range(datasets):
        assert f"data set {number}" in texts
    dots = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == "dots"]
    assert len(dots) == 4 * datasets
    assert {len(line.get_xdata()) for line in dots} == {repetitions}


@pytest.mark.parametrize("count", [2, 20])
def test_scores_of_long_names_have_room_for_them(count):
    comparison = comparison_of([f"{LONG} {number}" for number in range(count)], 4, 5)
    check_layout(scores(comparison))
    long_places = [(f"{LONG} {number % 3}", number) for number in range(18)]
    values = np.random.default_rng(0).normal(size=(2, 18))
    texts = check_layout(scores(compare({"a": values[0], "b": values[1]}, long_places)))
    assert sum("…" in text for text in texts) == 3


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e9])
def test_scores_of_any_size_have_ticks_that_can_be_read(scale):
    comparison = comparison_of(names_of(3), 3, 6)
    tables = np.concatenate(comparison.blocks.scores).T * scale
    places = [(name, one) for name in comparison.blocks.datasets for one in range(6)]
    check_layout(scores(compare(dict(zip(names_of(3), tables, strict=True)), places)))


def test_scores_of_chosen_data_sets():
    comparison = comparison_of(names_of(3), 40, 2)
    texts = check_layout(scores(comparison, datasets=["data set 39", "data set 1"]))
    assert [text for text in texts if text.startswith("data set")] == ["data set 39", "data set 1"]
    with pytest.raises(ValueError, match="40 data sets are more than one picture can show\nhint: choose"):
        scores(comparison)
    with pytest.raises(ValueError, match="these data sets were not compared: wine"):
        scores(comparison, datasets=["wine"])
    with pytest.raises(ValueError, match="none was chosen"):
        scores(comparison, datasets=[])


def test_best_mean_of_a_panel_has_another_colour():
    comparison = comparison_of(names_of(3), 3, 6, step=0.1)
    for options, best in (({}, "treatment 2"), ({"higher_is_better": False}, "treatment 0")):
        comparison = comparison_of(names_of(3), 3, 6, step=0.1, **options)
        assert comparison.treatments[0] == best
        for axes in scores(comparison).axes:
            colours = [line.get_color() for line in axes.get_lines() if line.get_gid() == "dots"]
            assert not colours or colours == [canvas.LIGHT.best, canvas.LIGHT.accent, canvas.LIGHT.accent]


# -- convergence


@pytest.mark.parametrize("count", [1, 2, 4, 20])
def test_convergence_has_a_panel_for_each_treatment(count):
    chance = np.random.default_rng(0)
    names = [f"{LONG} {number}" for number in range(count)]
    figure = convergence({name: chance.normal(0.9, 0.02, size=30) for name in names})
    texts = check_layout(figure)
    assert sum("±" in text for text in texts) == count


def test_convergence_ends_with_the_summary_s_mean_and_interval():
    from paceline.experiments.summaries import summarise

    values = np.random.default_rng(1).normal(1e6, 1.0, size=25)
    figure = convergence({"a": values})
    (mean,) = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == "mean"]
    summary = summarise(values)
    assert mean.get_ydata()[-1] == pytest.approx(summary.mean, rel=1e-14)
    assert mean.get_ydata()[9] == pytest.approx(values[:10].mean(), rel=1e-14)
    (band,) = [found for axes in figure.axes for found in axes.collections if found.get_gid() == "interval"]
    at_the_end = band.get_paths()[0].vertices
    ends = at_the_end[at_the_end[:, 0] == 25][:, 1]
    assert (ends.min(), ends.max()) == pytest.approx((summary.low, summary.high), abs=1e-6)
    assert f"{summary.mean:.4g} ± {summary.half_width:.2g}" in check_layout(figure)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 12345678.0])
def test_convergence_of_any_size_has_ticks_that_can_be_read(scale, offset):
    chance = np.random.default_rng(0)
    check_layout(convergence({name: offset + scale * chance.normal(size=12) for name in names_of(4)}))


def test_convergence_of_scores_that_are_the_same_is_drawn():
    check_layout(convergence({"a": [0.5, 0.5, 0.5], "b": [0.5, 0.5, np.nan]}))
    check_layout(convergence({"a": [0.0, 0.0]}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "there is no treatment"),
        ({"a": [1.0]}, "without two finite scores or more: a\nhint"),
        ({"a": [1.0, np.nan], "b": [1, 2]}, "scores or more: a\n"),
        ({"a": [1.0, np.inf]}, "scores or more: a\n"),
        ({str(number): [1, 2] for number in range(31)}, "31 treatments are more than one picture can show"),
    ],
)
def test_convergence_of_nothing_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        convergence(values)


# -- of results


@pytest.fixture(scope="module")
def results():
    exp = paceline.Experiment(study.score, seed=42)
    exp.add_grid(alg=["svm", "forest"], dataset=["digits", "wine", "iris"], rep=range(5))
    return exp.run(backend="serial")


@pytest.mark.parametrize("kind", ["scores", "critical differences", "convergence"])
def test_results_draw_each_kind_of_picture(results, tmp_path, kind):
    figure = results.plot("accuracy", "alg", tmp_path / "picture.svg", kind=kind)
    assert {"svm", "forest"} <= set(check_layout(figure))
    assert ET.parse(tmp_path / "picture.svg").getroot().tag.endswith("}svg")
    with pytest.raises(ValueError, match="kind must be 'scores', 'critical differences' or 'convergence', not 'box'"):
        results.plot("accuracy", "alg", kind="box")


def test_convergence_over_several_data_sets_is_of_their_mean_in_each_repetition(results):
    figure = results.plot("accuracy", "alg", kind="convergence")
    assert "How the means over 3 data sets settle with repetitions" in check_layout(figure)
    table = np.array(results["accuracy"]).reshape(2, 3, 5).mean(axis=1)
    drawn = [line.get_ydata() for axes in figure.axes for line in axes.get_lines() if line.get_gid() == "mean"]
    assert [list(line) for line in drawn] == [
        pytest.approx([row[: count + 1].mean() for count in range(5)], rel=1e-12) for row in table
    ]


def test_repetition_that_a_data_set_lacks_has_no_mean():
    pairs = Pairs({"a": [1.0, 2.0, 3.0, np.nan, 5.0]}, [("x", 0), ("x", 1), ("y", 0), ("y", 1), ("x", 2)])
    assert str(pairs.by_repetition()) == "{'a': [2.0, nan, nan]}"
