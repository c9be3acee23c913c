"""Turns answers into Markdown and JSON. Never measures."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING

from benches.compare.peers import PEERS
from benches.compare.question import Contest, Question
from benches.compare.rows import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benches.compare.question import Figure
    from benches.compare.rounds import Answer

OURS = "paceline"

HEAD = """# Paceline beside its peers

Written by `make bench`. Two workers each. Every measurement ran in a fresh process, with the peers taking turns; a
figure is the median of {rounds} rounds. In brackets: how many times better the figure of `paceline.Pool` is (below
1, the peer is ahead). Absolute figures move with the machine and with its state; ratios of one run less so.
"""


def spell(value: float, figure: Figure) -> str:
    return f"{value:,.{figure.digits}f}"


def ratio(ours: float, theirs: float, figure: Figure) -> str:
    """How many times better ours is; nothing where that says nothing, as for two loads of zero."""
    above, below = (ours, theirs) if figure.better == "more" else (theirs, ours)
    if below <= 0:
        return ""
    times = above / below
    return f" ({times:,.2f} ×)" if times < 10 else f" ({times:,.0f} ×)"


def cell(peer: str, key: str, figure: Figure, answers: Mapping[str, Answer], remark: str, best: str = OURS) -> str:
    answer = answers[peer]
    if answer.failure is not None:
        return f"{answer.failure}{remark}"
    value = statistics.median(answer.values[key])
    ours = answers.get(best)
    if peer == best or ours is None or ours.failure is not None:
        return f"{spell(value, figure)}{remark}"
    return f"{spell(value, figure)}{ratio(statistics.median(ours.values[key]), value, figure)}{remark}"


def markdown(answers: Mapping[str, Mapping[str, Answer]], facts: Mapping[str, str], rounds: int) -> str:
    lines = [HEAD.format(rounds=rounds)]
    wide = {name: by_peer for name, by_peer in answers.items() if not isinstance(QUESTIONS[name], Contest)}
    if wide:
        lines += _wide(wide)
    if len(wide) < len(answers):
        lines += _contests({name: by_side for name, by_side in answers.items() if name not in wide})
    lines += ["", "## Where", ""]
    lines.extend(f"- {name}: {value}" for name, value in facts.items())
    return "\n".join(lines) + "\n"


def _wide(answers: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    """The questions that were asked of every peer: a column each."""
    peers = list(next(iter(answers.values())))
    lines = ["| | unit | " + " | ".join(PEERS[peer].title for peer in peers) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(peers))
    notes: list[str] = []
    for name, by_peer in answers.items():
        question = QUESTIONS[name]
        assert isinstance(question, Question)
        marks: dict[str, str] = {}
        for peer, remark in question.remarks.items():
            if peer in by_peer:
                if remark not in notes:
                    notes.append(remark)
                marks[peer] = f" [{notes.index(remark) + 1}]"
        for key, figure in question.figures.items():
            cells = [cell(peer, key, figure, by_peer, marks.get(peer, "")) for peer in peers]
            lines.append(f"| {figure.title} | {figure.unit} | " + " | ".join(cells) + " |")
    if notes:
        lines.append("")
        lines.extend(f"[{number}] {note}  " for number, note in enumerate(notes, 1))
    return lines


def _contests(answers: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    """The questions with sides of their own: a line each."""
    lines = ["", "Where only some have what is asked for:", "", "| | unit | | |", "| --- | --- | --- | ---: |"]
    for name, by_side in answers.items():
        contest = QUESTIONS[name]
        assert isinstance(contest, Contest)
        ours = next(iter(by_side))
        for key, figure in contest.figures.items():
            for side in by_side:
                told = cell(side, key, figure, by_side, "", ours)
                head = f"| {figure.title} | {figure.unit} |" if side == ours else "| | |"
                lines.append(f"{head} {contest.sides[side].title} | {told} |")
    return lines


def failures(answers: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    return [
        f"{question}, {peer}: {answer.failure}: {answer.details}"
        for question, by_peer in answers.items()
        for peer, answer in by_peer.items()
        if answer.failure is not None
    ]


def raw(answers: Mapping[str, Mapping[str, Answer]], facts: Mapping[str, str], rounds: int) -> str:
    figures = {
        question: {peer: answer.failure or answer.values for peer, answer in by_peer.items()}
        for question, by_peer in answers.items()
    }
    return json.dumps({"facts": dict(facts), "rounds": rounds, "figures": figures}, indent=1) + "\n"
