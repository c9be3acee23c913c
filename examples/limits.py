"""Inputs that misbehave, and a map that goes on: a time limit, a limit of memory, retries, failures in their places.

One input never ends, one takes all the memory there is, one ends its process, one is refused, and one fails at its
first attempt only. The others have their results, and each failure is in the place of its input.

    python examples/limits.py [SECONDS]
"""

import logging
import os
import sys
import time

from paceline import Pool, current_task


class NotYet(Exception):
    """What may be better at the next attempt."""


def convert(name: str) -> str:
    """Pretends to convert a file."""
    if name == "endless":
        time.sleep(3_600)
    if name == "huge":
        return str(len([bytearray(1_000_000) for _ in range(2_000)]))
    if name == "crash":
        os._exit(3)
    if name == "broken":
        raise ValueError("no such format")
    if name == "late" and current_task().attempt == 1:
        raise NotYet
    return name.upper()


def main(seconds: float = 1.0) -> None:
    """Converts some files, most of which have something wrong."""
    names = ["first", "endless", "huge", "crash", "broken", "late", "last"]
    # Failures are logged when they happen; here, they are printed at the end.
    logging.getLogger("paceline").setLevel(logging.ERROR)
    with Pool(2, timeout=seconds, memory_limit="500 MB") as pool:
        patient = pool.options(retries=2, retry_on=NotYet, backoff=0.1)
        results = patient.map(convert, names, on_error="return")
    for name, result in zip(names, results, strict=True):
        told = result if isinstance(result, str) else f"{type(result).__name__}: {result}".partition("\n")[0]
        print(f"{name}: {told}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
