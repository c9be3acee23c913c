"""Programs that let themselves be watched, and the command that looks at them and at no others."""

import contextlib
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

from program import Program

PROGRAM = """
import itertools, os, sys, time
import paceline

def stuck(number=0):
    sum(itertools.repeat(1))

def waits(number=0):
    time.sleep(600)

def fails(number):
    raise ValueError(f"bad \\x1b[31m {number}")

if __name__ == "__main__":
    paceline.watchable()
    with paceline.Pool(2, name="the pool", grace=0.2) as pool:
        pool.map(abs, range(100))
        exec(sys.argv[1])
"""


def watched(runtime, body):
    """A program with a pool `pool` of two workers that has run this as far as its first line of output, `ready`."""
    script = runtime / "watched.py"
    script.write_text(PROGRAM)
    program = Program(str(script), textwrap.dedent(body), stdin=subprocess.PIPE, XDG_RUNTIME_DIR=str(runtime))
    line = program.read_line()
    assert line == "ready", f"{line}\n{program.finish()}"
    return program


def command(runtime, *arguments):
    """The command line of `paceline top` that knows no other folder of sockets."""
    looks_only_here = (
        "import sys; from paceline import rendezvous; from paceline.__main__ import main; "
        f"rendezvous._folders = lambda uid: [{str(runtime)!r} + '/paceline']; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", looks_only_here, "top", *arguments]


def top(runtime, *arguments, **environment):
    """The command's exit code, output and errors."""
    ran = subprocess.run(
        command(runtime, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return ran.returncode, ran.stdout, ran.stderr


@contextlib.contextmanager
def connected(path):
    """A connection to a socket, whatever the length of its path."""
    path = Path(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            yield connection
    finally:
        os.close(folder)


def look(pid):
    """What a monitor sees of a program."""
    from paceline import monitor

    (program,) = [program for program in monitor.Monitor().look() if program.pid == pid]
    return program
