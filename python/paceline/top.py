"""`paceline top`: what the pools of running programs are doing, live, or once as text or JSON.

Owns which of these it is, and the exit code. Who is asked what is told in `paceline.monitor`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from time import sleep
from typing import TYPE_CHECKING, Any

from paceline.board import FAILURES_SHOWN, failure_rows, rows, summary
from paceline.monitor import Monitor
from paceline.rendezvous import VERSION

if TYPE_CHECKING:
    from paceline.monitor import ProgramSeen

__all__ = ["run"]

WAY_IN = "call `paceline.watchable()` in the program, or start it with PACELINE_TOP=1 in its environment"


def run(*, pid: int | None = None, once: bool = False, as_json: bool = False, interval_s: float = 1.0) -> int:
    """Shows what there is to see; the exit code."""
    monitor = Monitor(pid)
    programs = monitor.look()
    if not programs:
        if as_json:
            print(_as_json(programs))
        _complain(monitor)
        return 1
    is_terminal = sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
    if not once and not as_json and is_terminal and _show_screen(monitor, programs, interval_s):
        return 0
    # Rates take two looks.
    sleep(interval_s)
    programs = monitor.look()
    print(_as_json(programs) if as_json else _as_text(programs))
    return 0 if any(not program.trouble for program in programs) else 1


def _show_screen(monitor: Monitor, programs: list[ProgramSeen], interval_s: float) -> bool:
    """Whether the terminal can show a screen, and has."""
    try:
        import curses
    except ImportError:  # An interpreter that was built without it.
        return False
    from paceline import screen

    try:
        curses.setupterm()
    except curses.error:
        return False
    screen.show(monitor, programs, interval_s)
    return True


def _complain(monitor: Monitor) -> None:
    for refused in monitor.refused:
        print(f"error: {refused}", file=sys.stderr)
    if monitor.pid is None:
        what = "no running program of yours lets itself be watched"
    elif os.path.exists(f"/proc/{monitor.pid}"):
        what = f"process {monitor.pid} does not let itself be watched by you"
    else:
        what = f"there is no process {monitor.pid}"
    print(f"error: {what}\nhint: {WAY_IN}", file=sys.stderr)


def _as_text(programs: list[ProgramSeen]) -> str:
    width = shutil.get_terminal_size((120, 24)).columns
    lines = [summary(programs), *(row.text for row in rows(programs, width))]
    failures = failure_rows(programs, width, FAILURES_SHOWN)
    if failures:
        lines += ["recent failures:", *(row.text for row in failures)]
    return "\n".join(lines)


def _as_json(programs: list[ProgramSeen]) -> str:
    told: list[dict[str, Any]] = []
    for program in programs:
        plain = asdict(program)
        plain["socket"] = None if program.place is None else program.place.path
        del plain["place"], plain["now"]
        told.append(plain)
    return json.dumps({"paceline_top": VERSION, "programs": told}, indent=2)
