"""What type checkers infer: the types of results follow from the function, and mistakes in a call are reported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import paceline

# Lines with `# wrong` must be reported by every checker, and no others.
PROGRAM = """
import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import TypeVar, assert_type

import paceline
from paceline import Future, Pool, ProcessPoolExecutor, ThreadPoolExecutor
from paceline.imap import ImapIterator

T = TypeVar("T")


def half(x: int, *, exactly: bool = False) -> float:
    return x / 2


async def fetch(address: str, retries: int = 0) -> bytes:
    return address.encode()


def boxed(thing: T) -> list[T]:
    return [thing]


def maybe(x: int) -> int | None:
    return x or None


class Model:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def predict(self, x: int) -> float:
        return self.weight * x


request: ContextVar[str] = ContextVar("request")

with Pool(2, initializer=print, initargs=("hello",), maxtasksperchild=3, context_vars=[request]) as pool:
    assert_type(pool, Pool)

    # One call.
    assert_type(pool.submit(half, 1, exactly=True), Future[float])
    assert_type(pool.submit(half, 1).result(), float)
    assert_type(pool.submit(half, 1).get(1.5), float)
    assert_type(pool.submit(boxed, 1), Future[list[int]])
    assert_type(pool.submit(maybe, 1), Future[int | None])
    assert_type(pool.submit(len, "word"), Future[int])
    assert_type(pool.submit(Model, 0.5), Future[Model])
    assert_type(pool.submit(Model(0.5).predict, 1), Future[float])
    assert_type(pool.submit(fetch, "address", retries=3), Future[bytes])
    assert_type(pool.apply(half, (1,)), float)
    assert_type(pool.apply(fetch, ("address",)), bytes)
    assert_type(pool.apply_async(half, (1,), {"exactly": True}), Future[float])
    assert_type(pool.apply_async(fetch, ["address"]), Future[bytes])
    assert_type(pool.options(retries=2).submit(half, 1), Future[float])
    pool.submit(half, "1")  # wrong
    pool.submit(half)  # wrong
    pool.submit(half, 1, exact=True)  # wrong
    pool.submit(fetch, 3)  # wrong
    pool.submit(3)  # wrong
    Pool("2")  # wrong
    Pool(context_vars=["request"])  # wrong

    # Many calls.
    assert_type(pool.map(half, [1, 2]), list[float])
    assert_type(pool.map(fetch, ["a", "b"]), list[bytes])
    assert_type(pool.map(boxed, ["a"]), list[list[str]])
    assert_type(pool.map(str.upper, ["a"]), list[str])
    assert_type(pool.map(Model(0.5).predict, range(3)), list[float])
    assert_type(pool.map_async(half, range(3)), Future[list[float]])
    assert_type(pool.starmap(half, [(1,)]), list[float])
    assert_type(pool.starmap(fetch, [("a", 1)]), list[bytes])
    assert_type(pool.starmap_async(half, [(1,)]), Future[list[float]])
    assert_type(pool.imap(half, range(3)), ImapIterator[float])
    assert_type(pool.imap(fetch, ["a"]), ImapIterator[bytes])
    assert_type(next(pool.imap_unordered(half, range(3))), float)
    pool.map(half, ["1"])  # wrong
    pool.map(half, 3)  # wrong
    pool.imap(fetch, [1])  # wrong
    pool.map(half, [1], chunk=3)  # wrong

    # The whole.
    assert_type(pool.report().wall_seconds, float)


async def main() -> None:
    with Pool(2) as pool:
        assert_type(await pool.run(half, 1), float)
        assert_type(await pool.run(fetch, "address"), bytes)
        assert_type(await asyncio.gather(pool.run(half, 1), pool.run(len, "")), tuple[float, int])
        async for root in pool.amap(half, range(3)):
            assert_type(root, float)
        async for page in pool.amap(fetch, ["a"]):
            assert_type(page, bytes)
        results: AsyncIterator[float] = pool.amap(half, [1])
        await pool.run(half, "1")  # wrong
        pool.amap(half, ["1"])  # wrong
        del results


with ProcessPoolExecutor(2) as executor:
    assert_type(executor, ProcessPoolExecutor)
    base: Executor = executor
    assert_type(executor.submit(half, 1), Future[float])
    assert_type(executor.submit(fetch, "address"), Future[bytes])
    assert_type(executor.map(half, [1]), Iterator[float])
    assert_type(executor.map(fetch, ["address"]), Iterator[bytes])
    executor.submit(half, "1")  # wrong

with ThreadPoolExecutor(2) as threads:
    base = threads
    assert_type(threads.submit(half, 1), Future[float])
    assert_type(list(threads.map(fetch, ["address"])), list[bytes])

with Pool(2, backend="threads") as pool:
    assert_type(pool.submit(half, 1).result(), float)
    assert_type(pool.map_reduce(half, max, [1, 2]), float)
    pool.map_reduce(half, max, ["1"])  # wrong
    Pool(2, backend=2)  # wrong

assert_type(paceline.map(half, [1]), list[float])
assert_type(paceline.map(fetch, ["a"], workers=2), list[bytes])
assert_type(paceline.starmap(half, [(1,)]), list[float])
paceline.map(half, ["1"])  # wrong
"""
WRONG = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}


@pytest.fixture
def program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    return program


def test_mypy_infers_results_and_reports_mistakes(program):
    pytest.importorskip("mypy")
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)],
        check=False,
        capture_output=True,
        text=True,
        cwd=program.parent,
    )
    found = {int(line.split(":")[1]) for line in answer.stdout.splitlines() if ": error:" in line}
    assert found == WRONG, answer.stdout


def test_pyright_infers_results_and_reports_mistakes(program):
    pytest.importorskip("pyright")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(Path(paceline.__file__).parent.parent)]}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    answer = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", program.parent],
        check=False,
        capture_output=True,
        text=True,
        cwd=program.parent,
    )
    diagnostics = json.loads(answer.stdout)["generalDiagnostics"]
    problems = [(problem["range"]["start"]["line"] + 1, problem["message"]) for problem in diagnostics]
    assert {line for line, _ in problems} == WRONG, problems


def test_no_public_name_is_without_a_type():
    pytest.importorskip("pyright")
    answer = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--ignoreexternal", "--verifytypes", "paceline"],
        check=False,
        capture_output=True,
        text=True,
        # An editable install is a path to a path, which this check of its does not follow.
        env={**os.environ, "PYTHONPATH": str(Path(paceline.__file__).parents[1])},
    )
    symbols = json.loads(answer.stdout)["typeCompleteness"]["symbols"]
    assert len(symbols) > 100
    # What an adapter or a kind of array stands on may have no types of its own.
    unknown = [symbol["name"] for symbol in symbols if not (symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])]
    assert [name for name in unknown if not name.startswith(("paceline.adapters.", "paceline.arrays."))] == []


def test_every_public_name_has_a_docstring():
    public = [getattr(paceline, name) for name in paceline.__all__]
    missing = [thing.__name__ for thing in public if not (thing.__doc__ or "").strip()]
    for thing in (paceline.Pool, paceline.ProcessPoolExecutor, paceline.ThreadPoolExecutor, paceline.Future):
        for name in dir(thing):
            method = getattr(thing, name)
            if not name.startswith("_") and callable(method) and not (method.__doc__ or "").strip():
                missing.append(f"{thing.__name__}.{name}")
    assert missing == []
