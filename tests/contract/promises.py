"""What Paceline promises, as checks that can be asked of any backend, and why a backend does not keep one.

Owns the rows of the table in `docs/clusters.md`, and reads and writes it; `test_promises.py` does the asking. A check
returns whether the promise holds; a backend that refuses to be asked for it raises `ValueError` or
`ArgumentNotPicklable` there.
"""

import contextlib
import logging
import os
import time
from pathlib import Path

import paceline
import tasks

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
BEGIN, END = "<!-- promises: written by `make promises` -->\n", "<!-- end of promises -->\n"
WAIT_S = 60

promises = {}
# Those that would end this very process where calls are not run in another, or wait for ever where they are not run
# beside the caller; there they cannot hold.
needs = {}


def promise(text, *, needed=None):
    """Marks a check, which is given a way to open a pool and the fixtures of pytest."""

    def mark(check):
        promises[text] = check
        needs[text] = needed
        return check

    return mark


# -- what is the engine's ----------------------------------------------------------------------------------------------


@promise("a map gives results in order, and lazy maps read no further ahead than they are told")
def _(make, request):
    read = []
    with make(2) as pool:
        in_order = pool.map(tasks.square, range(50)) == [number * number for number in range(50)]
        lazy = pool.imap(tasks.square, (read.append(one) or one for one in range(10_000)), buffersize=10)
        first = [next(lazy) for _ in range(5)]
        del lazy
    return in_order and first == [0, 1, 4, 9, 16] and len(read) < 100


@promise("short items are sent many at a time, by measured time")
def _(make, request):
    with make(2) as pool:
        pool.map(abs, range(5000))
        stretches = pool.report().history.stretches
    return len(stretches) < 1000


@promise("each item has its own outcome: `on_error`, `max_failures`")
def _(make, request):
    with make(2) as pool:
        results = pool.starmap(tasks.fail_on, [(3, number) for number in range(6)], on_error="return")
    return [type(result) for result in results] == [int, int, int, ValueError, int, int]


def draw(_):
    return paceline.task_random().random()


@promise("`task_rng` and `task_random` give the same numbers as everywhere")
def _(make, request):
    drawn = []
    for opener in (make, lambda *args, **options: paceline.Pool(*args, backend="serial", **options)):
        with opener(2, seed=11) as pool:
            drawn.append([pool.map(draw, range(20)), pool.apply(draw, (0,))])
    return drawn[0] == drawn[1]


def fail_once(_):
    attempt = paceline.current_task().attempt
    if attempt == 1:
        raise KeyError(attempt)
    return attempt


@promise("a call is run again after exceptions of `retry_on`")
def _(make, request):
    with make(2) as pool:
        return pool.options(retries=1, retry_on=KeyError).apply(fail_once, (0,)) == 2


def read_variable(variable):
    return variable.get()


@promise("declared context variables have in the call the value that they had where it was made")
def _(make, request):
    from contextvars import ContextVar

    variable = ContextVar("variable", default="nothing")
    with make(2, context_vars=[variable]) as pool:
        variable.set("something")
        return pool.apply(read_variable, (variable,)) == "something"


@promise("lambdas, closures and functions of a script or a notebook can be called")
def _(make, request):
    offset = 3
    with make(1) as pool:
        return pool.apply(lambda number: number + offset, (1,)) == 4


# -- containment -------------------------------------------------------------------------------------------------------


def resist(item):
    while item == 2:
        with contextlib.suppress(BaseException):
            time.sleep(60)
    return item


@promise("a call that is over its `timeout` ends, even if it resists, and costs no other")
def _(make, request):
    with make(2) as pool:
        results = pool.options(timeout=0.5, grace=0.1).map(resist, range(4), on_error="return")
    return [type(result) for result in results] == [int, int, paceline.TaskTimeout, int]


@promise("the death of a worker costs the one call that it was running", needed="apart")
def _(make, request):
    with make(2) as pool:
        results = pool.starmap(tasks.die_on, [(2, number) for number in range(5)], on_error="return")
    return [type(result) for result in results] == [int, int, paceline.WorkerDied, int, int]


@promise("`memory_limit` ends the worker that has too much")
def _(make, request):
    with make(1, memory_limit="200MB") as pool:
        try:
            pool.apply(tasks.size, (bytes(8),))
            pool.apply(bytearray, (400 << 20,))
        except paceline.MemoryLimitExceeded:
            return True
    return False


@promise("`future.cancel(force=True)` stops a call that runs", needed="beside")
def _(make, request):
    gate = request.getfixturevalue("gate")
    with make(1) as pool:
        future = pool.submit(tasks.through, gate.path)
        gate.wait_for_arrival()
        stopped = future.cancel(force=True)
        gate.let_through()
        return stopped


# -- memory ------------------------------------------------------------------------------------------------------------


def own(array):
    return bool(array.flags.owndata)


@promise("an object of `paceline.share` is sent once, and its arrays are mapped and not copied")
def _(make, request):
    import numpy as np

    whole = np.ones(100_000)
    with paceline.share(whole) as array, make(2) as pool:
        copied = pool.map(own, [array] * 10)
    return not any(copied) or own(whole)


@promise("an array of `paceline.empty` is written to by all workers")
def _(make, request):
    table = paceline.empty(3)
    with make(2) as pool:
        pool.starmap(tasks.set_item, [(table, place, place + 1) for place in range(3)])
    return table.tolist() == [1, 2, 3]


@promise("`resources` are shared out between calls")
def _(make, request):
    with make(2, resources={"gpu": 1}) as pool:
        return pool.options(resources={"gpu": 1}).apply(abs, (-1,)) == 1


@promise("arguments need not be picklable")
def _(make, request):
    with make(1) as pool:
        return type(pool.apply(tasks.identity, (tasks.Unpicklable(),))) is tasks.Unpicklable


# -- what is told ------------------------------------------------------------------------------------------------------


def say(_):
    print("said by a task", flush=True)


@promise("what tasks print appears in this program")
def _(make, request):
    capfd = request.getfixturevalue("capfd")
    with make(1) as pool:
        pool.apply(say, (0,))
    return "said by a task" in capfd.readouterr().out


def log(_):
    logging.getLogger("of.a.task").warning("logged by a task")


@promise("what tasks log appears in this program's loggers")
def _(make, request):
    caplog = request.getfixturevalue("caplog")
    with make(1) as pool:
        pool.apply(log, (0,))
        pool.close()
        pool.join()
    return "logged by a task" in caplog.text


@promise("`report`, timeline and trace tell which worker did what when")
def _(make, request):
    with make(2) as pool:
        pool.map(abs, range(20))
        report = pool.report()
    return sorted(index for worker in report.workers for index in worker.indices) == list(range(20))


@promise("`subscribe` tells of each event while it happens")
def _(make, request):
    seen = []
    with make(1) as pool, pool.subscribe(seen.append):
        pool.apply(abs, (-1,))
    return bool(seen)


# -- why not -----------------------------------------------------------------------------------------------------------

_SAME = "there is one process, which is yours: nothing in it can be ended without the rest"
_OWN_LOG = "it appears where the engine's worker writes, in that host's own log"

WHY_NOT = {
    "threads": {
        "a call that is over its `timeout` ends": "a thread cannot be stopped",
        "the death of a worker": _SAME,
        "`memory_limit`": _SAME,
        "`future.cancel(force=True)`": "a thread cannot be stopped",
        "`resources`": "threads have a semaphore for that",
        "`subscribe`": "a pool of threads keeps a history, but tells it afterwards",
    },
    "processes": {"arguments need not be picklable": "they go to another process"},
    "clusters": {
        "`future.cancel(force=True)`": "the engine cannot reach into a chunk that runs; `terminate` ends all that does",
        "an array of `paceline.empty`": "it is memory of this host",
        "`resources`": "what hosts have is the engine's to share out",
        "arguments need not be picklable": "they go to another host",
        "what tasks print": _OWN_LOG,
        "what tasks log": _OWN_LOG,
        "`subscribe`": "what happens on a host is told with the chunk, when that has ended",
    },
}
WHY_NOT["serial"] = {
    **WHY_NOT["threads"],
    "`future.cancel(force=True)`": "a call has ended before `submit` returns",
}


def reason(text, backend):
    """Why this backend does not keep the promise; None if it should."""
    reasons = WHY_NOT[backend.name] if backend.cluster is None else WHY_NOT["clusters"]
    return next((why for begin, why in reasons.items() if text.startswith(begin)), None)


# -- the table ---------------------------------------------------------------------------------------------------------


def documented():
    """What the page says: by promise and backend."""
    told = {}
    text = PAGE.read_text(encoding="utf-8")
    rows = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]
    head, _, *rows = cells
    for row in rows:
        for name, cell in zip(head[1:], row[1:], strict=True):
            told[row[0], name] = cell
    return told


def write(told):
    """Writes what was found into the page; what was not asked stays as it is."""
    with contextlib.suppress(ValueError):
        told = {**documented(), **told}
    names = list(dict.fromkeys(name for _, name in told))
    names.sort(key=["processes", "threads", "serial", "dask", "ray"].index)
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    lines += [f"| {text} | " + " | ".join(told.get((text, name), "?") for name in names) + " |" for text in promises]
    lines += ["", "Why not:", ""]
    for group, backends in (("threads", ("threads", "serial")), ("clusters", ("dask", "ray"))):
        for begin, why in WHY_NOT[group].items():
            lines.append(f"- *{' and '.join(backends)}*, {begin}: {why}.")
    lines.append(
        f"- *processes*, arguments need not be picklable: {WHY_NOT['processes']['arguments need not be picklable']}."
    )
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(text[:begin] + "\n" + "\n".join(lines) + "\n\n" + text[end:], encoding="utf-8")


def is_to_be_written():
    return "PACELINE_WRITE_PROMISES" in os.environ
