r"""The parts of the manual pages that are made from the code; `python -m man.regions` rewrites them.

A region stands between two comments of a page, and the program replaces everything between them:

    .\" generated: NAME ARGUMENTS
    .\" end: NAME ARGUMENTS

NAME is a function in `REGIONS` below.  tests/test_man.py fails while a page differs from what this program
would write, so a key, option, reason or hook cannot change without its page.
"""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from man.api_regions import API_REGIONS
from man.command_regions import COMMAND_REGIONS, leaf_commands
from man.mdoc import docstring, item, literal, prose, quoted, tagged
from man.metrics_regions import METRICS_REGIONS
from man.whitelist_regions import WHITELIST_REGIONS
from multigrey.cli.personal_data import OTHERS, place, sentences, statements
from multigrey.config import show
from multigrey.config.error_messages import table_model
from multigrey.config.settings import Settings
from multigrey.config.show import options
from multigrey.config.values.when import CONDITIONS
from multigrey.daemon.admin import NEEDS_RESTART
from multigrey.events.line import format_postgrey
from multigrey.identity.origin import Naming
from multigrey.model import Reason
from multigrey.plugins.builtins import BuiltIns
from tests.support.origin_table import MAN_ROWS
from tests.support.sender_shapes import SHAPES

__all__ = ["ACTIONS", "PAGES", "PLUGIN_PAGES", "REGIONS", "generate", "leaf_commands", "main", "registered"]

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(sorted(path for path in (ROOT / "man").iterdir() if path.suffix in {".1", ".5", ".7", ".8"}))
PLUGIN_PAGES = tuple(sorted(ROOT.glob("plugins/*/man/*.[1-9]")))
"""The pages of plugins; the tests of each plugin check them."""

ACTIONS: Mapping[str, Sequence[str]] = {
    "new": ["defer"],
    "early": ["defer"],
    "expired": ["defer"],
    "retry": ["pass"],
    "known": ["pass"],
    "same-message": ["pass"],
    "whitelisted": ["pass"],
    "auto-whitelisted": ["pass"],
    "authenticated": ["pass"],
    "rule": ["pass", "defer", "reject"],
    "over-limit": ["defer"],
    "provider": ["pass"],
    "own-network": ["pass"],
    "no-identity": ["pass"],
    "null-sender": ["pass"],
    "probe": ["pass"],
    "mode-off": ["pass"],
    "error": ["pass", "defer"],
}
"""The actions each reason comes with; an empty list: reserved.  The tests look for each pair in the code."""

_TABLE_WIDTH = 74
_REGION = re.compile(
    r'(?ms)^(?P<begin>\.\\" generated: (?P<words>[^\n]+)\n)(?P<body>.*?)^(?P<end>\.\\" end: (?P=words))$'
)

# --- personal data ---------------------------------------------------------------------------------


def personal() -> list[str]:
    """Which data of persons the built-in defaults keep, why, and for how long."""
    listen = [{"protocol": "postfix", "address": "tcp:127.0.0.1:10023"}]
    settings = Settings.model_validate({"state_dir": "/var/lib/multigrey", "listen": listen})
    items = [(item("Em", one.title), prose(sentences(one))) for one in statements(settings)]
    return [*prose(place(settings)), *tagged(items), ".Pp", *prose(OTHERS)]


# --- reasons, signals ------------------------------------------------------------------------------


def reasons() -> list[str]:
    """Every reason with its actions and meaning."""
    items = []
    for reason in Reason:
        actions = " or ".join(ACTIONS[reason.value])
        lines = prose(reason.meaning)
        if not actions:
            lines.append("Reserved: this version never returns it.")
        items.append((f"Cm {reason.value} Pq {quoted(actions or 'reserved')}", lines))
    return tagged(items)


def needs_restart() -> list[str]:
    """The keys that a reload does not change."""
    names = NEEDS_RESTART
    return [*(f".Ic {name} ," for name in names[:-1]), f".Ic {names[-1]} :"]


# --- configuration ---------------------------------------------------------------------------------


def keys(table: str = "") -> list[str]:
    """The purpose of a table and each of its keys; without a name: the keys at the top of the file."""
    lines = prose(_about(table)) if table else []
    found = [option for option in options() if option.table.strip("[]") == table]
    assert found, table
    items = []
    for option in found:
        tag = f"Ic {option.key} Ar {quoted(option.kind)}"
        body = prose(option.description)
        if option.default:
            body += prose(f"Default: {option.default}")
        items.append((f"{tag} Pq required" if option.required else tag, body))
    return [*lines, *tagged(items)]


def model(module: str, name: str) -> list[str]:
    """The keys of a plugin's settings."""
    found = getattr(import_module(module), name)
    items = []
    for option in show._options("", found):  # noqa: SLF001  (as for our own tables)
        body = prose(option.description)
        if option.default:
            body += prose(f"Default: {option.default}")
        tag = f"Ic {option.key} Ar {quoted(option.kind)}"
        items.append((f"{tag} Pq required" if option.required else tag, body))
    return tagged(items)


def _about(table: str) -> str:
    """The docstring of a table's model, without the name of the table."""
    fields = {field.alias or name: field for name, field in Settings.model_fields.items()}
    text = docstring(table_model(fields[table]))
    text = re.sub(r"^`\[+\w+\]+`: ", "", text)
    return text[:1].upper() + text[1:]


class _Recorder:
    """A registry that only records what is registered."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, object]] = {}

    def __getattr__(self, kind: str) -> Callable[[str, object], None]:
        return lambda name, value: self.found.setdefault(kind, {}).__setitem__(name, value)


def registered() -> Mapping[str, Mapping[str, object]]:
    """What multigrey itself registers, by the registry's method and by name."""
    recorder: Any = _Recorder()
    BuiltIns().multigrey_register(recorder, {})
    found: dict[str, dict[str, object]] = recorder.found
    return found


def conditions() -> list[str]:
    """Every condition of rules and classes."""
    items = []
    for key, known in CONDITIONS.items():
        items.append((f"Ic {key} Ar {quoted(known.kind)}", prose(known.about)))
    return tagged(items)


def words(kind: str) -> list[str]:
    """The built-in words of a kind, each with the first paragraph of its docstring."""
    items = []
    for name, value in registered()[kind].items():
        about = docstring(value if inspect.isclass(value) or inspect.isfunction(value) else type(value))
        text = about.split("\n\n")[0].removeprefix(f"`{name}`: ")
        items.append((f"Cm {name}", prose(text[:1].upper() + text[1:])))
    return tagged(items)


# --- origins and senders ---------------------------------------------------------------------------


def namings() -> list[str]:
    """Why an origin is named or not."""
    return tagged([(f"Cm {naming.value}", prose(naming.meaning)) for naming in Naming])


def origin_examples() -> list[str]:
    """A row for each rule: what the mail server reports, and the origin that follows from it."""
    lines = []
    for row in MAN_ROWS:
        unnamed = f"(unverified: {row.reverse})" if row.reverse else "(no name)"
        lines += [f"{row.address}  {row.name or unnamed}", f"    HELO {row.helo}"]
        if row.sender:
            lines.append(f"    MAIL FROM {row.sender}")
        lines.append(f"    {row.origin}  ({row.why})")
    return literal(part for line in lines for part in _fitted(line))


def sender_shapes() -> list[str]:
    """Envelope senders and the text under which each is remembered."""
    lines = []
    for shape in SHAPES:
        if shape.shown:
            lines += [shape.sender, f"    {shape.text}"]
    return literal((part for line in lines for part in _fitted(line)), indent=False)


# --- protocols, log --------------------------------------------------------------------------------


def grammar(protocol: str) -> list[str]:
    """The grammar at the head of a protocol's module."""
    place = "control.protocol" if protocol == "control" else f"protocols.{protocol}"
    lines = _block(import_module(f"multigrey.{place}"), "Grammar, in bytes:")
    return literal((part for line in lines for part in _fitted(line)), indent=False)


def _fitted(line: str) -> list[str]:
    """A line of a table, wrapped below its last column if it is too wide for a page."""
    column = max((gap.end() for gap in re.finditer(r"(?<=\S) {2,}", line)), default=0)
    indent = " " * (column if column < _TABLE_WIDTH / 2 else 4)
    return textwrap.wrap(line, _TABLE_WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]


def postgrey_words() -> list[str]:
    """The words of each reason in postgrey's form, from the table at `format_postgrey`."""
    items = []
    table = re.search(r"(?m)^    reason  .*\n((?:    .+\n)+)", docstring(format_postgrey))
    assert table
    for line in textwrap.dedent(table[1]).splitlines():
        reason, *columns = re.split(r" {2,}", line)
        by_action = dict(zip(("pass", "defer"), columns, strict=False))
        texts = [by_action[action] for action in ACTIONS[reason] if action in by_action]
        if texts:
            text = texts[0] if len(texts) == 1 else "{} when it passes, {} when it is deferred".format(*texts)
            items.append((f"Cm {reason}", prose(text)))
    return tagged(items, beside="auto-whitelisted")


def _block(thing: object, heading: str) -> list[str]:
    """The indented lines of a docstring that follow the line that begins with `heading`."""
    text = docstring(thing) + "\n"
    found = re.search(rf"^{re.escape(heading)}[^\n]*\n\n((?: {{4}}[^\n]*\n|\n)+)", text, re.MULTILINE)
    assert found, heading
    return [line.removeprefix("    ") for line in found[1].rstrip("\n").split("\n")]


# --- writing ---------------------------------------------------------------------------------------

REGIONS: Mapping[str, Callable[..., Sequence[str]]] = {
    **API_REGIONS,
    **COMMAND_REGIONS,
    **METRICS_REGIONS,
    **WHITELIST_REGIONS,
    "conditions": conditions,
    "grammar": grammar,
    "keys": keys,
    "model": model,
    "namings": namings,
    "needs-restart": needs_restart,
    "personal-data": personal,
    "origin-examples": origin_examples,
    "postgrey-words": postgrey_words,
    "reasons": reasons,
    "sender-shapes": sender_shapes,
    "words": words,
}


def generate(text: str) -> str:
    """A page with every region rewritten."""
    return _REGION.sub(_region, text)


def _region(found: re.Match[str]) -> str:
    name, *arguments = found["words"].split()
    body = "".join(f"{line}\n" for line in REGIONS[name](*arguments))
    return f"{found['begin']}{body}{found['end']}"


def main() -> int:
    """Rewrite every page and print the names of those that changed."""
    sys.path += [str(page.parents[1]) for page in PLUGIN_PAGES]
    for page in (*PAGES, *PLUGIN_PAGES):
        before = page.read_text()
        after = generate(before)
        if after != before:
            page.write_text(after)
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
