"""`docs/experiments.md` does what it says: its example runs as pasted, and its commands are commands."""

import re
import subprocess
import sys
from pathlib import Path

from paceline.commands import parser

TEXT = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")


def test_example_runs_as_pasted_and_prints_what_it_says(tmp_path):
    (source,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    script = tmp_path / "pasted.py"
    script.write_text(source, encoding="utf-8")
    command = [sys.executable, "-W", "error", script]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == re.findall(r"#> (.*)", source)


def test_commands_are_understood():
    commands = re.findall(r"^\$ paceline (.*)$", TEXT, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"run", "show", "compare", "export"}
    for command in commands:
        parser().parse_args(command.split())
