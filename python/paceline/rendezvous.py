"""Where a program that lets itself be watched and whoever looks at it find each other, and how a question gets there.

Owns the folder of the sockets, who may be trusted in it and over them, and the form of questions and answers: one line
of JSON each. Never knows what is asked, nor what is told.

The folder is the user's alone, so nobody else can lay a socket there or take one away; a socket is the user's alone as
well, and both sides ask the system who is at the other end. Sockets are reached through a descriptor of the folder that
was looked at, not by its name once more, which also makes the length of that name no matter.
"""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]

__all__ = ["VERSION", "Place", "ask", "ask_all", "find", "is_trusted", "listen", "receive", "send", "take_away"]

# Of questions and answers; each says which it is of.
VERSION = 1
_VERSION_KEY = "paceline_top"
_ENDING = ".sock"
# Who looks while others do waits here.
_BACKLOG = 16
_MOST_QUESTION_BYTES = 64 << 10
_MOST_ANSWER_BYTES = 16 << 20


@dataclass(frozen=True)
class Place:
    """The socket of a program: its process id, whose it is, and the folder that the socket is in."""

    pid: int
    uid: int
    folder: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.pid}{_ENDING}"


# -- the folder --------------------------------------------------------------------------------------------------------


def _folders(uid: int) -> list[str]:
    """Where the sockets of a user may be; a new one goes to the first."""
    from tempfile import gettempdir

    found = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # After `su` or `sudo` it may still be somebody else's.
    if uid == os.geteuid() and os.path.isabs(runtime) and _belongs_to(runtime, uid):
        found.append(f"{runtime.rstrip('/')}/paceline")
    found.append(f"{gettempdir().rstrip('/')}/paceline-{uid}")
    # A program that a shell has started may have gone there, and whoever looks have been started by something else.
    found.append(f"/run/user/{uid}/paceline")
    return list(dict.fromkeys(found))


def _belongs_to(folder: str, uid: int) -> bool:
    try:
        return os.stat(folder).st_uid == uid
    except OSError:
        return False


@contextmanager
def _opened(folder: str, uid: int, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder, if it is this user's, and closed to others.

    Raises `FileNotFoundError` if there is none, and `PermissionError` if it is not to be trusted.
    """
    if make:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PermissionError(f"`{folder}` is no folder of this user's: {error.strerror}{_advice(folder)}") from None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != uid:
            raise PermissionError(f"`{folder}` belongs to user {status.st_uid}, not to {uid}{_advice(folder)}")
        if status.st_mode & 0o077:
            raise PermissionError(
                f"`{folder}` is open to other users (mode {stat.S_IMODE(status.st_mode):04o})"
                f"\nhint: `chmod 700 {folder}`, if what is in it is yours"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def _advice(folder: str) -> str:
    return f"\nhint: remove `{folder}`, or set XDG_RUNTIME_DIR to a folder that is yours alone"


# -- the program's side ------------------------------------------------------------------------------------------------


def listen() -> tuple[socket.socket, str, tuple[int, int]]:
    """A socket of this process that listens, its path, and what it can be told by from another at that path.

    Raises `OSError` where there is no place for it, `PermissionError` where that is not to be trusted.
    """
    uid = os.geteuid()
    folder = _folders(uid)[0]
    place = Place(os.getpid(), uid, folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _opened(folder, uid, make=True) as descriptor:
            name, early = f"{place.pid}{_ENDING}", f".{place.pid}{_ENDING}"
            # The file gets the mode that the socket has, so there is no moment at which it has another.
            os.fchmod(listener.fileno(), 0o600)
            _remove(early, descriptor)
            listener.bind(_through(descriptor, early))
            listener.listen(_BACKLOG)
            status = os.stat(early, dir_fd=descriptor)
            # Nobody sees one that does not listen yet, and takes it for a leftover. A real leftover goes by this.
            os.rename(early, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except BaseException:
        listener.close()
        raise
    return listener, place.path, (status.st_dev, status.st_ino)


def take_away(path: str, identity: tuple[int, int]) -> None:
    """Removes a socket, if it is still the same that is found there."""
    try:
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == identity:
            os.unlink(path)
    except OSError:  # It is gone already, with its folder perhaps.
        pass


def is_trusted(connection: socket.socket) -> bool:
    """Whether it is the user of this process, or root, who is at the other end."""
    return _peer(connection) in {os.geteuid(), 0}


def receive(connection: socket.socket) -> Message | None:
    """The question that was sent, of any version; None if it is none. Raises `OSError` if it does not come in time."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(4096)
        line += part
        if not part or len(line) > _MOST_QUESTION_BYTES:
            return None
    return _read(line)


def send(connection: socket.socket, message: Message) -> None:
    """Sends an answer. Raises `OSError` if the other side has left."""
    connection.sendall(_line(message))


# -- the side of whoever looks -----------------------------------------------------------------------------------------


def find(uid: int, pid: int | None = None) -> tuple[list[Place], list[str]]:
    """The sockets of a user, or of one program, by its process id; and what could not be looked at, in words."""
    found, refused = [], []
    for folder in _folders(uid):
        try:
            with _opened(folder, uid) as descriptor:
                for name in os.listdir(descriptor):
                    number = name.removesuffix(_ENDING)
                    if name != number and number.isdecimal() and pid in {None, int(number)}:
                        found.append(Place(int(number), uid, folder))
        except FileNotFoundError:
            pass
        except OSError as error:
            refused.append(str(error))
    return sorted(found, key=lambda place: place.pid), refused


def ask(place: Place, patience_s: float, **question: Any) -> Message:
    """The answer of one program. Raises what `ask_all` has in the place of an answer."""
    answer = ask_all([place], patience_s, **question)[place]
    if isinstance(answer, Exception):
        raise answer
    return answer


def ask_all(places: Iterable[Place], patience_s: float, **question: Any) -> dict[Place, Message | Exception]:
    """Asks several programs the same at once; for each its answer, or an exception in the place of that.

    It is a `ConnectionError` where nobody listens any more, and the socket, if there still was one, has been removed;
    `FileNotFoundError` where there is none; `TimeoutError` where no answer came in time; `PermissionError` where
    somebody else listens; `ValueError` where the answer is none, or of another version of Paceline, or says that the
    question was wrong.
    """
    deadline = monotonic() + patience_s
    answers: dict[Place, Message | Exception] = {}
    waiting: dict[int, tuple[Place, socket.socket, bytearray]] = {}
    poll = select.poll()
    try:
        for place in places:
            try:
                connection = _called(place, question)
            except OSError as error:
                answers[place] = error
            else:
                waiting[connection.fileno()] = (place, connection, bytearray())
                poll.register(connection, select.POLLIN)
        while waiting and (left := deadline - monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                place, connection, line = waiting[descriptor]
                answer = _hear(connection, line)
                if answer is not None:
                    answers[place] = answer
                    poll.unregister(descriptor)
                    del waiting[descriptor]
                    connection.close()
        for place, _, _ in waiting.values():
            answers[place] = TimeoutError(f"process {place.pid} does not answer")
    finally:
        for _, connection, _ in waiting.values():
            connection.close()
    return answers


def _called(place: Place, question: Message) -> socket.socket:
    """A connection to the program, over which it has been asked."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _opened(place.folder, place.uid) as descriptor:
            name = f"{place.pid}{_ENDING}"
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            try:
                connection.connect(_through(descriptor, name))
            except ConnectionRefusedError:
                # Whoever listened was killed, or it would be gone.
                take_away(place.path, (status.st_dev, status.st_ino))
                raise
            except BlockingIOError:
                raise TimeoutError(f"process {place.pid} does not answer") from None
        if _peer(connection) not in {place.uid, 0}:
            raise PermissionError(f"somebody else than user {place.uid} listens at {place.path}")
        connection.sendall(_line(question))
    except BaseException:
        connection.close()
        raise
    return connection


def _hear(connection: socket.socket, line: bytearray) -> Message | Exception | None:
    """Takes in more of an answer; the answer, or what is wrong with it, once it is whole."""
    try:
        part = connection.recv(1 << 16)
    except BlockingIOError:
        return None
    except OSError as error:
        return error
    line += part
    if not line:
        return ConnectionResetError("it has just ended")
    if part and not line.endswith(b"\n") and len(line) <= _MOST_ANSWER_BYTES:
        return None
    message = _read(bytes(line))
    if message is None:
        return ValueError("what it answers cannot be read")
    if message.get(_VERSION_KEY) != VERSION:
        return ValueError("it uses another version of Paceline, which answers otherwise")
    return ValueError(str(message["error"])) if "error" in message else message


# -- both sides --------------------------------------------------------------------------------------------------------


def _through(folder: int, name: str) -> str:
    return f"/proc/self/fd/{folder}/{name}"


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _peer(connection: socket.socket) -> int:
    """The user who is at the other end."""
    credentials = struct.Struct("3i")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return int(credentials.unpack(packed)[1])


def _line(message: Message) -> bytes:
    return json.dumps({_VERSION_KEY: VERSION, **message}).encode() + b"\n"


def _read(line: bytes) -> Message | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
