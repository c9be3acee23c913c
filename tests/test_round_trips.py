"""Whatever pickle can carry goes to a worker and comes back as any pickle has it: arrays, tables, matrices, bytes.

Chance chooses what is sent, around the sizes where the transport changes. `ROUND_TRIPS=1000` before the command tries
so many of each kind, and other ones each time; the same few are tried without it.
"""

import array
import gc
import itertools
import operator
import os
import pickle
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as any_arrays

import tasks
from belongings import PATIENCE_S, Belongings
from paceline import ArgumentNotPicklable, Pool, ResultNotPicklable

KB = 1 << 10
MB = 1 << 20

asked_for = os.environ.get("ROUND_TRIPS")
some = settings(
    max_examples=int(asked_for or 20),
    derandomize=not asked_for,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # What is sent is told in one line, so there is no need to look for something smaller that fails as well.
    phases=[Phase.generate],
)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind():
    """In the place of what looks after each test: the pool of this file is there all the time."""
    gc.collect()
    before = Belongings()
    yield
    deadline = time.monotonic() + PATIENCE_S
    # Arrow and polars start threads of their own, and keep them.
    while (surplus := Belongings().beyond(before)).keys() - {"threads"}:
        assert time.monotonic() < deadline, f"left behind: {surplus}"
        gc.collect()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def pool(nothing_left_behind):
    with Pool(2) as pool:
        # Pytest itself would hold it a little longer.
        yield weakref.proxy(pool)


# -- what is sent ------------------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """How to make something, here or in a worker: so a failure tells of it in one line."""

    make: Callable
    settings: dict

    def made(self):
        return self.make(**self.settings)


def recipes(make, **choices):
    """Of a function, and what its arguments are chosen from."""
    chosen = {
        name: one if isinstance(one, st.SearchStrategy) else st.sampled_from(one) for name, one in choices.items()
    }
    return st.builds(Recipe, st.just(make), st.fixed_dictionaries(chosen))


def borders(furthest):
    """Sizes in bytes: small, at either side of where the transport changes, and beyond."""
    near = st.builds(operator.add, st.sampled_from([64 * KB, MB]), st.integers(-furthest, furthest))
    return st.one_of(st.integers(0, 2_000), near, st.integers(64 * KB, MB + 400_000))


seeds = st.integers(0, 1_000)
WORDS = np.array(["", "a", "naïve 数", "a text that is longer than others"])


# -- what is looked at -------------------------------------------------------------------------------------------------


def plain(value):
    """A value as bytes, with all that matters of it: its type, dtype, order, and whether it may be written to."""
    return pickle.dumps(value, 5)


def looked_at(value):
    return plain(value), value.flags.aligned if isinstance(value, np.ndarray) else None


def assert_same(seen, expected):
    if seen == expected:
        return
    value, as_expected = pickle.loads(seen[0]), pickle.loads(expected[0])
    kind = {"DataFrame": "frame", "Series": "series"}.get(type(value).__name__, "index")
    # The pickle of a table also has what its process has cached about its dtypes.
    is_table = type(value) is type(as_expected) and type(value).__module__.startswith("pandas")
    assert is_table, (seen, expected)
    getattr(pd.testing, f"assert_{kind}_equal")(value, as_expected, check_exact=True)
    assert getattr(value, "attrs", None) == getattr(as_expected, "attrs", None)


def scribble(value):
    """Changes all the memory of a value, where it may be written to."""
    memory = [value] if isinstance(value, bytearray | array.array) else []
    pickle.dumps(value, 5, buffer_callback=lambda buffer: memory.append(buffer.raw()))
    parts = [np.frombuffer(part, np.uint8) for part in memory if memoryview(part).nbytes]
    if isinstance(value, np.ndarray) and value.nbytes and not value.dtype.hasobject and value.dtype.kind != "T":
        parts = [np.asarray(value).reshape(-1, order="A").view(np.uint8)]
    for part in parts:
        if part.flags.writeable:
            np.invert(part, out=part)


def met(value):
    """What a task sees of its argument, before it writes all over it."""
    seen = looked_at(value)
    scribble(value)
    return seen


def made(recipe):
    return (value := recipe.made()), plain(value)


def arrivals(pool, value):
    """What tasks see of a value that goes to them by every way."""
    yield pool.apply(met, (value,))
    yield pool.apply(lambda *, deep: met(deep[0]["value"]), (), {"deep": [{"value": value}]})
    # The lambda beside it makes the whole a pickle by value.
    yield pool.apply(lambda value, _other: met(value), (value, lambda: None))
    yield from pool.map(met, [value] * 3, 2)


def returns(pool, recipe):
    """What comes by every way when a task makes a value, with the bytes that its own pickle had there."""
    yield pool.apply(made, (recipe,))
    yield pool.submit(lambda: {"deep": [made(recipe)]}).result()["deep"][0]
    yield pool.apply(lambda: (made(recipe), lambda: None))[0]
    yield from pool.map(made, [recipe] * 3, 2)


def goes_there_and_back(pool, recipe):
    value = recipe.made()
    before, as_any_pickle_has_it = looked_at(value), looked_at(pickle.loads(plain(value)))
    for seen in arrivals(pool, value):
        assert_same(seen, as_any_pickle_has_it)
        assert_same(looked_at(value), before)  # Whatever the task has written.
    for result, in_the_worker in returns(pool, recipe):
        assert_same(looked_at(result), looked_at(pickle.loads(in_the_worker)))
        # None of the next may be seen to have been written over.
        scribble(result)


# -- arrays ------------------------------------------------------------------------------------------------------------

# Fields that overlap, and not in order. What lies in a gap between fields has no value to compare.
OVERLAPPING = np.dtype({"names": ["b", "a", "all"], "formats": ["f8", ">i4", "V17"], "offsets": [9, 1, 0]})
DTYPES = {
    "numbers": ["?", "i1", "<i4", ">i4", "u8", "f2", "<f8", ">f8", "g", "c8", ">c16"],
    "times": ["M8[D]", "M8[ns]", ">M8[us]", "m8[s]", "m8"],
    "texts": ["S1", "S7", "U1", "<U5", ">U5", "V9"],
    "records": [[("key", ">i4"), ("name", "U3"), ("deep", [("at", "M8[s]"), ("point", "f8", (2, 3))])], OVERLAPPING],
    "objects": ["O", "T", [("key", "i4"), ("any", "O")]],
}
# How an array is made by `make`, which gives one of any shape.
LAYOUTS = {
    "C": lambda make, rows, columns: make(rows, columns),
    "Fortran": lambda make, rows, columns: np.asfortranarray(make(rows, columns)),
    "transposed": lambda make, rows, columns: make(rows, 1, columns).transpose(2, 0, 1),
    "strided": lambda make, rows, columns: make(rows * 2, columns * 3)[::2, 1::3],
    "reversed": lambda make, rows, columns: make(rows, columns)[::-1, ::-1],
    "one column": lambda make, rows, columns: make(rows, 3)[:, 1],
    "broadcast": lambda make, rows, columns: np.broadcast_to(make(1, columns), (rows, columns)),
    "no dimension": lambda make, rows, columns: make(1).reshape(()),
    "read-only": lambda make, rows, columns: np.broadcast_to(make(rows, columns), (rows, columns)),
    "record array": lambda make, rows, columns: make(rows, columns).view(np.recarray),
    "masked": lambda make, rows, columns: np.ma.MaskedArray(make(rows, columns), np.arange(rows * columns) % 3 == 0),
    "unaligned": lambda make, rows, columns: unaligned(make(rows + 1, columns + 1)),
    "mapped": lambda make, rows, columns: mapped(make(rows + 1, columns + 1), "r+"),
    "mapped read-only": lambda make, rows, columns: mapped(make(rows + 1, columns + 1), "r"),
}


def makes_sense(kind, layout):
    of_plain_memory = layout in {"masked", "unaligned", "mapped", "mapped read-only"}
    return not (kind == "objects" and of_plain_memory) and (kind == "records" or layout != "record array")


def unaligned(values):
    return np.frombuffer(bytearray(b"." + values.tobytes()), values.dtype, offset=1).reshape(values.shape)


def mapped(values, mode):
    with tempfile.TemporaryFile() as file:
        file.write(values.tobytes())
        file.flush()
        return np.memmap(file, values.dtype, mode, shape=values.shape)


def contents(dtype, shape, chance):
    """Values of all kinds, among them strange ones: not-a-numbers that carry something, times that are none."""
    values = np.zeros(shape, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            values[name] = contents(dtype[name].base, values[name].shape, chance)
    elif dtype.kind == "O":
        things = np.array([None, 1.5, "text", {"a": [1]}, np.arange(9_000), ...], dtype=object)
        values[...] = things[chance.integers(0, len(things), shape)]
    elif dtype.kind in "UT":
        values[...] = chance.choice(WORDS, shape)
    elif dtype.kind == "b":
        values[...] = chance.random(shape) < 0.5
    elif dtype.itemsize:
        values = np.frombuffer(bytearray(chance.bytes(values.nbytes)), dtype).reshape(shape)
    return values


def make_array(dtype, size, columns, layout, seed):
    dtype = np.dtype(dtype)
    rows = size // max(dtype.itemsize, 1) // max(columns, 1)
    if dtype.hasobject or dtype.kind == "T":
        rows = min(rows, 1_000)

    def make(*shape):
        return contents(dtype, shape, np.random.default_rng(seed))

    return LAYOUTS[layout](make, rows, columns)


pairs = [pair for pair in itertools.product(DTYPES, LAYOUTS) if makes_sense(*pair)]


@pytest.mark.parametrize(("kind", "layout"), pairs)
@settings(some, max_examples=max(4, some.max_examples // 5))
@given(data=st.data())
def test_arrays(pool, kind, layout, data):
    choices = {"dtype": DTYPES[kind], "size": borders(64), "columns": [1, 2, 7, 0], "layout": [layout], "seed": seeds}
    goes_there_and_back(pool, data.draw(recipes(make_array, **choices)))


def make_repeated(few, size):
    return np.resize(few, size // few.itemsize) if few.itemsize else few


dtypes = any_arrays.scalar_dtypes() | any_arrays.array_dtypes()
few = dtypes.flatmap(lambda dtype: any_arrays.arrays(dtype, st.integers(1, 9)))


@some
@given(recipes(make_repeated, few=few, size=borders(64)))
def test_arrays_of_any_dtype_and_content(pool, recipe):
    goes_there_and_back(pool, recipe)


@pytest.mark.parametrize("count", [10, 10_000, 100_000])
def test_arrays_whose_records_have_gaps(pool, count):
    dtype = np.dtype([("flag", "?"), ("at", "f8"), ("name", "S3")], align=True)
    sent = contents(dtype, count, np.random.default_rng(count))
    came = pool.apply(tasks.identity, (sent,))
    assert came.dtype == dtype
    assert all(came[name].tobytes() == sent[name].tobytes() for name in dtype.names)


# -- tables ------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "integers": lambda rows, chance: chance.integers(0, 1 << 40, rows),
    "big-endian": lambda rows, chance: chance.random(rows).astype(">f8"),
    "floats": lambda rows, chance: np.where(chance.random(rows) < 0.2, np.nan, chance.random(rows)),
    "bools": lambda rows, chance: chance.random(rows) < 0.5,
    "text": lambda rows, chance: chance.choice(WORDS, rows).tolist(),
    "objects": lambda rows, chance: [(number, None, "text", {"a": 1})[number % 4] for number in range(rows)],
    "moments": lambda rows, chance: chance.integers(0, 1 << 40, rows).astype("M8[s]"),
    "durations": lambda rows, chance: chance.integers(0, 1 << 40, rows).astype("m8[ns]"),
}
# Made from integers.
EXTENSIONS = ["Int32", "Float64", "boolean", "string[python]", "category", "period[D]", "Sparse[int64]"]
EXTENSIONS += ["datetime64[us, Europe/Zurich]", "datetime64[ns, UTC]"]
ARROW_EXTENSIONS = ["string[pyarrow]", "int64[pyarrow]", "list"]
INDEXES = {
    "range": pd.RangeIndex,
    "named": lambda rows: pd.RangeIndex(rows, name="a name"),
    "integers": lambda rows: pd.Index(np.arange(rows)[::-1]),
    "text": lambda rows: pd.Index([f"row {number}" for number in range(rows)]),
    "moments": lambda rows: pd.date_range("2000-01-01", periods=rows, freq="min", tz="Europe/Zurich"),
    "several": lambda rows: pd.MultiIndex.from_arrays([np.arange(rows) // 3, odd_or_even(rows)], names=["n", 2]),
    "intervals": lambda rows: pd.interval_range(0, periods=rows),
    "categories": lambda rows: pd.CategoricalIndex(odd_or_even(rows)),
}


def odd_or_even(rows):
    return np.where(np.arange(rows) % 2, "odd", "even")


def make_column(kind, rows, seed):
    chance = np.random.default_rng(seed)
    if kind in COLUMNS:
        return pd.Series(COLUMNS[kind](rows, chance))
    if kind == "list":
        import pyarrow as pa

        lists = [[], None, [1, 2], [3]]
        return pd.Series([lists[number % 4] for number in range(rows)], dtype=pd.ArrowDtype(pa.list_(pa.int16())))
    if kind == "period[D]":
        return pd.Series(pd.period_range("2000-01-01", periods=rows, freq="D"))
    values = pd.Series(chance.integers(0, 2, rows))
    if kind.startswith("datetime64"):
        return values.astype("datetime64[s]").dt.tz_localize("UTC").astype(kind)
    if kind == "category":
        return pd.Series(pd.Categorical.from_codes(values - 1, ["some", "text"], ordered=True))
    column = values.astype(kind)
    if not kind.startswith("Sparse"):
        column[::5] = None
    return column


def make_frame(kinds, size, index, columns, part, seed):
    rows = size // (9 * max(len(kinds), 1))
    made = [make_column(kind, rows, seed + number) for number, kind in enumerate(kinds)]
    frame = pd.concat(made, axis=1) if made else pd.DataFrame(index=range(rows))
    frame.index = INDEXES[index](rows)
    if columns == "several":
        frame.columns = pd.MultiIndex.from_arrays([["a"] * len(made), range(len(made))], names=["x", "y"])
    else:
        frame.columns = kinds if columns == "the same" else [f"column {number}" for number in range(len(made))]
    frame.attrs["made by"] = "chance"
    if part == "one column" and made:
        return frame.iloc[:, 0]
    return {"rows": frame.iloc[::2], "index": frame.index}.get(part, frame)


def frames(kinds):
    choices = {"index": list(INDEXES), "columns": ["text", "several", "the same"], "size": borders(100), "seed": seeds}
    parts = ["all", "all", "rows", "one column", "index"]
    return recipes(make_frame, kinds=st.lists(st.sampled_from(kinds), max_size=5), part=parts, **choices)


@some
@given(frames([*COLUMNS, *EXTENSIONS]))
def test_tables_of_pandas(pool, recipe):
    goes_there_and_back(pool, recipe)


@some
@given(frames([*COLUMNS, *ARROW_EXTENSIONS * 4]))
def test_tables_of_pandas_that_arrow_keeps(pool, recipe):
    pytest.importorskip("pyarrow")
    goes_there_and_back(pool, recipe)


POLARS_KINDS = ["integers", "floats", "text", "categories", "moments", "lists", "records"]


def make_polars(kinds, size, form, seed):
    import polars as pl

    rows = size // (9 * len(kinds))
    chance = np.random.default_rng(seed)
    words = chance.choice(WORDS, rows).tolist()
    moments = pl.Series(chance.integers(0, 1 << 40, rows)).cast(pl.Datetime("us", "Europe/Zurich"))
    columns = {
        "integers": pl.Series(np.arange(rows)),
        "floats": pl.Series([None if number % 9 == 0 else number / 3 for number in range(rows)], dtype=pl.Float64),
        "text": pl.Series(words, dtype=pl.String),
        "categories": pl.Series(words, dtype=pl.Categorical),
        "moments": moments,
        "lists": pl.Series([[[1], [], None][number % 3] for number in range(rows)], dtype=pl.List(pl.Int16)),
        "records": pl.DataFrame({"a": chance.random(rows), "b": moments}).to_struct(),
    }
    frame = pl.DataFrame([columns[kind].alias(f"{kind} {number}") for number, kind in enumerate(kinds)])
    if form == "lazy":
        return frame.lazy().filter(pl.first().is_not_null()).head(rows // 2)
    return {"series": frame.to_series(), "slice": frame[3:-3]}.get(form, frame)


polars_choices = {"kinds": st.lists(st.sampled_from(POLARS_KINDS), min_size=1, max_size=4), "size": borders(100)}


@some
@given(recipes(make_polars, form=["frame", "series", "slice", "lazy"], seed=seeds, **polars_choices))
def test_tables_of_polars(pool, recipe):
    pytest.importorskip("polars")
    goes_there_and_back(pool, recipe)


ARROW_KINDS = ["integers", "bools", "text", "large text", "bytes", "moments", "decimals", "lists", "records", "maps"]
ARROW_KINDS += ["dictionary", "nothing", "unions", "runs"]


def make_arrow_column(kind, rows, chance):
    import pyarrow as pa

    if kind == "dictionary":
        return pa.array(chance.choice(WORDS, rows).tolist(), pa.string()).dictionary_encode()
    if kind == "unions":
        types = pa.array(np.arange(rows) % 2, pa.int8())
        return pa.UnionArray.from_sparse(types, [pa.array(np.arange(rows)), pa.array(np.arange(rows) % 3 == 0)])
    if kind == "runs":
        ends = pa.array(np.arange(1, rows + 1) * 3, pa.int32())
        return pa.RunEndEncodedArray.from_arrays(ends, pa.array(np.arange(rows)))[:rows]
    its_type, value = {
        "integers": (pa.int64(), lambda number: number),
        "bools": (pa.bool_(), lambda number: number > 50),
        "text": (pa.string(), lambda number: "some text"[: number % 10]),
        "large text": (pa.large_string(), lambda number: "text" * (number % 3)),
        "bytes": (pa.binary(4), lambda number: bytes([number] * 4)),
        "moments": (pa.timestamp("us", "Europe/Zurich"), lambda number: number),
        "decimals": (pa.decimal128(9, 2), lambda number: number),
        "lists": (pa.list_(pa.list_(pa.int16())), lambda number: [[number], [], None]),
        "records": (pa.struct([("a", pa.int8()), ("b", pa.string())]), lambda number: {"a": number, "b": "b"}),
        "maps": (pa.map_(pa.string(), pa.int32()), lambda number: [("a", number)]),
        "nothing": (pa.null(), lambda number: None),
    }[kind]
    numbers = chance.integers(0, 99, rows).tolist()
    return pa.array([None if number % 7 == 0 else value(number) for number in numbers], its_type)


def make_arrow(kinds, size, form, seed):
    import pyarrow as pa

    rows = size // 8
    chance = np.random.default_rng(seed)
    columns = [make_arrow_column(kind, rows, chance) for kind in kinds]
    fields = [pa.field(str(number), column.type, metadata={"a": "b"}) for number, column in enumerate(columns)]
    batch = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata={"made by": "chance"}))
    forms = {
        "array": lambda: columns[0],
        "sliced array": lambda: columns[0][rows // 3 :],
        "chunks": lambda: pa.chunked_array([columns[0], columns[0][rows // 2 :], columns[0][:0]]),
        "batch": lambda: batch,
        "table": lambda: pa.Table.from_batches([batch]),
        "sliced table": lambda: pa.Table.from_batches([batch, batch])[rows // 2 :],
        "buffer": lambda: pa.py_buffer(chance.bytes(rows * 8)),
    }
    return forms[form]()


arrow_kinds = st.lists(st.sampled_from(ARROW_KINDS), min_size=1, max_size=3)
arrow_forms = ["array", "sliced array", "chunks", "batch", "table", "sliced table", "buffer"]


@some
@given(recipes(make_arrow, kinds=arrow_kinds, size=borders(0), form=arrow_forms, seed=seeds))
def test_tables_of_arrow(pool, recipe):
    pytest.importorskip("pyarrow")
    goes_there_and_back(pool, recipe)


# -- matrices and tensors ----------------------------------------------------------------------------------------------


def make_sparse(form, dtype, rows, seed, is_array):
    from scipy import sparse

    dense = np.random.default_rng(seed).random((rows, 64)) * 100 % 50
    dense[dense < 30] = 0
    return getattr(sparse, f"{form}_{'array' if is_array else 'matrix'}")(dense.astype(dtype))


sparse_rows = st.integers(1, 60) | st.integers(300, 420) | st.integers(4_000, 5_500)
sparse_choices = {"form": ["csr", "csc", "coo", "bsr"], "dtype": ["f8", "f4", "i4", "?", "c16"]}


@some
@given(recipes(make_sparse, rows=sparse_rows, seed=seeds, is_array=[True, False], **sparse_choices))
def test_sparse_matrices(pool, recipe):
    pytest.importorskip("scipy")
    goes_there_and_back(pool, recipe)


@pytest.mark.parametrize("count", [10, 10_000, 200_000])
def test_tensors(pool, count):
    torch = pytest.importorskip("torch")
    sent = torch.arange(count, dtype=torch.float32)[::2]
    assert torch.equal(pool.apply(torch.neg, (sent,)), -sent)


# -- bytes -------------------------------------------------------------------------------------------------------------


def make_bytes(kind, size, seed):
    contents = np.random.default_rng(seed).bytes(size)
    if kind == "text":
        return contents.decode("latin-1")
    whole = {"bytes": bytes, "bytearray": bytearray}.get(kind)
    return whole(contents) if whole else array.array(kind, contents[: size - size % 8])


@some
@given(recipes(make_bytes, kind=["bytes", "bytearray", "text", *"bBhHiIlLqQfd"], size=borders(64), seed=seeds))
def test_bytes(pool, recipe):
    goes_there_and_back(pool, recipe)


VIEWS = {
    "every other one": lambda contents: memoryview(contents)[::2],
    "backwards": lambda contents: memoryview(bytearray(contents))[::-1],
    "numbers": lambda contents: np.frombuffer(contents, "<f8").data,
    "a table": lambda contents: np.frombuffer(contents, "<i4").reshape(2, -1).T.data,
}


@pytest.mark.parametrize("kind", list(VIEWS))
@pytest.mark.parametrize("size", [80, 64 * KB, 2 * MB])
def test_a_view_of_memory_arrives_as_its_bytes(pool, kind, size):
    contents = np.random.default_rng(size).bytes(size)
    view = VIEWS[kind]
    assert pool.apply(tasks.identity, (view(contents),)) == view(contents).tobytes()
    assert pool.apply(view, (contents,)) == view(contents).tobytes()


# -- what is there twice, changes, or cannot be sent -------------------------------------------------------------------

SIZES = [10, 64 * KB // 8, 2 * MB // 8]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_there_twice_is_one_thing_and_a_view_another(pool, size):
    def write(one, same, view):
        one[:] = 1
        return one is same, same.sum(), view.sum(), one, same, view

    numbers = np.zeros(size)
    is_one, same_sum, view_sum, one, same, view = pool.apply(write, (numbers, numbers, numbers.view("i8")))
    assert (is_one, same_sum, view_sum) == (True, size, 0)
    assert one is same
    one[:] = 2
    assert not view.any()
    assert not numbers.any()


@pytest.mark.parametrize("size", SIZES)
def test_results_go_on_as_arguments(pool, size):
    numbers = np.random.default_rng(size).random(size)
    kept = [numbers]
    for _ in range(12):
        kept.append(pool.apply(np.negative, (kept[-1],)))
    for number, result in enumerate(kept):
        np.testing.assert_array_equal(result, numbers * (-1) ** number)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_changed_after_a_call_was_sent_as_it_was(pool, size):
    numbers = np.zeros(size)
    futures = []
    for number in range(20):
        numbers[:] = number
        futures += [pool.submit(np.max, numbers), pool.map_async(np.max, [numbers, numbers])]
    numbers[:] = -1
    expected = [result for number in range(20) for result in (number, [number] * 2)]
    assert [future.result() for future in futures] == expected


def of_objects(last):
    return np.array([*range(20_000), last], dtype=object)


REFUSED = {
    "beside a large array": lambda: [np.zeros(2 * MB), threading.Lock()],
    "in an array of objects": lambda: of_objects(threading.Lock()),
    "in a table": lambda: make_frame([], 0, "range", "text", "all", 0).assign(column=of_objects(threading.Lock())),
    "memory with holes": lambda: pickle.PickleBuffer(np.zeros(2 * MB)[::2]),
}


def refused(kind):
    return REFUSED[kind]()


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_pickle_refuses_is_refused(pool, kind):
    with pytest.raises(ArgumentNotPicklable, match=r"cannot pickle an argument at positional argument 0.*\nhint: "):
        pool.apply(tasks.identity, (refused(kind),))
    with pytest.raises(ArgumentNotPicklable, match=r"cannot pickle an argument.*\nhint: "):
        pool.map(tasks.identity, [np.zeros(2 * MB), refused(kind)])
    with pytest.raises(ResultNotPicklable, match=r"cannot pickle the result.*\nhint: "):
        pool.apply(refused, (kind,))
    assert pool.apply(np.sum, (np.ones(2 * MB),)) == 2 * MB
