"""Each promise, asked of each backend: the table in `docs/clusters.md` says what comes out, and nothing else may.

`make promises` writes the table.
"""

from functools import partial

import promises
import pytest
from backends import POOLS

import paceline

pytest.importorskip("numpy")

OURS = [backend for backend in POOLS if backend.ours]
found = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    if promises.is_to_be_written():
        promises.write(found)


@pytest.fixture(scope="module", params=OURS, ids=lambda backend: backend.name)
def asked(request):
    return request.param


@pytest.fixture(scope="module")
def make(asked, request):
    if asked.cluster is None:
        return asked.make
    return partial(asked.make, backend=request.getfixturevalue(asked.cluster))


@pytest.mark.parametrize("text", promises.promises)
def test_promise_holds_where_the_table_says_so(asked, make, text, request):
    needed = promises.needs[text]
    if needed is not None and not getattr(asked, needed):
        cell = "no"
    else:
        try:
            cell = "yes" if promises.promises[text](make, request) else "no"
        except (ValueError, paceline.ArgumentNotPicklable):
            cell = "refused"
    found[text, asked.name] = cell
    # A difference without a reason is a fault, and so is a reason without a difference.
    assert (cell == "yes") == (promises.reason(text, asked) is None), cell
    if not promises.is_to_be_written():
        assert promises.documented()[text, asked.name] == cell
