"""The questions, in the order of the table."""

from benches.compare.question import Contest, Question
from benches.compare.rows import (
    awaiting,
    endless,
    grid_search,
    idle,
    limits,
    mapping,
    payload,
    peak,
    round_trip,
    start,
    submit,
    tail,
    threads,
)

QUESTIONS: dict[str, Question | Contest] = {
    "submit": submit.QUESTION,
    "round-trip": round_trip.QUESTION,
    "map": mapping.DEFAULT_CHUNKS,
    "map-singly": mapping.SINGLE_ITEMS,
    "start": start.FIRST_POOL,
    "second-pool": start.SECOND_POOL,
    "tail-sleep": tail.SLEEPING,
    "tail-burn": tail.BURNING,
    "megabytes": payload.MEGABYTES,
    "arguments": payload.ARGUMENTS,
    "results": payload.RESULTS,
    "arguments-peak": peak.ARGUMENTS,
    "results-peak": peak.RESULTS,
    "memory": idle.MEMORY,
    "idle": idle.CPU,
    "limits-submit": limits.SUBMITTING,
    "limits-map": limits.MAPPING,
    "endless": endless.CONTEST,
    "awaited": awaiting.CONTEST,
    "threads": threads.CONTEST,
    "grid-search": grid_search.CONTEST,
}
