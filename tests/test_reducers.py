"""What a script may hold in its globals, its classes and its arguments, beside functions, classes and plain values."""

import json
import threading

import pytest

import paceline
from program import run_script

PREAMBLE = """
import collections, contextlib, functools, itertools, logging, queue, random, re, threading, types, typing, weakref
import paceline
"""

# What is defined at the top of a script; then a call of the task, and what it gives the first and the second time.
CASES = [
    (
        """
lock = threading.Lock()
def work(x):
    with lock:
        return x
""",
        "call(1)",
        "1",
        "1",
    ),
    (
        """
lock = threading.RLock()
def work(x):
    with lock, lock:
        return x
""",
        "call(1)",
        "1",
        "1",
    ),
    (
        """
own = threading.local()
def work(x):
    own.x = x
    return own.x
""",
        "call(1)",
        "1",
        "1",
    ),
    (
        """
event = threading.Event()
def work(x):
    return event.is_set(), event.set(), event.wait(1)
""",
        "call(1)",
        "(False, None, True)",
        "(True, None, True)",
    ),
    (
        """
ready = threading.Condition()
def work(x):
    with ready:
        return ready.notify_all()
""",
        "call(1)",
        "None",
        "None",
    ),
    (
        """
work_list = queue.Queue()
def work(x):
    work_list.put(x)
    return work_list.get()
""",
        "call(1)",
        "1",
        "1",
    ),
    (
        """
class One:
    _lock = threading.Lock()
    _one = None
    def __new__(cls):
        with cls._lock:
            cls._one = cls._one or super().__new__(cls)
            return cls._one
def work(x):
    return One() is One()
""",
        "call(1)",
        "True",
        "True",
    ),
    (
        """
class Table:
    def __init__(self):
        self.lock = threading.Lock()
        self.rows = [1]
table = Table()
def work(x):
    with table.lock:
        return table.rows + [x]
""",
        "call(2)",
        "[1, 2]",
        "[1, 2]",
    ),
    (
        """
@functools.singledispatch
def work(x):
    return 'any'
@work.register
def _(x: int):
    return 'int'
""",
        "call(1), call('a')",
        "('int', 'any')",
        "('int', 'any')",
    ),
    (
        """
class Shape:
    @functools.singledispatchmethod
    def work(self, x):
        return 'any'
    @work.register
    def _(self, x: int):
        return 'int'
work = Shape().work
""",
        "call(1)",
        "'int'",
        "'int'",
    ),
    (
        """
class Shape:
    @functools.cached_property
    def area(self):
        return 7
def work(shape):
    return shape.area
""",
        "call(Shape())",
        "7",
        "7",
    ),
    (
        """
class Pair:
    def both(self, a, b):
        return a, b
    one = functools.partialmethod(both, 1)
work = Pair().one
""",
        "call(2)",
        "(1, 2)",
        "(1, 2)",
    ),
    (
        """
@contextlib.contextmanager
def managed(x):
    yield x + 1
def work(x):
    with managed(x) as y:
        return y
""",
        "call(1)",
        "2",
        "2",
    ),
    (
        """
seen = weakref.WeakValueDictionary()
marks = weakref.WeakKeyDictionary()
found = weakref.WeakSet()
def work(x):
    return len(seen), len(marks), len(found)
""",
        "call(1)",
        "(0, 0, 0)",
        "(0, 0, 0)",
    ),
    (
        """
log = logging.getLogger('script')
log.addHandler(logging.NullHandler())
def work(x):
    log.debug('x')
    return log.name
""",
        "call(1)",
        "'script'",
        "'script'",
    ),
    (
        """
T = typing.TypeVar('T')
UserId = typing.NewType('UserId', int)
class Box(typing.Generic[T]):
    def __init__(self, x: T):
        self.x = x
def work(x: T) -> 'Unknown[T]':
    return Box[int](UserId(x)).x
""",
        "call(1)",
        "1",
        "1",
    ),
    (
        """
T = typing.TypeVar('T')
UserId = typing.NewType('UserId', int)
P = typing.ParamSpec('P')
def work(x):
    return x
""",
        "call([T, UserId, P])[1](3)",
        "3",
        "3",
    ),
    (
        """
limits = types.MappingProxyType({'a': 1})
def work(x):
    return limits[x]
""",
        "call('a')",
        "1",
        "1",
    ),
    (
        """
numbers = itertools.count(5)
draw = random.Random(3)
pattern = re.compile('a+')
def work(x):
    return next(numbers), pattern.match(x).end(), draw.random() < 1
""",
        "call('aa')",
        "(5, 2, True)",
        "(6, 2, True)",
    ),
    (
        """
class Missing:
    def __reduce__(self):
        return 'MISSING'
MISSING = Missing()
def work(x=MISSING):
    return x if x is MISSING else 'given'
""",
        "call() is MISSING, call(MISSING) is MISSING",
        "(True, True)",
        "(True, True)",
    ),
    (
        """
def work(x):
    return inner
def inner():
    return 3
""",
        "call(1)()",
        "3",
        "3",
    ),
    (
        """
class Meta(type):
    @property
    def title(cls):
        return cls.__name__.upper()
class Thing(metaclass=Meta):
    pass
def work(thing):
    return type(thing).title
""",
        "call(Thing())",
        "'THING'",
        "'THING'",
    ),
    (
        """
class Plugin:
    known = []
    def __init_subclass__(cls):
        Plugin.known.append(cls.__name__)
class First(Plugin):
    pass
def work(plugin):
    return 'First' in plugin.known
""",
        "call(First())",
        "True",
        "True",
    ),
    (
        """
class Tree(collections.UserDict):
    def __missing__(self, key):
        self[key] = Tree()
        return self[key]
def work(tree):
    tree['a']['b'] = 1
    return tree
""",
        "call(Tree())['a'] == {'b': 1} and type(call(Tree())) is Tree",
        "True",
        "True",
    ),
]

PROGRAM = """
import json, sys

with paceline.Pool(1) as pool:
    for definitions, expression in json.loads(sys.argv[1]):
        exec(definitions)
        call = lambda *args, task=work: pool.apply(task, args)
        print(repr(eval(expression)))
        print(repr(eval(expression)))
"""


def test_everything_a_script_may_hold_works_in_a_worker(tmp_path):
    calls = json.dumps([(definitions, call) for definitions, call, _, _ in CASES])
    printed = run_script(tmp_path, PREAMBLE + PROGRAM, calls).splitlines()
    given = [(call, *printed[2 * index : 2 * index + 2]) for index, (_, call, _, _) in enumerate(CASES)]
    assert given == [(call, first, second) for _, call, first, second in CASES]


def test_lock_in_an_argument_is_refused(pool):
    # Who hands over a lock expects that it keeps others out.
    with pytest.raises(paceline.ArgumentNotPicklable, match=r"positional argument 0, a `_thread\.lock`"):
        pool.submit(print, threading.Lock())


def test_lock_of_a_script_is_the_same_one_for_all_its_functions_in_a_worker(tmp_path):
    source = """
import threading, paceline
lock = threading.Lock()

def take():
    return lock.acquire(blocking=False)

def look():
    return lock.locked()

with paceline.Pool(1) as pool:
    print(lock.acquire(), pool.apply(look), pool.apply(take), pool.apply(look), pool.apply(take))
"""
    assert run_script(tmp_path, source) == "True False True True False\n"


def test_lock_of_a_namespace_without_a_module_becomes_a_new_one(pool):
    namespace = {"lock": threading.Lock()}
    exec("def work(x):\n    with lock:\n        return x", namespace)
    assert pool.map(namespace["work"], range(3)) == [0, 1, 2]


def test_object_with_a_lock_reaches_the_worker_as_it_is_at_each_call(tmp_path):
    source = """
import threading, paceline

class Table:
    def __init__(self, rows):
        self.lock = threading.Lock()
        self.rows = rows

table = Table([1])

def work():
    with table.lock:
        table.rows.append(0)
        return table.rows

with paceline.Pool(1) as pool:
    print(pool.apply(work), pool.apply(work))
    table.rows.append(2)
    print(pool.apply(work))
    table = Table([3])
    print(pool.apply(work))
    table = threading.Lock()
    print(pool.apply(lambda: table.locked()))
"""
    assert run_script(tmp_path, source) == "[1, 0] [1, 0, 0]\n[1, 2, 0]\n[3, 0]\nFalse\n"
