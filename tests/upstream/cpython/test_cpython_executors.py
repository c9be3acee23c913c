"""CPython's own tests of `concurrent.futures`, run on Paceline's executors."""

import pytest
import standard_tests

try:
    cases = standard_tests.executor_tests()
except ImportError as error:
    pytest.skip(f"the tests of concurrent.futures are not installed: {error}", allow_module_level=True)
globals().update(cases)
del cases
