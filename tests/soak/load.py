"""Calls tasks in every way there is, from one thread for each way, and books what became of each.

Owns the batches, and the question whether an outcome is explained: by the harm that the task was told to do, by what
chaos did to its worker, or by having been cancelled. An outcome that nothing explains is a fault.
"""

import asyncio
import concurrent.futures
import random
import threading
import time

from tests.soak import ledger, tasks

BATCH = 400
# A batch that takes longer hangs.
PATIENCE_S = 90.0

# By the harm that a task was told to do: what it may raise of its own.
OWN = {
    tasks.FINE: set(),
    tasks.EXITS: {"WorkerDied"},
    tasks.CRASHES: {"WorkerDied"},
    tasks.RAISES: {"ValueError"},
    tasks.OVERRUNS: {"TaskTimeout"},
    tasks.UNPICKLABLE: {"ResultNotPicklable"},
    tasks.CLOSES: {"WorkerDied"},
    tasks.FORKS: set(),
}


class Hangs(Exception):
    """A call has not ended in time."""


class Driver(threading.Thread):
    """One way of calling, batch after batch, until all numbers have been given out or the time is over."""

    def __init__(self, soak, seed):
        super().__init__(name=type(self).__name__, daemon=True)
        self.soak = soak
        self.ledger = soak.ledger
        self.chance = random.Random(f"{seed} {type(self).__name__}")
        self.failure = None

    def run(self):
        try:
            while not self.soak.over.is_set():
                self.soak.keep_pace()
                numbers = self.ledger.take(self.chance.randrange(1, BATCH))
                if not numbers:
                    return
                with self.soak.pool(self.chance) as pool:
                    self.call(pool, [self.order(number) for number in numbers])
        except BaseException as error:
            self.failure = error
            self.ledger.blame(f"{self.name}: {type(error).__name__}: {error}"[:500])
            self.soak.over.set()

    def call(self, pool, orders):
        raise NotImplementedError

    def order(self, number):
        chance = self.chance.random()
        size = self.chance.randrange(200) if chance < 0.99 else self.chance.randrange(1 << 20)
        cargo = None if self.chance.random() < 0.99 else bytes(self.chance.randrange(1 << 20))
        seconds = 0.0 if self.chance.random() < 0.9 else self.chance.random() * 0.003
        return (number, self.soak.chaos.plant(), size, seconds, cargo)

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def book_result(self, order, result):
        number, harm, size = order[:3]
        right = type(result) is tuple and result == (number, tasks.answer(number, size))
        if right and harm in {tasks.FINE, tasks.CLOSES, tasks.FORKS}:
            self.ledger.book(number, ledger.RIGHT)
        else:
            self.ledger.book(number, ledger.FAILED, "a wrong result")
            self.ledger.blame(f"task {number} (harm {harm}) gave {repr(result)[:100]}")

    def book_error(self, order, error, *, cancelled=False):
        number, harm = order[:2]
        name = type(error).__name__
        outcome = {"WorkerDied": ledger.LOST, "TaskTimeout": ledger.LATE}.get(name, ledger.FAILED)
        if name == "CancelledError":
            outcome = ledger.CANCELLED
        # A worker that was killed or stopped takes a task with it, whatever that was; how many, the summary checks.
        by_others = outcome in {ledger.LOST, ledger.LATE} or (cancelled and outcome == ledger.CANCELLED)
        explained = by_others or name in OWN[harm]
        self.ledger.book(number, outcome, self.named(error))
        if not explained:
            self.ledger.blame(f"task {number} (harm {harm}) raised {name}: {error}"[:300])
        if outcome in {ledger.LOST, ledger.LATE} and name not in OWN[harm]:
            self.soak.innocent[outcome] += 1

    @staticmethod
    def named(error):
        name = type(error).__name__
        signal_name, code = getattr(error, "signal_name", None), getattr(error, "exit_code", None)
        return f"{name} ({signal_name})" if signal_name else f"{name} ({code})" if code is not None else name


class Submits(Driver):
    """Single calls, some of which are cancelled, and some of which may run again."""

    def call(self, pool, orders):
        retries = self.chance.choice([0, 0, 0, 2])
        view = pool.options(retries=retries) if retries else pool
        futures = []
        for order in orders:
            self.ledger.again[order[0]] = retries
            futures.append(view.submit(tasks.perform, order))
        cancelled = set()
        while (force := self.soak.chaos.cancels()) is not None:
            victim = self.chance.randrange(len(futures))
            if futures[victim].cancel(force=True) if force else futures[victim].cancel():
                cancelled.add(victim)
        over = concurrent.futures.wait(futures, PATIENCE_S)
        if over.not_done:
            raise Hangs(f"{len(over.not_done)} of {len(futures)} calls have not ended after {PATIENCE_S} s")
        for place, (order, future) in enumerate(zip(orders, futures, strict=True)):
            try:
                result = future.result(0)
            except BaseException as error:
                self.book_error(order, error, cancelled=place in cancelled)
            else:
                self.book_result(order, result)


class Maps(Driver):
    """Maps, in chunks of every size, whose failures are returned."""

    def call(self, pool, orders):
        chunksize = self.chance.choice([None, 1, 3, 50])
        future = pool.map_async(tasks.perform, orders, chunksize, on_error="return")
        if not future.wait(PATIENCE_S):
            raise Hangs(f"a map of {len(orders)} has not ended after {PATIENCE_S} s")
        for order, result in zip(orders, future.result(0), strict=True):
            if isinstance(result, BaseException):
                self.book_error(order, result)
            else:
                self.book_result(order, result)


class Imaps(Driver):
    """Iterators, in order: each gives an outcome for each item."""

    def call(self, pool, orders):
        deadline = time.monotonic() + PATIENCE_S
        results = pool.imap(tasks.perform, orders, self.chance.choice([1, 1, 10]), on_error="return")
        for order in orders:
            try:
                result = results.next(max(0.01, deadline - time.monotonic()))
            except StopIteration:
                self.ledger.blame(f"an imap has ended before task {order[0]}")
                return
            except BaseException as error:
                if isinstance(error, TimeoutError) and time.monotonic() >= deadline:
                    raise Hangs(f"an imap has not ended after {PATIENCE_S} s") from None
                self.book_error(order, error)
            else:
                if isinstance(result, BaseException):
                    self.book_error(order, result)
                else:
                    self.book_result(order, result)


class Awaits(Driver):
    """Awaited calls, gathered."""

    def call(self, pool, orders):
        asyncio.run(self.gather(pool, orders))

    async def gather(self, pool, orders):
        calls = [pool.run(tasks.perform, order) for order in orders]
        try:
            async with asyncio.timeout(PATIENCE_S):
                results = await asyncio.gather(*calls, return_exceptions=True)
        except TimeoutError:
            raise Hangs(f"awaited calls have not ended after {PATIENCE_S} s") from None
        for order, result in zip(orders, results, strict=True):
            if isinstance(result, BaseException):
                self.book_error(order, result)
            else:
                self.book_result(order, result)


WAYS = (Submits, Maps, Imaps, Awaits)
