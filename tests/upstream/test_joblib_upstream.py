"""joblib's own tests of `Parallel`, from the installed package, with our backend in the place of joblib's `loky`.

What they call `loky`, as a parameter, in their text or as the default, is `paceline` here, and parameters that name
joblib's other backends are dropped. What is left out stands below, with the reason.
"""

import re
import types

import pytest

from belongings import nothing_may_remain
from paceline.adapters.joblib import PacelineBackend, shut_down

upstream = pytest.importorskip("joblib.test.test_parallel")
parallel = pytest.importorskip("joblib.parallel")

LEFT_OUT = {
    "test_auto_memmap_on_arrays_from_generator": "arrays are shared without files, so they are no `numpy.memmap`",
    "test_memmapping_leaks": "the same: no file is written that could be left over",
    "test_parallel_pickling": "expects the words of loky's message",
    "test_parallel_with_interactively_defined_bound_method_loky": "looks for loky's log records",
    "test_loky_reuse_workers": "looks into loky's own executor",
    "test_backend_batch_statistics_reset": "looks at private attributes of joblib's own way to size batches",
}


def in_place_of_loky(mark):
    """A mark, with our backend in its parameters, and no other where one is enough."""
    if mark.name != "parametrize":
        return mark
    names, values = mark.args[0], list(mark.args[1])
    if names == "backend":
        instances = [PacelineBackend()] if any(isinstance(value, parallel.LokyBackend) for value in values) else []
        values = ["paceline", *instances]
    elif names.endswith("_backend"):
        values = ["paceline", "threading"]
    elif "_backend," in names:
        values = [("paceline", "paceline", False), ("threading", "paceline", True)]
    elif names == "backend, error":
        # Two calls never share workers, so the end of one does not spoil the other.
        values = [("paceline", False)]
    # joblib gives some parameters twice.
    ids = [f"{number}-{re.sub(r'[^ -~]', ' ', str(value))}"[:40] for number, value in enumerate(values)]
    return pytest.mark.parametrize(names, values, ids=ids).mark


GLOBALS = {
    name: "import paceline\n" + value.replace('"loky"', '"paceline"') if "_SCRIPT" in name else value
    for name, value in vars(upstream).items()
}
GLOBALS["LokyBackend"] = PacelineBackend


def adapted(function):
    copy = types.FunctionType(
        function.__code__, GLOBALS, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__dict__.update(function.__dict__)
    # What is expected to fail is a trouble of loky's.
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name not in {"thread_unsafe", "xfail"}]
    copy.pytestmark = [*map(in_place_of_loky, marks), pytest.mark.filterwarnings("default").mark]
    return copy


for name, function in vars(upstream).items():
    if name.startswith("test_") and isinstance(function, types.FunctionType) and name not in LEFT_OUT:
        globals()[name] = adapted(function)


@pytest.fixture(scope="module", autouse=True)
def trackers_are_running():
    """Processes that `multiprocessing` and joblib's `loky` start when they are first needed, and keep."""
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as resource_tracker_of_loky

    resource_tracker.ensure_running()
    resource_tracker_of_loky.ensure_running()


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    # The threads of linear algebra end when this process is forked, and come back with the next product.
    upstream.np.dot(upstream.np.ones((1000, 1000)), upstream.np.ones((1000, 1000)))
    with nothing_may_remain(request.node.funcargs.clear):
        yield


@pytest.fixture(autouse=True)
def our_backend(nothing_left_behind, monkeypatch):
    monkeypatch.setattr(parallel, "DEFAULT_BACKEND", "paceline")
    monkeypatch.setattr(parallel, "DEFAULT_PROCESS_BACKEND", "paceline")
    monkeypatch.setitem(parallel.BACKENDS, "loky", PacelineBackend)
    yield
    shut_down()
