"""Runs every measurement in a process of its own, the peers taking turns, round after round.

Owns deadlines and the end of what does not end by itself. A peer that fails or hangs is told as such and never breaks
the run; it is left out of the later rounds of that question.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benches.compare import processes
from benches.compare.question import Contest
from benches.compare.rows import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Answer:
    """What one peer answered to one question: a value for each figure and round, or why there is none."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failure: str | None = None
    details: str = ""


def measure(question: str, peer: str, quick: bool) -> tuple[dict[str, float] | None, str, str]:
    """The figures of one measurement; or None, the failure in a word or two, and the last line of what it said."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "benches.compare.measurement", question, peer, *(["quick"] if quick else [])]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, processes.MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=QUESTIONS[question].deadline_s)
    except subprocess.TimeoutExpired:
        end(process, mark)
        return None, "hangs", f"no answer within {QUESTIONS[question].deadline_s:.0f} s"
    finally:
        end(process, mark)
    if process.returncode != 0:
        return None, "fails", errors.strip().rpartition("\n")[2]
    return json.loads(output.splitlines()[-1]), "", ""


def end(process: subprocess.Popen[str], mark: str) -> None:
    """Ends what is left of a measurement: its process group, and whoever left that group."""
    for pid in {process.pid, *processes.marked(mark)}:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    processes.kill_marked(mark)
    process.wait()


def contestants(question: str, peers: Sequence[str]) -> Sequence[str]:
    """Who is asked: `peers`, or the sides of a contest, of which only ours if `peers` are only ours."""
    asked = QUESTIONS[question]
    if not isinstance(asked, Contest):
        return peers
    sides = list(asked.sides)
    return sides if any(not peer.startswith("paceline") for peer in peers) else sides[:1]


def asked_once(question: str) -> bool:
    asked = QUESTIONS[question]
    return isinstance(asked, Contest) and asked.once


def run(
    questions: Sequence[str], peers: Sequence[str], rounds: int, quick: bool, tell: Callable[[str], None]
) -> dict[str, dict[str, Answer]]:
    answers = {question: {peer: Answer() for peer in contestants(question, peers)} for question in questions}
    for number in range(rounds):
        for question in questions:
            if number > 0 and asked_once(question):
                continue
            # Each round begins with another peer, so that none always has the machine as another one left it.
            asked = contestants(question, peers)
            for peer in [*asked[number % len(asked) :], *asked[: number % len(asked)]]:
                answer = answers[question][peer]
                if answer.failure is not None:
                    continue
                start = time.perf_counter()
                figures, failure, details = measure(question, peer, quick)
                if figures is None:
                    answer.failure, answer.details = failure, details
                else:
                    for key, value in figures.items():
                        answer.values.setdefault(key, []).append(value)
                said = failure or ", ".join(f"{value:.4g}" for value in (figures or {}).values())
                elapsed_s = time.perf_counter() - start
                tell(f"round {number + 1} of {rounds}  {question:12} {peer:18} {said}  ({elapsed_s:.1f} s)")
    return answers
