"""How well maps of unequal tasks are balanced: `docs/load-balance.md` and its picture.

Owns neither the measuring nor the scheduling: the measured times are those of the rows `tail-sleep` and `tail-mixes` of
the last whole `make bench`, the simulated ones come from the scheduler itself, by `cargo run --example makespans`.
"""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "load-balance.md"
PICTURE = ROOT / "docs" / "load-balance.svg"

# Where each mix of tasks stands in the benchmark.
ROWS = {
    "uniform": ("tail-mixes", "uniform"),
    "heavy-tailed": ("tail-sleep", "shuffled"),
    "ascending": ("tail-sleep", "ascending"),
    "descending": ("tail-sleep", "descending"),
    "bimodal": ("tail-mixes", "bimodal"),
    "giant": ("tail-mixes", "giant"),
}
PEERS = {"paceline": "Paceline", "pool": "multiprocessing.Pool", "joblib": "joblib", "mpire": "mpire"}
COLOURS = {"paceline": "#1f6fb4", "pool": "#d9822b", "joblib": "#6aa56a", "mpire": "#9a86c8"}
WORKERS = (2, 4, 8, 16, 64)
MOST_SHOWN = 1.6


def measured() -> dict[str, dict[str, float]]:
    """For each mix and peer: time over the bound."""
    figures = json.loads(MEASURED.read_text())["figures"]
    return {
        mix: {peer: median(figures[row][peer][name]) for peer in PEERS if name in figures[row].get(peer, {})}
        for mix, (row, name) in ROWS.items()
    }


def simulated() -> dict[tuple[str, int, str], float]:
    """For each mix, number of workers and way: time over the bound."""
    command = ["cargo", "run", "-q", "--locked", "--release", "-p", "paceline-sim", "--example", "makespans"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = csv.DictReader(told.splitlines(), delimiter="\t")
    return {(row["mix"], int(row["workers"]), row["way"]): float(row["ratio"]) for row in rows}


def draw(found: dict[str, dict[str, float]]) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "paceline", "font.size": 9}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        fill(figure, found)
        figure.savefig(PICTURE, metadata={"Date": None})


def fill(figure: Figure, found: dict[str, dict[str, float]]) -> None:
    axes = figure.subplots()
    width = 0.8 / len(PEERS)
    for place, (peer, name) in enumerate(PEERS.items()):
        shown = [(number, ratios[peer]) for number, ratios in enumerate(found.values()) if peer in ratios]
        places = [number + (place - (len(PEERS) - 1) / 2) * width for number, _ in shown]
        axes.bar(places, [ratio - 1 for _, ratio in shown], width * 0.92, label=name, color=COLOURS[peer], bottom=1)
        for at, (_, ratio) in zip(places, shown, strict=True):
            if ratio > MOST_SHOWN:
                axes.annotate(f"{ratio:.2f}", (at, MOST_SHOWN), ha="center", va="top", fontsize=7, rotation=90)
    axes.axhline(1.03, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate("3 % over the bound", (3.5, 1.03), fontsize=7, va="bottom", ha="center")
    axes.set_ylim(1, MOST_SHOWN)
    axes.set_xticks(range(len(found)), list(found))
    axes.set_ylabel("time over the least possible")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(PEERS), loc="upper left")


def page(found: dict[str, dict[str, float]], played: dict[tuple[str, int, str], float]) -> str:
    facts = json.loads(MEASURED.read_text())["facts"]
    lines = [
        "# Load balance",
        "",
        "How much longer than the least possible does a map of 1,000 unequal tasks take? The least possible is",
        "max(total / workers, longest task). Written by `make balance`.",
        "",
        "![Time over the least possible, by mix of tasks and library](load-balance.svg)",
        "",
        f"## Measured, on 2 workers ({facts['date'].partition(';')[0]}, {facts['processor']})",
        "",
        "Default chunking everywhere; for the giant, `cost=` where there is such a thing.",
        "",
        f"| tasks | {' | '.join(PEERS.values())} |",
        f"| --- | {' | '.join('---:' for _ in PEERS)} |",
    ]
    for mix, ratios in found.items():
        cells = (f"{ratios[peer]:.3f}" if peer in ratios else "" for peer in PEERS)
        lines.append(f"| {mix} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Simulated, with the scheduler itself",
        "",
        "In virtual time, 5 µs between two chunks of a worker: the default, with `cost=`, and with four chunks of one",
        "size for each worker, as `multiprocessing.Pool.map` makes them.",
        "",
        f"| tasks | way | {' | '.join(f'{workers} workers' for workers in WORKERS)} |",
        f"| --- | --- | {' | '.join('---:' for _ in WORKERS)} |",
    ]
    ways = {"measured": "default", "cost": "`cost=`", "fixed": "four fixed chunks"}
    for mix in ROWS:
        for way, name in ways.items():
            cells = (f"{played[mix, workers, way]:.3f}" for workers in WORKERS)
            lines.append(f"| {mix} | {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Who takes tasks in their order, and cannot know how long they take, may begin the longest last: the ascending",
        "tasks and the giant are for `cost=`, or for `paceline.Durations`, which remembers earlier runs.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    found = measured()
    draw(found)
    PAGE.write_text(page(found, simulated()))
    print(f"wrote {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
