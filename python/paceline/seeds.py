"""Random numbers of a task's own: `task_rng` for numpy's, `task_random` for the standard library's.

Owns how a pool's seed and a task's number make a generator. Which task is running is the native module's knowledge.
"""

from __future__ import annotations

from paceline.engine import current_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    import numpy as np

    from paceline.engine import Task

__all__ = ["task_random", "task_rng"]


def task_rng() -> np.random.Generator:
    """The running task's own generator of random numbers, from numpy.

    >>> import paceline
    >>> def throw(sides):
    ...     return int(paceline.task_rng().integers(1, sides + 1))
    >>> with paceline.Pool(2) as pool:
    ...     throws = pool.map(throw, [6] * 10)
    >>> all(1 <= number <= 6 for number in throws)
    True

    Raises `RuntimeError` outside of a task, and `ImportError` where numpy cannot be imported: `task_random` needs none.

    What it draws is a function of the pool's `seed` and of the task's number in the pool's order of submission, and of
    nothing else: not of the worker, the number of workers, the chunk, the backend or the attempt. The generator is
    `numpy.random.default_rng(numpy.random.SeedSequence(seed, spawn_key=(number,)))`, numpy's way of making independent
    streams of one seed: what `SeedSequence(seed).spawn(...)` would give to its child of this number.

    In a reduction, each item has a generator of its own in the place of a task, and its number in that of a task's.

    One task has one generator: asking again goes on with it, until the task ends. The coroutines of one worker have
    each their own, and so has what they start with `asyncio.create_task` or `asyncio.to_thread`. Other threads that a
    task starts are not part of it: hand the generator to them.
    """
    task = _running_task("task_rng")
    key = _key(task)
    rng: np.random.Generator
    kept_for, rng = task.kept.get("numpy", (None, None))
    if kept_for != key:
        try:
            from numpy.random import SeedSequence, default_rng
        except ImportError as error:
            message = "`task_rng` needs numpy\nhint: `task_random` gives a generator of the standard library's"
            raise ImportError(message) from error
        rng = default_rng(SeedSequence(task.seed, spawn_key=key))
        task.kept["numpy"] = (key, rng)
    return rng


def task_random() -> random.Random:
    """The running task's own generator of random numbers, from the standard library.

    >>> import paceline
    >>> def throw(sides):
    ...     return paceline.task_random().randint(1, sides)
    >>> with paceline.Pool(2) as pool:
    ...     throws = pool.map(throw, [6] * 10)
    >>> all(1 <= number <= 6 for number in throws)
    True

    Raises `RuntimeError` outside of a task. All that is said of `task_rng` holds for it as well; the numbers it draws
    are independent of those.
    """
    task = _running_task("task_random")
    key = _key(task)
    generator: random.Random
    kept_for, generator = task.kept.get("random", (None, None))
    if kept_for != key:
        from hashlib import blake2b
        from random import Random

        numbers = task.seed.to_bytes(16, "little") + b"".join(number.to_bytes(8, "little") for number in key)
        seed = blake2b(numbers, person=b"paceline task").digest()
        generator = Random(seed)  # noqa: S311 - not for secrets, as the module's name says.
        task.kept["random"] = (key, generator)
    return generator


def _key(task: Task) -> tuple[int, ...]:
    """What tells the task from all others of its pool; `paceline.reduce` knows better for the items that share one."""
    part: Callable[[], tuple[int, ...]] | None = task.kept.get("part")
    return (task.item,) if part is None else part()


def _running_task(name: str) -> Task:
    task = current_task()
    if task is None:
        raise RuntimeError(
            f"`{name}` was called outside of a task\n"
            "hint: it belongs in a function that a pool calls; a thread that a task starts must be given the generator"
        )
    return task
