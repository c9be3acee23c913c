"""`docs/experiments-statistics.md` does what it says: each of its examples runs as pasted, and prints what it shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "experiments-statistics.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_example_runs_as_pasted(number, tmp_path):
    command = [sys.executable, "-W", "error", "-c", EXAMPLES[number]]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    expected = re.findall(r"#> (.*)", EXAMPLES[number])
    assert expected
    assert ran.stdout.splitlines() == expected


def test_every_example_is_tested():
    assert len(EXAMPLES) == 4


def test_every_reference_is_used_and_there():
    text = PAGE.read_text(encoding="utf-8")
    listed = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert listed == list(range(1, len(listed) + 1))
    assert {int(number) for number in re.findall(r" \[(\d+)\]", text)} == set(listed)
