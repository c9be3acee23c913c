"""Shared objects on a cluster: `paceline.share` puts an object into the cluster's own store, once for all calls.

Owns both ends of that. In your process: the bytes of an object, and what the cluster gives for them, kept for as long
as somebody holds the handle. On a host: the object in shared memory, laid out once for all of its workers; and in each
of those, the object itself. Which calls need it is told with each part.
"""

from __future__ import annotations

from _pickle import loads
from os import urandom
from threading import Lock
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from paceline.engine import SharedMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from paceline.clusters.cluster import Cluster

__all__ = ["Along", "Entry", "Finding", "by_value", "forget", "laid_out", "leave_pool", "receive", "received"]

# -- in your process ---------------------------------------------------------------------------------------------------


class Entry:
    """A shared object, as clusters have it."""

    __slots__ = ("__weakref__", "_content", "_lock", "_places", "token")

    def __init__(self, content: bytes) -> None:
        self.token = urandom(12).hex()
        self._content = content
        self._lock = Lock()
        self._places: list[tuple[Cluster, Any]] = []

    def place(self, cluster: Cluster) -> Any:
        """What stands for it in this cluster; puts it there the first time. Raises `ClusterLost`."""
        with self._lock:
            for known, place in self._places:
                if known is cluster:
                    return place
            place = cluster.put(self._content)
            self._places.append((cluster, place))
            # When nobody can name it any more, the hosts need not have it any more.
            finalize(self, _tell_to_forget, cluster, self.token).atexit = False
        return place


def _tell_to_forget(cluster: Cluster, token: str) -> None:
    try:
        cluster.everywhere(forget, token, wait=False)
    except Exception:  # Its hosts forget it with the pool.
        pass


_entries: WeakKeyDictionary[Any, Entry] = WeakKeyDictionary()
_handles: WeakValueDictionary[str, Any] = WeakValueDictionary()
_adding = Lock()


def _entry_of(shared: Any) -> Entry:
    entry = _entries.get(shared)
    if entry is None:
        content = _content_of(shared._as_shared())  # noqa: SLF001 - no word for users.
        with _adding:
            entry = _entries.setdefault(shared, Entry(content))
            _handles[entry.token] = shared
    return entry


def _content_of(value: object) -> bytes:
    """A pickle, with its buffers behind it.

    Before them it is said how many there are, and of each twice its length, plus one if it may not be written to.
    """
    from paceline.pickling import dump_to_share

    buffers: list[Any] = []

    class Taker:
        def __call__(self, buffer: Any) -> bool:
            try:
                buffers.append(buffer.raw())
            except BufferError:  # It does not lie in one piece.
                return True
            return False

        def clear(self) -> None:
            buffers.clear()

    pickle = dump_to_share(value, Taker())
    lengths = [2 * len(pickle), *(2 * buffer.nbytes + buffer.readonly for buffer in buffers)]
    head = b"".join(length.to_bytes(8, "little") for length in (len(lengths), *lengths))
    return b"".join((head, pickle, *buffers))


def released(shared: Any) -> None:
    """The handle was released: no other call can be given the object."""
    _entries.pop(shared, None)


def by_value(shared: Any) -> tuple[Any, ...]:
    """As a collector: has the objects themselves pickled, for what is sent once to each host anyway."""
    return _same, (shared.get(),)


def _same(value: Any) -> Any:
    return value


class Finding:
    """Finds the shared objects among what is pickled; to be used as the collector of `paceline.elsewhere`."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: dict[str, Entry] = {}

    def __call__(self, shared: Any) -> tuple[Any, ...]:
        entry = _entry_of(shared)
        self.found[entry.token] = entry
        return received, (entry.token,)


class Along:
    """Bytes that refer to shared objects, with those."""

    __slots__ = ("data", "entries")

    def __init__(self, data: bytes, entries: dict[str, Entry]) -> None:
        self.data = data
        self.entries = entries


# -- on a host ---------------------------------------------------------------------------------------------------------

_laid_out: dict[str, SharedMemory] = {}
_needed_by: dict[str, set[str]] = {}
_laying_out = Lock()


def laid_out(pool: str, tokens: Sequence[str], contents: Sequence[bytes]) -> dict[str, SharedMemory]:
    """The objects of these tokens in shared memory of this host, which the local pool of this name needs."""
    with _laying_out:
        for token, content in zip(tokens, contents, strict=True):
            if token not in _laid_out:
                _laid_out[token] = SharedMemory.holding(_parts_of(content))
            _needed_by.setdefault(token, set()).add(pool)
        return {token: _laid_out[token] for token in tokens}


def _parts_of(content: bytes) -> tuple[bytes, list[Any]]:
    """The pickle, and its buffers as arrays, which are mapped by those who read them."""
    whole = memoryview(content)
    count = int.from_bytes(whole[:8], "little")
    lengths = [int.from_bytes(whole[8 * place : 8 * place + 8], "little") for place in range(1, count + 1)]
    begin = 8 * (count + 1)
    parts = []
    for length in lengths:
        end = begin + length // 2
        parts.append(whole[begin:end])
        begin = end
    pickle, *buffers = parts
    if not buffers:
        return bytes(pickle), []
    import numpy as np

    # An array over bytes can only be read, and so could what is made of it.
    writable = [
        buffer if length % 2 else bytearray(buffer) for buffer, length in zip(buffers, lengths[1:], strict=True)
    ]
    return bytes(pickle), [np.frombuffer(buffer, np.uint8) for buffer in writable]


def forget(token: str) -> None:
    """No call will name this object any more. Workers that have it keep it until their task has ended."""
    with _laying_out:
        _laid_out.pop(token, None)
        _needed_by.pop(token, None)


def leave_pool(pool: str) -> None:
    """A local pool has ended; what only that has needed is forgotten."""
    with _laying_out:
        for token, pools in list(_needed_by.items()):
            pools.discard(pool)
            if not pools:
                del _laid_out[token], _needed_by[token]


# -- in a worker of a host ---------------------------------------------------------------------------------------------

_received: dict[str, tuple[Any, Any]] = {}
# Of shared objects that a worker keeps though the task at hand needs them not.
_MOST_KEPT = 16


def receive(contents: dict[str, Any]) -> None:
    """Has these objects ready for `received`; what is mapped is not copied."""
    for token, content in contents.items():
        known = _received.pop(token, None)
        if known is None or known[0] is not content:
            pickle, buffers = content
            known = content, loads(pickle, buffers=buffers)
        # The last of all, so that the first is the one that was not needed for longest.
        _received[token] = known
    while len(_received) > max(_MOST_KEPT, len(contents)):
        del _received[next(iter(_received))]


def received(token: str) -> Any:
    """The shared object of this token; where it comes from, the handle."""
    handle = _handles.get(token)
    return _received[token][1] if handle is None else handle
