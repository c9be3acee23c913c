"""What the workers run. Importable, so that every peer takes it, and light, for it is part of every start-up."""

import time


def noop(item: object) -> object:
    return item


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
