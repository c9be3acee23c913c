"""Turns findings into what people read: a line for each cell as it ends, and docs/fault-matrix.md from saved data.

Owns the words. The document is made from the data alone, so that it can be made again.
"""

import platform
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from benches.compare.machine import memory_gb, processor
from tests.faults.families import FAULTS
from tests.faults.fault import CALLS, STARTS
from tests.faults.subjects import PEERS, Paceline

COMMAND = "make faults ROUNDS={rounds}"


def facts():
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{processor()}, {memory_gb():.0f} GB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for name in sorted({kind.distribution for kind in (Paceline, *PEERS.values()) if kind.distribution}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# -- while it runs -----------------------------------------------------------------------------------------------------


class Report:
    """Gathers the findings of a run, and tells each as it comes."""

    def __init__(self, began):
        self.began = began
        self.ours = {}
        self.peers = {}
        self.failures = []
        self.passed = set()
        self.count = 0

    def add(self, cell, finding):
        self.count += 1
        state = state_of(finding)
        if cell.ours:
            fault = self.ours.setdefault(cell.fault, {"cells": {}, "examples": {}})
            counts = fault["cells"].setdefault(f"{cell.start}/{cell.call}/{cell.moment}", Counter())
            counts[state] += 1
            kept = {key: value for key, value in finding.items() if key not in {"said", "surprises"}}
            # The first that passed stands for the others, whatever came before it.
            if cell.call not in fault["examples"] or (state == "passed" and (cell.fault, cell.call) not in self.passed):
                fault["examples"][cell.call] = kept
            if state == "passed":
                self.passed.add((cell.fault, cell.call))
            if state == "failed":
                self.failures.append((cell, finding))
        else:
            self.peers.setdefault(cell.fault, {}).setdefault(cell.subject, {})[cell.call] = finding
        mark = {"passed": "", "failed": "FAILED "}.get(state, f"({state}) ")
        place = f"{cell.subject:20} {cell.fault:22} {cell.call:7} {cell.moment:9}"
        print(f"{self.count:4} {place} {mark}{describe(finding)}  ({finding['all_s']} s)", file=sys.stderr, flush=True)
        if state == "failed":
            for surprise in finding["surprises"]:
                print(f"       {surprise}", file=sys.stderr)
            print(f"       again: {cell.command()}", file=sys.stderr, flush=True)

    def summary(self):
        states = Counter()
        for fault in self.ours.values():
            for counts in fault["cells"].values():
                states += counts
        yield f"{self.count} cells in {time.monotonic() - self.began:.0f} s; Paceline's: {dict(states)}"
        for cell, finding in self.failures:
            yield f"FAILED {cell.command()}"
            yield from (f"    {surprise}" for surprise in finding["surprises"])
            if finding.get("said"):
                yield from (f"    | {line}" for line in finding["said"].splitlines()[-12:])

    def data(self, saved, *, rounds, base, peers):
        """Everything as plain data; without a new look at the peers, what was `saved` of them stays."""
        here = {"facts": facts(), "rounds": rounds, "base": base, "seconds": round(time.monotonic() - self.began)}
        if peers:
            return {"run": here, "peers_run": here, "paceline": plain(self.ours), "peers": self.peers}
        return {
            "run": here,
            "peers_run": saved.get("peers_run", here),
            "paceline": plain(self.ours),
            "peers": saved.get("peers", {}),
        }


def plain(ours):
    return {
        name: {
            "cells": {place: dict(counts) for place, counts in fault["cells"].items()},
            "examples": fault["examples"],
        }
        for name, fault in ours.items()
    }


def state_of(finding):
    if "unsupported" in finding:
        return "not supported"
    if "skipped" in finding:
        return "skipped"
    return "failed" if finding["surprises"] else "passed"


# -- one finding in words ----------------------------------------------------------------------------------------------


def describe(finding):
    if "unsupported" in finding:
        return finding["unsupported"]
    if "skipped" in finding:
        return f"not run: {finding['skipped']}"
    if "raised" in finding and "of" not in finding:
        return f"raises {finding['raised']}"
    parts = program(finding) if "ends" in finding else calls(finding)
    if finding.get("processes_left"):
        parts.append(f"{plural(finding['processes_left'], 'process')} left behind")
    if finding.get("files_left"):
        parts.append(f"{plural(len(finding['files_left']), 'file')} left behind")
    return "; ".join(parts)


def program(finding):
    if finding["ends"] == "hangs":
        return ["the program does not end"]
    ended = {"code 0": "ends well", "code 1": "ends with code 1"}.get(finding["ends"], f"ends by {finding['ends']}")
    parts = [f"{ended} within {max(finding['ended_s'], 0.01):.2f} s"]
    if finding["left"]:
        parts.append(f"{plural(finding['left'], 'process')} still there {finding['left_s']:g} s later")
    else:
        parts.append("nothing is left")
    return parts


def calls(finding):
    parts = []
    if "of" in finding:
        parts.append(f"{finding['right']:,} of {finding['of']:,} right")
        for name, count in finding.get("errors", {}).items():
            parts.append(f"`{name}`" if count == 1 else f"{count:,} × `{name}`")
        if finding.get("pending"):
            all_of_it = finding["pending"] == finding["of"]
            never = "1 never ends" if finding["pending"] == 1 else f"{finding['pending']:,} never end"
            parts.append("the call never ends" if all_of_it else never)
    if "says" in finding:
        parts.append(finding["says"])
    parts += finding.get("remarks", [])
    if "afterwards" in finding:
        then = finding["afterwards"]
        parts.append({"works": "works on", "hangs": "then hangs"}.get(then, f"then `{then}`"))
    if finding.get("closing"):
        parts.append("closing hangs" if finding["closing"] == "hangs" else f"closing raises `{finding['closing']}`")
    if "hangs" in finding:
        parts.append({"done": "the program cannot end"}.get(finding["hangs"], f"hangs while {finding['hangs']}"))
    return parts


def plural(count, name):
    if count == 1:
        return f"1 {name}"
    return f"{count} {name}es" if name.endswith("s") else f"{count} {name}s"


# -- the document ------------------------------------------------------------------------------------------------------


def markdown(data):
    run, peers_run = data["run"], data["peers_run"]
    total = Counter()
    for fault in data["paceline"].values():
        for counts in fault["cells"].values():
            total += Counter(counts)
    command = COMMAND.format(rounds=run["rounds"])
    lines = [
        "# What happens when things go wrong",
        "",
        f"Written by `{command}`. Each cell of the matrix is a fresh process that opens a pool of two workers,",
        "hands it forty tasks of which one does harm (or is done harm to, from outside), asks it for ten results",
        "more, and closes it. A cell has a deadline, and is looked at from outside when it is over: no process,",
        "zombie, thread, file descriptor, memory file, or file in /dev/shm or TMPDIR may be left. Delays, sizes,",
        "chunks and victims are chosen by a seed, which stands in the command that a failure prints.",
        "",
        f"For Paceline, {plural(run['rounds'], 'round')}, {run['seconds']:,} s: {total['passed']:,} cells passed,",
        f"{total['failed']:,} failed, {total['skipped']:,} could not run on this machine,",
        f"{total['not supported']:,} are not supported. Peers are described, not judged: by one cell for each fault",
        "and call, with the same tasks, in the same process but for the pool. A call that has not ended after 4 s is",
        "said never to end.",
        "",
        "## Paceline beside its peers",
        "",
        "One cell each, called by `submit` (`apply_async`); where a map gives something else, that follows.",
        "",
    ]
    titles = ["fault", "Paceline", *(kind.title for kind in PEERS.values())]
    lines += ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for name, fault in FAULTS.items():
        if name not in data["paceline"]:
            continue
        asked = data["peers"].get(name, {})
        ours = in_words(data["paceline"][name]["examples"])
        theirs = [in_words(asked[peer]) if peer in asked else "–" for peer in PEERS]
        lines.append("| " + " | ".join([fault.title, ours, *theirs]) + " |")
    lines += ["", "## Paceline, cell by cell", "", "Passed of run, by start method, by call and by moment.", ""]
    heads = ["fault", "name", *STARTS, *CALLS, "moments", "not run"]
    lines += ["| " + " | ".join(heads) + " |", "| --- | --- |" + " ---: |" * 7 + " --- | --- |"]
    lines += [row(FAULTS[name], data["paceline"][name]) for name in FAULTS if name in data["paceline"]]
    lines += ["", "## Where", ""]
    lines += [f"- {name}: {value}" for name, value in run["facts"].items()]
    if peers_run["facts"]["date"] != run["facts"]["date"]:
        theirs = peers_run["facts"]
        versions = ", ".join(
            f"{kind.distribution} {theirs[kind.distribution]}" for kind in PEERS.values() if kind.distribution
        )
        lines.append(f"- the peers: {theirs['date']}, Python {theirs['Python'].split()[1]}, {versions}")
    return "\n".join(lines) + "\n"


def in_words(by_call):
    """What a subject does, by `submit`, and by a map where that is something else."""
    first, *others = sorted(by_call, key=list(CALLS).index)
    text = describe(by_call[first])
    if "unsupported" in by_call[first] or "skipped" in by_call[first] or "ends" in by_call[first]:
        return escape(text)
    told = {"unsupported", "skipped"}.isdisjoint(by_call.get("map", {}))
    if "map" in others and told and describe(by_call["map"]) != text:
        text += f". Map: {describe(by_call['map'])}"
    return escape(text)


def escape(text):
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def row(fault, found):
    def share(position, word):
        counts = Counter()
        for place, states in found["cells"].items():
            if place.split("/")[position] == word:
                counts += Counter(states)
        run = counts["passed"] + counts["failed"]
        return f"{counts['passed']}/{run}" if run else "–"

    moments = ", ".join(f"{moment} {share(2, moment)}" for moment in fault.moments)
    missing = Counter()
    for states in found["cells"].values():
        missing += Counter({state: count for state, count in states.items() if state not in {"passed", "failed"}})
    absent = ", ".join(f"{count} {state}" for state, count in missing.items())
    figures = [*(share(0, start) for start in STARTS), *(share(1, call) for call in CALLS)]
    return f"| {fault.title} | `{fault.name}` | " + " | ".join(figures) + f" | {moments} | {absent} |"
