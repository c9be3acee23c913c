"""Runs cells, some at a time, each in a process of its own with a deadline, and looks for what they have left.

Owns the deadlines, the end of what does not end by itself, and the traces from outside: processes that carry the
cell's mark, zombies of its session, files in its /dev/shm and its TMPDIR. Only cells of Paceline are judged.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from queue import Empty, SimpleQueue

ROOT = Path(__file__).parent.parent.parent
MARK = "PACELINE_FAULTS_MARK"
# How long what a cell has started may outlive it.
GRACE_S = 1.5
# Who gets the orphans.
FOSTER_PARENTS = (1, os.getpid())
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


def belonging(mark, session):
    """The processes of a cell, by its mark in their environment or by its session, with their states."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            state, parent, its_session = fields[0], int(fields[1]), int(fields[3])
            if state == "Z" and parent in FOSTER_PARENTS:
                continue  # An orphan, which ended: that nobody has collected it yet is the machine's affair.
            if its_session == session or wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = state
    return found


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_all(mark, session):
    deadline = time.monotonic() + 10
    while (found := belonging(mark, session)) and time.monotonic() < deadline:
        kill(found)
        time.sleep(0.02)


def left_processes(mark, session):
    deadline = time.monotonic() + GRACE_S
    while (found := belonging(mark, session)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def left_files(folder):
    found = []
    for name in ("shm", "tmp"):
        files = [path for path in (folder / name).rglob("*") if not path.is_dir()]
        found.extend(str(path.relative_to(folder)) for path in files)
    return found


def remove_group(pid):
    for parent in CGROUPS:
        with contextlib.suppress(OSError):
            (parent / f"paceline-faults-{pid}").rmdir()


under_way = {}


def end_everything():
    """Ends the cells that run, where the run itself is ended."""
    for mark, session in list(under_way.items()):
        end_all(mark, session)


def run(cell):
    """What became of a cell: its own finding, and what could be seen from outside."""
    mark = uuid.uuid4().hex
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    (folder / "tmp").mkdir(mode=0o777)
    began = time.monotonic()
    try:
        with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.cell", *cell.arguments(), "--folder", str(folder)],
                cwd=ROOT,
                env={**os.environ, MARK: mark, "TMPDIR": str(folder / "tmp"), "PYTHONWARNINGS": "ignore"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        under_way[mark] = process.pid
        over_deadline = False
        try:
            code = process.wait(cell.deadline_s)
        except subprocess.TimeoutExpired:
            over_deadline, code = True, None
        left = {} if over_deadline else left_processes(mark, process.pid)
        names = [f"{state} {command_of(pid)}" for pid, state in left.items()]
        end_all(mark, process.pid)
        process.wait()
        remove_group(process.pid)
        finding = last_finding(folder / "output")
        said = (folder / "errors").read_text(encoding="utf-8", errors="replace")
        finding["processes_left"] = len(left)
        finding["files_left"] = [] if over_deadline else left_files(folder)
        finding["all_s"] = round(time.monotonic() - began, 2)
        if over_deadline:
            finding["hangs"] = finding.get("stage", "before anything")
        judge(cell, finding, code, names, said)
    finally:
        under_way.pop(mark, None)
        shutil.rmtree(folder, ignore_errors=True)
    return finding


def judge(cell, finding, code, left, said):
    surprises = finding.setdefault("surprises", [])
    if "hangs" in finding:
        surprises.append(f"hangs while {finding['hangs']}: not over within {cell.deadline_s} s")
    elif code != 0:
        surprises.append(f"the cell ended with {code}")
    if left:
        surprises.append(f"processes are left: {left[:4]}")
    if finding["files_left"]:
        surprises.append(f"files are left: {finding['files_left'][:4]}")
    if "panicked at" in said:
        surprises.append("something panicked")
    if not cell.ours:
        finding["surprises"] = []
    elif surprises:
        finding["said"] = said[-6000:]


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return "?"


def last_finding(path):
    for line in reversed(path.read_bytes().splitlines()):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return {"stage": "starting", "surprises": ["the cell has told nothing"]}


def run_all(cells, *, at_a_time, tell):
    """Runs all cells; gives each with its finding, in the order of the cells."""
    findings = [None] * len(cells)
    together, apart = SimpleQueue(), []
    for number, cell in enumerate(cells):
        apart.append(number) if cell.alone else together.put(number)

    def take():
        while True:
            try:
                number = together.get_nowait()
            except Empty:
                return
            do(number)

    def do(number):
        findings[number] = run(cells[number])
        tell(cells[number], findings[number])

    threads = [threading.Thread(target=take, daemon=True) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in apart:
        do(number)
    return list(zip(cells, findings, strict=True))
