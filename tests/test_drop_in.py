"""Programs written for the standard library run on Paceline with only the import of the pool changed.

Each is run twice, as it stands and with that line changed, and has to print the same; neither may leave anything
behind, nor write to stderr.
"""

import pytest

from program import run_script

STANDARD_LINES = {
    "from multiprocessing import Pool\n": "from paceline import Pool\n",
    "from concurrent.futures import ProcessPoolExecutor\n": "from paceline import ProcessPoolExecutor\n",
    "from concurrent.futures import ThreadPoolExecutor\n": "from paceline import ThreadPoolExecutor\n",
    "from concurrent.futures import as_completed\n": "from paceline import as_completed\n",
}

PROGRAMS = {
    "every way to call a pool": """
from multiprocessing import Pool
from multiprocessing import TimeoutError
import os, time

def cube(number):
    return number**3

def power(base, exponent=2):
    return base**exponent

if __name__ == "__main__":
    with Pool(processes=3) as pool:
        print(pool.map(cube, range(8)), pool.map(cube, range(8), chunksize=3))
        print(list(pool.imap(cube, range(5))), sorted(pool.imap_unordered(cube, range(30), 4)))
        print(pool.starmap(power, [(2, 3), (3,), [4, 1]]))
        print(pool.apply(power, (5,), {"exponent": 3}), pool.apply_async(cube, (20,)).get(timeout=10))
        waiting = [pool.apply_async(os.getpid) for _ in range(4)]
        print(len({result.get() for result in waiting}) <= 3, os.getpid() in {result.get() for result in waiting})
        slow = pool.apply_async(time.sleep, (5,))
        try:
            slow.get(timeout=0.1)
        except TimeoutError:
            print("too slow:", slow.ready())
        try:
            slow.successful()
        except ValueError as error:
            print(type(error).__name__, "not ready" in str(error))
        pool.terminate()
    try:
        pool.map(cube, [1])
    except ValueError as error:
        print(error)
""",
    "callbacks, errors and a closed pool": """
from multiprocessing import Pool

def reciprocal(number):
    return 1 / number

class Ledger:
    def __init__(self):
        self.entries, self.failures = [], []

    def failed(self, error):
        self.failures.append(f"{type(error).__name__}: {error}")

def main():
    ledger = Ledger()
    pool = Pool(2)
    results = [
        pool.apply_async(reciprocal, (number,), callback=ledger.entries.append, error_callback=ledger.failed)
        for number in (1, 2, 0, 4, "x")
    ]
    mapped = pool.map_async(reciprocal, [1, 2, 4], callback=ledger.entries.extend)
    pool.close()
    pool.join()
    print(sorted(ledger.entries), sorted(ledger.failures))
    print([result.successful() for result in results], mapped.get())
    for result in results:
        try:
            print(result.get())
        except (ArithmeticError, TypeError) as error:
            print(type(error).__name__, error, "in reciprocal" in str(error.__cause__))
    try:
        pool.apply(reciprocal, (1,))
    except ValueError as error:
        print(error)

if __name__ == "__main__":
    main()
""",
    "workers with a state of their own": """
from multiprocessing import Pool
import os, random

table = None
calls = 0

def prepare(size, *, offset=10):
    global table
    table = {number: number + offset for number in range(size)}

def look_up(key):
    global calls
    calls += 1
    return table.get(key), calls <= 2

def estimate(seed):
    generator = random.Random(seed)
    return sum(generator.random() ** 2 + generator.random() ** 2 < 1 for _ in range(1000))

if __name__ == "__main__":
    with Pool(2, initializer=prepare, initargs=(50,), maxtasksperchild=2) as pool:
        print(pool.map(look_up, range(0, 60, 10), chunksize=1))
        print(pool.map(estimate, range(6)))
        pids = [pool.apply(os.getpid) for _ in range(6)]
        print(len(set(pids)) >= 3, table)
""",
    "a pool in an object, with bound methods": """
from multiprocessing import Pool

class Model:
    def __init__(self, weight):
        self.weight = weight
        self.pool = None

    def __getstate__(self):
        return {"weight": self.weight, "pool": None}

    def score(self, row):
        return sum(self.weight * value for value in row)

    @classmethod
    def label(cls, number):
        return f"{cls.__name__} {number}"

    @staticmethod
    def double(number):
        return 2 * number

    def scores(self, rows):
        with Pool(2) as self.pool:
            return self.pool.map(self.score, rows), self.pool.map(self.label, [1]), self.pool.map(self.double, [2])

if __name__ == "__main__":
    print(Model(3).scores([[1, 2], [3, 4], []]))
""",
    "a dictionary and a queue of a manager": """
from multiprocessing import Pool
from multiprocessing import Manager

def tally(shared, queue, lock, word):
    with lock:
        shared[word] = shared.get(word, 0) + 1
    queue.put(len(word))

if __name__ == "__main__":
    with Manager() as manager:
        shared, queue, lock = manager.dict(), manager.Queue(), manager.Lock()
        words = "to be or not to be".split()
        with Pool(3) as pool:
            pool.starmap(tally, [(shared, queue, lock, word) for word in words])
        print(sorted(shared.items()), sorted(queue.get() for _ in words))
""",
    "results as they complete": """
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from concurrent.futures import wait, FIRST_COMPLETED, ALL_COMPLETED
import math, time

def is_prime(number):
    if number < 0:
        raise ValueError(f"negative: {number}")
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))

def main():
    numbers = [112272535095293, 7, -3, 1099726899285419, 10, 1]
    with ProcessPoolExecutor(max_workers=3) as executor:
        number_of = {executor.submit(is_prime, number): number for number in numbers}
        lines = []
        for future in as_completed(number_of, timeout=150):
            try:
                lines.append(f"{number_of[future]}: {future.result()}")
            except ValueError as error:
                lines.append(f"{number_of[future]}: {error!r}")
        print(*sorted(lines), sep="\\n")
        slow, quick = executor.submit(time.sleep, 0.5), executor.submit(is_prime, 7)
        done, waiting = wait([slow, quick], return_when=FIRST_COMPLETED)
        print(quick in done, slow in waiting)
        done, waiting = wait([slow, quick], return_when=ALL_COMPLETED)
        print(len(done), len(waiting), slow.done(), quick.exception())

if __name__ == "__main__":
    main()
""",
    "map, timeouts and a broken worker": """
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError
from concurrent.futures.process import BrokenProcessPool
import os, time

def double(number, by=2):
    return number * by

def main():
    with ProcessPoolExecutor() as executor:
        print(list(executor.map(double, range(5))), list(executor.map(double, range(5), range(3), chunksize=2)))
        try:
            list(executor.map(time.sleep, [0, 1], timeout=0.1))
        except TimeoutError as error:
            print(type(error).__name__)
        results = executor.map(divmod, [7, 1, 5], [2, 0, 5])
        print(next(results))
        try:
            next(results)
        except ZeroDivisionError as error:
            print(type(error).__name__, list(results))
    try:
        with ProcessPoolExecutor(1) as executor:
            executor.submit(os._exit, 3).result()
    except BrokenProcessPool as error:
        print("broken")
    try:
        executor.submit(double, 1)
    except RuntimeError as error:
        print("refused")

if __name__ == "__main__":
    main()
""",
    "an executor of one's own class, with an initializer": """
from concurrent.futures import ProcessPoolExecutor
import logging, os

level = None

def configure(value):
    global level
    level = value

def read(_):
    return level

class Counting(ProcessPoolExecutor):
    submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        type(self).submitted += 1
        return super().submit(fn, *args, **kwargs)

if __name__ == "__main__":
    executor = Counting(2, initializer=configure, initargs=(7,))
    try:
        futures = [executor.submit(read, number) for number in range(5)]
        future = executor.submit(pow, 2, 0.5)
        future.add_done_callback(lambda future: print(round(future.result(), 3)))
        results = [future.result() for future in futures]
    finally:
        executor.shutdown(wait=True, cancel_futures=False)
    print(results, Counting.submitted)
    print(future.running(), future.done(), future.cancelled(), future.cancel())
""",
    "asyncio over processes": """
from concurrent.futures import ProcessPoolExecutor
import asyncio

def total(limit):
    return sum(range(limit))

async def main():
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2) as executor:
        print(await loop.run_in_executor(executor, total, 10))
        print(await asyncio.gather(*(loop.run_in_executor(executor, total, limit) for limit in range(6))))
        try:
            await loop.run_in_executor(executor, total, "x")
        except TypeError as error:
            print(error)

if __name__ == "__main__":
    asyncio.run(main())
""",
    "threads that share what they find": """
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed
import threading, time

found, lock = {}, threading.Lock()
local = threading.local()

def start(greeting):
    local.greeting = greeting

def fetch(name, delay):
    time.sleep(delay)
    if name == "missing":
        raise FileNotFoundError(name)
    with lock:
        found[name] = local.greeting
    return len(name)

if __name__ == "__main__":
    with ThreadPoolExecutor(4, thread_name_prefix="fetcher", initializer=start, initargs=("hello",)) as executor:
        names = ["one", "two", "missing", "three"]
        futures = {executor.submit(fetch, name, 0.01 * place): name for place, name in enumerate(names)}
        for future in as_completed(futures):
            print(futures[future], repr(future.exception()) if future.exception() else future.result())
        print(sorted(found.items()))
        print(executor.submit(lambda: threading.current_thread().name.startswith("fetcher")).result())
        print(list(executor.map(lambda number: number + 1, range(5))))
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_the_same_with_only_its_import_changed(tmp_path, name):
    source = PROGRAMS[name]
    ours = source
    for line, replacement in STANDARD_LINES.items():
        ours = ours.replace(line, replacement)
    assert ours != source
    outputs = []
    for version, text in (("standard", source), ("paceline", ours)):
        (tmp_path / version).mkdir()
        outputs.append(run_script(tmp_path / version, text))
    assert outputs[0] == outputs[1]
    assert outputs[0]
