"""The commands as a user runs them, but for the demo, which has a file of its own."""

import contextlib
import importlib.util
import json
import operator
import os
import pty
import shutil
import subprocess
import sys
import time

import pytest

import paceline
from paceline import bench, completions, doctor, machine, probe
from paceline.commands import parser
from program import INTERRUPTED, Program

COMMANDS = ["demo", "doctor", "bench", "report", "top", "run", "show", "compare", "export", "completion"]
FIRST_CPU = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))"
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


# What bash would complete, one word to a line.
ASK_BASH = (
    'eval "$1"; shift; [[ "$(complete -p paceline)" == "complete -F _paceline paceline" ]] || exit 9; '
    'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _paceline; printf "%s\\n" "${COMPREPLY[@]}"'
)


def command_line(*arguments, after=""):
    """The command; `after` is what its process does first."""
    if not after:
        return [sys.executable, "-m", "paceline", *arguments]
    become = f"import os, sys; {after}; os.execv(sys.executable, [sys.executable, '-m', 'paceline', *sys.argv[1:]])"
    return [sys.executable, "-c", become, *arguments]


def run(*arguments, after="", **environment):
    return subprocess.run(
        command_line(*arguments, after=after),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        env={**os.environ, **environment},
    )


def run_on_terminal(*arguments, **environment):
    """What appears on the terminal, and the exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command_line(*arguments), stdout=theirs, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
    ) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other side is closed reads as an error, not as an end.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
    return shown.decode(), process.returncode


def examine(*arguments, after="", **environment):
    """The doctor's findings by check, and the exit code, which has to follow from them."""
    ran = run("doctor", "--json", *arguments, after=after, **environment)
    assert ran.stderr == ""
    told = json.loads(ran.stdout)
    found = {}
    for finding in told["findings"]:
        assert set(finding) == {"check", "verdict", "what", "hint"}
        assert finding["verdict"] in {"ok", "note", "problem"}
        found.setdefault(finding["check"], []).append(finding)
    assert sum(told["counts"].values()) == len(told["findings"])
    assert ran.returncode == (told["counts"]["problem"] > 0)
    return found, ran.returncode


# -- the doctor --------------------------------------------------------------------------------------------------------


def test_doctor_makes_every_check_and_tries_every_start_method():
    found, _ = examine("--no-benchmark", PYTHONWARNINGS="error")
    assert list(found) == [name for name in doctor.CHECKS if name != "benchmark"]
    assert [finding["what"].split("`")[1] for finding in found["start-methods"]] == ["forkserver", "spawn", "fork"]
    for check in ("python", "engine", "memory-files", "proc", "start-methods", "shared-objects"):
        assert {finding["verdict"] for finding in found[check]} <= {"ok", "note"}, found[check]
    assert paceline.__version__ in found["python"][0]["what"]


def test_doctor_compares_with_the_standard_library():
    ran = run("doctor")
    assert ran.stderr == ""
    lines = [line for line in ran.stdout.splitlines() if line.split()[1:2] == ["benchmark"]]
    assert len(lines) == 3
    for line, subject in zip(lines, ("Paceline", "multiprocessing.Pool", "ProcessPoolExecutor"), strict=True):
        assert subject in line
    *_, last = ran.stdout.splitlines()
    assert last.startswith("no problem" if ran.returncode == 0 else f"{last.split()[0]} problem")


def test_doctor_with_one_cpu_left_tells_of_one():
    found, _ = examine("--no-benchmark", after=FIRST_CPU)
    (finding,) = found["cpus"]
    assert finding["what"].startswith(f"1 of {machine.cpus()} CPU")
    assert finding["what"].endswith("a pool has 1 worker")
    assert finding["verdict"] == "note"


def test_doctor_with_too_few_open_files_finds_the_problem_and_fails():
    found, code = examine("--no-benchmark", after=FEW_FILES)
    (finding,) = found["open-files"]
    assert finding["verdict"] == "problem"
    assert "at most 24 open files" in finding["what"]
    assert code == 1
    ran = run("doctor", "--no-benchmark", after=FEW_FILES)
    assert ran.returncode == 1
    assert "hint: allow more: `ulimit -n 24`" not in ran.stdout, "what the hard limit forbids is no way out"
    assert "the hard limit" in ran.stdout


def test_doctor_needs_as_many_files_as_a_pool_has():
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number counts.
    with paceline.Pool(4, start_method="spawn") as pool:
        pool.map(abs, range(100))
        held = len(os.listdir("/proc/self/fd")) - before  # noqa: PTH208
    assert held <= doctor.FILES_BESIDE + 4 * doctor.FILES_PER_WORKER


def test_doctor_tells_of_native_threads_that_the_environment_sets():
    found, _ = examine("--no-benchmark", OMP_NUM_THREADS="4096")
    finding, *_ = found["native-threads"]
    assert finding["verdict"] == "note"
    assert "OMP_NUM_THREADS=4096" in finding["what"]
    assert "threads_per_worker" in finding["hint"]


def test_doctor_colours_a_terminal_alone_and_only_if_it_may():
    wish = {"NO_COLOR": "", "TERM": "xterm"}
    coloured, _ = run_on_terminal("doctor", "--no-benchmark", **wish)
    assert "\x1b[32mok" in coloured
    for other in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain, _ = run_on_terminal("doctor", "--no-benchmark", **{**wish, **other})
        assert "\x1b" not in plain
        assert plain.startswith("ok")
    assert "\x1b" not in run("doctor", "--no-benchmark", **wish).stdout


def test_doctor_whose_check_raises_has_found_a_problem(monkeypatch, capsys):
    def check_and_fail():
        yield doctor.Finding("ok", "so far")
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "CHECKS", {"broken": check_and_fail})
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert "so far" in out
    assert "this could not be checked: OSError: no such thing" in out
    assert out.endswith("1 problem, 0 notes\n")


@pytest.mark.parametrize(
    ("groups", "files", "quota", "limit", "kills"),
    [
        ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5, None, 0),
        ("0::/\n", {"memory.max": "1000000\n", "memory.events": "low 0\noom_kill 3\n"}, None, 1_000_000, 3),
        ("0::/a\n", {"memory.max": "max", "a/memory.max": "77"}, None, 77, 0),
        ("3:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, 0.5, None, 0),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None, 0),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None, 0),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "5", "memory/memory.oom_control": "oom_kill 1"}, None, 5, 1),
        ("", {}, None, None, 0),
    ],
)
def test_limits_of_control_groups_are_read_in_both_versions(tmp_path, groups, files, quota, limit, kills):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:  1000 kB\n")
    told = machine.limits(str(tmp_path))
    assert told == machine.Limits(quota, 2_048_000, 1_024_000, limit, kills)


def test_machine_that_tells_nothing_has_no_limits(tmp_path):
    assert machine.limits(str(tmp_path)) == machine.Limits(None, None, None, None, 0)


# -- probes ------------------------------------------------------------------------------------------------------------


def test_probe_gives_what_the_function_gives():
    assert probe.ask(divmod, 17, 5, deadline_s=60) == [3, 2]


@pytest.mark.parametrize(
    ("function", "arguments", "deadline_s", "reason"),
    [
        (time.sleep, [600], 0.5, "no answer within 0.5 seconds"),
        (operator.truediv, [1, 0], 60, "ZeroDivisionError: division by zero"),
        (os._exit, [3], 60, "ended with exit code 3"),
    ],
    ids=["hangs", "raises", "leaves"],
)
def test_probe_without_an_answer_says_why_and_leaves_nothing(function, arguments, deadline_s, reason):
    with pytest.raises(probe.ProbeFailed, match=reason):
        probe.ask(function, *arguments, deadline_s=deadline_s)


# -- bench -------------------------------------------------------------------------------------------------------------


def test_bench_measures_everything_on_every_pool():
    ran = run("bench", "--quick", PYTHONWARNINGS="error")
    assert (ran.returncode, ran.stderr) == (0, "")
    for question in bench.QUESTIONS.values():
        (line,) = (line for line in ran.stdout.splitlines() if line.startswith(question.title))
        assert line.count("×)") == 2
    assert "`make bench`" in ran.stdout


def test_bench_with_a_pool_that_fails_tells_the_others(monkeypatch, capsys):
    def measure(name, workers, amounts):
        if name == "pool":
            raise probe.ProbeFailed("it was not in the mood")
        return dict.fromkeys(amounts, 100.0)

    monkeypatch.setattr(bench, "measure", measure)
    assert bench.run() == 1
    out, errors = capsys.readouterr()
    assert errors == "error: multiprocessing.Pool could not be measured: it was not in the mood\n"
    assert out.count("not measured") == len(bench.QUESTIONS)
    assert out.count("(1.0×)") == len(bench.QUESTIONS)


# -- completion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option_also_new_ones(shell):
    assert run("completion", shell).stdout == completions.script(parser(), shell)
    grown = parser()
    commands = next(action for action in grown._actions if action.dest == "command")
    commands.choices["doctor"].add_argument("--fresh", help="somebody's new option")
    commands.add_parser("errand", help="a new command").add_argument("place", choices=["attic", "cellar"])
    script = completions.script(grown, shell)
    for word in (*COMMANDS, "errand", "attic", "cellar"):
        assert word in script
    options = [option for command in commands.choices.values() for option in command._option_string_actions]
    assert "--fresh" in options
    for option in options:
        assert (
            option if shell != "fish" else f" {'-l' if option[:2] == '--' else '-s'} {option.lstrip('-')}"
        ) in script


@needs_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["paceline", "d"], ["demo", "doctor"]),
        (["paceline", ""], [*COMMANDS, "-h", "--help", "--version"]),
        (["paceline", "doctor", "--"], ["--help", "--json", "--no-benchmark"]),
        (["paceline", "demo", "--kill-one", "--re"], ["--repetitions"]),
        (["paceline", "demo", "--workers", ""], []),
        (["paceline", "completion", ""], ["bash", "zsh", "fish", "-h", "--help"]),
    ],
    ids=" ".join,
)
def test_bash_completes(words, expected):
    script = completions.script(parser(), "bash")
    ran = subprocess.run(
        ["bash", "--norc", "-uc", ASK_BASH, "bash", script, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    assert ran.stderr == ""
    assert ran.stdout.split() == expected


@needs_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["paceline", "report", ""], ["a run.json", "runs", "-h", "--help", "--plot", "--trace"]),
        (["paceline", "report", "a"], ["a run.json"]),
        (["paceline", "report", "a run.json", "--plot", "r"], ["runs"]),
        (["paceline", "report", "--trace", ""], ["a run.json", "runs"]),
        (["paceline", "report", "--p"], ["--plot"]),
        (["paceline", "doctor", "r"], []),
    ],
    ids=" ".join,
)
def test_bash_completes_names_of_files(words, expected, tmp_path):
    (tmp_path / "a run.json").touch()
    (tmp_path / "runs").mkdir()
    ran = subprocess.run(
        ["bash", "--norc", "-uc", ASK_BASH, "bash", completions.script(parser(), "bash"), *words],
        capture_output=True, text=True, check=True, timeout=150, cwd=tmp_path,
    )  # fmt: skip
    assert ran.stderr == ""
    assert sorted(ran.stdout.splitlines()) == sorted(expected or [""])


def test_zsh_and_fish_complete_names_of_files_where_there_are_some():
    zsh, fish = (completions.script(parser(), shell) for shell in ("zsh", "fish"))
    (of_options,) = (line for line in zsh.splitlines() if line.endswith("_files; return ;;"))
    assert '"report --plot" | "report --trace"' in of_options
    (of_commands,) = (line for line in zsh.splitlines() if line.endswith("_files ;; esac"))
    assert '"report"' in of_commands
    assert "complete -c paceline -n '__fish_seen_subcommand_from report' -F\n" in fish
    assert fish.count("__fish_seen_subcommand_from report' -l plot -r -F") == 1
    assert "__fish_seen_subcommand_from demo' -l workers -r -F" not in fish


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_the_shell_can_read(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(completions.script(parser(), shell))
    subprocess.run([shell, "-n", str(script)], check=True, timeout=150)


# -- the command itself ------------------------------------------------------------------------------------------------


def test_version_is_told():
    ran = run("--version")
    assert (ran.returncode, ran.stdout) == (0, f"paceline {paceline.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples_and_exit_codes(command):
    ran = run(command, "--help")
    assert ran.returncode == 0
    assert f"examples:\n  {'source <(' if command == 'completion' else ''}paceline {command}" in ran.stdout
    assert "exit codes:\n  0 " in ran.stdout
    assert f"\n    {command}" in run("--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["doctor", "--nonsense"], ["bench", "more"], ["completion"], ["completion", "tcsh"]],
    ids=" ".join,
)
def test_wrong_use_is_told_with_the_usage(arguments):
    ran = run(*arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: paceline")


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from paceline.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(*sorted(sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=150)
    loaded = set(ran.stdout.splitlines()[-1].split())
    ours = {"paceline._paceline", "paceline.engine", *(f"paceline.{name}" for name in COMMANDS)}
    assert not loaded & (ours | {"json", "subprocess", "multiprocessing", "asyncio", "numpy", "importlib.metadata"})


@pytest.mark.parametrize("command", [["doctor"], ["bench"], pytest.param(["demo"], marks=needs_sklearn)], ids=" ".join)
def test_interrupted_command_ends_without_a_traceback(command, tmp_path):
    program = Program("-m", "paceline", *command, XDG_CACHE_HOME=str(tmp_path))
    program.read_line()
    program.interrupt()
    code, _, errors = program.finish()
    assert code in INTERRUPTED
    assert errors == ""
    program.wait_until_nothing_is_left()


def test_command_whose_reader_leaves_ends_quietly():
    with subprocess.Popen(
        command_line("doctor", "--no-benchmark"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("ok")
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, "")


def test_help_that_nobody_reads_ends_quietly():
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen(command_line("--help"), stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        errors = process.stderr.read()
    # Unbuffered, it is argparse that writes, and it overlooks that nobody reads.
    assert process.returncode in {0, 141}
    assert errors == ""
