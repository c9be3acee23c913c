"""A quick selection of the matrix: every fault once, by a call and at a moment that a seed chooses.

The whole of it is `make faults`. Which cells were chosen stands in the output of a failure, with the command for each.
"""

import random
import time
from pathlib import Path

from tests.faults import plan, runner
from tests.faults.families import FAULTS
from tests.faults.table import describe

# What takes long, or most of the memory, is for the whole run.
LEFT_OUT = {"huge-result", "pending"}
SEED = 1


def selection(seed):
    chance = random.Random(seed)
    for fault in FAULTS.values():
        if fault.name not in LEFT_OUT:
            start = "forkserver" if "forkserver" in fault.starts else fault.starts[0]
            call, moment = chance.choice(fault.calls), chance.choice(fault.moments)
            yield plan.Cell(f"paceline:{start}", fault.name, call, moment, chance.randrange(1_000_000))


def test_every_fault_once():
    began = time.monotonic()
    findings = runner.run_all(list(selection(SEED)), at_a_time=2, tell=lambda cell, finding: None)
    failures = [
        f"{cell.command()}\n    {describe(finding)}\n    {finding['surprises']}\n{finding.get('said', '')[-1500:]}"
        for cell, finding in findings
        if finding["surprises"]
    ]
    assert not failures, "\n".join(failures)
    print(f"{len(findings)} cells in {time.monotonic() - began:.0f} s")


def test_every_fault_meets_each_start_method_and_each_of_its_calls():
    cells = plan.cells(0, 1, faults=FAULTS, subjects=["paceline"])
    for fault in FAULTS.values():
        met = [cell for cell in cells if cell.fault == fault.name]
        assert {cell.start for cell in met} == set(fault.starts)
        assert {cell.call for cell in met} == set(fault.calls)
        assert {cell.moment for cell in met} == set(fault.moments)


def test_after_three_rounds_every_start_method_has_met_every_call_and_moment():
    cells = [cell for number in range(3) for cell in plan.cells(number, 1, faults=FAULTS, subjects=["paceline"])]
    for fault in FAULTS.values():
        met = {(cell.start, cell.call, cell.moment) for cell in cells if cell.fault == fault.name}
        assert len(met) == len(fault.starts) * len(fault.calls) * len(fault.moments)


def test_a_cell_is_replayed_by_its_command():
    cell = next(iter(selection(SEED)))
    assert cell.command().startswith("python -m tests.faults.cell --subject paceline:")
    assert Path(runner.ROOT, "tests", "faults", "cell.py").exists()
