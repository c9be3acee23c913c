"""How CPython's tests are run here: what they start once is started beforehand, and what is excluded has to fail."""

import exclusions
import pytest

import belongings


@pytest.fixture(scope="module", autouse=True)
def what_multiprocessing_has_once():
    """Its fork server and its resource tracker, so that no test is charged with them."""
    import multiprocessing.util
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()
    forkserver.ensure_running()
    yield
    multiprocessing.util._cleanup_tests()


@pytest.fixture(scope="class", autouse=True)
def nothing_left_behind_by_class(request):
    """Some classes have one pool for all their tests, which grows with them; they are held to account as a whole."""
    if request.cls is None:
        yield
        return
    with belongings.nothing_may_remain():
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    if getattr(request.cls, "pool", None) is not None or request.node.get_closest_marker("xfail") is not None:
        # What has to fail leaves behind what its failure cut short.
        yield
        return
    # A test case keeps what it has put on itself for as long as pytest keeps the test case.
    with belongings.nothing_may_remain(vars(request.instance).clear if request.cls else lambda: None):
        yield


def case_and_test(item):
    return f"{item.cls.__name__}.{item.name}" if getattr(item, "cls", None) else item.name


def pytest_collection_modifyitems(items):
    for item in items:
        exclusion = exclusions.exclusion_of(case_and_test(item))
        if exclusion is None:
            continue
        if exclusion.never_ends:
            item.add_marker(pytest.mark.skip(reason=exclusion.reason))
        else:
            item.add_marker(pytest.mark.xfail(reason=exclusion.reason, strict=not exclusion.passes_by_chance))
