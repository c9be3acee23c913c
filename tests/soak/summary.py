"""How the soak went, as a page: docs/soak.md from saved data. Owns the words."""

UNITS = {
    "private_mb": "resident memory of the program that is its own, MB",
    "shared_mb": "resident memory of the program in memory files, MB",
    "server_mb": "resident memory of the fork server, MB",
    "memory_files_mb": "memory files mapped by the program, MB",
    "memory_files": "memory files mapped by the program",
    "descriptors": "file descriptors of the program",
    "threads": "threads of the program",
    "processes": "processes under the program",
}


def markdown(data):
    totals, faults = data["totals"], data["faults"]
    verdict = f"{len(faults)} things were out of order." if faults else "Nothing was out of order."
    lines = [
        "# The soak",
        "",
        f"Written by `{data['command']}`: {totals['tasks']:,} tasks in {data['seconds']:.0f} s through",
        f"{data['pools']} pools one after the other, {data['at_a_time']} at a time, of {data['workers']} workers each,",
        "called by `submit`, `map` with chunks, `imap` and `await` at the same time, while something went wrong every",
        f"{data['every_ms']:g} ms. Each task notes itself in a file when it begins; each outcome is booked once, and",
        f"must be the right result or an error that is explained. The seed was {data['seed']}.",
        "",
        f"**{verdict}**",
        "",
        *(f"- {fault}" for fault in faults[:20]),
    ]
    for heads, counts in (
        ("| outcome | tasks |", totals["outcomes"]),
        ("| what went wrong | times |", data["chaos"]),
        ("| error | tasks |", totals["errors"]),
    ):
        lines += ["", heads, "| --- | ---: |"]
        lines += [f"| {name} | {count:,} |" for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    lines += ["", "| | early | late | most |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {UNITS[name]} | {first:g} | {last:g} | {most:g} |" for name, (first, last, most) in data["windows"].items()
    ]
    lines += ["", "Early is the median of the second and third tenth of the run, late that of the last two.", ""]
    lines += [f"- {name}: {value}" for name, value in data["facts"].items()]
    return "\n".join(lines) + "\n"
