"""One cell, in this fresh process: `python -m tests.faults.cell --subject NAME --fault NAME --call NAME --moment NAME`.

Owns the process: its own folder, its own /dev/shm where that is allowed, its watchdog. Prints the finding as lines of
JSON, each with more in it than the one before, so that the last tells how far a cell came that had to be ended.
"""

import argparse
import contextlib
import ctypes
import faulthandler
import os
import shutil
import sys
import tempfile
import time
import traceback

from tests.faults.families import FAULTS
from tests.faults.scene import Scene, Skipped, saved
from tests.faults.subjects import NotSupported

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000


def take_shared_memory_folder(folder):
    """Puts a folder of the cell's in the place of /dev/shm, so that what is left there is known to be the cell's."""
    if os.geteuid() != 0:
        return
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    os.chmod(folder, 0o1777)  # noqa: PTH101
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) == 0:
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        libc.mount(os.fsencode(folder), b"/dev/shm", None, MS_BIND, None)


def arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cell", description="Runs one cell of the matrix.")
    parser.add_argument("--subject", required=True, help="paceline:forkserver, paceline:spawn, paceline:fork or a peer")
    parser.add_argument("--fault", required=True, choices=FAULTS, metavar="NAME")
    parser.add_argument("--call", default="submit")
    parser.add_argument("--moment", default="running")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="for its files; by default a temporary one")
    return parser.parse_args()


def tell(finding):
    # By the descriptor that the runner reads, whatever the story does to `sys.stdout`.
    with contextlib.suppress(OSError):
        os.write(OUTPUT, saved(finding).encode() + b"\n")


def begin_again(environment):
    os.dup2(OUTPUT, 1)
    command = [sys.executable, "-m", "tests.faults.cell", *sys.argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **environment})


# Not passed on to what this process starts.
OUTPUT = os.dup(1)


def main():
    chosen = arguments()
    folder = chosen.folder or tempfile.mkdtemp(prefix="cell-")
    take_shared_memory_folder(os.path.join(folder, "shm"))  # noqa: PTH118
    # What is printed beside the finding belongs to its errors.
    os.dup2(2, 1)
    fault = FAULTS[chosen.fault]
    ours = chosen.subject.startswith("paceline")
    if ours:
        faulthandler.dump_traceback_later(fault.deadline_s - 2, exit=False)
    scene = Scene(chosen.subject, chosen.call, chosen.moment, chosen.seed, folder, tell, begin_again)
    began = time.monotonic()
    try:
        fault.story(scene)
    except NotSupported as error:
        scene.finding["unsupported"] = str(error)
    except Skipped as error:
        scene.finding["skipped"] = str(error)
    except BaseException as error:
        trace = traceback.format_exc()
        sys.stderr.write(trace)
        scene.finding["raised"] = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        scene.finding["surprises"].append(f"the story itself raised {type(error).__name__}: {error}")
    scene.finding["cell_s"] = round(time.monotonic() - began, 3)
    scene.stage("done")
    faulthandler.cancel_dump_traceback_later()
    if not chosen.folder:
        shutil.rmtree(folder, ignore_errors=True)
    if scene.finding.get("raised") and not ours:
        # What a peer has left half-way may keep it from ending.
        os._exit(0)


if __name__ == "__main__":
    main()
