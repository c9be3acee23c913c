"""The store and everything that can be wrong with its file: told in plain words, nothing lost, nothing left running."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import paceline
import study
from paceline.experiments.locks import RunLock
from paceline.experiments.store import Reader, Writer
from program import Program


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "results.db")


def experiment(store, count=4, **settings):
    exp = paceline.Experiment(study.nothing, store, **settings)
    exp.add_grid(n=range(count))
    return exp


def full(path):
    """All that is in a store, to see that nothing has changed."""
    connection = sqlite3.connect(path)
    try:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("facts", "cells", "attempts")]
    finally:
        connection.close()


def test_store_is_one_sqlite_file_after_a_run_and_has_everything_about_an_attempt(path):
    experiment(path, seed=7).run(workers=1)
    assert [file.name for file in Path(path).parent.iterdir()] == ["results.db"]
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    row = dict(
        connection.execute(
            "SELECT * FROM attempts JOIN runs ON runs.id = run JOIN cells c ON c.id = cell LIMIT 1"
        ).fetchone()
    )
    connection.close()
    assert json.loads(row["axes"]) == {"n": 0}
    assert json.loads(row["result"]) == {"value": 0}
    assert (row["status"], row["attempt"], row["error"], row["traceback"]) == ("ok", 1, None, None)
    assert 0 <= row["seconds"] < 10
    assert 0 <= row["cpu_seconds"] < 10
    assert row["peak_memory"] > 2**20
    assert 0 < row["ended"] - row["began"] < 10
    assert row["worker"] != row["process"] == os.getpid()
    assert row["host"] == os.uname().nodename
    assert row["python"] == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(row["packages"])["pytest"] == pytest.__version__
    assert row["git"] is None or len(row["git"].removesuffix("-dirty")) == 40


def test_store_can_be_read_while_a_run_writes_to_it(path, gate):
    from tasks import through

    exp = paceline.Experiment(through, path)
    exp.add_grid(gate=[gate.path], value=range(2))
    with paceline.Pool(1) as pool, paceline.Pool(1, backend="threads") as caller:
        running = caller.submit(exp.run, pool=pool)
        gate.wait_for_arrival()
        assert paceline.open_store(path).status().missing == 2
        gate.let_through()
        gate.wait_for_arrival()
        store = paceline.open_store(path)
        assert store.results()["result_value"] == [0]
        assert str(store.status()) == "2 cells: 1 ok, 1 missing"
        assert repr(store) == f"<paceline store `{path}` of `through`: 2 cells: 1 ok, 1 missing>"
        gate.let_through()
        assert running.result()["result_value"] == [0, 1]
    assert store.results()["result_value"] == [0, 1]


def test_second_run_at_the_same_time_is_refused_by_name_whoever_runs_it(path):
    experiment(path).run(workers=1)
    before = full(path)
    lock = RunLock(path)
    try:
        with pytest.raises(paceline.StoreInUse, match="by another run: this process itself\nhint: wait for it"):
            experiment(path, 5).run(workers=1)
        program = (
            f"import paceline, study\nexp = paceline.Experiment(study.nothing, {path!r})\n"
            "exp.add_grid(n=[9])\nexp.run(workers=1)"
        )
        code, _, errors = Program("-c", program, cwd=Path(__file__).parent).finish()
        assert code == 1
        assert f"StoreInUse: `{path}` is being written to by another run: process {os.getpid()} on " in errors
        assert full(path) == before
        assert paceline.open_store(path).results()["value"] == [0, 1, 2, 3]
    finally:
        lock.release()
    assert len(experiment(path, 5).run(workers=1)) == 5


def test_lock_of_a_killed_run_refuses_nobody(path):
    program = (
        "import os, signal\nfrom paceline.experiments.locks import RunLock\n"
        f"RunLock({path!r})\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    assert Program("-c", program).finish()[0] == -9
    assert Path(f"{path}.lock").read_text().startswith("process ")
    assert len(experiment(path).run(workers=1)) == 4
    assert not Path(f"{path}.lock").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"alg,accuracy\nsvm,0.5\n", "is no store, nor any SQLite file"),
        (b"SQLite format 3\0" + b"\xff" * 5000, "no store|damaged|cannot be"),
    ],
    ids=["text", "garbage"],
)
def test_file_of_another_kind_is_refused_and_left_as_it_is(path, content, message):
    Path(path).write_bytes(content)
    for ask in (experiment(path).run, experiment(path).status, lambda: paceline.open_store(path)):
        with pytest.raises(paceline.StoreError, match=message):
            ask()
    assert Path(path).read_bytes() == content


def test_sqlite_file_of_another_program_is_refused_and_left_as_it_is(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE attempts (mine)")
    connection.commit()
    connection.close()
    before = Path(path).read_bytes()
    for ask in (experiment(path).run, lambda: paceline.open_store(path)):
        with pytest.raises(
            paceline.StoreError, match="is an SQLite file, but no store of Paceline's\nhint: it was left"
        ):
            ask()
    assert Path(path).read_bytes() == before


def test_store_of_a_newer_version_is_refused_and_left_as_it_is(path):
    experiment(path).run(workers=1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = full(path)
    for ask in (experiment(path, 9).run, lambda: paceline.open_store(path)):
        with pytest.raises(
            paceline.StoreError, match="by a newer Paceline: it has version 2, and this one knows up to 1"
        ):
            ask()
    assert full(path) == before


def test_store_of_another_experiment_is_refused(path):
    experiment(path).run(workers=1)
    with pytest.raises(
        paceline.StoreError, match=r"is that of the experiment `nothing`, not of `else`\n.*name='nothing'"
    ):
        experiment(path, name="else").run(workers=1)


def test_damaged_store_is_refused_and_left_as_it_is(path):
    experiment(path, 2000).run(workers=1)
    content = bytearray(Path(path).read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = os.urandom(8192)
    Path(path).write_bytes(content)
    with pytest.raises(paceline.StoreError, match=r"damaged: (.|\n)*hint: nothing was changed"):
        experiment(path, 2001).run(workers=1)
    assert Path(path).read_bytes() == bytes(content)


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere/results.db", "there is no folder"), ("", "is a folder, and a store is a file")]
)
def test_place_that_cannot_be_a_store_is_refused(tmp_path, name, message):
    with pytest.raises(paceline.StoreError, match=message):
        experiment(str(tmp_path / name)).run(workers=1)


def test_store_that_is_not_there_is_not_made_by_reading(path):
    with pytest.raises(paceline.StoreError, match="there is no store at"):
        paceline.open_store(path)
    assert str(experiment(path).status()) == "4 cells: 4 missing"
    assert not Path(path).exists()


@pytest.fixture
def open_folder():
    """A folder that every user of the machine can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only_store_is_refused_for_a_run_and_can_be_read(open_folder, what):
    path = open_folder / "results.db"
    experiment(str(path)).run(workers=1)
    path.chmod(0o444)
    open_folder.chmod(0o555 if what == "folder" else 0o777)
    before = full(path)
    # Root may write everywhere; and Python itself may be where nobody else can read it, so all is imported before.
    program = f"""
import os, paceline
def nothing(n): return n
warm = paceline.Experiment(nothing)
warm.add_grid(n=[1])
warm.run(backend="serial")
os.getuid() or os.setuid(65534)
exp = paceline.Experiment(nothing, {str(path)!r})
exp.add_grid(n=range(9))
print(paceline.open_store({str(path)!r}).results()["value"])
try: exp.run(workers=1)
except paceline.StoreError as error: print(error)
"""
    code, out, errors = Program("-c", program, cwd="/").finish()
    open_folder.chmod(0o777)
    assert (code, errors) == (0, "")
    values, told, *_ = out.splitlines()
    assert values == "[0, 1, 2, 3]"
    assert "cannot be written" in told
    assert "hint: " in out
    assert full(path) == before


def test_full_disk_ends_the_run_clearly_and_loses_nothing_that_was_stored(path):
    program = f"""
import resource
import paceline
def large(n): return {{"text": "x" * 20000, "n": n}}
exp = paceline.Experiment(large, {path!r})
exp.add_grid(n=range(10))
pool = paceline.Pool(2)
exp.run(pool=pool)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
exp.add_grid(n=range(1000))
try: exp.run(pool=pool)
except paceline.StoreError as error: print(error)
"""
    ran = Program("-c", program)
    code, out, errors = ran.finish()
    assert (code, errors) == (0, "")
    assert f"the store at `{path}` cannot be written" in out
    assert "hint: what was stored before is safe" in out
    ran.wait_until_nothing_is_left()
    status = paceline.open_store(path).status()
    assert 10 <= status.ok < 1000
    exp = paceline.Experiment(lambda n: {"text": "x" * 20000, "n": n}, path, name="large")
    exp.add_grid(n=range(1000))
    results = exp.run(workers=2, accept_stale=True)
    assert results["result_n"] == list(range(1000))
    assert set(results["attempt"]) == {1}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_full_file_system_is_told_as_such(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        exp = paceline.Experiment(lambda n: {"text": "x" * 20000}, folder / "results.db")
        exp.add_grid(n=range(100))
        with pytest.raises(paceline.StoreError, match=r"cannot be written: .*(disk is full|No space left)"):
            exp.run(workers=1)
        status = paceline.open_store(folder / "results.db").status()
        assert 1 <= status.ok < 100
        assert status.ok + status.missing == 100
    finally:
        subprocess.run(["umount", folder], check=True)


def test_interrupted_creation_is_made_up_for(path):
    Path(path).touch()
    assert len(experiment(path).run(workers=1)) == 4
    connection = sqlite3.connect(f"{path}2")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with pytest.raises(paceline.StoreError, match="is empty: the run that made it was ended before it began"):
        paceline.open_store(f"{path}2")
    assert len(experiment(f"{path}2").run(workers=1)) == 4


def test_recording_twice_is_recording_once(path):
    from paceline.experiments.cells import Cell
    from paceline.experiments.store import Attempt

    with Writer(path, "x") as store:
        (number,) = store.place([Cell({"n": 1})])
        facts = dict.fromkeys(("host", "python", "paceline", "packages", "source", "seed", "treatment"), "")
        run = store.begin_run(facts)
        row = Attempt(store.next_attempt(), number, run, 1, "ok", '{"value":1}', *[None] * 6, 0, None, None, None)
        store.record([row])
        store.record([row, row._replace(id=row.id + 1, attempt=2)])
        store.sync()
    with Reader.open(path) as store:
        assert [known.attempts for known in store.known().values()] == [2]


def test_cells_that_left_the_grid_keep_their_results(path):
    experiment(path, 4).run(workers=1)
    exp = paceline.Experiment(study.nothing, path)
    exp.add_grid(n=[7, 2])
    assert exp.run(workers=1)["n"] == [7, 2]
    store = paceline.open_store(path)
    assert store.results()["n"] == [7, 2, 0, 1, 3]
    assert len(store.runs()) == 2


def test_reading_a_store_unpickles_nothing_unasked(path):
    exp = paceline.Experiment(lambda n: {"n": n, "thing": {n}}, path, keep_objects=True)
    exp.add_grid(n=range(2))
    results = exp.run(workers=1)
    assert results.objects() == [{"thing": {0}}, {"thing": {1}}]
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE attempts SET objects = ?", (b"cos\nabort\n(tR.",))
    connection.close()
    store = paceline.open_store(path)
    assert store.results()["result_n"] == [0, 1]
    assert len(store.results(every_attempt=True)) == 2
    assert exp.run(workers=1)["result_n"] == [0, 1]


def test_status_of_a_run_that_has_only_begun_is_that_nothing_is_there(tmp_path):
    exp = paceline.Experiment(abs, tmp_path / "results.db")
    exp.add_grid(x=range(3))
    (tmp_path / "results.db").touch()
    assert str(exp.status()) == "3 cells: 3 missing"
    # A moment later there is what makes it an SQLite file, but no table.
    connection = sqlite3.connect(tmp_path / "results.db")
    connection.execute("PRAGMA journal_mode = WAL")
    assert str(exp.status()) == "3 cells: 3 missing"
    connection.close()
