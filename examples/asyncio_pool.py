"""Awaited calls: `await pool.run(...)`, several at a time, with a time limit, and a stream of results.

`pool.run` submits at once and can be awaited, gathered, or given to a task group; no thread stands behind an await.
`pool.amap` is for many items: its results come in order while later items are still being worked on.

    python examples/asyncio_pool.py [ROUNDS]
"""

import asyncio
import hashlib
import sys
import time

from paceline import Pool

PASSWORDS = ("swordfish", "correct horse battery staple", "open sesame")


def derive_key(password: str, rounds: int) -> str:
    """A key from a password, slow on purpose."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"a salt", rounds).hex()[:16]


def hash_of(number: int) -> str:
    """The beginning of the hash of a number."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


async def main(rounds: int = 500_000) -> None:
    """Derives several keys at a time, gives up on one, and streams some more."""
    with Pool() as pool:
        keys = await asyncio.gather(*(pool.run(derive_key, password, rounds) for password in PASSWORDS))
        for password, key in zip(PASSWORDS, keys, strict=True):
            print(f"{key} {password}")

        try:
            async with asyncio.timeout(0.05):
                await pool.run(time.sleep, 0.5)
        except TimeoutError:
            print("gave up on one that took too long")

        async for digest in pool.amap(hash_of, range(3)):
            print(digest)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
