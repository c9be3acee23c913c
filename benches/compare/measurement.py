"""One measurement, in this fresh process: `python -m benches.compare.measurement QUESTION PEER [quick]`.

Prints its figures as one line of JSON, the last of its output.
"""

import json
import sys

from benches.compare.peers import PEERS
from benches.compare.question import Contest
from benches.compare.rows import QUESTIONS


def main() -> None:
    question, peer, *speed = sys.argv[1:]
    asked, quick = QUESTIONS[question], speed == ["quick"]
    figures = asked.sides[peer].ask(quick) if isinstance(asked, Contest) else asked.ask(PEERS[peer], quick)
    print(json.dumps(dict(figures)))


if __name__ == "__main__":
    main()
