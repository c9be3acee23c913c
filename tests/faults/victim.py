"""The program that is ended in the middle of its work: `python -m tests.faults.victim SUBJECT CALL WORK END`.

Owns a user's program: it opens a pool, calls, says that its tasks run, and ends, or waits to be ended. What becomes of
it and of its workers is looked at from outside.
"""

import contextlib
import gc
import os
import sys
import threading
import time

from tests.faults import tasks
from tests.faults.fault import EXCHANGE, RANDOM, SHUTDOWN, WRITING
from tests.faults.subjects import named

LONG_S = 600.0


def orders(work):
    if work in {WRITING, RANDOM}:
        return [(number, 4_000_000, None, None) for number in range(400)]
    if work == EXCHANGE:
        return [(number, 10, None, bytes(2_000_000)) for number in range(400)]
    return [(number, 10, ("running", "sleep", (LONG_S,)), None) for number in range(8)]


def say(text):
    os.write(1, f"{text}\n".encode())


def wait_until_begun():
    path = os.environ[tasks.NOTES]
    deadline = time.monotonic() + 20
    while os.stat(path).st_size == 0:  # noqa: PTH116
        assert time.monotonic() < deadline, "no task has begun"
        time.sleep(0.002)


class Holder:
    pass


kept = []


def end(how, subject):
    """Ends the program, from the thread that made the call."""
    if how == "os._exit":
        os._exit(3)
    if how == "exception":
        raise LookupError("the program has a bug")
    if how == "cycle":
        holder = Holder()
        holder.pool, holder.me = subject, holder
        gc.disable()
        return
    if how == "global":
        kept.append(subject)
        return
    assert how == "wait", how
    threading.Event().wait(LONG_S)


def call_and_end(subject, call, work, how):
    def between():
        if work == SHUTDOWN:
            subject.begin_close()
        wait_until_begun()
        say("ready")

    if call == "submit" and how != "wait":
        handles = [subject.submit(tasks.perform, order) for order in orders(work)]
        between()
        end(how, subject)
        return handles
    if how == "wait":
        while True:
            subject.outcomes(call, tasks.perform, orders(work), LONG_S, between=between)
            between = lambda: None  # noqa: E731 - only the first round is told.

    # The call waits in a thread of its own, as it must where the program goes on.
    submitted = threading.Event()

    def wait():
        # At the program's end it is told that the pool has gone, which is nobody's affair.
        with contextlib.suppress(BaseException):
            subject.outcomes(call, tasks.perform, orders(work), LONG_S, between=submitted.set)

    threading.Thread(target=wait, daemon=True).start()
    assert submitted.wait(20), "the call was not taken"
    between()
    end(how, subject)
    return None


def churn(subject, call):
    """Opens pools, calls, and closes them, so that an interrupt at any moment meets any of it."""
    say("ready")
    numbers = [(number, 1000, None, None) for number in range(50)]
    while True:
        subject.open()
        if os.environ.get("PACELINE_FAULTS_SLOW"):
            numbers = [(number, 1000, ("running", "sleep", (0.01,)), None) for number in range(50)]
        subject.outcomes(call, tasks.perform, numbers, LONG_S)
        subject.close()


def main():
    name, call, work, how = sys.argv[1:]
    subject = named(name)
    if how == "churn":
        churn(subject, call)
    subject.open()
    return call_and_end(subject, call, work, how)


if __name__ == "__main__":
    held = main()
