"""Programs of a user's, run as processes of their own, for what can only be seen from outside."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

# Long enough for two clusters of Ray to start, one after the other, on a machine that is busy elsewhere.
DEADLINE_S = 150
# What is there after so long stays. How soon all has to go, the fault tests say.
SETTLED_S = 20.0
# How a program ends that ends for Ctrl-C, of which a shell says 130 in either case. CPython sends itself the signal at
# the end if it came in the middle of an `exec` of a text, as when a dataclass is made, though the program caught it.
INTERRUPTED = {130, -signal.SIGINT}


class Program:
    """A Python process in a session of its own, so that whatever it leaves behind can be found."""

    def __init__(self, *arguments, stdin=subprocess.DEVNULL, cwd=None, **environment):
        # The package under test may itself be found by the search path.
        path = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, **environment}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=cwd,
            env=environment,
        )

    @property
    def pid(self):
        return self.process.pid

    def read_line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        assert readable, "the program printed nothing"
        return self.process.stdout.readline().decode().strip()

    def finish(self, text=None):
        """Waits for the end; exit code, output and errors."""
        try:
            out, err = self.process.communicate(text, timeout=DEADLINE_S)
        finally:
            self.close()
        return self.process.returncode, out.decode(), err.decode()

    def interrupt(self):
        """What Ctrl-C does: the signal goes to the whole process group."""
        os.killpg(self.pid, signal.SIGINT)

    def survivors(self):
        """The processes that stem from this program and are still there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                belongs = os.getsid(process.pid) == self.pid or names(process, self.pid)
                if belongs and process.pid != self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def wait_until_nothing_is_left(self):
        deadline = time.monotonic() + SETTLED_S
        while survivors := self.survivors():
            assert time.monotonic() < deadline, f"still there after {SETTLED_S} s: {survivors}"
            time.sleep(0.005)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def names(process, pid):
    """Tells whether this is a fork server or a worker of that process; both keep the command line of the former."""
    return any(f"serve_forks({pid})" in part for part in process.cmdline())


def run_script(folder, source, *arguments, **environment):
    """Writes a script, runs it to its end, checks that it ended well and left no process, and gives its output."""
    script = Path(folder) / "script.py"
    script.write_text(source, encoding="utf-8")
    program = Program(str(script), *arguments, **environment)
    code, out, err = program.finish()
    assert code == 0, err
    assert err == ""
    program.wait_until_nothing_is_left()
    return out
