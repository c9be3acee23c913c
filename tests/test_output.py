"""What workers print reaches `sys.stdout` and `sys.stderr` of their parent, whole line by whole line, come what may."""

import contextlib
import ctypes
import io
import os
import re
import signal
import subprocess
import sys

import pytest

import paceline
import tasks
from paceline import Pool, ProcessPoolExecutor, WorkerDied
from program import Program, run_script

LINES = 2000


def say(number):
    print("line", number)
    print("error", number, file=sys.stderr)
    return os.getpid()


def numbers_said(text, word):
    return [int(number) for number in re.findall(rf"^{word} (\d+)$", text, re.MULTILINE)]


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_prints_appear_in_the_parents_streams_when_the_pool_is_left(capsys):
    with Pool(2) as pool:
        pool.map(say, range(100), chunksize=1)
    out, err = capsys.readouterr()
    assert sorted(numbers_said(out, "line")) == list(range(100)) == sorted(numbers_said(err, "error"))
    assert len(out.splitlines()) == len(err.splitlines()) == 100


def test_lines_of_one_worker_stay_in_order_and_whole(capsys):
    def count(seat):
        for number in range(LINES):
            sys.stdout.write(f"{seat}:")
            sys.stdout.write(f"{number}\n")

    with Pool(2) as pool:
        pool.map(count, range(2), chunksize=1)
    lines = capsys.readouterr().out.splitlines()
    for seat in range(2):
        assert [line for line in lines if line.startswith(f"{seat}:")] == [f"{seat}:{n}" for n in range(LINES)]
    assert len(lines) == 2 * LINES


def test_a_hundred_thousand_lines_arrive(capsys):
    with Pool(2) as pool:
        pool.map(print, range(100_000))
    assert sorted(map(int, capsys.readouterr().out.split())) == list(range(100_000))


def test_join_and_shutdown_wait_until_all_is_printed(capsys):
    pool = Pool(1)
    pool.apply_async(print, ("from a pool",))
    pool.close()
    pool.join()
    assert capsys.readouterr().out == "from a pool\n"
    executor = ProcessPoolExecutor(1)
    executor.submit(print, "from an executor")
    executor.shutdown(wait=True)
    assert capsys.readouterr().out == "from an executor\n"


def test_what_a_task_printed_is_there_before_its_result(pool, capsys):
    for number in range(50):
        pool.apply(print, (number,))
        assert capsys.readouterr().out == f"{number}\n"
        pool.submit(print, number, file=None).result()
        assert capsys.readouterr().out == f"{number}\n"
    pool.map(say, range(10))
    assert sorted(numbers_said(capsys.readouterr().out, "line")) == list(range(10))
    seen = ""
    for number, _ in enumerate(pool.imap(say, range(10))):
        seen += capsys.readouterr().out
        assert number in numbers_said(seen, "line")
    with pytest.raises(WorkerDied):
        pool.apply(tasks.say_and_die, ("last words\n",))
    assert "last words" in capsys.readouterr().err


def test_redirect_stdout_gets_the_lines():
    target = io.StringIO()
    with contextlib.redirect_stdout(target), Pool(1) as pool:
        pool.apply(print, ("redirected",))
    assert target.getvalue() == "redirected\n"


def test_raw_writes_c_code_and_child_processes_are_heard(capsys):
    def speak():
        os.write(1, b"from os.write\n")
        libc = ctypes.CDLL(None)
        libc.puts(b"from C")
        libc.fflush(None)
        subprocess.run(["/bin/sh", "-c", "echo from a child; echo its error >&2"], check=True)

    with Pool(1) as pool:
        pool.apply(speak)
    out, err = capsys.readouterr()
    assert out == "from os.write\nfrom C\nfrom a child\n"
    assert err == "its error\n"


def test_text_without_line_end_is_a_line_when_the_worker_leaves(capsys):
    with Pool(1) as pool:
        pool.map(lambda number: print(number, end=" "), range(5))
    assert capsys.readouterr().out == "0 1 2 3 4 \n"


def test_a_very_long_line_arrives_whole(capsys):
    text = "ä€x" * 100_000
    with Pool(1) as pool:
        pool.apply(print, (text,))
    assert capsys.readouterr().out == text + "\n"


def test_characters_and_bytes_of_every_kind_arrive(capsys):
    def speak():
        print("ünïcödé €")
        os.write(1, b"not text: \xff\xfe\n")

    target = io.StringIO()
    with contextlib.redirect_stdout(target), Pool(1) as pool:
        pool.apply(speak)
    assert target.getvalue() == "ünïcödé €\nnot text: \\xff\\xfe\n"


def test_bytes_that_are_no_text_reach_a_file_unchanged(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, paceline\nwith paceline.Pool(1) as pool: pool.apply(os.write, (1, b'\\xff\\x00\\n'))\n"
    )
    ran = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, check=True)
    assert ran.stdout == b"\xff\x00\n"


def test_a_stream_that_cannot_encode_gets_escapes():
    target = io.TextIOWrapper(io.BytesIO(), "ascii")
    with contextlib.redirect_stdout(target), Pool(1) as pool:
        pool.apply(print, ("€",))
    assert target.buffer.getvalue() == b"\\u20ac\n"


def test_the_output_of_nested_workers_reaches_the_user(capsys):
    def nest():
        with paceline.Pool(1) as inner:
            inner.apply(print, ("from within",))

    with Pool(1) as pool:
        pool.apply(nest)
    assert capsys.readouterr().out == "from within\n"


def test_printing_initializer_and_maxtasksperchild_lose_nothing(capsys):
    with Pool(2, initializer=print, initargs=("hello",), maxtasksperchild=3) as pool:
        pool.map(say, range(30), chunksize=1)
    out = capsys.readouterr().out
    assert sorted(numbers_said(out, "line")) == list(range(30))
    assert out.splitlines().count("hello") >= 10


# -- workers that die --------------------------------------------------------------------------------------------------


def say_and(end):
    print("whole line")
    print("half line", end="", flush=True)
    print("error without end", end="", file=sys.stderr, flush=True)
    end()


@pytest.mark.parametrize(
    "end",
    [tasks.die, lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGSEGV), lambda: ctypes.string_at(1)],
    ids=["killed", "exited", "signalled", "crashed"],
)
def test_what_a_worker_wrote_before_its_death_arrives(capsys, end):
    with Pool(1) as pool, pytest.raises(WorkerDied) as caught:
        pool.apply(say_and, (end,))
    out, err = capsys.readouterr()
    assert out == "whole line\nhalf line\n"
    assert "error without end" in err
    assert "error without end" in caught.value.last_words


def test_text_of_an_earlier_task_is_written_before_a_later_one_dies(capsys):
    with Pool(1) as pool:
        pool.apply(print, ("no line end",), {"end": ""})
        with pytest.raises(WorkerDied):
            pool.apply(os._exit, (1,))
    assert capsys.readouterr().out == "no line end\n"


def test_text_of_an_initializer_is_written_before_the_first_task_dies(capsys):
    def begin():
        print("no line end", end="")

    with Pool(1, initializer=begin) as pool, pytest.raises(WorkerDied):
        pool.apply(os._exit, (1,))
    assert capsys.readouterr().out.startswith("no line end\n")


def test_a_worker_killed_while_it_prints_loses_no_whole_line(capsys, gate):
    def chatter():
        for number in range(LINES):
            print("line", number)
        tasks.through(gate.path)

    with Pool(1) as pool:
        future = pool.submit(chatter)
        os.kill(gate.wait_for_arrival(), signal.SIGKILL)
        with pytest.raises(WorkerDied):
            future.result()
    assert numbers_said(capsys.readouterr().out, "line") == list(range(LINES))


def test_output_of_a_terminated_pool_arrives(capsys, gate):
    def speak():
        print("before the end")
        tasks.through(gate.path)

    pool = Pool(1)
    pool.submit(speak)
    gate.wait_for_arrival()
    pool.terminate()
    pool.join()
    assert capsys.readouterr().out == "before the end\n"


# -- streams that fail -------------------------------------------------------------------------------------------------


class Broken(io.StringIO):
    def write(self, text):
        raise OSError("no")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("stream", ["None", "Broken()", "closed()"])
def test_what_a_stream_does_not_take_goes_to_the_descriptor(tmp_path, name, stream):
    source = (
        "import io, sys, paceline\n"
        "class Broken(io.StringIO):\n"
        "    def write(self, text): raise OSError\n"
        "def closed():\n"
        "    stream = io.StringIO()\n"
        "    stream.close()\n"
        "    return stream\n"
        f"sys.{name} = {stream}\n"
        "def speak():\n"
        f"    print('heard', file=sys.{name})\n"
        "with paceline.Pool(1) as pool: pool.apply(speak)\n"
        f"sys.{name} = sys.__{name}__\n"
    )
    (tmp_path / "script.py").write_text(source)
    code, out, err = Program(str(tmp_path / "script.py")).finish()
    assert code == 0, err
    assert (out, err) == (("heard\n", "") if name == "stdout" else ("", "heard\n"))


def test_a_program_without_standard_streams_has_its_workers_all_the_same(tmp_path):
    source = (
        "import os, sys, paceline\n"
        "with paceline.Pool(2) as pool: answer = pool.map(abs, [-1, -2]), pool.map(print, 'ab')\n"
        f"open({str(tmp_path / 'answer')!r}, 'w').write(repr(answer))\n"
    )
    (tmp_path / "script.py").write_text(source)
    command = '"$0" "$1" <&- >&- 2>&-'
    subprocess.run(["/bin/sh", "-c", command, sys.executable, str(tmp_path / "script.py")], check=True, timeout=150)
    assert (tmp_path / "answer").read_text() == "([1, 2], [None, None])"


BLOCKED = """
import os, sys, paceline

def chatter(number):
    print("x" * 1000)
    return number

pool = paceline.Pool(2)
chatter_ended = pool.map(chatter, range(500))
other = pool.map(abs, range(-1000, 0))
sys.stderr.write(f"{sum(chatter_ended)} {sum(other)}\\n")
sys.stderr.flush()
pool.close()
pool.join()
sys.stderr.write("joined\\n")
sys.stderr.flush()
"""


def test_a_blocked_stdout_holds_up_nothing_but_output(tmp_path):
    (tmp_path / "script.py").write_text(BLOCKED)
    program = Program(str(tmp_path / "script.py"))
    # Nobody reads its standard output until it has joined its pool.
    assert program.process.stderr.readline() == b"124750 500500\n"
    assert program.process.stderr.readline() == b"joined\n"
    code, out, err = program.finish()
    assert (code, err) == (0, "")
    assert out == ("x" * 1000 + "\n") * 500


def test_output_at_exit_waits_for_a_slow_reader(tmp_path):
    out = run_script(tmp_path, "import paceline\npool = paceline.Pool(2)\npool.map(print, range(50_000))\n")
    assert sorted(map(int, out.split())) == list(range(50_000))


# -- flushing and prefixes ---------------------------------------------------------------------------------------------


def test_a_flush_hears_workers_that_are_still_there(pool, capsys):
    from paceline.engine import flush_worker_output

    pool.apply(print, ("whole",))
    pool.apply(print, ("half",), {"end": ""})
    flush_worker_output()
    assert capsys.readouterr().out == "whole\n"
    flush_worker_output(ends_lines=True)
    assert capsys.readouterr().out == "half\n"


def test_prefix_tells_worker_and_task(capsys):
    def speak(word):
        print("first", word)
        print("one\ntwo", end="")
        print()
        os.write(1, b"raw\n")
        print("error", file=sys.stderr)
        return os.getpid()

    with Pool(1, prefix_output=True) as pool:
        pid = pool.apply(speak, ("a",))
        pool.map(speak, ["b"])
    out, err = capsys.readouterr()
    name = speak.__qualname__
    expected = []
    for item, word in enumerate("ab"):
        prefix = f"[{pid} {name}[{item}]] "
        expected += [f"{prefix}first {word}", f"{prefix}one", f"{prefix}two", f"[{pid}] raw"]
    assert out.splitlines() == expected
    assert err.splitlines() == [f"[{pid} {name}[{item}]] error" for item in range(2)]


def test_prefix_of_coroutines_tells_whose_line_it_is(capsys):
    async def speak(word):
        import asyncio

        print("begins", word)
        await asyncio.sleep(0)
        print("ends", word)
        return os.getpid()

    async def other():
        print("other")

    with Pool(1, prefix_output=True) as pool:
        futures = [pool.submit(speak, "a"), pool.submit(other), pool.submit(speak, "b")]
        pid = futures[0].result()
    mine = [f"[{pid} {speak.__qualname__}[{item}]] {text}" for item, text in [(0, "begins a"), (2, "begins b")]]
    mine += [f"[{pid} {speak.__qualname__}[{item}]] {text}" for item, text in [(0, "ends a"), (2, "ends b")]]
    mine.append(f"[{pid} {other.__qualname__}[1]] other")
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(mine)


def test_prefix_of_a_worker_that_dies_is_not_in_its_last_words(capsys):
    with Pool(1, prefix_output=True) as pool, pytest.raises(WorkerDied) as caught:
        pool.apply(tasks.say_and_die, ("first\nlast",))
    pid = caught.value.pid
    assert caught.value.last_words == f"[{pid} say_and_die[0]] first\n[{pid} say_and_die[0]] last"
    assert capsys.readouterr().err == f"[{pid} say_and_die[0]] first\n[{pid} say_and_die[0]] last\n"
