"""What became of every task: one outcome for each, compared with what the tasks themselves have noted.

Owns the books. Nothing in them grows but the notes, whose size follows from the number of tasks, so that the memory
that is measured is the pools'.
"""

import threading
from collections import Counter

from tests.soak.tasks import NOTE

# What a task may have come to.
OPEN, RIGHT, FAILED, LOST, LATE, CANCELLED = range(6)
NAMES = ("open", "right", "failed as told", "lost with its worker", "over its limit", "cancelled")


class Ledger:
    def __init__(self, count, notes):
        self.count = count
        self.notes = notes
        self.notes.touch()
        self.outcomes = bytearray(count)
        # How often a task may begin beyond once.
        self.again = bytearray(count)
        self.errors = Counter()
        self.faults = []
        self.changed = threading.Lock()
        self.next = 0

    def take(self, count):
        """Numbers for so many new tasks, or fewer, or none where all have been given out."""
        with self.changed:
            first = self.next
            self.next = min(self.count, first + count)
            return range(first, self.next)

    def book(self, number, outcome, error=None):
        with self.changed:
            if self.outcomes[number] != OPEN:
                self.faults.append(f"task {number} ended twice: {NAMES[self.outcomes[number]]}, {NAMES[outcome]}")
            self.outcomes[number] = outcome
            if error is not None:
                self.errors[error] += 1

    def blame(self, fault):
        with self.changed:
            if len(self.faults) < 100:
                self.faults.append(fault)

    def begun(self):
        """How often each task was begun, by its own notes."""
        times = bytearray(self.count)
        data = self.notes.read_bytes()
        if len(data) % NOTE.size:
            self.blame(f"the notes have {len(data)} bytes, which is no whole number of them")
        for (number,) in NOTE.iter_unpack(data[: len(data) // NOTE.size * NOTE.size]):
            times[number] = min(255, times[number] + 1)
        return times

    def close(self):
        """Compares the books with the notes; gives the totals."""
        times = self.begun()
        for number in range(self.next):
            outcome, begun = self.outcomes[number], times[number]
            if outcome == OPEN:
                self.blame(f"task {number} has not ended; it was begun {begun} times")
            elif begun > 1 + self.again[number]:
                self.blame(f"task {number} was begun {begun} times; it ended as {NAMES[outcome]}")
            elif outcome in {RIGHT, FAILED} and not begun:
                self.blame(f"task {number} ended as {NAMES[outcome]}, and was never begun")
        totals = Counter(NAMES[outcome] for outcome in self.outcomes[: self.next])
        return {"tasks": self.next, "begun": sum(times), "outcomes": dict(totals), "errors": dict(self.errors)}
