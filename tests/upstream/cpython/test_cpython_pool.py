"""CPython's own tests of `multiprocessing.Pool`, run on `paceline.Pool`."""

import standard_tests

globals().update(standard_tests.pool_tests())
