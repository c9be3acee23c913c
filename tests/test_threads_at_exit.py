"""A pool of threads and its process: the end of the interpreter, forks, and Ctrl-C."""

import contextlib
import time
from pathlib import Path

import pytest

from program import Program, run_script


def test_program_that_leaves_its_pool_open_ends(tmp_path):
    out = run_script(
        tmp_path,
        "import paceline\n"
        "pool = paceline.Pool(2, backend='threads')\n"
        "print(pool.apply(abs, (-1,)))\n"
        "pool.map(abs, range(1000))\n",
    )
    assert out == "1\n"


def test_program_that_exits_in_the_middle_of_a_task_waits_for_it(tmp_path):
    out = run_script(
        tmp_path,
        "import threading, time, paceline\n"
        "begun = threading.Event()\n"
        "def task():\n"
        "    begun.set()\n"
        "    time.sleep(0.2)\n"
        "    print('done')\n"
        "pool = paceline.Pool(1, backend='threads')\n"
        "pool.submit(task)\n"
        "begun.wait()\n",
    )
    assert out == "done\n"


def test_forked_child_is_told_that_the_pool_is_not_its_own(tmp_path):
    source = (
        "import os, threading, warnings, paceline\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "door = threading.Event()\n"
        "pool = paceline.Pool(1, backend='threads')\n"
        "waiting = pool.submit(door.wait)\n"
        "if not os.fork():\n"
        "    for attempt in (waiting.result, lambda: pool.submit(abs, 1)):\n"
        "        try:\n"
        "            attempt()\n"
        "        except RuntimeError as error:\n"
        "            print('refused' if 'forked from' in str(error) else error, flush=True)\n"
        "    pool.terminate()\n"
        "    pool.join()\n"
        "    with paceline.Pool(1, backend='threads') as own:\n"
        "        print(own.apply(abs, (-2,)), flush=True)\n"
        "else:\n"
        "    os.wait()\n"
        "    door.set()\n"
        "    print(waiting.result())\n"
        "    pool.close()\n"
        "    pool.join()\n"
    )
    assert run_script(tmp_path, source).splitlines() == ["refused", "refused", "2", "True"]


WAITS = {
    "result": "pool.submit(wait).result()",
    "map": "pool.map(wait, [1])",
    "imap": "next(pool.imap_unordered(wait, [1]))",
    "wait": "concurrent.futures.wait([pool.submit(wait)])",
    "join": "pool.submit(wait); pool.close(); pool.join()",
}


def let_fall_asleep(pid):
    """Waits until the main thread of a program sleeps, and stays so.

    The interpreter itself loses a signal that comes between its last look for one and the moment when the standard
    library's own wait begins to sleep.
    """
    status = Path(f"/proc/{pid}/task/{pid}/status")
    seen = [""]
    while "State:\tS" not in seen[-1] or seen[-3:] != seen[-1:] * 3:
        time.sleep(0.05)
        seen.append("\n".join(line for line in status.read_text().splitlines() if line.startswith(("State", "volun"))))


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(tmp_path, wait):
    script = tmp_path / "script.py"
    script.write_text(
        "import concurrent.futures, threading, paceline\n"
        "door = threading.Event()\n"
        "def wait(_=None):\n"
        "    print('waiting', flush=True)\n"
        "    door.wait()\n"
        "pool = paceline.Pool(2, backend='threads')\n"
        "try:\n"
        f"    {WAITS[wait]}\n"
        "except KeyboardInterrupt:\n"
        "    door.set()\n"
        "    print('interrupted', flush=True)\n"
    )
    with contextlib.closing(Program(str(script))) as program:
        assert program.read_line() == "waiting"
        if wait == "wait":
            let_fall_asleep(program.pid)
        program.interrupt()
        assert program.read_line() == "interrupted"
        code, _, err = program.finish()
        assert (code, err) == (0, "")
