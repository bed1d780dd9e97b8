"""The parts of the manual pages that are made from the commands: synopsis, help, options, exit status.

The arguments of these regions are the first words of commands, in the order of the page: `records` stands for
`records list`, `records show` and so on.
"""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import click

from man.mdoc import prose, tagged
from multigrey.cli import COMMANDS
from multigrey.cli import main as multigrey

__all__ = ["COMMAND_REGIONS", "SHARED", "leaf_commands"]

SHARED = "OPTIONS OF SEVERAL COMMANDS"
"""The section of a page that describes the options that several of its commands take."""

PLACE = {"--config", "--state-dir", "--control"}
"""The options that say which daemon is asked; multigrey(1) describes them."""

_Option = tuple[click.Option, str, str]
"""An option, its names, and what it takes; the last two as mdoc."""


def leaf_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, by its words."""
    context = click.Context(multigrey)
    for name in COMMANDS:
        command = multigrey.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {word}", below) for word, below in command.commands.items())
        else:
            yield name, command


def _chosen(words: Sequence[str]) -> Iterator[tuple[str, click.Command]]:
    """The commands that begin with one of these words, in the order of the words."""
    known = list(leaf_commands())
    for word in words:
        found = [(name, command) for name, command in known if name.split()[0] == word]
        assert found, f"unknown command: {word}"
        yield from found


def _options(command: click.Command) -> Iterator[_Option]:
    for option in command.params:
        if isinstance(option, click.Option):
            names = " , ".join(f"Fl {name[1:]}" for name in sorted(option.opts, key=len, reverse=True))
            yield option, names, "" if option.is_flag else f" {_value(option)}"


def _own_options(command: click.Command) -> Iterator[_Option]:
    """The options that are not described in multigrey(1).

    `--json` stays where its help says which keys the JSON has.
    """
    for each in _options(command):
        option = each[0]
        if not PLACE & {*option.opts} and ("--json" not in option.opts or ":" in (option.help or "")):
            yield each


def _value(parameter: click.Parameter) -> str:
    """What an option or argument takes, as mdoc: its possible words, or a placeholder."""
    if isinstance(parameter.type, click.Choice):
        return f"Cm {' | '.join(parameter.type.choices)}"
    if parameter.metavar:
        return f"Ar {' | '.join(parameter.metavar.strip('[]').lower().split('|'))}"
    return f"Ar {_kind(parameter)}"


def _kind(parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Path):
        return "directory" if "dir" in str(parameter.name) else "file"
    if isinstance(parameter.type, type(click.FLOAT) | type(click.INT)):
        return "number"
    kinds = {"duration", "file", "directory", "name=warning,critical"}
    return parameter.type.name if parameter.type.name in kinds else str(parameter.name).removesuffix("s")


def synopsis(*words: str) -> list[str]:
    """Each command with its options and arguments, without the options that multigrey(1) describes."""
    lines = []
    for name, command in _chosen(words):
        lines += [".Nm multigrey", f".Cm {name}"]
        for option, names, takes in _options(command):
            if name == "serve" or not {*PLACE, "--json"} & {*option.opts}:
                lines.append(f".Op {names.split(' , ')[0]}{takes}")
        for one in command.params:
            if isinstance(one, click.Argument):
                value = f"{_value(one)}{' ...' if one.nargs < 0 else ''}"
                lines.append(f".{value}" if one.required else f".Op {value}")
    return lines


def commands(*words: str) -> list[str]:
    """A subsection for each command: its help and its options."""
    lines = []
    for name, command in _chosen(words):
        about, _ = _help(command)
        lines += [f".Ss {name}", *prose(about), *_described(_own_options(command))]
    return lines


def commands_sharing(*words: str) -> list[str]:
    """As `commands`; options that several of these commands take are only named (see `shared_options`)."""
    lines = []
    shared = _shared(words)
    for name, command in _chosen(words):
        about, _ = _help(command)
        own = [each for each in _own_options(command) if _text(each) not in shared]
        also = [each for each in _own_options(command) if _text(each) in shared]
        lines += [f".Ss {name}", *prose(about), *_described(own)]
        if also:
            flags = " , ".join(names.split(" , ")[0].removeprefix("Fl ") for _, names, _ in also)
            lines += [".Pp", "See", f".Sx {SHARED}", "for", f".Fl {flags} ."]
    return lines


def shared_options(*words: str) -> list[str]:
    """The options that several of these commands take with the same meaning."""
    found = {_text(each): each for _, command in _chosen(words) for each in _own_options(command)}
    shared = _shared(words)
    return _described(each for text, each in found.items() if text in shared)


def _shared(words: Sequence[str]) -> set[str]:
    counts = Counter(_text(each) for _, command in _chosen(words) for each in _own_options(command))
    return {text for text, count in counts.items() if count > 1}


def _text(option: _Option) -> str:
    """Everything a page shows of an option."""
    return "\n".join([*option[1:], *_about_option(option[0])])


def options(word: str) -> list[str]:
    """All options of one command."""
    ((_, command),) = _chosen([word])
    return _described(_options(command))


def _described(found: Iterable[_Option]) -> list[str]:
    return tagged((f"{names}{takes}", _about_option(option)) for option, names, takes in found)


def _about_option(option: click.Option) -> list[str]:
    """The help of an option and its default."""
    text = option.help or ""
    if option.show_default is True and option.default is not None:
        usual = f"{option.default:g}" if isinstance(option.default, float) else str(option.default)
        text = f"{text}  The default is {usual}."
    return prose(text)


def exit_status(*words: str) -> list[str]:
    """The exit status of each command."""
    return tagged((f"Cm {name}", prose(_help(command)[1])) for name, command in _chosen(words))


def overview(*words: str) -> list[str]:
    """One line for each command: the first sentence of its help."""
    items = []
    for name, command in _chosen(words):
        first, _, _ = _help(command)[0].partition("\n\n")
        items.append((f"Cm {name}", prose(first)))
    return tagged(items, beside="whitelist-remove")


def _help(command: click.Command) -> tuple[str, str]:
    """The help of a command without its exit status, and the exit status."""
    text = inspect.cleandoc(command.help or "")
    about, _, status = re.sub(r"\n\n\s*Exit status: ", "\x00", text).partition("\x00")
    assert status, f"the help of {command.name} has no paragraph that begins with: Exit status:"
    return about, status


COMMAND_REGIONS: Mapping[str, Callable[..., Sequence[str]]] = {
    "commands": commands,
    "commands-sharing": commands_sharing,
    "exit-status": exit_status,
    "options": options,
    "overview": overview,
    "shared-options": shared_options,
    "synopsis": synopsis,
}
