"""The options of a run; see the package for who does what."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benches.compare import machine, rounds, table
from benches.compare.peers import PEERS
from benches.compare.rows import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLES = """\
examples:
  python -m benches.compare                                all questions, all peers, saved in docs/
  python -m benches.compare --quick                        a rough look in some minutes, not saved
  python -m benches.compare --rows submit,round-trip --only-paceline --rounds 9
"""


class Names:
    """Reads a list of known names, separated by commas."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = list(known)

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in self.known:
                raise argparse.ArgumentTypeError(f"`{name}` is none of: {', '.join(self.known)}")
        return names


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.compare",
        description="Measures Paceline beside its peers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=Names(QUESTIONS), metavar="NAMES", help="of: " + ", ".join(QUESTIONS))
    parser.add_argument("--peers", type=Names(PEERS), metavar="NAMES", help="of: " + ", ".join(PEERS))
    parser.add_argument("--only-paceline", action="store_true", help="leave the peers out")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="smaller workloads: a rough look")
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="the Markdown goes there, the raw figures beside it as .json"
    )
    return parser.parse_args()


def main() -> int:
    chosen = options()
    peers = chosen.peers or [name for name in PEERS if not chosen.only_paceline or name.startswith("paceline")]
    questions = chosen.rows or list(QUESTIONS)
    count = chosen.rounds or (1 if chosen.quick else 5)
    whole = not (chosen.rows or chosen.peers or chosen.only_paceline or chosen.quick)
    save = chosen.save or (rounds.ROOT / "docs" / "benchmarks.md" if whole else None)
    facts = machine.describe()
    answers = rounds.run(questions, peers, count, chosen.quick, lambda line: print(line, file=sys.stderr, flush=True))
    text = table.markdown(answers, facts, count)
    print(text)
    for failure in table.failures(answers):
        print(failure, file=sys.stderr)
    if save is not None:
        save.write_text(text, encoding="utf-8")
        save.with_suffix(".json").write_text(table.raw(answers, facts, count), encoding="utf-8")
        print(f"saved in {save} and {save.with_suffix('.json')}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
