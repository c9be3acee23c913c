"""The command `paceline top` where it prints, and its exit codes; its screen has a file of its own."""

import json
import os
import signal

import pytest

from watched import top, watched


def test_once_prints_programs_pools_workers_and_failures(runtime):
    program = watched(
        runtime,
        """
        pool.map(fails, range(3), on_error="return")
        future = pool.submit(waits)
        print("ready", flush=True)
        while not future.done():
            pool.map(abs, range(10))
        """,
    )
    try:
        code, out, err = top(runtime, "--once", "--interval", "0.5", COLUMNS="200")
        assert (code, err) == (0, "")
        head, of_program, of_pool, headings, *rest = out.splitlines()
        assert head.startswith("1 program, 1 pool, 2 workers, ")
        assert of_program.startswith(f"{program.pid} watched.py ")
        assert of_pool.startswith("  pool 1 'the pool': ")
        assert ", 3 failed, " in of_pool
        assert headings.split() == ["PID", "RUNS", "FOR", "MEMORY", "ITEMS", "PER", "S", "TASK"]
        assert any(line.endswith("  waits") for line in rest[:2]), out
        assert "recent failures:" in rest
        assert "fails[2]: ValueError: bad ?[31m 2" in out
        assert "\x1b" not in out
        code, out, _ = top(runtime, "--json", "--interval", "0.5", str(program.pid))
        told = json.loads(out)
        assert (code, told["paceline_top"]) == (0, 1)
        (of_program,) = told["programs"]
        assert (of_program["pid"], of_program["trouble"]) == (program.pid, "")
        assert of_program["socket"] == str(runtime / "paceline" / f"{program.pid}.sock")
        (of_pool,) = of_program["pools"]
        assert of_pool["rate"] > 0
        assert "waits" in [task["function"] for worker in of_pool["processes"] for task in worker["tasks"]]
    finally:
        program.close()


def test_nobody_to_look_at_is_said_with_the_way_in(runtime):
    for arguments, what in (
        ((), "no running program of yours lets itself be watched"),
        ((str(os.getpid()),), f"process {os.getpid()} does not let itself be watched by you"),
        (("4194304",), "there is no process 4194304"),
    ):
        code, out, err = top(runtime, *arguments)
        assert (code, out) == (1, "")
        assert err == (
            f"error: {what}\nhint: call `paceline.watchable()` in the program, "
            "or start it with PACELINE_TOP=1 in its environment\n"
        )
    code, out, _ = top(runtime, "--json")
    assert (code, json.loads(out)["programs"]) == (1, [])


def test_program_that_has_been_stopped_is_said_not_to_answer(runtime):
    program = watched(runtime, "print('ready', flush=True); time.sleep(600)")
    try:
        os.kill(program.pid, signal.SIGSTOP)
        code, out, _ = top(runtime, "--interval", "0.1")
        assert code == 1
        assert f"{program.pid}: process {program.pid} does not answer" in out
    finally:
        program.close()


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_interval_that_makes_no_sense_is_wrong_usage(runtime, interval):
    assert top(runtime, f"--interval={interval}")[0] == 2
