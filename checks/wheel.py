"""Proves that the wheel works by itself: run in an empty environment into which only the wheel was installed.

Owns the list of what may be installed beside Paceline: cloudpickle, and the installer. Never imports a test tool.
"""

import sys
from importlib.metadata import distributions
from pathlib import Path

import paceline

INSTALLERS = {"pip", "setuptools"}


def main() -> None:
    installed = {distribution.metadata["Name"].lower() for distribution in distributions()} - INSTALLERS
    if installed != {"paceline", "cloudpickle"}:
        sys.exit(f"wheel: expected paceline and cloudpickle, found {sorted(installed)}")
    home = Path(paceline.__file__)
    if not home.is_relative_to(sys.prefix):
        sys.exit(f"wheel: paceline comes from {home}, not from the environment at {sys.prefix}")
    offset = 7
    squares = paceline.map(lambda number: number * number + offset, range(1000), workers=2)
    if squares != [number * number + offset for number in range(1000)]:
        sys.exit(f"wheel: wrong results {squares[:10]}...")
    with paceline.Pool(2) as pool:
        if pool.apply(divmod, (17, 5)) != (3, 2):
            sys.exit("wheel: Pool.apply gave a wrong result")
    print("wheel: installs and works in an empty environment, with cloudpickle alone")


if __name__ == "__main__":
    main()
