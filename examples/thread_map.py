"""A map on threads: for calls that wait for something, or that run native code without Python's lock.

Threads share the program's memory, so nothing is pickled and nothing has to be sent: the function below changes an
object of the program. Nothing else of the program changes with the backend.

    python examples/thread_map.py [FILES]
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from paceline import Pool


def main(count: int = 64) -> None:
    """Hashes files, some at a time; reading and hashing both let other threads run."""
    sizes: dict[str, int] = {}

    def digest(path: Path) -> str:
        content = path.read_bytes()
        sizes[path.name] = len(content)
        return hashlib.sha256(content).hexdigest()

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.bin" for number in range(count)]
        for number, path in enumerate(paths):
            path.write_bytes(bytes([number % 256]) * 100_000)

        with Pool(8, backend="threads") as pool:
            digests = pool.map(digest, paths)

    for path, text in zip(paths[:3], digests, strict=False):
        print(f"{text[:16]} {path.name}")
    print(f"{len(digests)} files of {sum(sizes.values())} bytes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
