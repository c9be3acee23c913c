"""Runs cells on a pool, and has the store keep what they give before anything else is begun.

Owns the loop: submit, wait, record, go on; and how it ends, also by Ctrl-C. Which cells there are to run, in which
order and how many at a time is decided in `plan.py`; how they are called, in `attempts.py`.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

from paceline.errors import PoolClosed, TaskTimeout, WorkerDied, WorkerStartError
from paceline.experiments.attempts import names_of_kinds
from paceline.experiments.plan import FAILED, Window
from paceline.experiments.store import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any

    from paceline.experiments.attempts import Outcome
    from paceline.experiments.store import Writer
    from paceline.progress import Meter

__all__ = ["Job", "Runner"]

# What has been recorded is on the disk at the latest so long after it, while more comes in.
_SYNC_S = 0.05
# What is stopped by force has its `grace` to end; this much longer is waited for word of it.
_WORD_S = 5.0
# The order of what waits is thought over when so many more cells have ended, and then whenever they have doubled.
_FIRST_LESSON = 8


class Job(NamedTuple):
    """A cell that is to be run: its place in the grid, its number in the store, and what it is called with."""

    place: int
    number: int
    arguments: dict[str, Any]
    entropy: int
    seed: int


class Runner:
    """One run of some cells on a pool."""

    def __init__(
        self,
        store: Writer,
        run: int,
        submit: Callable[[dict[str, Any], int], Future[Any]],
        *,
        workers: int,
        retries: int,
        retry_on: tuple[type[BaseException], ...],
        grace: float,
        attempts: dict[int, int],
        estimate: Callable[[list[int], dict[int, float]], list[float]],
        meter: Meter | None,
    ) -> None:
        self._store = store
        self._run = run
        self._submit = submit
        self._window = Window(workers)
        self._retries = retries
        self._retry_on = frozenset(names_of_kinds(kind)[0] for kind in retry_on or (WorkerDied,))
        self._grace = grace
        # How many attempts at each cell there have been, ever, and in this run.
        self._attempts = attempts
        self._in_this_run: dict[int, int] = {}
        self._estimate = estimate
        self._took: dict[int, float] = {}
        self._next_lesson = _FIRST_LESSON
        self._meter = meter
        self._next_id = store.next_attempt()
        self._waiting: list[Job] = []
        self._again: deque[Job] = deque()
        self._flying: dict[Future[Any], Job] = {}
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()
        # Has ended, and is not known to be recorded. Ctrl-C may come between any two lines.
        self._unsafe: dict[Future[Any], Attempt] = {}
        self._synced_at = monotonic()
        self.recorded = 0

    def run(self, jobs: Iterable[Job]) -> None:
        """Runs all of them, the longest first as far as that is known; returns when everything is on the disk.

        Raises `KeyboardInterrupt` on Ctrl-C, when what runs has been stopped and what has ended is safe; `StoreError`
        if the store cannot be written any more, and what the pool raises that is broken.
        """
        listed = list(jobs)
        self._queue(listed, {})
        try:
            self._fill()
            while self._flying:
                self._settle(self._next_ended())
                self._fill()
                if monotonic() - self._synced_at >= _SYNC_S:
                    self._sync()
        except KeyboardInterrupt:
            self._stop()
            raise
        except BaseException:
            self._give_up()
            raise
        self._store.sync()

    def _fill(self) -> None:
        room = self._window.size - len(self._flying)
        while room > 0 and (self._again or self._waiting):
            room -= 1
            job = self._again.popleft() if self._again else self._waiting.pop()
            future = self._submit(job.arguments, job.entropy)
            self._flying[future] = job
            future.add_done_callback(self._ended.put)

    def _next_ended(self) -> list[Future[Any]]:
        """All that have ended, at least one; meanwhile the disk is given what it has not been given for some time."""
        ended = []
        try:
            ended.append(self._ended.get(timeout=max(0.0, self._synced_at + _SYNC_S - monotonic())))
        except Empty:
            self._sync()
            ended.append(self._ended.get())
        try:
            while True:
                ended.append(self._ended.get_nowait())
        except Empty:
            return ended

    def _settle(self, ended: list[Future[Any]]) -> None:
        """Records how these have ended, and puts back what may be run again. Raises what a broken pool gives."""
        again = []
        broken = None
        for future in ended:
            job = self._flying[future]
            try:
                attempt, kinds = self._attempt(job, future)
            except (PoolClosed, WorkerStartError) as error:
                broken = error
            else:
                self._unsafe[future] = attempt
                if attempt.status in FAILED and self._may_run_again(job, kinds):
                    again.append(job)
            del self._flying[future]
        self._record()
        if broken is not None:
            raise broken
        self._again.extend(again)
        self._learn()
        if self._meter is not None:
            self._meter.show(self._meter.done + len(ended) - len(again))

    def _record(self) -> None:
        attempts = list(self._unsafe.values())
        if attempts:
            self._store.record(attempts)
            self._unsafe = {}
            self.recorded += sum(attempt.status != "cancelled" for attempt in attempts)
            self._window.note([attempt.seconds for attempt in attempts if attempt.seconds is not None])

    def _sync(self) -> None:
        self._store.sync()
        self._synced_at = monotonic()

    def _learn(self) -> None:
        """Thinks over the order of long cells that wait, by what others took in this run."""
        if not self._window.is_strict or len(self._took) < self._next_lesson or not self._waiting:
            return
        self._next_lesson = 2 * len(self._took)
        self._queue(self._waiting, self._took)

    def _queue(self, jobs: list[Job], took: dict[int, float]) -> None:
        """Has these wait, the longest at the end, from which they are taken; otherwise in the order of the grid."""
        costs = self._estimate([job.place for job in jobs], took)
        order = sorted(range(len(jobs)), key=lambda index: (costs[index], -jobs[index].place))
        self._waiting = [jobs[index] for index in order]

    def _attempt(self, job: Job, future: Future[Any]) -> tuple[Attempt, tuple[str, ...]]:
        """The row for a call that has ended, and the classes of what it raised."""
        number = self._attempts[job.number] = self._attempts.get(job.number, 0) + 1
        self._in_this_run[job.number] = self._in_this_run.get(job.number, 0) + 1
        head = (self._next_id, job.number, self._run, number)
        self._next_id += 1
        try:
            outcome: Outcome = future.result()
        except BaseException as error:
            return Attempt._make((*head, *_ending(error, job.seed))), names_of_kinds(type(error))
        status, result, objects, said, kinds, trace, seconds, cpu, peak, worker, began, ended = outcome
        self._took[job.place] = seconds
        found = (status, result, objects, said, trace)
        measured = (seconds, cpu, peak, job.seed, worker, began, ended)
        return Attempt._make((*head, *found, *measured)), kinds

    def _may_run_again(self, job: Job, kinds: tuple[str, ...]) -> bool:
        return self._in_this_run[job.number] <= self._retries and not self._retry_on.isdisjoint(kinds)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """On Ctrl-C: records what has ended, stops what runs, and notes that it was."""
        self._waiting = []
        self._again.clear()
        self._record()
        running = {future for future in self._flying if future.running()}
        for future in list(self._flying):
            _cancel(future)
        deadline = monotonic() + self._grace + _WORD_S
        while self._flying:
            self._note_ended(running)
            left = deadline - monotonic()
            if not self._flying or left <= 0:
                break
            try:
                self._ended.get(timeout=left)
            except Empty:
                break
        self._record()
        self._store.sync()

    def _note_ended(self, running: set[Future[Any]]) -> None:
        """Takes up what has ended by now; of what was cancelled, only what had begun has a row."""
        for future in [future for future in self._flying if future.done()]:
            job = self._flying.pop(future)
            if future not in self._unsafe and (future in running or not future.cancelled()):
                self._unsafe[future] = self._attempt(job, future)[0]

    def _give_up(self) -> None:
        """Nothing can be kept, or nothing can be run any more: so nothing shall."""
        self._waiting = []
        self._again.clear()
        for future in list(self._flying):
            _cancel(future)


def _cancel(future: Any) -> None:
    try:
        future.cancel(force=True)
    except TypeError:  # Of another pool than ours, or on threads.
        future.cancel()


def _ending(error: BaseException, seed: int) -> tuple[Any, ...]:
    """Of a call that its worker could not tell of itself: the fields of `Attempt` from `status` on.

    Raises the error if it is the pool that has failed, and no cell.
    """
    if isinstance(error, (PoolClosed, WorkerStartError)):
        raise error
    status = "error"
    if isinstance(error, (CancelledError, KeyboardInterrupt)):
        status = "cancelled"
    elif isinstance(error, TaskTimeout):
        status = "timeout"
    elif isinstance(error, WorkerDied):
        status = "died"
    text = str(error)
    said = f"{type(error).__qualname__}: {text.partition(chr(10))[0]}" if text else type(error).__qualname__
    details = "\n".join(filter(None, (text, str(error.__cause__ or "").strip())))
    seconds = getattr(error, "seconds", None)
    if seconds is None:
        seconds = getattr(error, "limit", None)
    ended = time()
    began = None if seconds is None else ended - seconds
    worker = getattr(error, "pid", None) or None
    if status == "cancelled":
        said = details = "stopped by whoever ran it"
    return (
        *(status, None, None, said, details, seconds, None),
        *(getattr(error, "peak_memory", None), seed, worker, began, ended),
    )
