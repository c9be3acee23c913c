"""What became of a number of tasks: which gave the right result, what the others gave, and which never ended.

Owns the counting, and the short words for an exception. Never judges.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.tasks import is_right

LONGEST_LINE = 160


def label(error):
    """An exception in a few words: its class, and how the worker ended if it tells that."""
    name = type(error).__name__
    signal_name = getattr(error, "signal_name", None)
    exit_code = getattr(error, "exit_code", None)
    if signal_name:
        return f"{name} ({signal_name})"
    if exit_code is not None:
        return f"{name} (exit code {exit_code})"
    return name


def first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0][:LONGEST_LINE] if lines else ""


@dataclass
class Tally:
    orders: list
    right: set = field(default_factory=set)
    wrong: list = field(default_factory=list)
    # By label; and one line of each.
    errors: Counter = field(default_factory=Counter)
    lines: dict = field(default_factory=dict)
    # Those whose outcome the call has kept to itself, as a map does that raises.
    untold: int = 0
    # Those that had not ended when patience was over.
    pending: int = 0

    def __post_init__(self):
        self.by_number = {order[0]: order for order in self.orders}

    def add_result(self, result):
        number = result[0] if isinstance(result, tuple) and result else None
        order = self.by_number.get(number)
        if order is not None and number not in self.right and is_right(order, result):
            self.right.add(number)
        else:
            self.wrong.append(repr(result)[:LONGEST_LINE])

    def add_error(self, error):
        self.errors[label(error)] += 1
        self.lines.setdefault(label(error), first_line(error))

    def told(self):
        return len(self.right) + len(self.wrong) + self.errors.total()

    def close(self, *, over):
        """Counts those of which nothing was told: as pending, unless the call is `over`."""
        rest = len(self.orders) - self.told()
        if over:
            self.untold = max(0, rest)
        else:
            self.pending = max(0, rest)
