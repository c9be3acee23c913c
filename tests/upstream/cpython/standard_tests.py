"""CPython's own tests of pools and executors, imported from where they are installed, with our classes in them.

Owns where those tests are found, and which names in them are replaced: the classes under test, and the import lines of
the programs that some of them write. What they ask is theirs, and is never changed; what of it we decline stands in
`exclusions.py`.
"""

import functools
import importlib
import importlib.util
import os
import re
import sys
import types
import unittest
from pathlib import Path

import paceline

HERE = Path(__file__).parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def find_tests():
    """Chooses the `test` package to use, and says why it lacks something; to be called before anything imports it."""
    if importlib.util.find_spec("test.test_concurrent_futures") is not None:
        return
    debians = Path(f"/usr/lib/python{VERSION}/test")
    if (debians / "test_concurrent_futures.py").exists() or (debians / "test_concurrent_futures").exists():
        # The whole package has to come from one place, with the `test.support` that belongs to it.
        for name in [name for name in sys.modules if name == "test" or name.startswith("test.")]:
            del sys.modules[name]
        sys.path.insert(0, str(HERE / "elsewhere"))
        importlib.invalidate_caches()


find_tests()


class Replaced(types.ModuleType):
    """A module as the tests see it: some names are ours, the rest is its own."""

    def __init__(self, original, **names):
        super().__init__(original.__name__)
        self.__dict__.update(names)
        self._original = original

    def __getattr__(self, name):
        return getattr(self._original, name)


IMPORT_LINE = r"from (?:concurrent\.futures|multiprocessing) import (\w*Pool\w*)"


def with_our_imports(assert_python_ok):
    """Programs that the tests write down are run with only their import line changed."""

    @functools.wraps(assert_python_ok)
    def run(*arguments, **environment):
        arguments = [re.sub(IMPORT_LINE, r"from paceline import \1", text) for text in arguments]
        path = os.pathsep.join(sys.path)
        return assert_python_ok(*arguments, PYTHONPATH=path, **environment)

    return run


def start_manager():
    """A server process of `multiprocessing` whose pools are ours; the tests talk to them through proxies."""
    from multiprocessing.managers import PoolProxy, SyncManager

    class Manager(SyncManager):
        pass

    Manager.register("Pool", paceline.Pool, PoolProxy)
    manager = Manager()
    manager.start()
    return manager


@functools.cache
def pool_tests():
    """The test cases about `multiprocessing.Pool`, by their names, made to test ours."""
    import multiprocessing
    import multiprocessing.pool

    from test import _test_multiprocessing as tests

    pools = Replaced(multiprocessing.pool, Pool=paceline.Pool, RemoteTraceback=paceline.RemoteTraceback)
    tests.multiprocessing = Replaced(multiprocessing, Pool=paceline.Pool, pool=pools, Manager=start_manager)
    helper = tests.test.support.script_helper
    helper.assert_python_ok = with_our_imports(helper.assert_python_ok)
    tests.ProcessesMixin.Pool = staticmethod(paceline.Pool)
    tests.ThreadsMixin.Pool = staticmethod(functools.partial(paceline.Pool, backend="threads"))
    cases = {}
    for name in ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime"):
        base = getattr(tests, name)
        for kind in base.ALLOWED_TYPES:
            mixin = getattr(tests, f"{kind.capitalize()}Mixin")
            full = f"With{kind.capitalize()}{name[1:]}"
            # In our module, where workers find the methods of the tests.
            cases[full] = type(full, (base, mixin, unittest.TestCase), {"__module__": "test_cpython_pool"})
    # Of these, one test each is about pools.
    others = {"TestInitializers": "test_pool_initializer", "TestStdinBadfiledescriptor": "test_pool_in_process"}
    for case, test in others.items():
        only_ours(getattr(tests, case), test)
        cases[case] = getattr(tests, case)
    return cases


def only_ours(case, test):
    for name in unittest.TestLoader().getTestCaseNames(case):
        if name != test:
            setattr(case, name, None)


MODULES = ("process_pool", "thread_pool", "as_completed", "wait", "shutdown", "init", "deadlock")


@functools.cache
def executor_tests():
    """The test cases about executors, by their names, made to test ours; raises `ImportError` where there are none."""
    import concurrent.futures.process

    package = importlib.import_module("test.test_concurrent_futures")
    if hasattr(package, "__path__"):
        modules = [importlib.import_module(f"{package.__name__}.test_{name}") for name in MODULES]
        mixins = importlib.import_module(f"{package.__name__}.util")
    else:
        modules, mixins = [package], package
    process = Replaced(concurrent.futures.process, _RemoteTraceback=paceline.RemoteTraceback)
    ours = {name: getattr(paceline, name) for name in NAMES if hasattr(paceline, name)}
    futures = Replaced(concurrent.futures, process=process, **ours)
    for kind in ("Fork", "Forkserver", "Spawn"):
        getattr(mixins, f"ProcessPool{kind}Mixin").executor_type = paceline.ProcessPoolExecutor
    mixins.ThreadPoolMixin.executor_type = paceline.ThreadPoolExecutor
    cases = {}
    for module in modules:
        module.futures = futures
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = with_our_imports(module.assert_python_ok)
        cases |= {name: value for name, value in vars(module).items() if is_case(value)}
    return cases


NAMES = ("ProcessPoolExecutor", "ThreadPoolExecutor", "as_completed", "wait")


def is_case(value):
    return (
        isinstance(value, type)
        and issubclass(value, unittest.TestCase)
        # Tests the standard library's `Future` alone.
        and value.__name__ not in {"TestCase", "BaseTestCase", "FutureTests"}
    )
