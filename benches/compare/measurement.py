"""One measurement, in this fresh process: `python -m benches.compare.measurement QUESTION PEER [quick]`.

Prints its figures as one line of JSON, the last of its output.
"""

import json
import sys

from benches.compare.peers import PEERS
from benches.compare.rows import QUESTIONS


def main() -> None:
    question, peer, *speed = sys.argv[1:]
    figures = QUESTIONS[question].ask(PEERS[peer], speed == ["quick"])
    print(json.dumps(dict(figures)))


if __name__ == "__main__":
    main()
