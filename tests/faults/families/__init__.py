"""The faults by family: what can go wrong, as the user would call it; a file for each kind."""

from tests.faults.families import (
    callbacks,
    clocks,
    deaths,
    habits,
    inputs,
    limits,
    memory,
    overtime,
    parents,
    pickles,
    servers,
    starts,
    uses,
)

FAULTS = {
    fault.name: fault
    for family in (
        deaths,
        memory,
        overtime,
        pickles,
        starts,
        callbacks,
        inputs,
        habits,
        servers,
        parents,
        uses,
        limits,
        clocks,
    )
    for fault in family.FAULTS
}
