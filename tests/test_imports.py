"""What is to be done after an import is done once, at the right moment, and changes nothing about the import."""

import importlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from paceline import imports
from paceline.imports import when_imported


@pytest.fixture
def module_named(tmp_path, monkeypatch):
    """Writes modules that can be imported during this test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = []

    def write(name, source=""):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)
        sys.modules.pop(name.partition(".")[0], None)


@pytest.fixture(autouse=True)
def no_finder_remains():
    others = [finder for finder in sys.meta_path if finder is not imports._finder]
    # What other tests made the package itself wait for is none of ours.
    waiting = dict(imports._actions)
    imports._actions.clear()
    sys.meta_path = list(others)
    yield
    imports._actions.clear()
    imports._actions.update(waiting)
    sys.meta_path = [imports._finder, *others] if waiting else others


def test_action_for_an_imported_module_runs_at_once():
    seen = []
    when_imported("sys", seen.append)
    assert seen == [sys]
    assert imports._finder not in sys.meta_path


def test_action_for_a_later_import_runs_once_and_the_finder_leaves(module_named):
    name = module_named("later", "value = 1")
    seen = []
    when_imported(name, lambda module: seen.append((module, module.value)))
    assert seen == []
    assert imports._finder in sys.meta_path
    module = importlib.import_module(name)
    assert seen == [(module, 1)]
    assert imports._finder not in sys.meta_path
    importlib.reload(module)
    assert seen == [(module, 1)]


def test_action_for_a_submodule_waits_for_the_submodule(module_named):
    module_named("parcel.__init__")
    module_named("parcel.inner", "value = 2")
    seen = []
    when_imported("parcel.inner", lambda module: seen.append(module.value))
    importlib.import_module("parcel")
    assert seen == []
    importlib.import_module("parcel.inner")
    assert seen == [2]


def test_module_looks_as_if_nobody_had_waited_for_it(module_named):
    name = module_named("plain", "loader_at_birth = (type(__loader__), type(__spec__.loader))")
    when_imported(name, lambda module: None)
    module = importlib.import_module(name)
    loader = importlib.machinery.SourceFileLoader
    assert module.loader_at_birth == (loader, loader)
    assert type(module.__loader__) is type(module.__spec__.loader) is loader
    assert module.__spec__.cached == importlib.util.cache_from_source(module.__file__)


def test_spec_that_is_only_looked_at_calls_nothing_and_looks_as_always(module_named):
    name = module_named("looked_at", "value = 3")
    seen = []
    when_imported(name, seen.append)
    spec = importlib.util.find_spec(name)
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    assert spec.loader.get_source(name) == "value = 3"
    assert seen == []
    assert name not in sys.modules
    # The spec that was looked at is as good as a new one.
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert seen == [module]
    assert type(spec.loader) is importlib.machinery.SourceFileLoader


def test_missing_module_is_as_missing_as_ever():
    when_imported("no_such_module_anywhere", lambda module: None)
    assert importlib.util.find_spec("no_such_module_anywhere") is None
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_anywhere'"):
        importlib.import_module("no_such_module_anywhere")


def test_import_that_fails_calls_nothing_and_the_next_one_does(module_named, tmp_path):
    name = module_named("fragile", "raise OSError('not yet')")
    seen = []
    when_imported(name, seen.append)
    with pytest.raises(OSError, match="not yet"):
        importlib.import_module(name)
    assert seen == []
    (tmp_path / "fragile.py").write_text("value = 'there, and of another length'", encoding="utf-8")
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    assert seen == [module]


def test_action_that_raises_is_logged_and_spoils_nothing(module_named, caplog):
    name = module_named("harmless")
    seen = []
    when_imported(name, lambda module: 1 / 0)
    when_imported(name, seen.append)
    module = importlib.import_module(name)
    assert seen == [module]
    (record,) = caplog.records
    assert record.name == "paceline"
    assert "`harmless`" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_action_may_wait_for_another_import(module_named):
    first, second = module_named("first_of_two"), module_named("second_of_two")
    seen = []
    when_imported(first, lambda module: when_imported(second, seen.append))
    importlib.import_module(first)
    assert seen == []
    assert [importlib.import_module(second)] == seen


def test_module_that_replaces_itself_is_shown_as_what_it_became(module_named):
    name = module_named("chameleon", "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(colour='green')")
    seen = []
    when_imported(name, lambda module: seen.append(module.colour))
    importlib.import_module(name)
    assert seen == ["green"]


def test_action_works_for_modules_without_a_file(tmp_path, monkeypatch):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_one.py", "value = 1")
        file.writestr("zipped_two.py", "value = 2")
    monkeypatch.syspath_prepend(str(archive))
    seen = []
    # A zip file has one loader for all its modules; a built-in module's loader is a class.
    when_imported("zipped_two", lambda module: seen.append(module.value))
    assert importlib.import_module("zipped_one").value == 1
    assert seen == []
    importlib.import_module("zipped_two")
    assert seen == [2]
    for name in ("zipped_one", "zipped_two"):
        del sys.modules[name]
    monkeypatch.delitem(sys.modules, "xxsubtype", raising=False)
    if "xxsubtype" in sys.builtin_module_names:
        when_imported("xxsubtype", lambda module: seen.append(module.__name__))
        module = importlib.import_module("xxsubtype")
        assert seen == [2, "xxsubtype"]
        assert module.__loader__ is importlib.machinery.BuiltinImporter
        del sys.modules["xxsubtype"]


def test_action_given_while_another_thread_imports_sees_the_whole_module(module_named):
    name = module_named("slow_to_come", "import threading\nstarted.set()\nassert go_on.wait(30)\nvalue = 4")
    started, go_on = threading.Event(), threading.Event()
    builtins = importlib.import_module("builtins")
    builtins.started, builtins.go_on = started, go_on
    seen = []
    try:
        importer = threading.Thread(target=importlib.import_module, args=(name,))
        importer.start()
        assert started.wait(30)
        waiter = threading.Thread(target=when_imported, args=(name, lambda module: seen.append(module.value)))
        waiter.start()
        go_on.set()
        importer.join(30)
        waiter.join(30)
    finally:
        del builtins.started, builtins.go_on
    assert seen == [4]


def test_import_that_begins_while_an_action_is_given_is_waited_for_too(module_named, monkeypatch):
    name = module_named("just_begun", "import threading\nstarted.set()\nassert go_on.wait(30)\nvalue = 5")
    started, go_on = threading.Event(), threading.Event()
    builtins = importlib.import_module("builtins")
    builtins.started, builtins.go_on = started, go_on
    importer = threading.Thread(target=importlib.import_module, args=(name,))
    wait_for_the_lock = imports._lock_unlock_module
    waits = []

    def wait_and_let_an_import_begin(name):
        waits.append(name)
        if len(waits) == 1:
            wait_for_the_lock(name)
            importer.start()
            assert started.wait(30)
        else:
            go_on.set()
            wait_for_the_lock(name)

    monkeypatch.setattr(imports, "_lock_unlock_module", wait_and_let_an_import_begin)
    seen = []
    try:
        when_imported(name, lambda module: seen.append(getattr(module, "value", "not there yet")))
    finally:
        go_on.set()
        importer.join(30)
        del builtins.started, builtins.go_on
    assert seen == [5]


def test_many_threads_importing_and_waiting_call_each_action_once(module_named):
    names = [module_named(f"crowd_{number}", f"value = {number}") for number in range(20)]
    seen = []
    together = threading.Barrier(4)

    def importing():
        together.wait(30)
        for name in names:
            importlib.import_module(name)

    def waiting():
        together.wait(30)
        for name in names:
            when_imported(name, lambda module: seen.append(module.value))

    threads = [threading.Thread(target=target) for target in (importing, waiting, importing, waiting)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(seen) == sorted([*range(20), *range(20)])
    assert imports._finder not in sys.meta_path


def test_importing_the_file_loads_nothing_else():
    program = (
        "import sys; before = set(sys.modules); import paceline.imports\n"
        "print(sorted(set(sys.modules) - before - {'paceline', 'paceline.adapters', 'paceline.imports', '__future__'}))"
    )
    answer = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, check=True, env=_environment())
    assert answer.stdout.decode().strip() == "[]"


def _environment():
    return {**os.environ, "PYTHONPATH": str(Path(imports.__file__).parent.parent)}
