"""The store of an experiment: an SQLite file with one row for each attempt at each cell.

Owns the file's form, what is durable when, and what is told when it cannot be read or written. Nothing is ever deleted
from it. It never decides what is run, and never unpickles anything.

*What is durable when.* The file is in write-ahead mode and has one writer, the process that runs. `record` returns
when its rows are in the log file: from then on no death of any process can lose them. `sync` then has the disk write
them, so that a loss of power cannot either. A run records what has ended before it begins anything new, and syncs when
it has nothing better to do, at the latest after 50 ms (`docs/decisions/0029-experiments.md`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from paceline.errors import StoreError
from paceline.experiments.locks import RunLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Self

    from paceline.experiments.cells import Cell

__all__ = ["Attempt", "Known", "Reader", "Writer", "is_new_store"]

# "pace", in the header of the file, says whose it is; the other number is the version of what follows.
APPLICATION_ID = 0x70616365
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, began REAL NOT NULL, ended REAL, process INTEGER NOT NULL, host TEXT NOT NULL,
    python TEXT NOT NULL, paceline TEXT NOT NULL, packages TEXT NOT NULL, git TEXT,
    source TEXT NOT NULL, version TEXT, seed TEXT NOT NULL, treatment TEXT NOT NULL
);
CREATE TABLE cells (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, axes TEXT NOT NULL, position INTEGER);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, cell INTEGER NOT NULL REFERENCES cells, run INTEGER NOT NULL REFERENCES runs,
    attempt INTEGER NOT NULL, status TEXT NOT NULL, result TEXT, objects BLOB, error TEXT, traceback TEXT,
    seconds REAL, cpu_seconds REAL, peak_memory INTEGER, seed INTEGER NOT NULL, worker INTEGER, began REAL, ended REAL
);
CREATE INDEX attempts_of_cell ON attempts (cell);
"""
_HEADER = b"SQLite format 3\0"
_LARGEST_CHECKED_BYTES = 256 * 2**20
_PATIENCE_S = 10.0


class Attempt(NamedTuple):
    """A row of `attempts`."""

    id: int
    cell: int
    run: int
    attempt: int
    status: str
    result: str | None
    objects: bytes | None
    error: str | None
    traceback: str | None
    seconds: float | None
    cpu_seconds: float | None
    peak_memory: int | None
    seed: int
    worker: int | None
    began: float | None
    ended: float | None


class Known(NamedTuple):
    """What a store knows of a cell: its last attempt, and how many there were."""

    status: str
    attempts: int
    seconds: float | None
    seed: int
    source: str
    version: str | None


_INSERT_ATTEMPT = f"INSERT INTO attempts VALUES ({', '.join('?' * len(Attempt._fields))}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 - question marks.
_LAST_OF_CELLS = "SELECT max(id) AS id, count(*) AS attempts FROM attempts GROUP BY cell"


class Reader:
    """Reads a store, also while a run writes to it. `path` None is a store in memory, which only its writer has."""

    def __init__(self, path: str | None, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str) -> Reader:
        """Raises `StoreError` for what is no store, or cannot be read."""
        reader = cls.find(path)
        if reader is not None:
            return reader
        if is_new_store(path):
            raise StoreError(f"there is no store at `{path}`\nhint: a run makes it, at the `store=` of its experiment")
        raise StoreError(f"the store at `{path}` is empty: the run that made it was ended before it began")

    @classmethod
    def find(cls, path: str) -> Reader | None:
        """None where there is no store yet: a run that has only begun may have made the file, and nothing in it.

        Raises `StoreError` for what is no store, or cannot be read.
        """
        if is_new_store(path):
            return None
        with told(path, "read"):
            connection = _connect_to_read(path)
            try:
                if _checked(connection, path):
                    return cls(path, connection)
            except BaseException:
                connection.close()
                raise
        connection.close()
        return None

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows that a question gives."""
        with told(self.path, "read"):
            return self._connection.execute(sql, values).fetchall()

    def fact(self, name: str) -> str | None:
        rows = self.ask("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def known(self) -> dict[int, Known]:
        """What is known of each cell that there was an attempt at."""
        rows = self.ask(
            "SELECT a.cell, a.status, last.attempts, a.seconds, a.seed, r.source, r.version "  # noqa: S608 - a constant.
            f"FROM attempts a JOIN ({_LAST_OF_CELLS}) last USING (id) JOIN runs r ON r.id = a.run"
        )
        return {row[0]: Known(*row[1:]) for row in rows}

    def rows(self, *, every_attempt: bool = False) -> list[Any]:
        """Of each cell, in the order of the grid, its last attempt, or all of them; with what is known of the run.

        Each: key, axes, and the fields of `Attempt` from `attempt` to `ended` but for the objects, then those of the
        run: host, python, paceline, git.
        """
        which = "" if every_attempt else f"JOIN ({_LAST_OF_CELLS}) last ON last.id = a.id "
        return self.ask(
            "SELECT c.id, c.axes, a.attempt, a.status, a.result, a.error, a.traceback, a.seconds, a.cpu_seconds, "  # noqa: S608 - constants.
            "a.peak_memory, a.seed, a.worker, a.began, a.ended, r.host, r.python, r.paceline, r.git, a.id "
            f"FROM attempts a {which}JOIN cells c ON c.id = a.cell JOIN runs r ON r.id = a.run "
            "ORDER BY c.position IS NULL, c.position, c.id, a.id"
        )

    def objects(self, attempts: Sequence[int]) -> list[bytes | None]:
        """The pickles of these attempts, as bytes."""
        found = dict(self.ask("SELECT id, objects FROM attempts WHERE objects IS NOT NULL"))
        return [found.get(attempt) for attempt in attempts]

    def counts(self) -> dict[str | None, int]:
        """How many cells of the grid are how, by the status of their last attempt; None where there is none."""
        rows = self.ask(
            "SELECT a.status, count(*) FROM cells c "  # noqa: S608 - a constant.
            f"LEFT JOIN (SELECT cell, status FROM attempts JOIN ({_LAST_OF_CELLS}) last USING (id)) a ON a.cell = c.id "
            "WHERE c.position IS NOT NULL OR a.status IS NOT NULL GROUP BY a.status"
        )
        return dict(rows)


class Writer(Reader):
    """Writes to a store, as the only one; makes it if it is not there yet."""

    def __init__(self, path: str | None, name: str) -> None:
        self.path = path
        self._lock: RunLock | None = None
        self._log: int | None = None
        self._is_durable = True
        if path is None:
            super().__init__(None, sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
            self._make(name)
            return
        is_new = is_new_store(path)
        self._lock = RunLock(path)
        try:
            with told(path, "written"):
                super().__init__(path, sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None))
                self._open(path, name, is_new=is_new)
        except BaseException:
            self.close()
            raise

    def _open(self, path: str, name: str, *, is_new: bool) -> None:
        connection = self._connection
        is_ours = _checked(connection, path)
        if is_ours and not is_new and os.path.getsize(path) <= _LARGEST_CHECKED_BYTES:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreError(f"the store at `{path}` is damaged: {found}\n{_DAMAGED_HINT}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # `sync` does the rest, at a moment of our own.
        if is_ours:
            owner = self.fact("name")
            if owner != name:
                raise StoreError(
                    f"the store at `{path}` is that of the experiment `{owner}`, not of `{name}`\n"
                    "hint: give each experiment a file of its own; "
                    f"if its function was renamed, Experiment(name={owner!r})"
                )
            # Tells now whether it can be written to.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE facts SET value = value WHERE name = 'name'")
            connection.execute("COMMIT")
        else:
            self._make(name)
        self._log = os.open(f"{path}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._is_durable = False
        self.sync()
        _sync_folder(path)

    def _make(self, name: str) -> None:
        with self._transaction() as connection:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO facts VALUES ('name', ?)", (name,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # Also where Ctrl-C came in between; SQLite itself may have rolled back already.
            if connection.in_transaction:
                try:
                    connection.execute("ROLLBACK")
                except sqlite3.Error:
                    pass
            raise
        self._is_durable = False

    def begin_run(self, facts: dict[str, Any]) -> int:
        """Notes that a run begins; its number."""
        columns = ", ".join(facts)
        marks = ", ".join("?" * len(facts))
        with told(self.path, "written"), self._transaction() as connection:
            sql = f"INSERT INTO runs (began, process, {columns}) VALUES (?, ?, {marks})"  # noqa: S608 - our own names.
            run = connection.execute(sql, (time.time(), os.getpid(), *facts.values())).lastrowid
        return int(run or 0)

    def end_run(self, run: int) -> None:
        with told(self.path, "written"), self._transaction() as connection:
            connection.execute("UPDATE runs SET ended = ? WHERE id = ?", (time.time(), run))

    def place(self, cells: Sequence[Cell]) -> list[int]:
        """Notes the grid as it is now; the numbers of its cells, in its order. Others lose their place, no more."""
        before = {key: (number, position) for key, number, position in self.ask("SELECT key, id, position FROM cells")}
        moved = [
            (position, before[cell.key][0])
            for position, cell in enumerate(cells)
            if cell.key in before and before[cell.key][1] != position
        ]
        added = [(cell.key, cell.text, position) for position, cell in enumerate(cells) if cell.key not in before]
        keys = {cell.key for cell in cells}
        gone = [(number,) for key, (number, position) in before.items() if position is not None and key not in keys]
        if moved or added or gone:
            with told(self.path, "written"), self._transaction() as connection:
                connection.executemany("UPDATE cells SET position = NULL WHERE id = ?", gone)
                connection.executemany("UPDATE cells SET position = ? WHERE id = ?", moved)
                connection.executemany("INSERT INTO cells (key, axes, position) VALUES (?, ?, ?)", added)
        numbers = dict(self.ask("SELECT key, id FROM cells"))
        return [numbers[cell.key] for cell in cells]

    def next_attempt(self) -> int:
        """The number that the next row of `attempts` is to have."""
        return int(self.ask("SELECT coalesce(max(id), 0) + 1 FROM attempts")[0][0])

    def record(self, attempts: Iterable[Attempt]) -> None:
        """Adds these rows, all or none; those that are there already are left as they are."""
        with told(self.path, "written"), self._transaction() as connection:
            connection.executemany(_INSERT_ATTEMPT, attempts)

    def sync(self) -> None:
        """Waits until the disk has what was recorded."""
        if self._log is None or self._is_durable:
            return
        try:
            os.fdatasync(self._log)
        except OSError as error:
            raise StoreError(f"the store at `{self.path}` cannot be written: {error.strerror}\n{_FULL_HINT}") from error
        self._is_durable = True

    def close(self) -> None:
        """Puts everything into the one file; after a failure it stays in the log file beside it, and is found there."""
        if self.path is None and self._lock is None and hasattr(self, "_connection"):
            return  # In memory it lives as long as its experiment.
        try:
            if hasattr(self, "_connection"):
                try:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.Error:
                    pass
                self._connection.close()
        finally:
            if self._log is not None:
                os.close(self._log)
                self._log = None
            if self._lock is not None:
                self._lock.release()

    def __del__(self) -> None:
        if getattr(self, "path", "") is None:
            self._connection.close()


_DAMAGED_HINT = (
    "hint: nothing was changed; `sqlite3 FILE .recover` may save what it holds, or take the copy that a backup has"
)
_FULL_HINT = "hint: what was stored before is safe; when there is room, run again, and only what is missing is run"


@contextmanager
def told(path: str | None, what: str) -> Iterator[None]:
    """Errors of SQLite as a `StoreError` in plain words."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_plain_words(path, what, error) from error


def _in_plain_words(path: str | None, what: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None) or 0
    kind = code & 0xFF
    where = "the store in memory" if path is None else f"the store at `{path}`"
    if kind == sqlite3.SQLITE_NOTADB:
        return StoreError(f"`{path}` is no store, nor any SQLite file\nhint: it was left as it is; name another file")
    if kind == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{where} is damaged: {error}\n{_DAMAGED_HINT}")
    if kind == sqlite3.SQLITE_FULL:
        return StoreError(f"{where} cannot be written: the disk is full\n{_FULL_HINT}")
    if kind == sqlite3.SQLITE_READONLY or (kind == sqlite3.SQLITE_CANTOPEN and what == "written"):
        return StoreError(
            f"{where} cannot be written: the file or its folder is read-only\n"
            "hint: reading it is possible all the same: `paceline.open_store`"
        )
    if kind == sqlite3.SQLITE_BUSY:
        return StoreError(f"{where} is locked by another program\nhint: end what has the file open for writing")
    return StoreError(f"{where} cannot be {what}: {error}" + (f"\n{_FULL_HINT}" if what == "written" else ""))


def is_new_store(path: str) -> bool:
    """Whether a store is still to be made there. Raises `StoreError` if there is something else, or cannot be one."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise StoreError(f"there is no folder `{folder}`, in which `{os.path.basename(path)}` could be")
    if os.path.isdir(path):
        raise StoreError(f"`{path}` is a folder, and a store is a file")
    try:
        with open(path, "rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreError(f"`{path}` cannot be read: {error.strerror}") from error
    if header and header != _HEADER:
        raise StoreError(f"`{path}` is no store, nor any SQLite file\nhint: it was left as it is; name another file")
    return not header


def _connect_to_read(path: str) -> sqlite3.Connection:
    from urllib.parse import quote

    place = f"file:{quote(os.path.abspath(path))}?mode=ro"
    connection = sqlite3.connect(place, uri=True, timeout=_PATIENCE_S, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        log = f"{path}-wal"
        if os.path.exists(log) and os.path.getsize(log):
            raise
        # In a folder where nothing can be made, SQLite has no place for its shared memory; nobody writes there either.
        return sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(connection: sqlite3.Connection, path: str) -> bool:
    """Whether there is a store in the file, or nothing yet. Raises `StoreError` for another's, and a newer one's."""
    # By one statement, which sees all of what a run that makes it has written, or nothing.
    owner, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if owner != APPLICATION_ID:
        if tables == 0 and owner == 0 and version == 0:
            return False
        raise StoreError(
            f"`{path}` is an SQLite file, but no store of Paceline's\nhint: it was left as it is; name another file"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"the store at `{path}` was written by a newer Paceline: it has version {version}, and this one knows "
            f"up to {SCHEMA_VERSION}\nhint: install the newer Paceline; the store was left as it is"
        )
    return True


def _sync_folder(path: str) -> None:
    """The file's name is durable as well."""
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError:  # Some file systems cannot, and need not.
        pass
    finally:
        os.close(folder)
