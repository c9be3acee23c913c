"""The tests of others, run on ours: CPython's of pools and executors, joblib's of backends."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    # Pytest hands over the tests of all folders.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.upstream)
