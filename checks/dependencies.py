"""Looks through what Paceline depends on: licences, sources and known advisories of crates and of Python tools.

Owns what to do where a tool is not installed or a database of advisories cannot be reached: that is said in one line,
and is no failure. Never installs anything, and never waits for long.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

PATIENCE_S = 60
REQUIREMENTS = sorted(Path().glob("requirements-*.txt"))
# cargo-deny says one of these where it cannot have the database, or what it needs for that.
UNREACHABLE = (
    "failed to fetch",
    "unable to fetch",
    "failed to obtain",
    "failed to clone",
    "failed to open advisory database",
)


def run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """What it says, or None if it takes too long."""
    try:
        return subprocess.run(  # noqa: S603 - commands of this file
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None


def check_crates() -> bool:
    """Licences, bans and sources, for which nothing has to be reached; then advisories, for which something has to."""
    if shutil.which("cargo-deny") is None:
        print("cargo deny: skipped, for it is not installed (make tools)")
        return True
    deny = ["cargo", "deny", "--locked", "--all-features"]
    local = run([*deny, "--offline", "check", "licenses", "bans", "sources"])
    if local is None or local.returncode != 0:
        print(local.stderr if local else "cargo deny: took too long")
        return False
    print("cargo deny: licences, bans and sources are in order")
    advisories = run([*deny, "check", "advisories"])
    if advisories is None or any(sign in advisories.stderr for sign in UNREACHABLE):
        print("cargo deny: advisories skipped, for their database cannot be reached")
        return True
    if advisories.returncode != 0:
        print(advisories.stderr)
        return False
    print("cargo deny: no advisories")
    return True


def check_tools() -> bool:
    """Advisories of the Python packages that are pinned here."""
    program = shutil.which("pip-audit", path=str(Path(sys.executable).parent)) or shutil.which("pip-audit")
    if program is None:
        print("pip-audit: skipped, for it is not installed")
        return True
    named = [part for path in REQUIREMENTS for part in ("-r", str(path))]
    audit = run(
        [program, *named, "--no-deps", "--disable-pip", "--timeout", "5", "--progress-spinner", "off", "-f", "json"]
    )
    try:
        found = json.loads(audit.stdout)["dependencies"] if audit else []
    except (ValueError, KeyError):
        found = []
    audited = [package for package in found if "skip_reason" not in package]
    if not audited:
        print("pip-audit: skipped, for no database of advisories can be reached")
        return True
    wrong = {package["name"]: package["vulns"] for package in audited if package["vulns"]}
    for name, advisories in wrong.items():
        for advisory in advisories:
            print(f"pip-audit: {name}: {advisory['id']}, mended in {advisory['fix_versions'] or 'no version'}")
    if not wrong:
        print(f"pip-audit: no advisories for {len(audited)} packages")
    return not wrong


if __name__ == "__main__":
    # Both are to have their say.
    sys.exit(not all([check_crates(), check_tools()]))
