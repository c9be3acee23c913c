"""What `docs/threat-model.md` promises about other users of the machine: nothing of a pool has a name, or is left open.

Written against `/proc`, so that it holds whatever the implementation says.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

import paceline

F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
F_GET_SEALS = 1034
LISTENING = 0x10000
PRIVATE = 0o600


@pytest.fixture
def pool():
    """A pool that has done everything that could leave a trace: small and large payloads, both ways."""
    with paceline.Pool(2) as pool:
        assert pool.map(len, [b"x" * size for size in (10, 1_000, 100_000)]) == [10, 1_000, 100_000]
        assert len(pool.submit(bytes, 200_000).result()) == 200_000
        yield pool


def ours():
    """The process ids of this process, its fork server and all workers."""
    return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]


def open_files(pid):
    """Number, target and `/proc` path of each descriptor."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield int(entry.name), str(entry.readlink()), entry
        except FileNotFoundError:
            continue


def listing(folder):
    try:
        return {entry.name for entry in Path(folder).iterdir()}
    except FileNotFoundError:
        return set()


def test_open_pool_leaves_no_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = ["/dev/shm", "/dev/mqueue", tempfile.gettempdir(), tmp_path]
    before = [listing(folder) for folder in folders]
    with paceline.Pool(2) as pool:
        pool.map(len, [b"x" * 100_000] * 4)
        appeared = [listing(folder) - known for folder, known in zip(folders, before, strict=True)]
        held = [
            target
            for pid in ours()
            for _, target, _ in open_files(pid)
            if any(
                target.startswith(f"{folder}/{name}")
                for folder, new in zip(folders, appeared, strict=True)
                for name in new
            )
        ]
    assert not held


def sockets():
    """The inodes of those that we have."""
    return {target[8:-1] for pid in ours() for _, target, _ in open_files(pid) if target.startswith("socket:[")}


@pytest.fixture
def foreign_sockets():
    """Those of this process for other tests, such as to a cluster."""
    return sockets()


def test_open_pool_has_no_named_and_no_listening_socket(foreign_sockets, pool):
    pool.map(abs, range(2), chunksize=1)
    inodes = sockets() - foreign_sockets
    assert inodes
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        _, _, _, flags, _, _, inode, *name = line.split()
        if inode in inodes:
            assert not name
            assert not int(flags, 16) & LISTENING
    for family in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        table = Path(f"/proc/net/{family}")
        if table.exists():
            assert not inodes & {line.split()[9] for line in table.read_text().splitlines()[1:]}


def test_memory_files_are_sealed_private_and_closed_on_exec(pool):
    labels = set()
    for number, target, entry in open_files(os.getpid()):
        if not target.startswith("/memfd:paceline"):
            continue
        label = target.removeprefix("/memfd:paceline-").split()[0]
        labels.add(label)
        seals = fcntl.fcntl(number, F_GET_SEALS)
        assert seals & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
        assert bool(seals & F_SEAL_WRITE) == (label == "setup")
        assert stat.S_IMODE(entry.stat().st_mode) == PRIVATE
        assert entry.stat().st_nlink == 0
    assert labels == {"table", "inputs", "results", "setup"}


def own_descriptors():
    """Of the process that calls it: what of a pool would survive an exec."""
    found = []
    for number, target, _ in open_files(os.getpid()):
        kinds = ("/memfd:paceline", "socket:", "anon_inode:[pidfd]", "anon_inode:[eventpoll]", "anon_inode:[eventfd]")
        if number > 2 and target.startswith(kinds) and not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
            found.append((number, target))
    return found


INHERITED = """
import os
for number in os.listdir("/proc/self/fd"):
    if int(number) > 2 and os.path.exists(f"/proc/self/fd/{number}"):
        print(os.readlink(f"/proc/self/fd/{number}"))
"""


def test_programs_that_are_started_inherit_nothing(pool):
    program = [sys.executable, "-I", "-c", INHERITED]
    for output in (
        subprocess.run(program, check=True, capture_output=True, close_fds=False, text=True).stdout,
        pool.submit(subprocess.check_output, program, close_fds=False, text=True).result(),
    ):
        assert "paceline" not in output
        assert "socket:" not in output
    assert own_descriptors() == []
    assert pool.submit(own_descriptors).result() == []


def writable_mappings():
    """Of the process that calls it: the memory files that it may write to."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {
        line.split("/memfd:paceline-")[1].split()[0] for line in lines if "/memfd:paceline-" in line and " rw" in line
    }


def test_worker_cannot_write_what_it_only_reads(pool):
    assert pool.submit(writable_mappings).result() == {"table", "results"}


def test_worker_holds_nothing_of_another_pool(pool):
    def memory_files():
        return {entry.stat().st_ino for _, target, entry in open_files(os.getpid()) if "memfd:paceline" in target} | {
            line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:paceline" in line
        }

    with paceline.Pool(1) as other:
        assert not pool.submit(memory_files).result() & other.submit(memory_files).result()


def test_command_lines_hold_no_payload():
    secret = "a secret that nobody may see"
    with paceline.Pool(1, initializer=len, initargs=(secret,)) as pool:
        pool.submit(len, secret).result()
        for pid in ours()[1:]:
            assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


ATTEMPT = """
import os, sys
reached = []
for pid in sys.argv[1:]:
    for what in ("fd", "maps", "mem", "environ", "map_files"):
        path = f"/proc/{pid}/{what}"
        try:
            os.listdir(path) if what in ("fd", "map_files") else open(path, "rb").read(1)
            reached.append(path)
        except (PermissionError, ProcessLookupError):
            pass
print(reached)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reaches_nothing_by_proc(pool):
    nobody = 65534
    # His interpreter must be one that he can run.
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [python, "-I", "-S", "-c", ATTEMPT, *map(str, ours())]
        try:
            tried = subprocess.run(
                command, user=nobody, group=nobody, extra_groups=[], cwd="/", capture_output=True, check=False
            )
        except PermissionError:
            continue
        if tried.returncode == 0:
            assert tried.stdout.strip() == b"[]"
            return
    pytest.skip("another user finds no Python here that he may run")
