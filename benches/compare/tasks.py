"""What the workers run. Importable, so that every peer takes it, and light, for it is part of every start-up."""

import time

_blocks: dict[int, bytes] = {}


def noop(item: object) -> object:
    return item


def block_of(size: int) -> bytes:
    """The same bytes each time, so that moving them is all that is measured."""
    if size not in _blocks:
        _blocks[size] = b"\x5a" * size
    return _blocks[size]


def sleep(seconds: float) -> float:
    """Gives the time that it really took."""
    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


def burn(seconds: float) -> float:
    """Uses `seconds` of a core: what others take of that core comes on top, and is not in the result."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds
