"""A worker before its first task: it looks like the process it works for, and fails as the user's code fails."""

import marshal
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from paceline import worker as worker_module
from paceline.pickling import dump_function
from program import run_script
from stand_in_worker import StandInWorker


@pytest.fixture
def worker():
    with StandInWorker() as worker:
        yield worker


def test_worker_takes_over_path_folder_and_arguments(worker):
    def look():
        import sys

        return sys.path, os.path.realpath("."), sys.argv, sys.stdin.read() if sys.stdin else ""

    path, folder, arguments, text = worker.call(look)
    assert path == sys.path
    assert folder == str(Path.cwd())
    assert arguments == ["program", "argument"]
    assert text == ""


def test_remote_traceback_begins_with_the_users_frame():
    def initializer():
        raise ValueError("no")

    data, _ = dump_function(initializer)

    setup = marshal.dumps((sys.path, None, sys.argv, {}, None, data, pickle.dumps(((), None)), 0, 1, {}))
    program = (
        "import sys\n"
        "from paceline import _paceline, worker, pickling\n"
        "try: worker.set_up(sys.stdin.buffer.read(), _paceline)\n"
        "except ValueError as error:\n"
        "    error.__traceback__ = error.__traceback__.tb_next\n"
        "    sys.stdout.write(str(pickling.unpack_exception(pickling.pack_exception(error)).__cause__))\n"
    )
    source = str(Path(worker_module.__file__).parent.parent)
    answer = subprocess.run(
        [sys.executable, "-c", program], input=setup, check=True, capture_output=True, env={"PYTHONPATH": source}
    )
    text = answer.stdout.decode()
    assert "paceline/worker.py" not in text
    assert "in initializer" in text


LOCKING_PROGRAM = """
import fcntl
import os
from paceline import Pool

# As C libraries open theirs: every new program gets a copy, and with it a share in the lock.
file = os.open("locked", os.O_RDWR | os.O_CREAT)
os.set_inheritable(file, True)
fcntl.flock(file, fcntl.LOCK_EX)
with Pool(2) as pool:
    pool.map(abs, range(2))
    os.close(file)
    fcntl.flock(os.open("locked", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("the lock is ours")
"""


def test_workers_hold_no_lock_on_files_that_the_caller_has_closed(tmp_path):
    assert run_script(tmp_path, f"import os\nos.chdir({str(tmp_path)!r})\n{LOCKING_PROGRAM}") == "the lock is ours\n"
