"""How each peer is spoken to: in the words of its own manual, by the shortest way that it offers.

Owns the adapters, one class for each peer. Imports a peer only when its pool is opened. Never measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class Peer(ABC):
    """A pool of some workers, open."""

    title: ClassVar[str]
    distribution: ClassVar[str | None] = None
    # The same pool as a script: what opens it as `pool`, calls `noop(7)` once, and closes it.
    script: ClassVar[tuple[str, str, str]]
    # How many of a million no-ops `map` is given by default: fewer where a million would take minutes.
    map_items: ClassVar[int] = 1_000_000

    @abstractmethod
    def __init__(self, workers: int) -> None: ...

    @abstractmethod
    def call(self, fn: Callable[[Any], Any], item: Any) -> Any:
        """One call, and its result."""

    @abstractmethod
    def submit_all(self, fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Calls with these arguments submitted one by one, then their results in order."""

    @abstractmethod
    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """A map with the chunking that the peer chooses by itself."""

    @abstractmethod
    def map_singly(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """A map with one item to a chunk."""

    def map_by_cost(self, fn: Callable[[Any], Any], items: Sequence[float]) -> list[Any]:
        """A map over items that say themselves how long they take, where that can be told."""
        return self.map(fn, items)

    @abstractmethod
    def stream(self, fn: Callable[[Any], Any], item: Any, count: int, window: int) -> Iterator[Any]:
        """The results of `count` calls in order, at most `window` of them under way."""

    @abstractmethod
    def close(self) -> None: ...


class _ByAsyncResult(Peer):
    """What the pools with `apply_async` share."""

    pool: Any

    def call(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self.pool.apply(fn, (item,))

    def submit_all(self, fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        handles = [self.pool.apply_async(fn, arguments) for arguments in calls]
        return [handle.get() for handle in handles]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(fn, items))

    def map_singly(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(fn, items, chunksize=1))

    def stream(self, fn: Callable[[Any], Any], item: Any, count: int, window: int) -> Iterator[Any]:
        under_way: deque[Any] = deque()
        for _ in range(count):
            if len(under_way) == window:
                yield under_way.popleft().get()
            under_way.append(self.pool.apply_async(fn, (item,)))
        while under_way:
            yield under_way.popleft().get()

    def close(self) -> None:
        self.pool.close()
        self.pool.join()


class _ByFuture(Peer):
    """What the executors of the `concurrent.futures` kind share."""

    pool: Any

    def call(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self.pool.submit(fn, item).result()

    def submit_all(self, fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        futures = [self.pool.submit(fn, *arguments) for arguments in calls]
        return [future.result() for future in futures]

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(fn, items))

    def map_singly(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(fn, items, chunksize=1))

    def stream(self, fn: Callable[[Any], Any], item: Any, count: int, window: int) -> Iterator[Any]:
        under_way: deque[Any] = deque()
        for _ in range(count):
            if len(under_way) == window:
                yield under_way.popleft().result()
            under_way.append(self.pool.submit(fn, item))
        while under_way:
            yield under_way.popleft().result()

    def close(self) -> None:
        self.pool.shutdown()


class Paceline(_ByAsyncResult):
    title = "Paceline `Pool`"
    distribution = "paceline"
    script = (
        "import paceline\npool = paceline.Pool(2)",
        "pool.apply(noop, (7,))",
        "pool.close()\npool.join()",
    )

    def __init__(self, workers: int) -> None:
        import paceline

        self.pool = paceline.Pool(workers)

    def map_by_cost(self, fn: Callable[[Any], Any], items: Sequence[float]) -> list[Any]:
        results: list[Any] = self.pool.map(fn, items, cost=items)
        return results


class PacelineExecutor(_ByFuture):
    title = "Paceline `ProcessPoolExecutor`"
    distribution = "paceline"
    script = (
        "import paceline\npool = paceline.ProcessPoolExecutor(2)",
        "pool.submit(noop, 7).result()",
        "pool.shutdown()",
    )

    def __init__(self, workers: int) -> None:
        import paceline

        self.pool = paceline.ProcessPoolExecutor(workers)


class StdlibPool(_ByAsyncResult):
    title = "`multiprocessing.Pool` (fork)"
    script = (
        "import multiprocessing\npool = multiprocessing.get_context('fork').Pool(2)",
        "pool.apply(noop, (7,))",
        "pool.close()\npool.join()",
    )

    def __init__(self, workers: int) -> None:
        import multiprocessing

        self.pool = multiprocessing.get_context("fork").Pool(workers)


class StdlibExecutor(_ByFuture):
    title = "`ProcessPoolExecutor` (fork)"
    script = (
        (
            "import multiprocessing, concurrent.futures\n"
            "pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork'))"
        ),
        "pool.submit(noop, 7).result()",
        "pool.shutdown()",
    )
    map_items = 50_000

    def __init__(self, workers: int) -> None:
        import concurrent.futures
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context)


class Loky(_ByFuture):
    title = "loky"
    distribution = "loky"
    script = (
        "import loky\npool = loky.ProcessPoolExecutor(2)",
        "pool.submit(noop, 7).result()",
        "pool.shutdown()",
    )
    map_items = 50_000

    def __init__(self, workers: int) -> None:
        import loky

        self.pool = loky.ProcessPoolExecutor(workers)


class Joblib(Peer):
    title = "joblib (loky)"
    distribution = "joblib"
    script = (
        "import joblib\npool = joblib.Parallel(n_jobs=2)",
        "pool([joblib.delayed(noop)(7)])[0]",
        "pass",
    )

    def __init__(self, workers: int) -> None:
        import joblib

        self.workers = workers
        self.parallel = joblib.Parallel
        self.delayed = joblib.delayed
        self.pool = joblib.Parallel(n_jobs=workers)
        self.pool.__enter__()

    def call(self, fn: Callable[[Any], Any], item: Any) -> Any:
        return self.pool([self.delayed(fn)(item)])[0]

    def submit_all(self, fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        delayed = self.delayed(fn)
        return list(self._singly()(delayed(*arguments) for arguments in calls))

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        delayed = self.delayed(fn)
        return list(self.pool(delayed(item) for item in items))

    def map_singly(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        delayed = self.delayed(fn)
        return list(self._singly()(delayed(item) for item in items))

    def _singly(self) -> Any:
        return self.parallel(n_jobs=self.workers, batch_size=1, pre_dispatch="all")

    def stream(self, fn: Callable[[Any], Any], item: Any, count: int, window: int) -> Iterator[Any]:
        delayed = self.delayed(fn)
        singly = self.parallel(n_jobs=self.workers, batch_size=1, pre_dispatch=window, return_as="generator")
        yield from singly(delayed(item) for _ in range(count))

    def close(self) -> None:
        self.pool.__exit__(None, None, None)


class Mpire(_ByAsyncResult):
    title = "mpire"
    distribution = "mpire"
    script = (
        "import mpire\npool = mpire.WorkerPool(2, keep_alive=True)",
        "pool.apply(noop, (7,))",
        "pool.stop_and_join()",
    )

    def __init__(self, workers: int) -> None:
        import mpire

        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def map_singly(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return list(self.pool.map(fn, items, chunk_size=1))

    def close(self) -> None:
        self.pool.stop_and_join()


PEERS: dict[str, type[Peer]] = {
    "paceline": Paceline,
    "paceline-executor": PacelineExecutor,
    "pool": StdlibPool,
    "executor": StdlibExecutor,
    "loky": Loky,
    "joblib": Joblib,
    "mpire": Mpire,
}
