"""Ordinary functions under asyncio: the event loop goes on while workers do what would block it.

`loop.run_in_executor` takes a Paceline executor like any other, and `asyncio.gather` waits for all of its calls.

    python examples/asyncio_executor.py [ROUNDS]
"""

import asyncio
import hashlib
import sys

from paceline import ProcessPoolExecutor

PASSWORDS = ("swordfish", "correct horse battery staple", "open sesame")


def derive_key(password: str, rounds: int) -> str:
    """A key from a password, slow on purpose."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"a salt", rounds).hex()[:16]


async def count_beats(stop: asyncio.Event) -> int:
    """Counts how often the event loop comes round; next to none if something blocked it."""
    beats = 0
    while not stop.is_set():
        await asyncio.sleep(0.001)
        beats += 1
    return beats


async def main(rounds: int = 500_000) -> None:
    """Derives several keys at a time, and shows that the event loop is alive meanwhile."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    heart = asyncio.create_task(count_beats(stop))
    with ProcessPoolExecutor() as executor:
        calls = [loop.run_in_executor(executor, derive_key, password, rounds) for password in PASSWORDS]
        keys = await asyncio.gather(*calls)
    stop.set()
    for password, key in zip(PASSWORDS, keys, strict=True):
        print(f"{key} {password}")
    print("the event loop was alive:", await heart > 0)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
