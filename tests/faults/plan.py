"""Which cells there are: every fault crossed with the calls, moments and start methods where it makes sense.

Owns the crossing. A fault meets each of its calls at each of its moments in every round; the start methods take turns,
so that each meets each call and each moment, and after three rounds all of it.
"""

import itertools
import zlib
from dataclasses import dataclass

from tests.faults.families import FAULTS
from tests.faults.fault import STARTS
from tests.faults.subjects import PEERS


@dataclass(frozen=True)
class Cell:
    subject: str
    fault: str
    call: str
    moment: str
    seed: int

    @property
    def ours(self):
        return self.subject.startswith("paceline")

    @property
    def start(self):
        return self.subject.partition(":")[2]

    @property
    def deadline_s(self):
        fault = FAULTS[self.fault]
        return fault.deadline_s if self.ours else fault.peer_deadline_s

    @property
    def alone(self):
        return FAULTS[self.fault].alone

    def arguments(self):
        named = {"subject": self.subject, "fault": self.fault, "call": self.call, "moment": self.moment}
        return [word for name, value in named.items() for word in (f"--{name}", value)] + ["--seed", str(self.seed)]

    def command(self):
        return "python -m tests.faults.cell " + " ".join(self.arguments())


def seed_of(base, *names):
    """One that follows from the run's seed and the cell's place alone, so that a filter changes nothing."""
    return zlib.crc32(repr((base, *names)).encode()) % 1_000_000


def ours(fault, number):
    """The (start, call, moment)s of a fault in one round."""
    starts = [start for start in STARTS if start in fault.starts]
    pairs = list(itertools.product(enumerate(fault.calls), enumerate(fault.moments)))
    if fault.thorough or len(fault.calls) < len(starts):
        return [(start, call, moment) for (_, call), (_, moment) in pairs for start in starts]
    return [
        (starts[(call_number + moment_number + number) % len(starts)], call, moment)
        for (call_number, call), (moment_number, moment) in pairs
    ]


def cells(number, base, *, faults, subjects, calls=None, moments=None, seed=None):
    """The cells of one round; `subjects` are names, where `paceline` stands for its start methods in turn."""
    found = []
    for fault in (FAULTS[name] for name in faults):
        places = [(f"paceline:{start}", call, moment) for start, call, moment in ours(fault, number)]
        asked = {name for name in subjects if name.startswith("paceline:")}
        if asked:
            # One start method alone meets every call and moment.
            places = [
                (name, call, moment)
                for name in sorted(asked)
                if name.partition(":")[2] in fault.starts
                for call in fault.calls
                for moment in fault.moments
            ]
        elif "paceline" not in subjects:
            places = []
        if number == 0:
            places += [
                (peer, call, fault.moments[0])
                for peer in PEERS
                if peer in subjects
                for call in fault.peers
                if call in fault.calls
            ]
        for subject, call, moment in places:
            if (calls is None or call in calls) and (moments is None or moment in moments):
                chosen = seed if seed is not None else seed_of(base, number, fault.name, call, moment)
                found.append(Cell(subject, fault.name, call, moment, chosen))
    # What needs the machine for itself comes last.
    return sorted(found, key=lambda cell: cell.alone)
