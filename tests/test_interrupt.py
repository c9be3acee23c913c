"""Ctrl-C: the caller hears of it at once, alone, and nothing is left running."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# What the whole process may take from the signal to its end: 100 ms to notice, the rest for the interpreter to go on a
# machine that is busy elsewhere. What is interrupted takes a minute.
PATIENCE_S = 10.0


class Terminal:
    """A script that runs at a terminal of its own, so that Ctrl-C reaches whatever a terminal's would."""

    def __init__(self, source, folder):
        # Opening it makes it the controlling terminal of a session that has none.
        take_terminal = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR))\n"
        script = folder / "script.py"
        script.write_text(take_terminal + source, encoding="utf-8")
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, script],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # From 3.13 on, tracebacks at a terminal are in colour.
            env={**os.environ, "PYTHON_COLORS": "0"},
        )
        os.close(slave)
        self.output = ""

    def read_until(self, text, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            readable, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"no {text!r} in {self.output!r}"
            try:
                self.output += os.read(self.master, 65536).decode().replace("\r\n", "\n")
            except OSError:
                break

    def press_ctrl_c(self):
        os.write(self.master, b"\x03")

    def end(self):
        """Reads to the end; the exit code and how long it took."""
        began = time.monotonic()
        self.read_until("\0")
        code = self.process.wait(timeout=150)
        return code, time.monotonic() - began

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def run(source):
        opened.append(Terminal(source, tmp_path))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


WAITS = {
    "result": "pool.submit(hold, 0).result()",
    "get": "pool.apply_async(hold, (0,)).get(50)",
    "apply": "pool.apply(hold, (0,))",
    "map": "pool.map(hold, range(10))",
    "imap": "next(pool.imap(hold, range(10)))",
    "unordered": "next(pool.imap_unordered(hold, range(10)))",
    "map_reduce": "pool.map_reduce(hold, max, range(10))",
    "reduction": "m = MapReduce(2, hold, max); m.start(); m.add_task(0); m.task_done(); m.join()",
    "processor": "p = ParallelProcessor(2, hold); p.start(); p.add_task(0); p.task_done(); p.join()",
    "wait": "concurrent.futures.wait([pool.submit(hold, 0)])",
    "join": "pool.submit(hold, 0); pool.close(); pool.join()",
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait_with_one_traceback_and_no_process_left(terminal, wait):
    # The task says when to press: what is interrupted before is not the wait, and handlers within have tracebacks, too.
    one = terminal(
        "import concurrent.futures, os, time\n"
        "import paceline\n"
        "from paceline.compat.pyrallel import MapReduce, ParallelProcessor\n"
        "def hold(_):\n"
        "    os.write(1, b'waiting\\n')\n"
        "    time.sleep(60)\n"
        "with paceline.Pool(2) as pool:\n"
        "    pool.map(abs, range(10))\n"
        f"    {WAITS[wait]}\n"
    )
    one.read_until("waiting\n")
    family = one.family()
    one.press_ctrl_c()
    code, seconds = one.end()
    assert code == -signal.SIGINT
    assert seconds < PATIENCE_S
    assert one.output.count("Traceback (most recent call last)") == 1, one.output
    assert one.output.rstrip().endswith("KeyboardInterrupt"), one.output
    assert len(family) >= 2
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


def test_ctrl_c_that_is_caught_leaves_a_pool_that_works(terminal):
    one = terminal(
        "import time\n"
        "import paceline\n"
        "with paceline.Pool(2) as pool:\n"
        "    pool.map(abs, range(10))\n"
        "    slow = pool.submit(time.sleep, 1)\n"
        "    try:\n"
        "        print('waiting', flush=True)\n"
        "        slow.result()\n"
        "    except KeyboardInterrupt:\n"
        "        print('caught', pool.map(abs, [-1, -2]), slow.result(), flush=True)\n"
    )
    one.read_until("waiting\n")
    one.press_ctrl_c()
    code, _ = one.end()
    assert "caught [1, 2] None" in one.output
    assert code == 0


def test_a_waiting_thread_does_not_keep_the_main_one_from_ctrl_c(terminal):
    one = terminal(
        "import threading, time\n"
        "import paceline\n"
        "with paceline.Pool(2) as pool:\n"
        "    futures = [pool.submit(time.sleep, 60) for _ in range(4)]\n"
        "    waiting = threading.Thread(target=futures[0].wait, daemon=True)\n"
        "    waiting.start()\n"
        "    print('waiting', flush=True)\n"
        "    futures[1].result()\n"
    )
    one.read_until("waiting\n")
    one.press_ctrl_c()
    code, seconds = one.end()
    assert code == -signal.SIGINT
    assert seconds < PATIENCE_S
    assert len(re.findall("Traceback", one.output)) == 1, one.output


def test_the_caller_notices_within_a_tenth_of_a_second():
    # In one process, so that no interpreter's start and end is in the figure.
    source = (
        "import os, signal, threading, time\n"
        "import paceline\n"
        "with paceline.Pool(1) as pool:\n"
        "    delays = []\n"
        "    slow = pool.submit(time.sleep, 60)\n"
        "    for _ in range(5):\n"
        "        sent = []\n"
        "        def send():\n"
        "            sent.append(time.monotonic())\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        timer = threading.Timer(0.1, send)\n"
        "        timer.start()\n"
        "        try:\n"
        "            slow.result()\n"
        "        except KeyboardInterrupt:\n"
        "            delays.append(time.monotonic() - sent[0])\n"
        "        timer.join()\n"
        "    pool.terminate()\n"
        "print(sorted(delays)[2])\n"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=150)
    assert float(ran.stdout) < 0.1


def test_nothing_of_an_interrupted_pool_is_in_shared_memory_files():
    assert [name for name in os.listdir("/dev/shm") if "paceline" in name] == []  # noqa: PTH208
    assert not [path for path in Path(os.environ.get("TMPDIR", "/tmp")).glob("*paceline*") if path.is_socket()]
