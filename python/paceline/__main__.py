"""The command `paceline`, or `python -m paceline`: from its arguments to its exit code.

Owns how a command ends that is interrupted, or whose reader has left. Which commands there are, `commands.py` knows.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from paceline.commands import parser

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a shell says of a program that was ended by SIGINT, or by SIGPIPE.
INTERRUPTED = 130
READER_LEFT = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code. Wrong usage raises `SystemExit`, as argparse does."""
    try:
        try:
            options = parser().parse_args(arguments)
            return int(options.run(options))
        finally:
            # Also after `--help`: a reader that has left is noticed here, and not when the interpreter ends.
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT


if __name__ == "__main__":
    sys.exit(main())
