"""The README does what it says: each of its Python blocks, and each of its commands, runs as pasted.

A fenced block of `python` is written to a file and run; a line `#> text` in it is a line that it must print. A block
of `console` gives commands after `$ `, which are run by the shell, except those that set up or that run these tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = ("make", "pip install", "git clone", "cd ")


def blocks(language):
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    return [
        pytest.param(match[2], id=f"line-{text.count(chr(10), 0, match.start()) + 1}")
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


def commands():
    return [
        pytest.param(command, id=command)
        for block in blocks("console")
        for line in block.values[0].splitlines()
        if line.startswith("$ ") and not (command := line[2:]).startswith(RUN_ELSEWHERE)
    ]


def test_readme_has_examples():
    assert README.exists(), "README.md is missing"
    assert blocks("python")
    assert blocks("console")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("source", blocks("python"))
def test_python_block_runs_as_pasted(source, tmp_path):
    script = tmp_path / "pasted.py"
    script.write_text(source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    expected = re.findall(r"#> (.*)", source)
    assert [line for line in expected if line not in ran.stdout.splitlines()] == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", commands())
def test_command_runs_as_pasted(command):
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    ran = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
