"""The full screen of `paceline top`, on a terminal of the test's own; and the lines that it is made of."""

import os
import re
from dataclasses import replace

import pytest

from paceline import board, monitor
from paceline.board import cut, failure_rows, rows, stack_line, width_of
from paceline.monitor import Failure, PoolSeen, ProgramSeen, Task, Worker
from paceline.rendezvous import Place
from terminal import Terminal
from watched import command, watched

RUNS_ONE = """
    future = pool.submit(stuck)
    while not future.running():
        time.sleep(0.01)
    print("ready", flush=True)
    try:
        future.result()
    except BaseException as error:
        print(type(error).__name__, pool.submit(abs, -7).result(), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def program(tmp_path):
    program = watched(tmp_path, RUNS_ONE)
    yield program
    program.close()


@pytest.fixture
def on_terminal(tmp_path):
    """Runs the command on a terminal of some size."""
    opened = []

    def run(*arguments, **settings):
        settings = {"NO_COLOR": "", **settings}
        opened.append(Terminal(*command(tmp_path, "--interval", "0.2", *arguments), **settings))
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()


def choose_busy(terminal):
    """Has the cursor on the worker that runs something: the busy one is the second, or the first."""
    lines = [line for line in terminal.lines() if line.endswith(("  stuck", "  idle"))]
    terminal.press("\x1bOH")
    if lines[1].endswith("stuck"):
        terminal.press("j")


def test_screen_shows_the_stack_and_cancels_after_asking(program, on_terminal):
    terminal = on_terminal(rows=24, columns=100)
    terminal.wait_until(lambda text: re.search(r"\d+\.\d s +[\d.]+ .?B +\d+ +\S+  stuck\n", text))
    terminal.wait_until("q quit")
    head, of_program, of_pool, headings, *_ = terminal.lines()
    assert re.fullmatch(r"paceline top: 1 program, 1 pool, 2 workers, 1 busy, .* items/s +\d\d:\d\d:\d\d", head)
    assert of_program.startswith(f"{program.pid} watched.py ")
    assert of_pool.startswith("  pool 1 'the pool': 1 of 2 busy, ")
    assert headings.endswith("  TASK")
    assert terminal.lines()[-1] == "up/down choose   s stack   c cancel   q quit"
    choose_busy(terminal)
    terminal.press("s")
    terminal.wait_until("watched.py:6")
    terminal.press("\x1b")
    terminal.wait_until(lambda text: "watched.py:6" not in text)
    terminal.press("c")
    terminal.wait_until("cancel stuck? y/n")
    terminal.press("n")
    terminal.wait_until("not cancelled")
    terminal.press("c")
    terminal.wait_until("cancel stuck? y/n")
    terminal.press("y")
    terminal.wait_until("task 100: cancelled")
    assert program.read_line() == "CancelledError 7", "the pool goes on"
    terminal.wait_until("0 of 2 busy")
    terminal.press("c")
    terminal.wait_until("this worker is idle: there is nothing to cancel")
    terminal.press("q")
    assert terminal.finish() == 0
    assert program.finish(b"\n")[0] == 0


def test_screen_goes_on_when_the_program_has_ended_and_another_comes(tmp_path, program, on_terminal):
    terminal = on_terminal()
    terminal.wait_until("stuck")
    program.close()
    terminal.wait_until("nobody is there any more")
    other = watched(tmp_path, RUNS_ONE)
    try:
        terminal.wait_until(f"{other.pid} watched.py ")
        terminal.press("q")
        assert terminal.finish() == 0
    finally:
        other.close()


def test_screen_fits_small_terminals_and_follows_their_size(program, on_terminal):
    terminal = on_terminal(rows=10, columns=40)
    terminal.wait_until(lambda text: re.search(r"  stuck$", text, re.MULTILINE))
    terminal.wait_until("q quit")
    assert all(width_of(line) < 40 for line in terminal.lines())
    assert terminal.lines()[-1] == "s stack  c cancel  q quit"
    choose_busy(terminal)
    terminal.press("s")
    terminal.wait_until("watched.py:6")
    terminal.press("c")
    terminal.wait_until("cancel stuck? y/n")
    terminal.press("n")
    for rows_, columns in ((30, 120), (4, 12), (1, 2), (24, 80)):
        terminal.resize(rows_, columns)
        terminal.wait_until(lambda text: text.strip())
    terminal.wait_until(lambda text: re.search(r"  stuck$", text, re.MULTILINE))
    terminal.press("q")
    assert terminal.finish() == 0


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_screen_has_colours_only_if_they_are_wanted(program, on_terminal, no_color, is_coloured):
    terminal = on_terminal(NO_COLOR=no_color)
    terminal.wait_until("stuck")
    terminal.press("q")
    assert terminal.finish() == 0
    assert bool(re.search(r"\x1b\[([\d;]*;)?3[0-7](;[\d;]*)?m", terminal.raw)) is is_coloured


def test_interrupted_screen_gives_the_terminal_back(program, on_terminal):
    terminal = on_terminal()
    terminal.wait_until("stuck")
    terminal.press("\x03")
    assert terminal.finish() == 130
    assert "\x1b[?1049l" in terminal.raw
    assert "Traceback" not in terminal.raw


def test_terminal_that_can_show_no_screen_is_shown_text(program, on_terminal):
    terminal = on_terminal(TERM="there-is-none")
    terminal.wait_until("1 program, 1 pool, 2 workers, 1 busy")
    assert terminal.finish() == 0


def test_many_workers_are_scrolled(tmp_path, on_terminal):
    many = watched(
        tmp_path,
        """
        with paceline.Pool(40, name="many") as others:
            others.map(abs, range(1000))
            print("ready", flush=True)
            sys.stdin.readline()
        """,
    )
    try:
        terminal = on_terminal(rows=12, columns=80)
        terminal.wait_until("2 pools, 42 workers")
        seen = set(workers_on(terminal))
        for _ in range(60):
            terminal.press("\x1bOB")
        terminal.wait_until(lambda _: not seen & set(workers_on(terminal)))
        for _ in range(60):
            terminal.press("k")
        terminal.wait_until(lambda _: seen <= set(workers_on(terminal)))
        terminal.press("q")
        assert terminal.finish() == 0
    finally:
        many.finish(b"\n")


def workers_on(terminal):
    return [line.split()[0] for line in terminal.lines() if line.endswith("  idle")]


# -- the lines ---------------------------------------------------------------------------------------------------------


def program_with(workers, pools=1):
    task = Task(7, "a_function_whose_name_goes_on_and_on_" * 5, 3, 1, 4000.0)
    processes = tuple(Worker(10_000 + number, 1.5, 1_234_567, 10**9, (task, task)) for number in range(workers))
    failure = Failure("work[3]", 7, 1, 4711, 70.0, "raised", "ValueError: " + "bad " * 100)
    pool = PoolSeen(1, "some pool", "processes", workers, True, workers, 10**6, 10**7, 3, 10**8, 10**9, processes)
    pool = replace(pool, failures=(failure,) * 16, rate=12345.6)
    return ProgramSeen(4711, "/home/somebody/a_program.py " * 20, 10**9, 0.0, (pool,) * pools)


@pytest.mark.parametrize("width", [1, 5, 39, 40, 60, 80, 200])
def test_lines_are_no_longer_than_the_screen_is_wide(width):
    programs = [program_with(300, pools=3), ProgramSeen(1, trouble="it does not answer"), ProgramSeen(2, "empty")]
    lines = [*rows(programs, width), *failure_rows(programs, width, 5)]
    assert len(lines) == 1 + 3 * 302 + 1 + 2 + 5
    assert all(width_of(line.text) <= width for line in lines)
    subjects = [line.subject for line in lines if line.subject is not None]
    assert len(subjects) == 900


def test_narrow_line_of_a_worker_has_what_matters_most():
    *_, line = rows([program_with(1)], 40)
    assert re.fullmatch(r"     10000   1 h 06  a_function_.*\.\.\.", line.text)
    *_, line = rows([program_with(1)], 400)
    assert re.fullmatch(
        r"     10000   1 h 06      1 GB   1,234,567       -  a_func.*\[3\] \(attempt 2\) and 1 more", line.text
    )


def test_pool_and_failure_are_told_in_words():
    _, of_pool, *_ = rows([program_with(1)], 400)
    assert of_pool.text == (
        "  pool 1 'some pool': 1 of 1 busy, 12,346 items/s, 10,000,000 to do, 3 failed, 1,000,000 ended, "
        "100 MB in flight, closed"
    )
    (failure, *_) = failure_rows([program_with(1)], 1000, 1)
    assert failure.text.startswith("1 m 10 ago: work[3]: ValueError: bad bad ")
    assert failure.text.endswith(" (task 7 of pool 1, attempt 2, process 4711)")


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 5, "short"),
        ("longer", 5, "lo..."),
        ("longer", 2, ".."),
        ("longer", 0, ""),
        ("数数数数", 8, "数数数数"),
        ("数数数数", 7, "数数..."),
        ("数数数数", 6, "数..."),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_text_is_cut_by_columns_not_by_characters(text, width, shown):
    assert cut(text, width) == shown


def test_line_of_a_stack_begins_with_the_function():
    frame = '  File "/home/somebody/数/model.py", line 12 in Model.fit'
    assert stack_line(frame, 80) == "  Model.fit  /home/somebody/数/model.py:12"
    assert stack_line(frame, 30) == "  Model.fit  ...数/model.py:12"
    assert stack_line(frame, 10) == "  Model...."[:7] + "..."
    assert all(width_of(stack_line(frame, width)) <= width for width in range(60))
    assert stack_line("Thread 0x00007f (most recent call first):", 10) == "Thread ..."


def test_text_of_programs_cannot_steer_the_terminal():
    assert monitor.readable("a\x1b[2Jb\nc\u202ed\x9b") == "a?[2Jb c?d?"
    assert board.width_of(monitor.readable("\t\0")) == 2


def test_answer_of_a_strange_form_costs_that_program_alone(monkeypatch):
    place = Place(7, os.geteuid(), "/nowhere")
    monkeypatch.setattr(monitor, "find", lambda *_: ([place], []))
    for answer in ({}, {"state": []}, {"state": {"program": "", "memory": 1, "now": 1, "pools": [{"engine": "one"}]}}):
        monkeypatch.setattr(monitor, "ask_all", lambda places, *_, answer=answer, **__: dict.fromkeys(places, answer))
        (program,) = monitor.Monitor().look()
        assert (program.pid, program.trouble) == (7, "what it answers cannot be read")
