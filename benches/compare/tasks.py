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
    time.sleep(seconds)
    return seconds


def burn(seconds: float) -> float:
    """Uses `seconds` of this core's time: what others take of the core comes on top."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return seconds
