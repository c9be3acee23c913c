"""The pools and executors that the contract is asked of: the standard library's, as oracles, and ours."""

import concurrent.futures
import multiprocessing
import multiprocessing.pool
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import paceline

# The standard pools start their workers as new interpreters, because the test run has threads.
spawn = multiprocessing.get_context("spawn")


class Backend(NamedTuple):
    """One way of making a pool or an executor."""

    name: str
    make: Callable
    ours: bool = True
    apart: bool = False  # Calls run in processes of their own.
    beside: bool = True  # Calls run beside the caller.
    cluster: str | None = None  # The fixture that gives the cluster, for `make` to have as its backend.


POOLS = [
    Backend("multiprocessing", spawn.Pool, ours=False, apart=True),
    Backend("ThreadPool", multiprocessing.pool.ThreadPool, ours=False),
    Backend("processes", paceline.Pool, apart=True),
    Backend("threads", partial(paceline.Pool, backend="threads")),
    Backend("serial", partial(paceline.Pool, backend="serial"), beside=False),
    Backend("dask", paceline.Pool, apart=True, cluster="dask"),
    Backend("ray", paceline.Pool, apart=True, cluster="ray"),
]


def make_standard_executor(max_workers=None, **options):
    return concurrent.futures.ProcessPoolExecutor(max_workers, spawn, **options)


EXECUTORS = [
    Backend("standard-processes", make_standard_executor, ours=False, apart=True),
    Backend("standard-threads", concurrent.futures.ThreadPoolExecutor, ours=False),
    Backend("processes", paceline.ProcessPoolExecutor, apart=True),
    Backend("threads", paceline.ThreadPoolExecutor),
    Backend("dask", paceline.ProcessPoolExecutor, apart=True, cluster="dask"),
    Backend("ray", paceline.ProcessPoolExecutor, apart=True, cluster="ray"),
]
