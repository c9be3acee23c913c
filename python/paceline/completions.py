"""Completion scripts for bash, zsh and fish, made from the parser itself, so that they know what it knows.

Owns what the scripts look like. Which commands and options there are, only the parser says.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["script"]

# What the parser calls the name of a file.
_FILE = "FILE"


@dataclass(frozen=True)
class Word:
    """What may be written at a place, and what it means."""

    text: str
    meaning: str


@dataclass(frozen=True)
class Command:
    """One command: its options, what else it takes, and which options are followed by a value, or by a file's name.

    The whole program is one as well; its name is empty, and what it takes are the commands. With `takes_files`, names
    of files may stand where words may.
    """

    name: str
    options: list[Word]
    words: list[Word]
    valued: list[str]
    before_files: list[str]
    takes_files: bool


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that has `shell` (`bash`, `zsh` or `fish`) complete the parser's program."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](parser.prog, list(_commands(parser)))


def _commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """The whole program first, then each of its commands."""
    yield _command("", parser)
    for action in _actions(parser):
        if action.nargs == argparse.PARSER and isinstance(action.choices, dict):
            for name, inner in action.choices.items():
                yield _command(name, inner)


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    actions = _actions(parser)
    takes_files = any(action.metavar == _FILE and not action.option_strings for action in actions)
    command = Command(name, [], [], [], [], takes_files)
    for action in actions:
        meaning = (action.help or "").replace("%%", "%")
        if action.help == argparse.SUPPRESS:
            continue
        if action.option_strings:
            command.options.extend(Word(text, meaning) for text in action.option_strings)
            if action.metavar == _FILE:
                command.before_files.extend(action.option_strings)
            elif action.nargs != 0:
                command.valued.extend(action.option_strings)
        elif action.nargs == argparse.PARSER:
            command.words.extend(Word(each.dest, each.help or "") for each in _summaries(action))
        else:
            command.words.extend(Word(str(choice), meaning) for choice in action.choices or ())
    return command


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse has no other way to ask, and the name has never changed.


def _summaries(action: argparse.Action) -> list[argparse.Action]:
    """Of the commands' action: one for each command, as the help lists them."""
    return action._get_subactions()  # type: ignore[attr-defined,no-any-return] # noqa: SLF001 - the same.


def _after_values(commands: list[Command]) -> str:
    """A pattern of `case` for the command and the word before, where a value stands that only the user knows."""
    return " | ".join(f'"{command.name} {option}"' for command in commands for option in command.valued) or '""'


def _before_files(commands: list[Command]) -> str:
    """The same where the name of a file stands."""
    return " | ".join(f'"{command.name} {option}"' for command in commands for option in command.before_files) or '""'


def _taking_files(commands: list[Command]) -> str:
    """The same for the command alone, where it takes names of files."""
    return " | ".join(f'"{command.name}"' for command in commands if command.takes_files) or '" "'


# -- bash --------------------------------------------------------------------------------------------------------------


def _bash(program: str, commands: list[Command]) -> str:
    names = " | ".join(command.name for command in commands if command.name)
    cases = "\n".join(
        f'        "{command.name}") words="{" ".join(word.text for word in command.words + command.options)}" ;;'
        for command in commands
    )
    return f"""\
# Completion of `{program}` for bash. To be read by: source <({program} completion bash)
_{program}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD - 1]}}" command="" word words
    local -a files
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        case "$word" in {names}) command="$word"; break ;; esac
    done
    case "$command $previous" in {_after_values(commands)}) return ;; esac
    mapfile -t files < <(compgen -f -- "$current")
    case "$command $previous" in {_before_files(commands)})
        # Folders get a slash, and blanks are quoted, where the shell itself asks.
        compopt -o filenames 2>/dev/null
        COMPREPLY=("${{files[@]}}")
        return ;;
    esac
    case "$command" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    case "$command" in {_taking_files(commands)})
        compopt -o filenames 2>/dev/null
        COMPREPLY=("${{files[@]}}" "${{COMPREPLY[@]}}") ;;
    esac
}}
complete -F _{program} {program}
"""


# -- zsh ---------------------------------------------------------------------------------------------------------------


def _zsh(program: str, commands: list[Command]) -> str:
    names = "|".join(command.name for command in commands if command.name)
    cases = "\n".join(
        f'        ("{command.name}")\n'
        f"            words_here=({_zsh_words(command.words)})\n"
        f"            options=({_zsh_words(command.options)}) ;;"
        for command in commands
    )
    return f"""\
#compdef {program}
# Completion of `{program}` for zsh: {program} completion zsh > "${{fpath[1]}}/_{program}"
_{program}() {{
    local command="" word
    local -a words_here options
    for word in "${{(@)words[2,CURRENT - 1]}}"; do
        case "$word" in ({names}) command="$word"; break ;; esac
    done
    case "$command ${{words[CURRENT - 1]}}" in
        ({_after_values(commands)}) _message value; return ;;
        ({_before_files(commands)}) _files; return ;;
    esac
    case "$command" in
{cases}
    esac
    (( $#words_here )) && _describe -t commands {program} words_here
    case "$command" in ({_taking_files(commands)}) _files ;; esac
    _describe -o -t options option options
}}
if [[ "${{funcstack[1]}}" == "_{program}" ]]; then
    _{program} "$@"
else
    compdef _{program} {program}
fi
"""


def _zsh_words(words: list[Word]) -> str:
    # A colon ends the word, and what follows is its meaning.
    return " ".join(_single_quoted(word.text.replace(":", "\\:") + ":" + word.meaning) for word in words)


def _single_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -- fish --------------------------------------------------------------------------------------------------------------


def _fish(program: str, commands: list[Command]) -> str:
    lines = [
        f"# Completion of `{program}` for fish: {program} completion fish > ~/.config/fish/completions/{program}.fish",
        f"complete -c {program} -f",
    ]
    for command in commands:
        where = f"__fish_seen_subcommand_from {command.name}" if command.name else "__fish_use_subcommand"
        start = f"complete -c {program} -n '{where}'"
        lines.extend(f"{start} -a {word.text} -d {_fish_quoted(word.meaning)}" for word in command.words)
        if command.takes_files:
            lines.append(f"{start} -F")
        for option in command.options:
            form = f"-l {option.text[2:]}" if option.text.startswith("--") else f"-s {option.text[1:]}"
            value = " -x" if option.text in command.valued else " -r -F" if option.text in command.before_files else ""
            lines.append(f"{start} {form}{value} -d {_fish_quoted(option.meaning)}")
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
