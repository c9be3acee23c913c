"""The full screen of `paceline top`: what is where on it, and what the keys do.

Owns the terminal while it is shown. What there is to see comes from `paceline.monitor`, the text of it from
`paceline.board`.
"""

from __future__ import annotations

import curses
import locale
import os
from time import monotonic, strftime
from typing import TYPE_CHECKING

from paceline import monitor
from paceline.board import FAILURES_SHOWN, cut, failure_rows, rows, stack_line, summary

if TYPE_CHECKING:
    from paceline.board import Row, Style, Subject
    from paceline.monitor import Monitor, ProgramSeen

__all__ = ["show"]

KEYS = "up/down choose   s stack   c cancel   q quit"
FEW_KEYS = "s stack  c cancel  q quit"
NOBODY = "nobody is there any more; waiting for programs that let themselves be watched"
_ESCAPE = 27
# After the Escape key, so many milliseconds are waited for the rest of a longer key.
_ESCAPE_DELAY_MS = 50


def show(watched: Monitor, programs: list[ProgramSeen], interval_s: float) -> None:
    """Shows the screen until somebody leaves it. Raises `curses.error` if the terminal is of no known kind."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:  # The environment names one that there is not; plain letters are shown all the same.
        pass
    curses.set_escdelay(_ESCAPE_DELAY_MS)
    # Not `curses.wrapper`, which has terminals set colours even if nothing is drawn in one.
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        Screen(window, watched, programs, interval_s).run()
    finally:
        window.keypad(False)
        curses.nocbreak()
        curses.echo()
        curses.endwin()


class Screen:
    """What is seen, whom the cursor is on, and what was asked."""

    def __init__(self, window: curses.window, watched: Monitor, programs: list[ProgramSeen], interval_s: float) -> None:
        self.window = window
        self.monitor = watched
        self.programs = programs
        self.interval_s = interval_s
        self.rows: list[Row] = []
        self.subjects: list[Subject] = []
        self.chosen: tuple[int, int] | None = None
        # Where the chosen one stands among the workers, for when it is gone.
        self.place = 0
        self.top = 0
        self.pane: list[str] = []
        self.pane_title = ""
        self.message = ""
        # A worker whose task, by its number, is to be cancelled, if the answer is yes.
        self.doubt: tuple[Subject, int] | None = None
        self.styles = _styles()
        try:
            curses.curs_set(0)
        except curses.error:  # Not every terminal can hide its cursor.
            pass

    def run(self) -> None:
        next_look = monotonic() + self.interval_s
        while True:
            self.draw()
            left = next_look - monotonic()
            self.window.timeout(max(0, int(left * 1000)))
            key = self.window.getch()
            if key != -1 and not self.on_key(key):
                return
            # Also while keys come without a pause.
            if monotonic() >= next_look:
                self.programs = self.monitor.look()
                next_look = monotonic() + self.interval_s

    # -- keys ----------------------------------------------------------------------------------------------------------

    def on_key(self, key: int) -> bool:
        """Does what a key stands for; whether the screen stays."""
        if key == curses.KEY_RESIZE:
            curses.update_lines_cols()
            self.window.clear()
            return True
        if self.doubt is not None:
            self.on_answer(key)
            return True
        self.message = ""
        page = max(1, self.height_of_list() - 1)
        steps = {
            curses.KEY_UP: -1,
            ord("k"): -1,
            curses.KEY_DOWN: 1,
            ord("j"): 1,
            curses.KEY_PPAGE: -page,
            curses.KEY_NPAGE: page,
            curses.KEY_HOME: -len(self.subjects),
            curses.KEY_END: len(self.subjects),
        }
        if key in steps:
            self.choose(self.place + steps[key])
        elif key == ord("s"):
            self.on_stack()
        elif key == ord("c"):
            self.on_cancel()
        elif key == _ESCAPE:
            self.pane = []
        return key != ord("q")

    def choose(self, place: int) -> None:
        if self.subjects:
            self.place = min(max(0, place), len(self.subjects) - 1)
            self.chosen = self.subjects[self.place].key

    def subject(self) -> Subject | None:
        return self.subjects[self.place] if self.subjects else None

    def on_stack(self) -> None:
        subject = self.subject()
        if subject is None:
            self.message = "there is no worker to look at"
            return
        self.pane_title = f"worker {subject.worker.pid} (Esc closes, s looks again)"
        self.pane = monitor.stack(subject.program, subject.worker.pid)

    def on_cancel(self) -> None:
        subject = self.subject()
        if subject is None or not subject.worker.tasks:
            self.message = "this worker is idle: there is nothing to cancel"
            return
        self.doubt = subject, subject.worker.tasks[0].item

    def on_answer(self, key: int) -> None:
        if self.doubt is not None and key in {ord("y"), ord("Y")}:
            subject, item = self.doubt
            self.message = f"task {item}: {monitor.cancel(subject.program, subject.pool, item)}"
            self.doubt = None
        elif key in {ord("n"), ord("N"), ord("q"), _ESCAPE}:
            self.message = "not cancelled"
            self.doubt = None

    def question(self) -> str:
        """What is to be answered by y or n."""
        if self.doubt is None:
            return ""
        subject, item = self.doubt
        task = next((task for task in subject.worker.tasks if task.item == item), None)
        name = "" if task is None else task.name
        # The answer keys are what must be seen, however narrow the screen is.
        what = f"cancel {name}" if task is None or task.index is None else f"cancel all of the map of {name}"
        return f"{cut(what, max(1, self.width() - len('? y/n')))}? y/n"

    # -- drawing -------------------------------------------------------------------------------------------------------

    def width(self) -> int:
        # Writing into the last column of the last line is an error, and some terminals break the line there.
        return max(1, self.window.getmaxyx()[1] - 1)

    def height_of_pane(self) -> int:
        height = self.window.getmaxyx()[0]
        return min(len(self.pane) + 1, max(3, height // 2)) if self.pane else 0

    def failures(self) -> list[Row]:
        """As many as leave the list most of the room."""
        height = self.window.getmaxyx()[0]
        most = 0 if self.pane else min(FAILURES_SHOWN, height // 4 - 1)
        return failure_rows(self.programs, self.width(), most) if most > 0 else []

    def height_of_list(self) -> int:
        failures = len(self.failures())
        below = self.height_of_pane() + (failures + 1 if failures else 0)
        return max(1, self.window.getmaxyx()[0] - 2 - below)

    def draw(self) -> None:
        self.arrange()
        height, width = self.window.getmaxyx()[0], self.width()
        self.window.erase()
        title, clock = f"paceline top: {summary(self.programs)}", strftime(" %H:%M:%S")
        if len(title) + len(clock) <= width:
            title = title.ljust(width - len(clock)) + clock
        self.write(0, cut(title, width), "heading")
        shown = self.height_of_list()
        for line, row in enumerate(self.rows[self.top : self.top + shown]):
            is_chosen = row.subject is not None and row.subject.key == self.chosen
            self.write(1 + line, row.text, row.style, is_chosen=is_chosen)
        if not self.programs:
            self.write(1, cut(NOBODY, width), "plain")
        line = 1 + shown
        if self.pane:
            room = self.height_of_pane() - 1
            self.write(line, cut(self.pane_title, width), "heading")
            # What was called last comes first, and so is what is seen.
            for offset, text in enumerate(self.pane[:room]):
                self.write(line + 1 + offset, stack_line(text, width), "plain")
        elif failures := self.failures():
            self.write(line, cut("recent failures", width), "heading")
            for offset, row in enumerate(failures):
                self.write(line + 1 + offset, row.text, row.style)
        said = self.question() or self.message
        keys = KEYS if len(KEYS) <= width else FEW_KEYS
        self.write(height - 1, cut(said or keys, width), "program" if said else "heading")
        self.window.refresh()

    def arrange(self) -> None:
        """Finds the lines, and has the chosen one among those that are seen."""
        self.rows = rows(self.programs, self.width())
        self.subjects = [row.subject for row in self.rows if row.subject is not None]
        keys = [subject.key for subject in self.subjects]
        self.choose(keys.index(self.chosen) if self.chosen in keys else self.place)
        shown = self.height_of_list()
        lines = [line for line, row in enumerate(self.rows) if row.subject is not None]
        if lines:
            chosen = lines[self.place]
            # Above the first worker there is what it belongs to.
            first = 0 if self.place == 0 and chosen < shown else chosen
            self.top = min(max(self.top, chosen - shown + 1), first)
        self.top = max(0, min(self.top, len(self.rows) - shown))

    def write(self, line: int, text: str, style: Style, *, is_chosen: bool = False) -> None:
        if 0 <= line < self.window.getmaxyx()[0]:
            try:
                shown = text.encode(self.window.encoding, "replace").decode(self.window.encoding)
                self.window.addstr(line, 0, shown, curses.A_REVERSE if is_chosen else self.styles[style])
            except (curses.error, ValueError):
                # The terminal has just become smaller, and is drawn anew in a moment.
                pass


def _styles() -> dict[Style, int]:
    """How each kind of line looks; without colours if the user wants none (https://no-color.org)."""
    styles: dict[Style, int] = {
        "program": curses.A_BOLD,
        "pool": curses.A_NORMAL,
        "heading": curses.A_DIM,
        "worker": curses.A_NORMAL,
        "failure": curses.A_NORMAL,
        "trouble": curses.A_BOLD,
        "plain": curses.A_NORMAL,
    }
    if curses.has_colors() and not os.environ.get("NO_COLOR"):
        curses.start_color()
        curses.use_default_colors()
        curses.init_pair(1, curses.COLOR_CYAN, -1)
        curses.init_pair(2, curses.COLOR_RED, -1)
        styles |= {"pool": curses.color_pair(1), "failure": curses.color_pair(2), "trouble": curses.color_pair(2)}
    return styles
