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
    lines = [line for block in blocks("console") for line in block.values[0].splitlines()]
    return [line[2:].partition("  #")[0].strip() for line in lines if line.startswith("$ ")]


def test_readme_has_examples():
    assert README.exists(), "README.md is missing"
    assert blocks("python")
    assert commands()


@pytest.mark.parametrize("source", blocks("python"))
def test_python_block_runs_as_pasted(source, tmp_path):
    script = tmp_path / "pasted.py"
    script.write_text(source, encoding="utf-8")
    command = [sys.executable, "-W", "error", script]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    expected = re.findall(r"#> (.*)", source)
    assert [line for line in expected if line not in ran.stdout.splitlines()] == []


def test_make_targets_of_the_readme_are_listed_by_make():
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = {command for command in commands() if command.startswith("make")}
    assert [command for command in named if not re.search(rf"^{command}\b", answer.stdout, re.MULTILINE)] == []


def test_other_commands_run_as_pasted():
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    for command in commands():
        if not command.startswith(RUN_ELSEWHERE):
            ran = subprocess.run(
                command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            assert ran.returncode == 0, f"{command}: {ran.stderr}"
