"""An ordered run in the background: a function over a list of arguments, the results in the order of the list.

`map_async` returns at once; the program goes on with something else until it wants the results. It does not matter
which call ends first.

    python examples/ordered_run.py [LARGEST]
"""

import sys

from paceline import Pool


def count_primes(limit: int) -> int:
    """How many primes there are below `limit`."""
    is_prime = bytearray([1]) * limit
    is_prime[:2] = bytes(min(2, limit))
    for number in range(2, int(limit**0.5) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(is_prime)


def main(largest: int = 3_000_000) -> None:
    """Counts primes below several limits, the largest first."""
    limits = [largest // share for share in (1, 2, 4, 8, 10, 100)]
    with Pool() as pool:
        future = pool.map_async(count_primes, limits)
        print("the workers are busy, and this program is free to do something else")
        for limit, primes in zip(limits, future.get(), strict=True):
            print(f"{primes} primes below {limit}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
