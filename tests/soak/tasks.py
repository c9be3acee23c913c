"""What the workers of the soak run: tasks that note that they have begun, do their work, and sometimes harm.

Imports next to nothing, because every worker loads it, and each is a fresh one before long.
"""

import os
import struct
import sys
import time

# Numbers of this size are appended to the notes, one for each time that a task was begun.
NOTE = struct.Struct("<I")
NOTES = "PACELINE_SOAK_NOTES"

FINE, EXITS, CRASHES, RAISES, OVERRUNS, UNPICKLABLE, CLOSES, FORKS = range(8)
HARMS = (EXITS, CRASHES, RAISES, OVERRUNS, UNPICKLABLE, CLOSES, FORKS)

_notes = {}


def note(number):
    process = os.getpid()
    file = _notes.get(process)
    text = NOTE.pack(number)
    try:
        if file is None:
            raise OSError
        os.write(file, text)
    except OSError:
        # Not opened yet, or closed by a task that closes everything.
        _notes[process] = file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND)
        os.write(file, text)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this one stays at home")


def answer(number, size):
    return bytes([number % 251]) * size


def perform(order):
    number, harm, size, seconds, _cargo = order
    note(number)
    if seconds:
        time.sleep(seconds)
    if harm:
        result = do_harm(harm)
        if result is not None:
            return result
    return number, answer(number, size)


def do_harm(harm):
    if harm == EXITS:
        os._exit(3)
    if harm == CRASHES:
        import ctypes

        ctypes.string_at(1)
    if harm == RAISES:
        raise ValueError("as it was told to")
    if harm == OVERRUNS:
        time.sleep(600)
    if harm == UNPICKLABLE:
        return Unpicklable()
    if harm == CLOSES:
        _notes.clear()
        os.closerange(3, 4096)
    if harm == FORKS and os.fork() == 0:
        time.sleep(0.05)
        os._exit(0)
    sys.stderr.write("")
    return None
