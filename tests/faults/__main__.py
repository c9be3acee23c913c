"""The options of a run of the matrix: `python -m tests.faults`; see the package for who does what."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from tests.faults import plan, runner, table
from tests.faults.families import FAULTS
from tests.faults.fault import CALLS
from tests.faults.subjects import OURS, PEERS

DOCUMENT = runner.ROOT / "docs" / "fault-matrix.md"

EXAMPLES = """\
examples:
  make faults                                                     all of it, saved in docs/
  make faults ROUNDS=20 FAULTS=--no-peers                         Paceline alone, again and again
  make faults FAULTS='--only sigkill,sigstop --subject paceline'
  make faults FAULTS='--only sigkill --subject paceline:fork --call map --moment writing --seed 7' ROUNDS=50
"""


def options():
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Runs the fault matrix.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", metavar="NAMES", help="of: " + ", ".join(FAULTS))
    parser.add_argument("--subject", metavar="NAMES", help=f"of: paceline, {', '.join((*OURS, *PEERS))}")
    parser.add_argument("--call", metavar="NAMES", help="of: " + ", ".join(CALLS))
    parser.add_argument("--moment", metavar="NAMES")
    parser.add_argument("--seed", type=int, help="the same seed for every cell; by default each has its own")
    parser.add_argument("--base", type=int, default=1, help="what the cells' own seeds follow from")
    parser.add_argument("--no-peers", action="store_true", help="Paceline alone; the peers' columns stay as they are")
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument("--save", type=Path, metavar="FILE", help="the Markdown goes there, the findings beside it")
    return parser.parse_args()


def listed(text, known):
    names = text.split(",")
    for name in names:
        if name not in known:
            sys.exit(f"`{name}` is none of: {', '.join(known)}")
    return names


def main():
    chosen = options()
    faults = listed(chosen.only, FAULTS) if chosen.only else list(FAULTS)
    subjects = ["paceline", *PEERS] if not chosen.no_peers else ["paceline"]
    if chosen.subject:
        subjects = listed(chosen.subject, ["paceline", *OURS, *PEERS])
    filters = {
        "calls": chosen.call.split(",") if chosen.call else None,
        "moments": chosen.moment.split(",") if chosen.moment else None,
        "seed": chosen.seed,
    }
    whole = not (chosen.only or chosen.subject or chosen.call or chosen.moment or chosen.seed is not None)
    save = chosen.save or (DOCUMENT if whole else None)
    began = time.monotonic()
    report = table.Report(began)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for number in range(chosen.rounds):
            cells = plan.cells(number, chosen.base, faults=faults, subjects=subjects, **filters)
            runner.run_all(cells, at_a_time=chosen.at_a_time, tell=report.add)
    finally:
        runner.end_everything()
    for line in report.summary():
        print(line, file=sys.stderr)
    if save is not None:
        file = save.with_suffix(".json")
        saved = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        data = report.data(saved, rounds=chosen.rounds, base=chosen.base, peers=not chosen.no_peers)
        file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        save.write_text(table.markdown(data), encoding="utf-8")
        print(f"saved in {save} and {file}", file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
