"""The list of exclusions is held to its own rules: short, no entry without a test, and a reason for each.

That each excluded test does fail is seen when it is run: an exclusion is a mark that makes passing a failure.
"""

import sys
import unittest
from pathlib import Path

import exclusions
import pytest
import standard_tests
from exclusions import exclusion_of


def names_of_all_tests():
    cases = standard_tests.pool_tests()
    try:
        cases = {**cases, **standard_tests.executor_tests()}
    except ImportError as error:
        pytest.skip(f"the tests of concurrent.futures are not installed: {error}")
    return [f"{name}.{test}" for name, case in cases.items() for test in unittest.TestLoader().getTestCaseNames(case)]


def test_exclusions_are_at_most_a_tenth_of_the_tests():
    names = names_of_all_tests()
    excluded = [name for name in names if exclusion_of(name) is not None]
    assert len(names) > 200
    assert len(excluded) * 10 <= len(names), f"{len(excluded)} of {len(names)} tests are excluded"


def test_exclusions_all_mean_some_test():
    names = names_of_all_tests()
    used = {exclusion_of(name) for name in names}
    unused = [
        entry.tests
        for entry in exclusions.EXCLUSIONS
        if entry not in used and entry.since <= sys.version_info < entry.until
    ]
    assert unused == []


def test_exclusions_give_one_of_the_two_reasons():
    table = (Path(__file__).parents[3] / "docs" / "differences.md").read_text(encoding="utf-8")
    for entry in exclusions.EXCLUSIONS:
        if not entry.reason.startswith((exclusions.PRIVATE, exclusions.MENDED)):
            assert entry.reason.startswith(exclusions.DIFFERENCE)
            name = entry.reason.rpartition("(")[2].removesuffix(")")
            assert f"\n| {name} |" in table
