"""The command line: `paceline demo`, or `python -m paceline demo`.

Owns the options and their help. What a command does is in the module of its name, imported only when it is called.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DEMO = """\
Evaluates scikit-learn's classifiers on the data sets that it ships, by repeated random splits. Each evaluation is
one task on a pool of processes. Then the same is done without a pool, and the results are compared.
"""
DEMO_EXAMPLES = """\
examples:
  paceline demo                           all cores, 20 splits for each algorithm and data set
  paceline demo --workers 4 --repetitions 100
  paceline demo --kill-one                what the death of a worker costs
"""


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a positive number")
    return number


def parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser(
        prog="paceline",
        description="Paceline runs ordinary Python functions in parallel.",
        epilog="examples:\n  paceline demo\n  paceline demo --help",
        formatter_class=plain,
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="evaluate scikit-learn's classifiers on real data, in parallel",
        description=DEMO,
        epilog=DEMO_EXAMPLES,
        formatter_class=plain,
    )
    demo.add_argument("--workers", type=positive, metavar="N", help="worker processes (default: all usable cores)")
    demo.add_argument(
        "--repetitions",
        type=positive,
        default=20,
        metavar="N",
        help="random splits for each algorithm and data set (default: 20)",
    )
    demo.add_argument("--kill-one", action="store_true", help="kill a worker in the middle of the run")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    from paceline import demo

    try:
        demo.require_sklearn()
    except ModuleNotFoundError as error:
        print(f"error: {error}\nhint: install it with `pip install 'paceline[demo]'`", file=sys.stderr)
        return 2
    return demo.run(workers=options.workers, repetitions=options.repetitions, kill_one=options.kill_one)


if __name__ == "__main__":
    sys.exit(main())
