"""The walls between the rooms: which crate may know which, and which Python file may know the native module.

The order of the Python modules is checked by import-linter (its contract stands in pyproject.toml); here is what it
cannot see.
"""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "paceline"

# What each crate may depend on among our own: {py, paceline} -> engine -> {core, ipc}, sim -> core.
OUR_DEPENDENCIES = {
    "paceline-core": set(),
    "paceline-ipc": set(),
    "paceline-engine": {"paceline-core", "paceline-ipc"},
    "paceline-py": {"paceline-engine"},
    "paceline": {"paceline-engine", "paceline-macros"},
    "paceline-macros": set(),
    "paceline-sim": {"paceline-core"},
}
# Where a room's purity can be seen from what it depends on.
MAY_NAME_PYTHON = {"paceline-py"}
WITHOUT_ANY_DEPENDENCY_BUT = {"paceline-core": {"slab"}, "paceline-sim": {"paceline-core"}}


@pytest.fixture(scope="module")
def crates():
    command = ["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version=1"]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {package["name"]: package for package in json.loads(answer.stdout)["packages"]}


def dependencies(crate, kinds=(None, "build")):
    """The names of what a crate is built from; `kind` is None for ordinary dependencies."""
    return {dependency["name"] for dependency in crate["dependencies"] if dependency["kind"] in kinds}


def test_crates_are_exactly_the_rooms(crates):
    assert set(crates) == set(OUR_DEPENDENCIES)


@pytest.mark.parametrize("name", OUR_DEPENDENCIES)
def test_crate_depends_only_downwards(crates, name):
    ours = {other for other in dependencies(crates[name], (None, "build", "dev")) if other.startswith("paceline")}
    assert ours <= OUR_DEPENDENCIES[name]


@pytest.mark.parametrize("name", sorted(set(OUR_DEPENDENCIES) - MAY_NAME_PYTHON))
def test_crate_below_the_face_does_not_name_python(crates, name):
    assert not {other for other in dependencies(crates[name], (None, "build", "dev")) if other.startswith("pyo3")}


@pytest.mark.parametrize(("name", "allowed"), WITHOUT_ANY_DEPENDENCY_BUT.items())
def test_pure_crate_needs_nothing_of_the_world(crates, name, allowed):
    assert dependencies(crates[name]) <= allowed


@pytest.mark.parametrize("name", ["paceline-core", "paceline-sim"])
def test_pure_crate_has_no_unsafe_code(name):
    folder = ROOT / "crates" / name / "src"
    assert "#![forbid(unsafe_code)]" in (folder / "lib.rs").read_text(encoding="utf-8")
    for source in folder.rglob("*.rs"):
        assert not re.search(r"\bunsafe\b *(\{|fn|impl|extern)", source.read_text(encoding="utf-8")), source


def test_core_names_no_clock_thread_or_file():
    worldly = re.compile(r"\bstd::(thread|time::(Instant|SystemTime)|fs|net|process|os|io|env|sync)\b")
    for source in (ROOT / "crates" / "paceline-core" / "src").rglob("*.rs"):
        assert not worldly.search(source.read_text(encoding="utf-8")), source


def names_native_module(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any("_paceline" in alias.name for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom):
            if node.module and "_paceline" in node.module:
                return True
            if any(alias.name == "_paceline" for alias in node.names):
                return True
    return False


def test_only_engine_imports_the_native_module():
    trees = {source.stem: ast.parse(source.read_text(encoding="utf-8")) for source in PACKAGE.glob("**/*.py")}
    assert [name for name, tree in sorted(trees.items()) if names_native_module(tree)] == ["engine"]


def test_no_source_file_is_over_600_lines():
    sources = [*(ROOT / "crates").rglob("*.rs"), *PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {source: source.read_text(encoding="utf-8").count("\n") for source in sources}
    assert not {str(source): lines for source, lines in lengths.items() if lines > 600}
