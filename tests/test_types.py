"""What a type checker infers: the types of results follow from the function."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

PROGRAM = """
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import assert_type

import paceline
from paceline import Future, Pool, ProcessPoolExecutor
from paceline.imap import ImapIterator


def half(x: int, *, exactly: bool = False) -> float:
    return x / 2


with Pool(2, initializer=print, initargs=("hello",), maxtasksperchild=3) as pool:
    assert_type(pool, Pool)
    assert_type(pool.submit(half, 1, exactly=True), Future[float])
    assert_type(pool.submit(half, 1).result(), float)
    assert_type(pool.submit(half, 1).get(1.5), float)
    assert_type(pool.apply(half, (1,)), float)
    assert_type(pool.apply_async(half, (1,), {"exactly": True}), Future[float])
    assert_type(pool.map(half, [1, 2]), list[float])
    assert_type(pool.map_reduce(half, max, [1, 2], initial=0.0), float)
    assert_type(pool.map_async(half, range(3)), Future[list[float]])
    assert_type(pool.starmap(half, [(1,)]), list[float])
    assert_type(pool.imap(half, range(3)), ImapIterator[float])
    assert_type(next(pool.imap_unordered(half, range(3))), float)
    assert_type(pool.report().wall_seconds, float)
    pool.submit(half, "1")  # expect: arg-type
    pool.submit(half)  # expect: call-arg
    pool.map(half, ["1"])  # expect: arg-type

with ProcessPoolExecutor(2) as executor:
    assert_type(executor, ProcessPoolExecutor)
    base: Executor = executor
    assert_type(executor.submit(half, 1), Future[float])
    assert_type(executor.map(half, [1]), Iterator[float])

assert_type(paceline.map(half, [1]), list[float])
assert_type(paceline.starmap(half, [(1,)]), list[float])
assert_type(paceline.map_reduce(half, max, [1]), float)
"""


def test_types_of_results_follow_from_the_function(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    found = {
        (int(line.split(":")[1]), line.rpartition("[")[2][:-1])
        for line in answer.stdout.splitlines()
        if ": error:" in line
    }
    lines = enumerate(PROGRAM.splitlines(), 1)
    expected = {(number, line.rpartition("# expect: ")[2]) for number, line in lines if "# expect: " in line}
    assert found == expected, answer.stdout
