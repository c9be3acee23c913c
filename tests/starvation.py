"""Runs a command while the CPUs are taken away in bursts, as those of a virtual machine with busy neighbours are.

    python tests/starvation.py [--longest SECONDS] [--share SHARE] command ...

Owns the load: a loop for each CPU that nothing else can interrupt, so that what runs beside it stands still wherever it
happens to be. A test that fails here and nowhere else relies on time where it could wait for an event. Needs the right
to run in real time, which root has.
"""

import argparse
import os
import random
import subprocess
import sys
import time

PRIORITY = 10


def hog(cpu, longest_s, share):
    """Takes one CPU for a while, again and again, until the parent has gone."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    chance = random.Random(cpu)
    parent = os.getppid()
    while os.getppid() == parent:
        # Most are short.
        burst_s = longest_s * chance.random() ** 2
        end = time.monotonic() + burst_s
        while time.monotonic() < end:
            pass
        time.sleep(burst_s * (1 / share - 1) * 2 * chance.random())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=float, default=0.5, metavar="SECONDS", help="the longest burst")
    parser.add_argument("--share", type=float, default=0.5, help="of the time, from 0 to 1")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    if not chosen.command or not 0 < chosen.share < 1:
        parser.error("a command is needed, and a share between 0 and 1")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError:
        sys.exit("error: this process may not run in real time\nhint: run it as root")
    for cpu in os.sched_getaffinity(0):
        if os.fork() == 0:
            hog(cpu, chosen.longest, chosen.share)
            os._exit(0)
    sys.exit(subprocess.run(chosen.command, check=False).returncode)


if __name__ == "__main__":
    main()
