"""The commands of the command line, with their options and their help.

Owns the parser. What a command does is in the module of its name, which is imported only when the command is called,
so that help and wrong usage are told at once. What stands for the name of a file has the metavar `FILE`, by which the
shells know what to complete there.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other name.

__all__ = ["parser"]

WHOLE_EPILOG = """\
examples:
  paceline demo
  paceline demo --help
  paceline doctor                         does everything work on this machine?
  paceline bench --quick                  how fast is it here, beside the standard library?
  paceline report run.json                what a program's pool has done
  paceline top                            what running programs' pools are doing, live
  paceline run module:function --grid alg=svm,forest --grid rep=0..19 --store results.db
  source <(paceline completion bash)      have the shell complete these commands

exit codes:
  0    all is well
  1    the command found something wrong
  2    wrong usage
  130  interrupted by Ctrl-C
"""

DEMO = """\
Evaluates scikit-learn's classifiers on the data sets that it ships, by repeated random splits. Each evaluation is
one cell of an experiment, which runs on a pool of processes and keeps every result in a file: a second demo runs
nothing twice. What was run is done again without a pool, and the results are compared.
"""
DEMO_EPILOG = """\
examples:
  paceline demo                           all cores, 20 splits for each algorithm and data set
  paceline demo --workers 4 --repetitions 100
  paceline demo --fresh                   everything again, whatever is stored
  paceline demo --kill-one                what the death of a worker costs

exit codes:
  0    every result is what it must be
  1    some result is not, or the file of the results cannot be used
  2    wrong usage, or scikit-learn is not installed
  130  interrupted by Ctrl-C
"""

DOCTOR = """\
Checks what Paceline needs of this machine, by using it: CPUs and memory that may really be used, memory files, open
files, ways to start workers, native threads, packages. Then measures Paceline beside the standard library's pools,
for three seconds at most. Each line begins with a verdict: `ok`, `note` (it works, but you may want to know) or
`problem`.
"""
DOCTOR_EPILOG = """\
examples:
  paceline doctor
  paceline doctor --no-benchmark          the checks alone
  paceline doctor --json                  for a program to read, or to put into a report of a bug
  NO_COLOR=1 paceline doctor              no colours, also on a terminal

exit codes:
  0    no problem was found; there may be notes
  1    a problem was found
  2    wrong usage
  130  interrupted by Ctrl-C
"""

BENCH = """\
Measures Paceline beside the standard library's pools on this machine, for about 20 seconds: calls submitted one by
one, a round trip, a map, and a megabyte in and out. Absolute figures move with the machine and with what else runs
on it; compare within one run. The project's own `make bench` asks more, of more peers.
"""
BENCH_EPILOG = """\
examples:
  paceline bench
  paceline bench --quick                  one short round, a few seconds

exit codes:
  0    everything was measured
  1    something could not be measured
  2    wrong usage
  130  interrupted by Ctrl-C
"""

REPORT = """\
Shows a report that a program has saved by `pool.report().save(FILE)`: who did what, how well the load was balanced,
what failed, and what would have made it faster.
"""
REPORT_EPILOG = """\
examples:
  paceline report run.json
  paceline report run.json --plot run.html     a page to look into; .svg and .png need matplotlib
  paceline report run.json --trace trace.json  for ui.perfetto.dev, or chrome://tracing

exit codes:
  0    the report was shown
  1    the file is no report, or cannot be read or written
  2    wrong usage, or what draws is not installed
"""

TOP = """\
Shows, live, what the pools of running programs are doing: workers, what each runs and for how many seconds, items per
second, memory, recent failures. A program lets itself be watched by calling `paceline.watchable()`, or by having
PACELINE_TOP=1 in its environment when it opens its first pool; only its own user, and root, can look.
"""
TOP_EPILOG = """\
keys:
  up, down, page up, page down, home, end   choose a worker (k and j are up and down)
  s        show its stack; Esc closes it
  c        cancel its task, after y; one of a map is cancelled with the whole map
  q        quit

examples:
  paceline top                            all programs of yours that let themselves be watched
  paceline top 4711                       one program, by its process id
  paceline top --once                     one screen as plain text, also where there is no terminal
  paceline top --json --interval 5        everything as JSON, with rates over five seconds

exit codes:
  0    it was shown
  1    there is no such program, or none that answers
  2    wrong usage
  130  interrupted by Ctrl-C
"""

RUN = """\
Runs an experiment: calls a function for every combination of values, in parallel, and keeps each result in a store as
soon as it is there. What the store has already is not run again. The experiment is a function with its grid, a file of
TOML that has both, or an `Experiment` that a module has made.
"""
RUN_EPILOG = """\
values:
  alg=svm,forest       texts; true, false, none and numbers are taken as such, unless they stand in quotes
  rep=0..19            integers from 0 to 19; 0..100..10 goes in tens

examples:
  paceline run study:evaluate --grid alg=svm,forest --grid rep=0..19 --store results.db --workers 8 --timeout 600
  paceline run study:evaluate --grid alg=svm,forest --grid rep=0..39 --store results.db     20 repetitions more
  paceline run experiment.toml --rerun failed
  paceline run study:experiment           an `Experiment` in the module `study`

  a file of TOML:
    function = "study:evaluate"
    store = "results.db"
    timeout = 600
    [grid]
    alg = ["svm", "forest"]
    rep = "0..19"

exit codes:
  0    every cell has a result
  1    some cells failed, or the store cannot be used
  2    wrong usage
  130  interrupted by Ctrl-C; what has ended is safe, and the same command goes on
"""

SHOW = """\
Shows what the store of an experiment holds, also while it runs: how many cells there are, their results, and how some
of them failed.
"""
SHOW_EPILOG = """\
examples:
  paceline show results.db
  paceline show results.db --failures     every failure, with its traceback
  paceline show results.db --all --attempts

exit codes:
  0    the store was shown
  1    the file is no store, is damaged, or cannot be read
  2    wrong usage
"""

COMPARE = """\
Compares the values of an axis of an experiment, such as its algorithms, by one part of the results: in pairs, over all
other axes.
"""
COMPARE_EPILOG = """\
examples:
  paceline compare results.db --metric accuracy --treatment alg --plot ranks.svg
  paceline compare results.db --metric error --treatment alg --reference svm --lower-is-better

exit codes:
  0    the comparison was printed
  1    the file is no store, or its results cannot be compared
  2    wrong usage, or what compares (scipy) is not installed
"""

EXPORT = """\
Writes what the store of an experiment holds as a table of another kind, with a row for each cell.
"""
EXPORT_EPILOG = """\
examples:
  paceline export results.db results.csv
  paceline export results.db results.parquet     .tex and .md have the axes, the results and the status

exit codes:
  0    the file was written
  1    the store cannot be read, or the file cannot be written
  2    wrong usage, or what writes it (pyarrow) is not installed
"""

COMPLETION = """\
Prints a script with which a shell completes the commands of `paceline` and their options.
"""
COMPLETION_EPILOG = """\
examples:
  source <(paceline completion bash)      bash, in this shell; put the line into ~/.bashrc for all of them
  paceline completion bash > ~/.local/share/bash-completion/completions/paceline
  paceline completion zsh > "${fpath[1]}/_paceline"
  paceline completion fish > ~/.config/fish/completions/paceline.fish

exit codes:
  0    the script was printed
  2    wrong usage
"""


# Of `top`: less would be noise, and more than a day nobody waits.
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 86_400.0


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; what it parses has `run`, which is called with that."""
    whole = argparse.ArgumentParser(
        prog="paceline",
        description="Paceline runs ordinary Python functions in parallel.",
        epilog=WHOLE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action=ShowVersion, help="show the version of Paceline and exit")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_doctor(commands)
    _add_bench(commands)
    _add_report(commands)
    _add_top(commands)
    _add_run(commands)
    _add_show(commands)
    _add_compare(commands)
    _add_export(commands)
    _add_completion(commands)
    return whole


class ShowVersion(argparse.Action):
    """As argparse's own, but the version is looked up only when it is asked for, because that takes long."""

    def __init__(self, option_strings: Sequence[str], **settings: Any) -> None:
        super().__init__(option_strings, nargs=0, **{**settings, "dest": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import paceline

        print(f"{parser.prog} {paceline.__version__}")
        parser.exit()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a positive number")
    return number


def picture(text: str) -> str:
    from paceline.timeline import KINDS

    if not text.lower().endswith(KINDS):
        raise argparse.ArgumentTypeError(f"a picture's name ends with {', '.join(KINDS)}, and not as in `{text}`")
    return text


def interval(text: str) -> float:
    seconds = float(text)
    if not SHORTEST_INTERVAL_S <= seconds <= LONGEST_INTERVAL_S:
        raise argparse.ArgumentTypeError(
            f"`{text}` is not from {SHORTEST_INTERVAL_S} to {LONGEST_INTERVAL_S:,.0f} seconds"
        )
    return seconds


def _add(commands: Commands, name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_demo(commands: Commands) -> None:
    summary = "evaluate scikit-learn's classifiers on real data, in parallel"
    demo = _add(commands, "demo", summary, DEMO, DEMO_EPILOG)
    demo.add_argument("--workers", type=positive, metavar="N", help="worker processes (default: all usable cores)")
    demo.add_argument(
        "--repetitions",
        type=positive,
        default=20,
        metavar="N",
        help="random splits for each algorithm and data set (default: 20)",
    )
    demo.add_argument("--fresh", action="store_true", help="run what is stored again as well")
    place = demo.add_mutually_exclusive_group()
    place.add_argument(
        "--store", metavar="FILE", help="where results are kept (default: paceline-demo.db in the user's cache folder)"
    )
    place.add_argument(
        "--kill-one", action="store_true", help="kill a worker in the middle of the run, on a store of its own"
    )
    demo.set_defaults(run=run_demo)


def _add_doctor(commands: Commands) -> None:
    doctor = _add(commands, "doctor", "check that this machine has what Paceline needs", DOCTOR, DOCTOR_EPILOG)
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument("--no-benchmark", action="store_true", help="leave out the measurement")
    doctor.set_defaults(run=run_doctor)


def _add_bench(commands: Commands) -> None:
    bench = _add(commands, "bench", "measure Paceline beside the standard library, here", BENCH, BENCH_EPILOG)
    bench.add_argument("--quick", action="store_true", help="one short round")
    bench.set_defaults(run=run_bench)


def _add_report(commands: Commands) -> None:
    report = _add(commands, "report", "show a report that a program has saved", REPORT, REPORT_EPILOG)
    report.add_argument("file", metavar="FILE", help="what `pool.report().save(FILE)` has written")
    report.add_argument("--plot", type=picture, metavar="FILE", help="also draw who did what when (.html, .svg, .png)")
    report.add_argument("--trace", metavar="FILE", help="also write a trace for Perfetto (.json, .json.gz)")
    report.set_defaults(run=run_report)


def _add_top(commands: Commands) -> None:
    top = _add(commands, "top", "show what the pools of running programs are doing, live", TOP, TOP_EPILOG)
    top.add_argument("pid", nargs="?", type=positive, metavar="PID", help="the program (default: all of yours)")
    top.add_argument("--once", action="store_true", help="print one screen as plain text, after one interval")
    top.add_argument("--json", action="store_true", help="print everything as JSON, after one interval")
    top.add_argument(
        "--interval", type=interval, default=1.0, metavar="SECONDS", help="time between two looks (default: 1)"
    )
    top.set_defaults(run=run_top)


def _add_run(commands: Commands) -> None:
    run = _add(commands, "run", "run an experiment, or what is missing of it", RUN, RUN_EPILOG)
    run.add_argument("target", metavar="TARGET", help="module:function, module:experiment, or a file of TOML")
    run.add_argument("--grid", action="append", metavar="AXIS=VALUES", help="an axis and its values; one for each axis")
    run.add_argument("--store", metavar="FILE", help="where the results are kept")
    run.add_argument("--seed", type=int, metavar="N", help="what all random numbers follow from (default: 0)")
    run.add_argument("--treatment", metavar="AXIS", help="the axis whose values see the same random numbers")
    run.add_argument("--version", metavar="TEXT", help="the version of the function; another makes its results stale")
    run.add_argument("--workers", type=positive, metavar="N", help="workers (default: all usable cores)")
    run.add_argument(
        "--backend", metavar="NAME", help="where cells run: processes, threads, serial, dask, ray, or an address"
    )
    run.add_argument("--timeout", type=float, metavar="SECONDS", help="the time limit of each cell")
    run.add_argument("--retries", type=int, metavar="N", help="how often a cell is tried again whose worker died")
    run.add_argument("--memory-limit", metavar="BYTES", help="of each worker, such as 2GB")
    run.add_argument(
        "--rerun", choices=["failed", "stale", "all"], help="also run cells again that failed, or are stale, or all"
    )
    run.add_argument("--accept-stale", action="store_true", help="do not warn of results of an earlier source")
    run.set_defaults(run=run_experiment("run"))


def _add_show(commands: Commands) -> None:
    show = _add(commands, "show", "show what an experiment's store holds", SHOW, SHOW_EPILOG)
    show.add_argument("store", metavar="FILE", help="the file that keeps the results")
    show.add_argument("--all", action="store_true", help="show all rows, not the first 40")
    show.add_argument("--attempts", action="store_true", help="show every attempt, not the last of each cell")
    show.add_argument("--failures", action="store_true", help="show the failures alone, with their tracebacks")
    show.set_defaults(run=run_experiment("show"))


def _add_compare(commands: Commands) -> None:
    compare = _add(commands, "compare", "compare the algorithms of an experiment", COMPARE, COMPARE_EPILOG)
    compare.add_argument("store", metavar="FILE", help="the file that keeps the results")
    compare.add_argument("--metric", required=True, metavar="NAME", help="the part of the results (of a number: value)")
    compare.add_argument("--treatment", required=True, metavar="AXIS", help="the axis whose values are compared")
    compare.add_argument("--reference", metavar="VALUE", help="the value that the others are compared with")
    compare.add_argument("--dataset", metavar="AXIS", help="the axis of the data sets (default: all others)")
    compare.add_argument("--repetition", metavar="AXIS", help="the axis of the repetitions (default: rep, fold, ...)")
    compare.add_argument(
        "--resampled", type=float, metavar="RATIO", help="repetitions resample the same data: test size / training size"
    )
    compare.add_argument("--rope", type=float, metavar="SIZE", help="differences up to this are practically none")
    compare.add_argument("--correction", choices=["holm", "nemenyi"], help="for many pairs (default: holm)")
    compare.add_argument("--lower-is-better", action="store_true", help="for errors and times")
    compare.add_argument("--plot", metavar="PICTURE", help="draw the critical-difference diagram: .svg or .png")
    compare.set_defaults(run=run_experiment("compare"))


def _add_export(commands: Commands) -> None:
    export = _add(commands, "export", "write an experiment's results as another file", EXPORT, EXPORT_EPILOG)
    export.add_argument("store", metavar="FILE", help="the file that keeps the results")
    export.add_argument("file", metavar="FILE", help="what is written (.csv, .parquet, .tex, .md)")
    export.add_argument("--attempts", action="store_true", help="write every attempt, not the last of each cell")
    export.set_defaults(run=run_experiment("export"))


def _add_completion(commands: Commands) -> None:
    summary = "print a completion script for a shell"
    completion = _add(commands, "completion", summary, COMPLETION, COMPLETION_EPILOG)
    completion.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell that is to read it")
    completion.set_defaults(run=run_completion)


def run_demo(options: argparse.Namespace) -> int:
    from paceline import demo

    try:
        demo.require_sklearn()
    except ModuleNotFoundError as error:
        print(f"error: {error}\nhint: install it with `pip install 'paceline[demo]'`", file=sys.stderr)
        return 2
    return demo.run(
        workers=options.workers,
        repetitions=options.repetitions,
        kill_one=options.kill_one,
        store=options.store,
        fresh=options.fresh,
    )


def run_doctor(options: argparse.Namespace) -> int:
    from paceline import doctor

    return doctor.run(as_json=options.json, benchmark=not options.no_benchmark)


def run_bench(options: argparse.Namespace) -> int:
    from paceline import bench

    return bench.run(quick=options.quick)


def run_report(options: argparse.Namespace) -> int:
    from paceline.report import Report

    try:
        report = Report.load(options.file)
        print(report)
        if options.plot:
            report.plot(options.plot)
        if options.trace:
            report.to_trace(options.trace)
    except BrokenPipeError:
        # Nobody reads any more, which is no mistake of the file's.
        raise
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_top(options: argparse.Namespace) -> int:
    from paceline import top

    return top.run(pid=options.pid, once=options.once, as_json=options.json, interval_s=options.interval)


def run_experiment(command: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from paceline.experiments import commandline

        told: int = getattr(commandline, command)(options)
        return told

    return run


def run_completion(options: argparse.Namespace) -> int:
    from paceline import completions

    sys.stdout.write(completions.script(parser(), options.shell))
    return 0
