"""What a process may have runs out: descriptors, processes, memory files, room in /dev/shm."""

import contextlib
import ctypes
import os
import platform
import resource
import struct

import psutil
from tests.faults.fault import Fault
from tests.faults.scene import TASKS, story
from tests.faults.subjects import NotSupported
from tests.faults.tally import label

# Accounts that nobody has; one for each cell, because a limit counts all processes of an account.
FIRST_NOBODY, NOBODIES = 61000, 4000
PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 22, 38, 47, 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def libc():
    return ctypes.CDLL(None, use_errno=True)


def opens_or_says_why(scene, limit, figure):
    """Under a limit of `figure`, a pool works or raises an error that says so; without it, one works again."""
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (figure, hard))
    said = None
    try:
        scene.subject.open()
    except NotSupported:
        raise
    except BaseException as error:
        said = error
    else:
        scene.stage("calling under the limit")
        try:
            scene.work(scene.orders(count=10))
            errors = dict(scene.tally.errors)
            broken = set(errors) <= {"WorkerStartError", "OSError"}
            scene.expect(broken, f"under the limit: {errors} {scene.tally.lines}")
            scene.expect(not scene.tally.pending, f"under the limit, {scene.tally.pending} calls have not ended")
            scene.finding["says"] = "works" if not errors else " ".join(errors)
        except BaseException as error:
            said = error
        scene.stage("closing under the limit")
        scene.end("terminate")
    if said is not None:
        scene.says(said)
        told = isinstance(said, OSError) or label(said) == "WorkerStartError" or "start new thread" in str(said)
        scene.expect(told, f"under the limit, opening raises {said!r}")
    resource.setrlimit(limit, (soft, hard))
    # The fork server has had it from its birth, and keeps it.
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(child.pid, limit, (soft, hard))
    scene.notes.write_text("")
    scene.tally = None
    with scene.pool():
        scene.work(scene.orders())
        scene.expect_outcome(TASKS)


def few_files(scene):
    if scene.chance.random() < 0.5:
        # As a program that has had a pool before.
        scene.look_before()
    used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208
    more = scene.chance.randrange(0, 40)
    scene.remark(f"{more} descriptors left")
    opens_or_says_why(scene, resource.RLIMIT_NOFILE, used + more)


def become_nobody(scene):
    """The limit of processes does not hold for root. The interpreter may be where only root can read."""
    if os.geteuid() != 0:
        return
    kept = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH
    c = libc()
    c.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    nobody = FIRST_NOBODY + os.getpid() % NOBODIES
    os.setresgid(nobody, nobody, nobody)
    os.setresuid(nobody, nobody, nobody)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    sets = struct.pack("=6I", kept, kept, kept, 0, 0, 0)
    if c.capset(header, sets) != 0:
        scene.skip("capabilities cannot be kept")
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0:
            scene.skip("capabilities cannot be kept")


def tasks_of(user):
    """How many threads a user has, which is what the limit counts."""
    total = 0
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:  # noqa: PTH116
                    total += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
            except OSError:
                continue
    return total


def few_processes(scene):
    become_nobody(scene)
    more = scene.chance.randrange(0, 10)
    scene.remark(f"{more} processes or threads left")
    opens_or_says_why(scene, resource.RLIMIT_NPROC, tasks_of(os.getuid()) + more)


NUMBERS = {"x86_64": (0xC000003E, 319), "aarch64": (0xC00000B7, 279)}


@story
def no_memory_files(scene, error_number):
    """A filter of system calls, as containers have them, that refuses `memfd_create`."""
    if platform.machine() not in NUMBERS:
        scene.skip(f"the number of memfd_create on {platform.machine()} is not known here")
    architecture, number = NUMBERS[platform.machine()]
    allow, refuse = 0x7FFF0000, 0x00050000 | error_number
    program = [
        (0x20, 0, 0, 4),  # the architecture
        (0x15, 0, 3, architecture),
        (0x20, 0, 0, 0),  # the number of the call
        (0x15, 0, 1, number),
        (0x06, 0, 0, refuse),
        (0x06, 0, 0, allow),
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    c = libc()
    c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if c.prctl(PR_SET_SECCOMP, 2, header, 0, 0) != 0:
        scene.skip("filters of system calls are not allowed")
    try:
        scene.subject.open()
    except NotSupported:
        raise
    except BaseException as error:
        scene.says(error)
        scene.expect(isinstance(error, OSError), f"opening should raise OSError, not {error!r}")
        return
    scene.work(scene.orders())
    scene.finding["says"] = "works" if len(scene.tally.right) == TASKS else "does not work"
    scene.expect_outcome(TASKS)
    scene.end("close")


def full_shared_memory(scene):
    c = libc()
    if os.geteuid() != 0 or c.unshare(CLONE_NEWNS) != 0:
        scene.skip("mounts of its own are not allowed")
    c.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    if c.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=4096") != 0:
        scene.skip("no small /dev/shm can be mounted")
    try:
        with open("/dev/shm/full", "wb") as file:  # noqa: PTH123
            file.write(bytes(4096))
    except OSError:
        pass
    with scene.pool():
        scene.work(scene.orders(size=1 << 20))
        scene.expect_outcome(TASKS)


FAULTS = [
    Fault("few-files", "`RLIMIT_NOFILE` is reached", few_files),
    Fault("few-processes", "`RLIMIT_NPROC` is reached", few_processes),
    Fault("no-memory-files", "memory files are refused (ENOSYS)", no_memory_files(38)),
    Fault("forbidden-memory-files", "memory files are forbidden (EPERM)", no_memory_files(1)),
    Fault("full-shm", "/dev/shm is full", full_shared_memory),
]
