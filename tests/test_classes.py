"""Classes of a script: instances come back as the caller's own, and definitions are sent once but are never stale."""

import pytest

from program import run_script

KINDS = """
import abc, collections, dataclasses, enum, functools, typing
import paceline

T = typing.TypeVar("T")

@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Slotted:
    x: int

class Point3(Point):
    def norm(self):
        return super().__hash__ is None and self.x

class Color(enum.Enum):
    RED = 1
    GREEN = "green"

class Access(enum.IntFlag):
    READ = 1
    WRITE = 2

class Pair(typing.NamedTuple):
    left: int
    right: int = 0

Old = collections.namedtuple("Old", "a b")

class Box(typing.Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content

class IntBox(Box[int]):
    pass

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    def area(self):
        return 4

class Sized(typing.Protocol):
    def size(self) -> int: ...

class Sheet(Sized):
    def size(self):
        return 3

class Outer:
    class Inner:
        class Innermost(Exception):
            pass

class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.by_meta = True
        return made

class WithMeta(metaclass=Meta):
    @functools.cached_property
    def costly(self):
        return 5

class Failure(Exception):
    def __init__(self, code, *, hint=None):
        super().__init__(code)
        self.code = code
        self.hint = hint

class Named(str):
    def __new__(cls, text, extra=None):
        made = super().__new__(cls, text)
        made.extra = extra
        return made

class Plain:
    __slots__ = ("__hidden", "shown", "__weakref__")
    def __init__(self, hidden, shown):
        self.__hidden = hidden
        self.shown = shown
    def __eq__(self, other):
        return (self.__hidden, self.shown) == (other.__hidden, other.shown)

class Narrow(Plain):
    __slots__ = ["more"]

@dataclasses.dataclass(slots=True)
class Slim:
    x: int

class Planet(enum.Enum):
    EARTH = (1.0, 6.4)
    TERRA = (1.0, 6.4)
    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

class Bare(enum.Enum):
    __slots__ = ()
    ONE = 1

class Code(enum.Enum):
    FIRST = (1, "one")
    def __new__(cls, value, label):
        made = object.__new__(cls)
        made._value_ = value
        made.label = label
        return made

class Operation(enum.Enum):
    DOUBLE = [2]

class Tagged:
    def __init_subclass__(cls, *, tag):
        cls.tag = tag

class Tag(Tagged, tag="t"):
    pass

OBJECTS = [
    Bare.ONE, Plain(1, 2), Narrow(3, 4), Slim(5), Planet.EARTH, Planet.TERRA, Code.FIRST, Operation.DOUBLE, Tag(),
    Point(1, ["a"]), Slotted(2), Point3(3), Color.RED, Color.GREEN, Access.READ | Access.WRITE, Pair(1, 2), Old(1, 2),
    Box("b"), IntBox(1), Square(), Sheet(), Outer(), Outer.Inner(), Outer.Inner.Innermost("deep"), WithMeta(),
    Failure(3), Named("name", 7), Point, Color, Outer.Inner, Box[int],
]

def same(thing):
    return thing

def check(sent, received):
    assert type(received) is type(sent), (sent, received)
    if isinstance(sent, (type, enum.Enum)):
        assert received is sent, (sent, received)
    if hasattr(type(sent), "__eq__") and type(sent).__eq__ is not object.__eq__ and not isinstance(sent, Exception):
        assert received == sent, (sent, received)
    for name, value in getattr(sent, "__dict__", {}).items() if not isinstance(sent, type) else ():
        assert getattr(received, name) == value, name
"""


def test_instances_of_every_kind_of_class_come_back_as_the_callers_own(tmp_path):
    source = """
with paceline.Pool(2) as pool:
    for _ in range(3):
        for sent in OBJECTS:
            check(sent, pool.apply(same, (sent,)))
            check(sent, pool.apply(same, kwds={"thing": sent}))
        for sent, received in zip(OBJECTS, pool.map(same, OBJECTS)):
            check(sent, received)
        for sent, received in zip(OBJECTS, pool.imap(same, OBJECTS)):
            check(sent, received)
        check(OBJECTS[0], pool.apply(lambda things: things["deep"][0], ({"deep": [OBJECTS[0]]},)))
    assert isinstance(pool.apply(same, (Point3(1),)), Point)
    assert isinstance(pool.apply(same, (IntBox(1),)), Box)
    assert pool.apply(same, (Slotted(1),)) < Slotted(2)
with paceline.ProcessPoolExecutor(1) as executor:
    for sent, received in zip(OBJECTS, executor.map(same, OBJECTS)):
        check(sent, received)
print("all the same")
"""
    assert run_script(tmp_path, KINDS + source) == "all the same\n"


def test_workers_see_the_same_classes_in_functions_and_in_arguments(tmp_path):
    source = """
def look(point, color, shape, failure):
    assert type(point) is Point and isinstance(Point3(1), type(point))
    assert color is Color.RED and Color(1) is color
    assert isinstance(shape, Shape) and shape.area() == 4
    try:
        raise failure
    except Failure as caught:
        return caught.code

with paceline.Pool(1) as pool:
    arguments = Point(1), Color.RED, Square(), Failure(5)
    print(pool.apply(look, arguments), pool.apply(look, arguments))
    try:
        pool.apply(lambda error: (_ for _ in ()).throw(error), (Failure(6),))
    except Failure as error:
        print(error.code, type(error) is Failure)
    try:
        pool.apply(lambda: Outer.Inner.Innermost and (_ for _ in ()).throw(Outer.Inner.Innermost("x")))
    except Outer.Inner.Innermost as error:
        print(error)
    made = pool.apply(lambda: [Point(1), Pair(1, 2), Color.GREEN, Point3])
    check(Point(1), made[0]), check(Pair(1, 2), made[1]), check(Color.GREEN, made[2]), check(Point3, made[3])
"""
    assert run_script(tmp_path, KINDS + source) == "5 5\n6 True\nx\n"


def test_slots_and_members_are_in_the_worker_what_they_are_at_home(tmp_path):
    source = """
def look(narrow, planet, code, operation, tag):
    return (
        hasattr(narrow, "__dict__"),
        planet.mass, planet is Planet.TERRA, Planet["TERRA"] is planet, Planet((1.0, 6.4)) is planet,
        code.label, code.value, Code(1) is code,
        operation.value, operation is Operation.DOUBLE, tag.tag, type(tag).tag,
    )

arguments = Narrow(1, 2), Planet.EARTH, Code.FIRST, Operation.DOUBLE, Tag()
with paceline.Pool(1) as pool:
    for _ in range(2):
        assert pool.apply(look, arguments) == look(*arguments), (pool.apply(look, arguments), look(*arguments))
print("as at home")
"""
    assert run_script(tmp_path, KINDS + source) == "as at home\n"


def test_classes_go_through_pools_inside_pools(tmp_path):
    source = """
def inner(point):
    return Point(point.x + 1), isinstance(point, Point)

def outer(point):
    [(inner_point, known)] = paceline.map(inner, [point], 1)
    return inner_point, known and type(inner_point) is Point

with paceline.Pool(1) as pool:
    for _ in range(2):
        point, known = pool.apply(outer, (Point(1),))
        print(point, known, type(point) is Point)
"""
    assert run_script(tmp_path, KINDS + source) == "Point(x=2, tags=[]) True True\n" * 2


def test_initializer_takes_instances_of_classes_of_the_script(tmp_path):
    source = """
kept = None

def initialize(point):
    global kept
    kept = point

with paceline.Pool(1, initialize, (Point(7),)) as pool:
    print(pool.apply(lambda other: (kept, type(kept) is type(other)), (Point(1),)))
"""
    assert run_script(tmp_path, KINDS + source) == "(Point(x=7, tags=[]), True)\n"


CHANGES = """
import paceline

class Base:
    factor = 2
    def scaled(self):
        return self.value * self.factor

class Scale(Base):
    offset = 1
    def __init__(self, value):
        self.value = value

def scaled(scale):
    return scale.scaled() + getattr(scale, "offset", -1000)
"""


def test_changes_of_a_class_after_the_first_call_reach_the_workers(tmp_path):
    source = """
with paceline.Pool(2) as pool:
    def look():
        return {pool.apply(scaled, (Scale(10),)) for _ in range(4)} | set(pool.map(scaled, [Scale(10)] * 4))
    print(look())
    Scale.offset = 5
    print(look())
    Base.factor = 3
    print(look())
    Scale.scaled = lambda self: 100
    print(look())
    del Scale.scaled
    print(look())
    del Scale.offset
    print(look())
    Scale.__init__ = lambda self, value: setattr(self, "value", -value)
    print(look())
"""
    assert run_script(tmp_path, CHANGES + source) == "{21}\n{25}\n{35}\n{105}\n{35}\n{-970}\n{-1030}\n"


def test_class_with_an_attribute_that_changes_in_place_is_never_stale(tmp_path):
    source = """
Scale.table = {"a": 1}
with paceline.Pool(1) as pool:
    for value in (1, 2, 3):
        Scale.table["a"] = value
        print(pool.apply(lambda scale: scale.table["a"], (Scale(1),)))
"""
    assert run_script(tmp_path, CHANGES + source) == "1\n2\n3\n"


def test_class_that_counts_its_instances_is_never_stale(tmp_path):
    source = """
class Counted:
    made = 0
    def __init__(self):
        Counted.made += 1

with paceline.Pool(1) as pool:
    print([pool.apply(lambda counted: type(counted).made, (Counted(),)) for _ in range(40)] == list(range(1, 41)))
"""
    assert run_script(tmp_path, CHANGES + source) == "True\n"


def test_redefined_class_is_another_class(tmp_path):
    source = """
with paceline.Pool(1) as pool:
    first = Scale(1)
    pool.apply(scaled, (first,))
    OldScale = Scale

    class Scale(Base):
        offset = 100
        def __init__(self, value):
            self.value = value

    second = Scale(1)
    print(pool.apply(scaled, (second,)), pool.apply(scaled, (first,)), pool.apply(scaled, (second,)))
    print([type(thing).offset for thing in pool.map(lambda thing: thing, [first, second])])
    print(pool.apply(lambda a, b: type(a) is type(b), (first, second)))
    same = pool.map(lambda thing: thing, [first, second])
    print(type(same[0]) is OldScale, type(same[1]) is Scale)
"""
    assert run_script(tmp_path, CHANGES + source) == "102 3 102\n[1, 100]\nFalse\nTrue True\n"


def test_replaced_worker_knows_the_classes(tmp_path):
    source = """
import os, signal
with paceline.Pool(1) as pool:
    print(pool.apply(scaled, (Scale(10),)))
    for _ in range(3):
        try:
            pool.apply(lambda scale: os.kill(os.getpid(), signal.SIGKILL), (Scale(1),))
        except paceline.WorkerDied:
            print(pool.apply(scaled, (Scale(10),)))
with paceline.Pool(1, maxtasksperchild=1) as pool:
    print({pool.apply(scaled, (Scale(10),)) for _ in range(4)})
"""
    assert run_script(tmp_path, CHANGES + source) == "21\n21\n21\n21\n{21}\n"


def test_subclass_registered_later_counts_as_one_in_the_worker(tmp_path):
    source = """
import abc

class Shape(abc.ABC):
    pass

class Square(Shape):
    pass

class Circle:
    pass

def is_shape(square, thing):
    return isinstance(square, Shape), isinstance(thing, type(square).__mro__[1])

with paceline.Pool(1) as pool:
    print(pool.apply(is_shape, (Square(), Circle())))
    Shape.register(Circle)
    print(pool.apply(is_shape, (Square(), Circle())))
"""
    assert run_script(tmp_path, CHANGES + source) == "(True, False)\n(True, True)\n"


def test_definition_is_sent_once_and_then_referred_to(tmp_path):
    source = """
from paceline import pickling
sizes = set()
for value in range(5):
    data, numbers = pickling.dump_argument(((Scale(value),), None))
    sizes.add((len(data), numbers))
[(size, numbers)] = sizes
print(size < 200, len(numbers), type(Scale(1)).__name__)
Scale.offset = 9
print(pickling.dump_argument(((Scale(value),), None))[1] != numbers)
"""
    assert run_script(tmp_path, CHANGES + source) == "True 1 Scale\nTrue\n"


def test_earlier_definition_is_not_mistaken_for_the_latest(tmp_path):
    # A call may run after a later one: it was made again, or another worker took it.
    source = """
from paceline import pickling
from stand_in_worker import StandInWorker

def packed(value):
    data, numbers = pickling.dump_argument((Scale(value),))
    return pickling.dump_function(pickling.bringing(scaled, numbers))[0], data

with StandInWorker() as worker:
    first = packed(10)
    Scale.offset = 1000
    second = packed(10)
    print([worker.call_bytes(*call) for call in (first, second, first, second, second)])
"""
    assert run_script(tmp_path, CHANGES + source) == "[21, 1020, 21, 1020, 1020]\n"


def test_coroutine_functions_take_instances_of_classes_of_the_script(tmp_path):
    source = """
import asyncio

async def scaled_later(scale):
    await asyncio.sleep(0)
    return scaled(scale)

with paceline.Pool(1) as pool:
    print(pool.submit(scaled_later, Scale(1)).result(), pool.map(scaled_later, [Scale(2), Scale(3)]))
"""
    assert run_script(tmp_path, CHANGES + source) == "3 [5, 7]\n"


def test_function_that_took_an_instance_of_a_class_is_let_go_with_its_pool(tmp_path):
    source = """
import gc, weakref

def make():
    def work(scale):
        return scale.offset
    return work

with paceline.Pool(1) as pool:
    work = make()
    print(pool.apply(work, (Scale(1),)))
    gone = weakref.ref(work)
del work, pool
gc.collect()
print(gone())
"""
    assert run_script(tmp_path, CHANGES + source) == "1\nNone\n"


@pytest.mark.parametrize("flags", [("-X", "dev"), ("-W", "error"), ("-O",)], ids="".join)
def test_classes_of_a_script_under_interpreter_flags(tmp_path, flags):
    from program import Program

    (tmp_path / "script.py").write_text(CHANGES + "print(paceline.map(scaled, [Scale(1), Scale(2)], 2))\n")
    assert Program(*flags, str(tmp_path / "script.py")).finish() == (0, "[3, 5]\n", "")
