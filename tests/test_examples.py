"""The examples as a newcomer runs them: each in a process of its own, small, and judged by what it prints."""

import re
import struct
import subprocess
import sys
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path

import h5py
import numpy as np
from scipy.stats import kendalltau
from sklearn.datasets import load_breast_cancer

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name, *arguments, folder):
    """Runs an example in a folder of its own; the lines that it printed, and what it wrote to stderr."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=150)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines(), ran.stderr


def run_quiet_example(name, *arguments, folder):
    lines, errors = run_example(name, *arguments, folder=folder)
    assert errors == ""
    return lines


def test_every_example_is_in_the_index_and_tested():
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert set(re.findall(r"^\| \[(\w+\.py)\]\(\1\) \|", index, re.MULTILINE)) == names
    assert set(re.findall(r'_example\("(\w+\.py)"', tests)) == names


def test_every_example_says_what_it_shows():
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert re.match(r'"""[A-Z].*[.?]\n\n', text), path
        assert f"\n    python examples/{path.name}" in text, path


def test_ordered_run_gives_results_in_the_order_of_the_arguments(tmp_path):
    lines = run_quiet_example("ordered_run.py", 100_000, folder=tmp_path)
    # The numbers of primes below 100,000, 50,000, 25,000, ... as every table has them.
    primes = {100_000: 9592, 50_000: 5133, 25_000: 2762, 12_500: 1492, 10_000: 1229, 1000: 168}
    assert lines[1:] == [f"{count} primes below {limit}" for limit, count in primes.items()]


def test_futures_are_polled_and_one_of_them_fails(tmp_path):
    assert run_quiet_example("futures.py", 0.2, folder=tmp_path) == [
        "apply waits: a cup of tea",
        "coffee is ready: False",
        "coffee is ready: True",
        "coffee: a cup of coffee",
        "sand: failed with ValueError('cannot brew sand')",
        "tea: a cup of tea",
        "get raised: cannot brew sand",
    ]


def test_apply_async_calls_in_other_processes(tmp_path):
    assert run_quiet_example("apply_async.py", 1000, folder=tmp_path) == [
        "√2 = 1.4142135623730950488016887242...",
        "√3 = 1.7320508075688772935274463415...",
        "φ = 1.6180339887498948482045868343...",
        "the callbacks heard of 3 results, of 3003 characters",
        "in another process: True",
    ]


def test_load_table_has_a_table_for_each_way(tmp_path):
    text = "\n".join(run_quiet_example("load_table.py", 0.005, folder=tmp_path))
    tables = text.split("\n\n")
    ways = ["map:", "map and a chunksize", "map_async:", "apply:", "apply_async:"]
    assert [table.removeprefix("With ").startswith(way) for table, way in zip(tables, ways, strict=True)] == [True] * 5
    for table in tables:
        assert f"      {[number * number for number in range(12)]}" in table
        assert sum(int(items) for items in re.findall(r"(\d+) job\(s\)", table)) == 12
        numbers = [
            int(number) for shown in re.findall(r"job\(s\) \((.*)\)", table) for number in re.findall(r"\d+", shown)
        ]
        assert sorted(numbers) == list(range(12))
        total, wall = (float(re.search(rf"{name} \(s\) +([\d.]+)", table)[1]) for name in ("done", "time"))
        assert total >= 12 * 0.005
        assert wall > 0


def test_thread_map_changes_an_object_of_the_program(tmp_path):
    lines = run_quiet_example("thread_map.py", 10, folder=tmp_path)
    digests = [sha256(bytes([number]) * 100_000).hexdigest()[:16] for number in range(3)]
    assert lines == [*(f"{text} {n}.bin" for n, text in enumerate(digests)), "10 files of 1000000 bytes"]


def test_pairwise_correlation_is_identical_on_every_backend(tmp_path):
    lines = run_quiet_example("pairwise_correlation.py", 5, folder=tmp_path)
    assert lines[0] == "10 pairs of 5 series"
    assert re.fullmatch(r"serial    \d+\.\d{3} s", lines[1])
    for line, backend in zip(lines[2:4], ("threads", "processes"), strict=True):
        assert re.fullmatch(rf"{backend} +\d+\.\d{{3}} s, \d+\.\d\d times as fast, results identical", line)
    # Area and radius, as anyone would expect.
    data = load_breast_cancer().data
    assert lines[4] == f"the strongest: mean area and mean radius, {kendalltau(data[:, 0], data[:, 3])[0]:.4f}"


def derived_keys(rounds):
    passwords = ["swordfish", "correct horse battery staple", "open sesame"]
    keys = [pbkdf2_hmac("sha256", password.encode(), b"a salt", rounds).hex()[:16] for password in passwords]
    return [f"{key} {password}" for key, password in zip(keys, passwords, strict=True)]


def test_asyncio_executor_keeps_the_event_loop_alive(tmp_path):
    lines = run_quiet_example("asyncio_executor.py", 100_000, folder=tmp_path)
    assert lines == [*derived_keys(100_000), "the event loop was alive: True"]


def test_asyncio_pool_awaits_calls_and_gives_up_on_one(tmp_path):
    lines = run_quiet_example("asyncio_pool.py", 10_000, folder=tmp_path)
    hashes = [sha256(str(number).encode()).hexdigest()[:16] for number in range(3)]
    assert lines == [*derived_keys(10_000), "gave up on one that took too long", *hashes]


def test_json_to_hdf5_converts_every_file_and_draws_the_most_correlated_pair(tmp_path):
    lines, errors = run_example("json_to_hdf5.py", 60, tmp_path, folder=tmp_path)
    assert "60/60" in errors, "the progress bar ended before the files did"
    data = load_breast_cancer()
    with h5py.File(tmp_path / "measurements.h5") as file:
        assert list(file["measurements"].attrs["names"]) == data.feature_names.tolist()
        assert np.array_equal(file["measurements"][:], data.data[:60])
    strengths = np.triu(np.corrcoef(data.data[:60], rowvar=False), 1)
    left, right = np.unravel_index(np.abs(strengths).argmax(), strengths.shape)
    names = f"{data.feature_names[left]} and {data.feature_names[right]}, {strengths[left, right]:.4f}"
    assert lines == [f"60 files in measurements.h5; the most correlated: {names}", "drawn in most-correlated.png"]
    picture = (tmp_path / "most-correlated.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (500, 400)


def test_limits_cost_each_input_that_misbehaves_and_no_other(tmp_path):
    lines = run_quiet_example("limits.py", 3, folder=tmp_path)
    told = dict(line.split(": ", 1) for line in lines)
    assert list(told) == ["first", "endless", "huge", "crash", "broken", "late", "last"]
    assert (told["first"], told["late"], told["last"]) == ("FIRST", "LATE", "LAST")
    assert told["endless"].startswith("TaskTimeout: `convert[1]` ran over its time limit of 3 s")
    assert told["huge"].startswith("MemoryLimitExceeded: `convert[2]`")
    assert re.fullmatch(r"WorkerDied: `convert\[3\]` .* exited with code 3", told["crash"])
    assert told["broken"] == "ValueError: no such format"


def test_shared_arrays(tmp_path):
    lines = run_quiet_example("shared_arrays.py", 120, 80, folder=tmp_path)
    assert lines[0] == "the product is right: True"
    assert re.fullmatch(r"0\.2 MB of arrays, 0\.0 MB sent with the calls", lines[1])
