"""Timelines: the figures under them, the static pictures, and the page, which a browser draws where there is one."""

import html
import json
import random
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from histories import stretch
from paceline.chart import MOST_ROWS, Chart, told
from paceline.history import Ending, History
from paceline.timeline import draw
from paceline.timeline_page import page

try:
    # Here, because the libraries below it start threads that stay.
    import numpy as np
    from matplotlib.image import imread
except ModuleNotFoundError:
    np = imread = None

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
needs_matplotlib = pytest.mark.skipif(np is None, reason="matplotlib is not installed")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no browser to draw the page")
HARMFUL = "</script><b>&\"'"


@pytest.fixture(scope="module", autouse=True)
def fonts_that_stay_open(tmp_path_factory):
    """What matplotlib opens once, so that no test is charged with it."""
    if np is not None:
        draw(history_of(stretch(0, 0, 1)), tmp_path_factory.mktemp("fonts") / "run.png")


def history_of(*stretches, pids=None, forgotten=0):
    pids = pids or range(4916, 4917 + max((one.worker for one in stretches), default=-1))
    return History(tuple(pids), tuple(sorted(stretches, key=lambda one: one.began)), forgotten)


def with_everything(function="simulate"):
    """A small history in which each state occurs."""
    return history_of(
        stretch(0, 0.0, 1.0, function=function),
        stretch(1, 0.0, 0.5, first_item=1, ending=Ending.LOST),
        stretch(0, 1.0, 0.5, first_item=2, ending=Ending.RAISED),
        stretch(2, 0.7, 0.5, first_item=1, attempt=1),
        stretch(2, 1.3, 1.5, first_item=3, items=4, ending=Ending.STOPPED, function=function),
        stretch(0, 1.6, 0.3, first_item=7, items=100, merged=100, busy=0.1, longest=0.01),
    )


def a_long_history(count, workers=4):
    chance = random.Random(0)
    clocks = [0.0] * workers
    special = {count // 4: Ending.RAISED, count // 3: Ending.LOST, count // 2: Ending.STOPPED}
    stretches = []
    for item in range(count):
        worker = item % workers
        took = chance.random()
        ending = special.get(item, Ending.DONE)
        stretches.append(stretch(worker, clocks[worker], took, first_item=item, ending=ending, attempt=item == 7))
        clocks[worker] += took * 1.25
    return history_of(*stretches)


# The figures.


def test_bound_is_the_work_shared_equally_or_the_longest_stretch():
    even = Chart.of(history_of(stretch(0, 0, 2), stretch(1, 0, 1), stretch(1, 2, 2)))
    assert (even.workers, even.wall, even.work, even.bound) == (2, 4, 5, 2.5)
    assert even.efficiency == 5 / 8
    uneven = Chart.of(history_of(stretch(0, 0, 4), stretch(1, 0, 1)))
    assert (uneven.bound, uneven.is_bound_by_the_longest) == (4, True)
    assert "least possible is 4 s: its longest stretch" in uneven.summary


def test_worker_that_took_anothers_place_is_not_one_more():
    history = history_of(stretch(0, 0, 1, ending=Ending.LOST), stretch(1, 1.5, 1), stretch(2, 0, 2))
    assert Chart.of(history).workers == 2
    assert Chart.of(history, workers=8).workers == 8
    assert [row.label for row in Chart.of(history).rows] == ["4916", "4917", "4918"]


def test_coroutines_that_take_turns_get_a_row_each_and_a_bound_that_holds():
    chart = Chart.of(history_of(stretch(0, 0, 1), stretch(0, 0.25, 1), stretch(0, 1, 1)))
    assert (chart.workers, chart.slots) == (1, 2)
    assert [row.label for row in chart.rows] == ["4916", ""]
    assert chart.bound <= chart.wall
    assert "with up to 2 calls at a time" in chart.summary


def test_many_processes_one_after_the_other_share_rows():
    count = 10 * MOST_ROWS
    chart = Chart.of(history_of(*(stretch(number, number // 2, 1) for number in range(count))))
    assert [row.label for row in chart.rows] == [f"4916 + {count // 2 - 1}", f"4917 + {count // 2 - 1}"]
    assert sum(len(row.stretches) for row in chart.rows) == count


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (12345.6, "12,346 s"), (1.234, "1.23 s"), (0.5, "500 ms"), (0.00213, "2.13 ms"), (4.2e-6, "4.2 µs")],
)
def test_lengths_of_time_are_told_in_three_figures(seconds, words):
    assert told(seconds) == words


# The static pictures.


def groups(path):
    """The marked groups of an SVG, with how many shapes each has."""
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    shapes = {f"{{http://www.w3.org/2000/svg}}{name}" for name in ("path", "use", "image")}
    found = {}
    for element in root.iter():
        inside = [part for part in element.iter() if part.tag in shapes]
        if element.get("id") and inside:
            found[element.get("id")] = len(inside)
    return found


@needs_matplotlib
@pytest.mark.parametrize("dark", [False, True])
def test_svg_has_something_for_each_state(tmp_path, dark):
    draw(with_everything(HARMFUL), tmp_path / "run.svg", dark=dark)
    found = groups(tmp_path / "run.svg")
    for name in ("done", "raised", "stopped", "lost", "done-retried", "deaths", "strips", "took", "at-best"):
        assert found.get(name), name


@needs_matplotlib
def test_svg_has_nothing_for_states_that_do_not_occur(tmp_path):
    draw(history_of(stretch(0, 0, 1)), tmp_path / "run.svg")
    found = groups(tmp_path / "run.svg")
    assert found["done"]
    assert not {"raised", "stopped", "lost", "done-retried", "deaths", "strips"} & set(found)


@needs_matplotlib
@pytest.mark.parametrize("title", [HARMFUL, "$unbalanced {math", "--> \x00\n\ud800", ""])
def test_title_of_any_characters_is_only_a_title(tmp_path, title):
    draw(with_everything(), tmp_path / "run.svg", title=title)
    assert groups(tmp_path / "run.svg")
    draw(with_everything(), tmp_path / "run.html", title=title)
    assert (tmp_path / "run.html").read_text(encoding="utf-8")


@needs_matplotlib
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("count", [0, 1, 10, 200, 100_000])
def test_png_of_any_length_is_a_picture(tmp_path, count, dark):
    path = tmp_path / "run.PNG"
    draw(a_long_history(count) if count else History((), ()), str(path), dark=dark)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = imread(path)
    assert picture.shape[1] == 1800
    corner = picture[0, 0, :3]
    assert (corner < 0.2).all() if dark else (corner == 1).all()
    filled = (np.abs(picture[:, :, :3] - corner) > 0.1).any(axis=2).mean()
    assert filled > (0.1 if count else 0.001)


@needs_matplotlib
def test_svg_of_many_stretches_is_small_and_shows_what_went_wrong(tmp_path):
    draw(a_long_history(100_000), tmp_path / "run.svg")
    assert (tmp_path / "run.svg").stat().st_size < 2**20
    found = groups(tmp_path / "run.svg")
    for name in ("strips", "lost", "deaths", "raised", "flags-raised", "stopped", "flags-stopped", "flags-retried"):
        assert found.get(name), name


@needs_matplotlib
def test_failures_of_many_stretches_do_not_make_a_large_file(tmp_path):
    stretches = [stretch(0, number * 1e-3, 5e-4, ending=Ending(1 + number % 3)) for number in range(100_000)]
    draw(history_of(*stretches), tmp_path / "run.svg")
    assert (tmp_path / "run.svg").stat().st_size < 2**20


@needs_matplotlib
def test_deaths_of_what_began_close_together_all_have_a_mark(tmp_path):
    draw(
        history_of(stretch(0, 1, 0.001, ending=Ending.LOST), stretch(0, 1.002, 8, ending=Ending.LOST)),
        tmp_path / "run.svg",
    )
    once = history_of(stretch(0, 1, 0.001, ending=Ending.LOST), stretch(0, 1.002, 8))
    draw(once, tmp_path / "once.svg")
    assert groups(tmp_path / "run.svg")["deaths"] == groups(tmp_path / "once.svg")["deaths"] + 1


@needs_matplotlib
def test_same_history_is_the_same_picture_and_nothing_global_is_changed(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for name in ("one.png", "two.png"):
        draw(with_everything(), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert dict(mpl.rcParams) == before


@needs_matplotlib
def test_strips_hold_each_cells_share_of_the_time():
    from paceline.timeline import _shares

    chance = np.random.default_rng(0)
    rows, columns, count = 3, 50, 2000
    row = chance.integers(0, rows, count)
    began = chance.random(count) * columns
    ended = np.minimum(began + chance.exponential(0.5, count) * (chance.random(count) < 0.95), columns)
    busy = (ended - began) * chance.random(count) * 0.02
    expected = np.zeros((rows, columns))
    for one in range(count):
        for column in range(columns):
            inside = min(ended[one], column + 1) - max(began[one], column)
            if inside > 0:
                expected[row[one], column] += inside * busy[one] / (ended[one] - began[one])
    assert np.allclose(_shares(row, began, ended, busy, (rows, columns)), np.minimum(expected, 1), atol=1e-5)


@needs_matplotlib
def test_strips_are_empty_where_nothing_is():
    from paceline.timeline import _shares

    one = np.array([20.25])
    share = _shares(np.array([1]), one, one + 0.001, np.array([0.001]), (2, 50))
    assert np.flatnonzero(share).tolist() == [70]


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'paceline\[plot\]'"):
        draw(with_everything(), tmp_path / "run.png")
    draw(with_everything(), tmp_path / "run.html")


@pytest.mark.parametrize("name", ["run.pdf", "run", "svg", "run.svg.txt"])
def test_other_kinds_of_file_are_refused_by_naming_the_three(tmp_path, name):
    with pytest.raises(ValueError, match=r"`\.svg`, `\.png` or `\.html`"):
        draw(with_everything(), tmp_path / name)
    assert not list(tmp_path.iterdir())


# The page.


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.addresses = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in {"src", "href"}]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_page_holds_every_stretch_and_needs_nothing_else():
    history = with_everything()
    text = page(history, title="A run")
    assert not Elements(text).addresses
    assert not re.search(r"https?:|@import|url\(", text)
    data = data_of(text)
    assert data["count"] == len(history.stretches)
    assert data["functions"] == ["simulate"]
    # A column with one value is that value.
    assert data["function"] == 0
    assert sorted(data["ending"]) == sorted(int(one.ending) for one in history.stretches)
    moments = []
    places = iter(zip(data["gap"], data["took"], strict=True))
    for _, count in data["rows"]:
        before = 0
        for _ in range(count):
            gap, took = next(places)
            moments.append(((before + gap) / data["ticks"], (before + gap + took) / data["ticks"]))
            before += gap + took
    told_moments = [(one.began, one.ended) for _, row in history.by_worker() for one in row]
    assert [moment for pair in moments for moment in pair] == pytest.approx(
        [moment for pair in told_moments for moment in pair]
    )


def test_page_tells_its_sums_without_a_script():
    text = page(with_everything(), title="A run", workers=2)
    assert "It took 2.8 s for 4.1 s of work on 2 workers" in text
    assert "<noscript>" in text
    assert "<td>4918</td>" in text
    # Of the four items that were run together, one was stopped; the others may have results.
    assert "<td>5</td><td>1</td><td>0</td><td>1</td><td>0</td></tr></tbody>" in text
    assert '<th scope="col">stretches with items that were stopped</th>' in text
    assert data_of(text)["some"] == [Ending.RAISED, Ending.STOPPED]
    assert "Nothing has run." in page(History((), ()), title="Nothing")
    assert "the 12 oldest stretches" in page(history_of(stretch(0, 0, 1), forgotten=12), title="A run")


def test_names_in_a_page_can_do_no_harm():
    plain = Elements(page(with_everything(), title="A run"))
    text = page(with_everything(HARMFUL), title=HARMFUL + " {{data}}")
    assert Elements(text).tags == plain.tags
    assert data_of(text)["functions"][0] == HARMFUL
    assert text.count('"gap":') == 1


def drawn(text, tmp_path, script):
    """What the script says of the page, in the words of a browser."""
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1300,700",
        "--virtual-time-budget=3000",
    ]
    ran = subprocess.run(
        [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        check=True, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    return json.loads(html.unescape(re.search(r'data-answer="([^"]*)"', ran.stdout)[1]))


SCRIPT = """
addEventListener("error", event => document.body.dataset.answer = JSON.stringify(["error", event.message]));
const chart = document.getElementById("chart"), tip = document.getElementById("tip");
const box = chart.getBoundingClientRect();
const at = (kind, x, y, more) => chart.dispatchEvent(
  new (kind === "wheel" ? WheelEvent : kind === "dblclick" ? MouseEvent : PointerEvent)(
    kind, {clientX: box.x + x, clientY: box.y + y, bubbles: true, cancelable: true, ...more}));
const tipAt = (x, y) => { at("pointermove", x, y); return tip.style.display === "block" ? tip.innerText : ""; };
const colours = () => {
  const found = new Set(), pixels = chart.getContext("2d").getImageData(0, 0, chart.width, chart.height).data;
  for (let place = 0; place < pixels.length; place += 4) {
    found.add((pixels[place] << 16 | pixels[place + 1] << 8 | pixels[place + 2]).toString(16).padStart(6, "0"));
  }
  return [...found];
};
const answer = {colours: colours(), before: tipAt(110, 47)};
at("wheel", 110, 47, {deltaY: -2000});
setTimeout(() => {
  answer.zoomed = tipAt(600, 47);
  at("dblclick", 600, 47);
  setTimeout(() => {
    answer.after = tipAt(110, 47);
    document.body.dataset.answer = JSON.stringify(answer);
  }, 100);
}, 100);
"""


@needs_browser
def test_browser_draws_each_state_and_tells_what_is_under_the_cursor(tmp_path):
    answer = drawn(page(with_everything(HARMFUL), title="A run"), tmp_path, SCRIPT)
    assert {"0072b2", "d55e00", "e69f00", "cc79a7"} <= set(answer["colours"])
    assert answer["before"].startswith(HARMFUL)
    for words in ("item 0", "done", "took 1 s", "pid 4916"):
        assert words in answer["before"]
    # Zoomed in, the first stretch fills the row; a double click shows everything again.
    assert answer["zoomed"] == answer["after"] == answer["before"]


@needs_browser
def test_browser_draws_a_hundred_thousand_stretches(tmp_path):
    answer = drawn(page(a_long_history(100_000), title="A run"), tmp_path, SCRIPT)
    assert {"d55e00", "e69f00"} <= set(answer["colours"])
    assert "zoom in to see them apart" in answer["before"]
    assert "zoom in" not in answer["zoomed"]
