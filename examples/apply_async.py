"""Calls with arguments of their own, each in a worker process: `apply_async`.

Each call may be of another function, with positional and keyword arguments. A callback hears of each result in this
process as soon as it is there; `get` gives the results in the order in which they are wanted.

    python examples/apply_async.py [DIGITS]
"""

import os
import sys
from decimal import Decimal, localcontext

from paceline import Pool


def square_root(number: int, *, digits: int) -> str:
    """The square root of a number as text."""
    with localcontext(prec=digits):
        return str(Decimal(number).sqrt())


def golden_ratio(digits: int) -> str:
    """(1 + √5) / 2 as text."""
    with localcontext(prec=digits):
        return str((1 + Decimal(5).sqrt()) / 2)


def process_id() -> int:
    """The number of the process that this is called in."""
    return os.getpid()


def main(digits: int = 20_000) -> None:
    """Computes some irrational numbers, one call for each."""
    lengths: list[int] = []

    def on_result(text: str) -> None:
        lengths.append(len(text))

    with Pool(2) as pool:
        calls = {
            "√2": pool.apply_async(square_root, (2,), {"digits": digits}, callback=on_result),
            "√3": pool.apply_async(square_root, (3,), {"digits": digits}, callback=on_result),
            "φ": pool.apply_async(golden_ratio, (digits,), callback=on_result),
        }
        for name, call in calls.items():
            print(f"{name} = {call.get()[:30]}...")
        print("the callbacks heard of", len(lengths), "results, of", sum(lengths), "characters")
        print("in another process:", pool.apply_async(process_id).get() != os.getpid())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
