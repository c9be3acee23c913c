"""The lock that lets one run at a time write to a store.

Owns the side file that it is held on, and what is told of who holds it. The kernel lets go of the lock when its process
ends, however that ends, so a killed run never refuses the next.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time

from paceline.errors import StoreError, StoreInUse

__all__ = ["RunLock"]

# What this process holds: its own locks would not refuse it, and closing the file once more would let go of them.
_held: dict[str, int] = {}
_holding = threading.Lock()


class RunLock:
    """Held while a run writes to the store at `path`. Raises `StoreInUse` if another run holds it."""

    def __init__(self, path: str) -> None:
        self._store = path
        self._path = f"{path}.lock"
        self._name = os.path.realpath(self._path)
        with _holding:
            if _held.get(self._name) == os.getpid():
                raise self._refused("this process itself")
            self._file = self._lock()
            _held[self._name] = os.getpid()

    def _lock(self) -> int:
        while True:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise StoreError(
                    f"`{self._store}` cannot be written to: {error.strerror} (for `{self._path}`)\n"
                    "hint: reading it needs no lock: `paceline.open_store`"
                ) from error
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = os.pread(file, 1000, 0).decode(errors="replace").strip()
                os.close(file)
                raise self._refused(owner or "another process") from error
            if self._is_current(file):
                break
            # The run before us has removed the file between our opening and our locking it.
            os.close(file)
        self._sign(file)
        return file

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return False

    def _sign(self, file: int) -> None:
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}, since {began}\n".encode(), 0)
        except OSError:  # It is only for people; the lock holds without.
            pass

    def _refused(self, owner: str) -> StoreInUse:
        return StoreInUse(
            f"`{self._store}` is being written to by another run: {owner}\n"
            "hint: wait for it or end it; what it has so far can be read by `paceline.open_store`"
        )

    def release(self) -> None:
        with _holding:
            if _held.pop(self._name, None) is None:
                return
            try:
                os.unlink(self._path)
            except OSError:  # Somebody has removed it, or the folder is read-only by now.
                pass
            os.close(self._file)
