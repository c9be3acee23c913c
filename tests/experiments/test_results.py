"""Results as tables: what they have, in which order, in every form; and how they are grouped and paired."""

import csv
import io
import json
import re
import subprocess
import sys

import pandas as pd
import polars as pl
import pytest
import scipy.stats  # noqa: F401 - the threads that it starts are not those of a test.

import paceline
import study
from paceline.experiments.columns import Table
from paceline.experiments.results import Status


@pytest.fixture(scope="module")
def results():
    exp = paceline.Experiment(study.score, seed=42)
    exp.add_grid(alg=["svm", "forest"], dataset=["digits", "wine"], rep=range(3))
    return exp.run(backend="serial")


def test_columns_are_axes_results_and_what_is_known_of_the_attempt(results):
    assert results.axes == ["alg", "dataset", "rep"]
    assert results.metrics == ["accuracy", "name", "parts", "n"]
    attempt = "status attempt error traceback seconds cpu_seconds peak_memory seed worker began ended"
    assert list(results.columns)[7:] == [*attempt.split(), "host", "python", "paceline", "git"]
    assert results["alg"] == ["svm"] * 6 + ["forest"] * 6
    with pytest.raises(KeyError, match="there is no column 'accurracy'; there are alg, dataset"):
        results["accurracy"]


def test_parts_of_results_with_the_name_of_another_column_are_renamed():
    exp = paceline.Experiment(lambda n: {"n": 1, "seconds": 2, "own": 3})
    exp.add_grid(n=[7])
    results = exp.run(backend="serial")
    assert (results["n"], results["result_n"], results["result_seconds"], results["own"]) == ([7], [1], [2], [3])
    assert results.metrics == ["result_n", "result_seconds", "own"]


def test_pandas_has_a_row_for_each_cell_in_the_order_of_the_grid(results):
    frame = results.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["accuracy"].tolist() == results["accuracy"]
    assert frame[["alg", "dataset", "rep"]].to_dict("list") == {axis: results[axis] for axis in results.axes}


def test_polars_and_arrow_have_the_same_also_of_mixed_columns(results):
    frame = results.to_polars()
    assert isinstance(frame, pl.DataFrame)
    assert frame["accuracy"].to_list() == results.to_arrow()["accuracy"].to_pylist() == results["accuracy"]
    mixed = Table({"x": [1, "a", None], "n": [1, 2.5, None], "l": [[1], {"a": 1}, None]})
    expected = {"x": ["1", "a", None], "n": [1.0, 2.5, None], "l": ["[1]", '{"a": 1}', None]}
    assert mixed.to_polars().to_dict(as_series=False) == mixed.to_arrow().to_pydict() == expected


def test_csv_has_numbers_in_full(results):
    lines = list(csv.DictReader(io.StringIO(results.to_csv())))
    assert [float(line["accuracy"]) for line in lines] == results["accuracy"]
    assert lines[0]["parts"] == "[0, null]"
    assert lines[0]["error"] == ""


def test_latex_and_markdown_show_what_people_look_at_and_escape_the_rest():
    table = Table({"a_b": ["50 %", "x|y"], "n": [1, 2.123456789]})
    assert table.to_latex() == (
        "\\begin{tabular}{lr}\n\\toprule\na\\_b & n \\\\\n\\midrule\n"
        "50 \\% & 1 \\\\\nx|y & 2.12346 \\\\\n\\bottomrule\n"
        "\\end{tabular}\n"
    )
    assert table.to_markdown() == "| a_b | n |\n| --- | ---: |\n| 50 % | 1 |\n| x\\|y | 2.12346 |\n"


def parquet_column(path, name):
    """Read in a process of its own: Arrow keeps the threads that it reads with."""
    column = f"parquet.read_table({str(path)!r})[{name!r}].to_pylist()"
    program = f"import json; from pyarrow import parquet; print(json.dumps({column}))"
    return json.loads(subprocess.check_output([sys.executable, "-c", program], timeout=150))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "tex", "md"])
def test_export_writes_what_the_suffix_says(results, tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    results.export(path)
    if suffix == "parquet":
        assert parquet_column(path, "accuracy") == results["accuracy"]
    else:
        assert (
            path.read_text(encoding="utf-8")
            == getattr(results, {"csv": "to_csv", "tex": "to_latex", "md": "to_markdown"}[suffix])()
        )
    with pytest.raises(ValueError, match=r"must end with one of \.csv, \.parquet"):
        results.export(tmp_path / "table.xls")


def test_long_tables_are_cut_where_people_look():
    table = Table({"n": list(range(100))})
    assert str(table).endswith("39\n... (60 more rows)")
    assert table._repr_html_().count("<tr>") == 41
    assert table.text().endswith("\n99")


def test_html_escapes_what_it_shows():
    assert "<td>&lt;b&gt;</td>" in Table({"x": ["<b>"]})._repr_html_()


def test_status_counts_add_up():
    status = Status.of({"ok": 3, None: 2, "died": 1}, stale=1)
    assert str(status) == "6 cells: 3 ok, 1 died, 2 missing, 1 stale"
    assert (status.total, status.failed) == (6, 1)


# -- what the statistics are given -------------------------------------------------------------------------------------


def test_pairs_are_aligned_by_data_set_and_repetition(results):
    pairs = results.pairs("accuracy", "alg")
    assert pairs.blocks == [(data, rep) for data in ("digits", "wine") for rep in range(3)]
    assert pairs.scores["svm"] == results["accuracy"][:6]
    assert pairs.scores["forest"] == results["accuracy"][6:]


def test_numbers_that_are_missing_are_nan_in_pairs():
    def work(alg, data, rep):
        return 1 / (rep if alg == "a" else 1)

    exp = paceline.Experiment(work)
    exp.add_grid(alg=["a", "b"], data=["x"], rep=range(3))
    exp.exclude(alg="b", rep=2)
    pairs = exp.run(backend="serial").pairs("value", "alg")
    assert pairs.blocks == [("x", 0), ("x", 1), ("x", 2)]
    assert str(pairs.scores) == "{'a': [nan, 1.0, 0.5], 'b': [1.0, 1.0, nan]}"


def test_several_axes_are_one_data_set_unless_they_are_named(results):
    exp = paceline.Experiment(lambda alg, data, noise, fold: noise)
    exp.add_grid(alg=["a", "b"], data=["x", "y"], noise=[0, 1], fold=[1])
    results = exp.run(backend="serial")
    assert results.pairs("value", "alg").blocks[:2] == [("x / 0", 1), ("x / 1", 1)]
    assert results.pairs("value", "alg", dataset="data", repetition="noise").blocks[:2] == [("x", 0), ("x", 1)]
    with pytest.raises(ValueError, match=r"several cells of `alg` a, .*\nhint: name the axes"):
        results.pairs("value", "alg", dataset="data")


@pytest.mark.parametrize(
    ("metric", "treatment", "message"),
    [
        ("precision", "alg", "no result has a part `precision`; there are `accuracy`, `name`"),
        ("name", "alg", "`name` is not a number in every cell"),
        ("accuracy", "algorithm", "`algorithm` is no axis of the experiment; there are alg, dataset, rep"),
    ],
)
def test_what_is_not_there_cannot_be_compared(results, metric, treatment, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        results.pairs(metric, treatment)


def test_summary_has_a_row_for_each_group(results):
    pytest.importorskip("paceline.experiments.summaries", reason="the statistics are not there")
    summary = results.summary("accuracy")
    assert summary["alg"] == ["svm", "svm", "forest", "forest"]
    assert summary["mean"][0] == pytest.approx(sum(results["accuracy"][:3]) / 3)
    assert summary["n"] == [3, 3, 3, 3]
    assert len(results.summary("accuracy", by="alg")) == 2
