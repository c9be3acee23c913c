"""A terminal on which a command runs: what is on its screen, and the keys that are pressed.

Owns as much of a terminal as `curses` uses of an xterm without colours of its own; what has no effect on the text is
skipped.
"""

import os
import re
import time

import pexpect

DEADLINE_S = 60
# A sequence, or one character.
TOKEN = re.compile(r"\x1b\[([?>]?)([\d;]*)([@-~])|\x1b[()][0-9A-B]|\x1b[=>78M]|[\s\S]")
UNFINISHED = re.compile(r"\x1b(\[[?>]?[\d;]*|[()])?\Z")


class Terminal:
    """A pseudo-terminal with a command in it."""

    def __init__(self, *command, rows=24, columns=80, **environment):
        self.raw = ""
        self._rest = ""
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self._child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env={**inherited, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
            dimensions=(rows, columns),
            encoding="utf-8",
            timeout=DEADLINE_S,
        )
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self._lines = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._margins = 0, rows - 1
        self._child.setwinsize(rows, columns)

    def press(self, keys):
        self._child.send(keys)

    def lines(self):
        return ["".join(line).rstrip() for line in self._lines]

    def text(self):
        return "\n".join(self.lines())

    def wait_until(self, holds):
        """Until `holds` of the text on the screen, or it contains `holds`."""
        deadline = time.monotonic() + DEADLINE_S
        while not (holds in self.text() if isinstance(holds, str) else holds(self.text())):
            assert time.monotonic() < deadline, f"this is what there is:\n{self.text()}"
            self._read(0.1)

    def finish(self):
        """Waits for the end of the command; its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(0.1):
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
        self._child.close()
        return self._child.exitstatus

    def close(self):
        self._child.close(force=True)

    def _read(self, timeout_s):
        """Takes in what there is; whether there may be more."""
        try:
            text = self._child.read_nonblocking(65536, timeout_s)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += text
        text = self._rest + text
        unfinished = UNFINISHED.search(text)
        text, self._rest = (text[: unfinished.start()], unfinished[0]) if unfinished else (text, "")
        for token in TOKEN.finditer(text):
            self._take(token)
        return True

    def _take(self, token):
        private, numbers, final = token.groups()
        if final is not None:
            if not private:
                self._control([int(number or 0) for number in numbers.split(";")], final)
        elif token[0] == "\r":
            self._column = 0
        elif token[0] == "\n":
            if self._row == self._margins[1]:
                self._scroll(1)
            else:
                self._row = min(self._row + 1, self.rows - 1)
        elif token[0] == "\b":
            self._column = max(0, self._column - 1)
        elif token[0] == "\t":
            self._column = min(self.columns - 1, self._column // 8 * 8 + 8)
        elif token[0].isprintable():
            self._put(token[0])
        elif token[0].startswith("\x1bM"):
            if self._row == self._margins[0]:
                self._scroll(-1)
            else:
                self._row = max(0, self._row - 1)

    def _put(self, character):
        self._lines[self._row][min(self._column, self.columns - 1)] = character
        self._column += 1

    def _control(self, numbers, final):
        first = numbers[0]
        line = self._lines[self._row]
        column = min(self._column, self.columns)
        count = max(1, first)
        if final in "Hf":
            self._row = min(max(1, first), self.rows) - 1
            self._column = min(max(1, numbers[1] if len(numbers) > 1 else 1), self.columns) - 1
        elif final == "d":
            self._row = min(count, self.rows) - 1
        elif final == "G":
            self._column = min(count, self.columns) - 1
        elif final in "ABCD":
            self._row = min(max(0, self._row + {"A": -count, "B": count}.get(final, 0)), self.rows - 1)
            self._column = min(max(0, self._column + {"C": count, "D": -count}.get(final, 0)), self.columns - 1)
        elif final == "J":
            self._erase(line, column)
            for below in self._lines[self._row + 1 :]:
                self._erase(below, 0)
        elif final == "K":
            self._erase(line, 0 if first == 1 else column, column + 1 if first == 1 else None)
        elif final == "X":
            self._erase(line, column, column + count)
        elif final == "b":
            for _ in range(count):
                self._put(line[column - 1])
        elif final == "P":
            line[column:] = line[column + count :] + [" "] * min(count, self.columns - column)
        elif final == "@":
            line[column:] = ([" "] * count + line[column:])[: self.columns - column]
        elif final in "LM":
            blank = [[" "] * self.columns for _ in range(count)]
            rest = self._lines[self._row :]
            moved = blank + rest if final == "L" else rest[count:] + blank
            self._lines[self._row :] = moved[: len(rest)]
        elif final == "r":
            self._margins = count - 1, (numbers[1] if len(numbers) > 1 and numbers[1] else self.rows) - 1
            self._row = self._column = 0
        elif final in "ST":
            self._scroll(count if final == "S" else -count)
        else:
            # Colours and modes; what would move text and is not known here must not go unnoticed.
            assert final in "mhltc", f"the test's terminal does not know `{final}`"

    def _scroll(self, count):
        """Moves the lines between the margins up by so many, or down."""
        first, last = self._margins
        lines = self._lines[first : last + 1]
        blank = [[" "] * self.columns for _ in range(min(abs(count), len(lines)))]
        self._lines[first : last + 1] = [*lines[count:], *blank] if count > 0 else [*blank, *lines[:count]]

    def _erase(self, line, start, end=None):
        end = len(line) if end is None else min(end, len(line))
        line[start:end] = [" "] * max(0, end - start)
