"""No text from outside takes more than linear time: lengths are doubled, and steps are counted, not seconds.

`tests.support.steps` says what a step is, and what it cannot see; `tests.support.outside_ways` has the
functions.  The measurement runs in a process of its own, because patterns have to be compiled for it.
"""

from __future__ import annotations

import ast
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.backtracking import Matcher
from tests.support.outside_text import ROOT, TOYS

pytestmark = pytest.mark.timeout(900)

AREAS = (
    *(
        "multigrey/identity",
        "multigrey/protocols",
        "multigrey/events",
        "multigrey/whitelists",
        "multigrey/rules",
    ),
    *("multigrey/matching", "multigrey/control/protocol.py", "multigrey/control/attempt_options.py"),
    *("multigrey/config/values", "multigrey/config/origin_lists.py", "multigrey/config/suffixes.py"),
    *(
        "multigrey/metrics/http.py",
        "plugins/multigrey-dns/multigrey_dns",
        "plugins/multigrey-spf/multigrey_spf",
    ),
    *("plugins/multigrey-web/multigrey_web", "plugins/multigrey-geoip/multigrey_geoip"),
)
TEXT = re.compile(r"\b(?:str|bytes|Attempt|Any|object)\b")
"""Types of arguments that may hold text from outside."""

ANSWER = "writes an answer of ours; `one_line` bounds what a peer chose in it"
FILES = "reads or changes a file of the administrator, of at most 16 MiB, in a thread or a command"
SET_UP = "takes words of the configuration or of our code"
BOUNDED = "takes what other functions of this table made of a text: a pattern, domain, mark or bounded text"
EXPLAINS = "explains what the functions of this table decide, with the same functions"
WAITS = "only hands on to functions of this table, and waits for the network"
NOT_MEASURED: Mapping[str, str] = {
    "multigrey.identity.addresses:widened": "takes networks that we wrote",
    "multigrey.identity.host_names.host_table:": SET_UP,
    "multigrey.identity.host_names.name_doubt:": BOUNDED,
    "multigrey.identity.host_names.name_evidence:": BOUNDED,
    "multigrey.identity.keys:KeyScheme.": BOUNDED,
    "multigrey.identity.origin:_Judge.claimed": "is asked for names that `_Judge.judge` has bounded",
    "multigrey.protocols.exim:EximDialogue.answer": ANSWER,
    "multigrey.protocols.greylistd:GreylistdDialogue.answer": ANSWER,
    "multigrey.protocols.postfix:PostfixDialogue.answer": ANSWER,
    "multigrey.control.protocol:ControlDialogue.": ANSWER,
    "multigrey.control.protocol:question": "makes a request of a command",
    "multigrey.events.line:syslog_line": "takes a line that `format_event` made",
    "multigrey.events.line:file_line": "takes a line that `format_event` made",
    "multigrey.whitelists.edit:": FILES,
    "multigrey.whitelists.toml_entry:": FILES,
    "multigrey.whitelists.toml_file:": FILES,
    "multigrey.whitelists.list_source:entry_hit_name": FILES,
    "multigrey.whitelists.postgrey:postgrey_entries": FILES,
    "multigrey.whitelists.entry_table:EntryTable.every": EXPLAINS,
    "multigrey.whitelists.list_source:EntryList.every": EXPLAINS,
    "multigrey.whitelists.entry_table:EntryTable.almost": EXPLAINS,
    "multigrey.whitelists.list_source:EntryList.almost": EXPLAINS,
    "multigrey.whitelists.entry_table:Sighting.envelope": "is for entries with several conditions",
    "multigrey.rules.conditions:node_of": SET_UP,
    "multigrey.rules.conditions:Maker.trait": SET_UP,
    "multigrey.matching.matchers:AddressTable.place": BOUNDED,
    "multigrey.whitelists.toml_parts:": FILES,
    "multigrey.whitelists.entry_table:Index.of_origin": "looks up one key",
    "multigrey.rules.rules:Rules.explained": EXPLAINS,
    "multigrey.rules.rules:Classes.of": "evaluates conditions as `Rules.evaluate` does",
    "multigrey.rules.rules:wrong_": SET_UP,
    "multigrey.config.values.units:": SET_UP,
    "plugins.multigrey-dns.multigrey_dns.codes:": SET_UP,
    "plugins.multigrey-dns.multigrey_dns.resolver:": WAITS,
    "plugins.multigrey-dns.multigrey_dns.source:": WAITS,
    "plugins.multigrey-dns.multigrey_dns.zones:": WAITS,
    "plugins.multigrey-spf.multigrey_spf.__init__:SpfSource.ask": WAITS,
    "plugins.multigrey-spf.multigrey_spf.dnslookup:": WAITS,
    "plugins.multigrey-spf.multigrey_spf.evaluation:Check.": "`evaluate` calls it for some terms",
    "plugins.multigrey-spf.multigrey_spf.evaluation:nobodys": "answers no",
    "plugins.multigrey-dns.multigrey_dns.__init__:multigrey_register": SET_UP,
    "plugins.multigrey-spf.multigrey_spf.__init__:multigrey_register": SET_UP,
    "plugins.multigrey-web.multigrey_web.__init__:multigrey_register": SET_UP,
    "plugins.multigrey-web.multigrey_web.__main__:main": SET_UP,
    "plugins.multigrey-web.multigrey_web.answers:": WAITS,
    "plugins.multigrey-web.multigrey_web.app:": "takes a few words, which `parse_qsl` has split",
    "plugins.multigrey-web.multigrey_web.charts:": "takes what the daemon answers",
    "plugins.multigrey-web.multigrey_web.guard:": "compares one field of a head",
    "plugins.multigrey-web.multigrey_web.pages:": "takes what the daemon answers",
    "plugins.multigrey-web.multigrey_web.search:who": "takes what the daemon answers",
    "plugins.multigrey-web.multigrey_web.search:words_of": "takes what the daemon answers",
    "plugins.multigrey-web.multigrey_web.words:counted": "takes a number, and words of ours",
    "plugins.multigrey-web.multigrey_web.serving:": WAITS,
    "plugins.multigrey-web.multigrey_web.stories:": "takes what the daemon answers",
    "plugins.multigrey-web.multigrey_web.tables:": "takes what the daemon answers",
    "plugins.multigrey-geoip.multigrey_geoip.__init__:": "looks at the client's address only",
}
"""Functions of the areas that the measurement does not call, by the beginning of their names, and why."""


@pytest.fixture(scope="module")
def measured() -> Mapping[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.outside_text"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def test_steps_grow_no_faster_than_the_text(measured: Mapping[str, Any]):
    wrong = {name: texts[:3] for name, texts in measured["grows"].items() if texts and name not in TOYS}
    assert wrong == {}


@pytest.mark.parametrize("toy", TOYS)
def test_a_function_that_takes_quadratic_time_is_noticed(measured: Mapping[str, Any], toy: str):
    assert measured["grows"][toy]


def test_every_function_that_takes_text_from_outside_is_measured(measured: Mapping[str, Any]):
    called = {*measured["called"]}
    missing = [name for name in outside() if name not in called and not reason_of(name)]
    assert missing == []


def test_what_is_not_measured_exists_and_is_needed(measured: Mapping[str, Any]):
    called = {*measured["called"]}
    left_out = [name for name in outside() if name not in called]
    assert [begin for begin in NOT_MEASURED if not any(name.startswith(begin) for name in left_out)] == []


def reason_of(name: str) -> str:
    return next((why for begin, why in NOT_MEASURED.items() if name.startswith(begin)), "")


def outside() -> Iterator[str]:
    """The public functions of the areas with an argument that may hold text."""
    for area in AREAS:
        path = ROOT / area
        for file in [path] if path.suffix else sorted(path.rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            for name, function in functions(ast.parse(file.read_text())):
                if not function.name.startswith("_") and TEXT.search(types_of(function)):
                    yield f"{module}:{name}"


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{each.name}", each


def types_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return " ".join(ast.unparse(each.annotation) for each in every if each.annotation)


def test_the_areas_exist():
    assert [area for area in AREAS if not Path(ROOT / area).exists()] == []


PATTERNS: tuple[str | bytes, ...] = (
    *(r"(a+)+b", r"[^,\s]+,\s*(x|y)?", r'"((?:[^"\\]|\\.)*)"', r"(?<!\\)a*?b", r"\bfo\b", r"(?i)ABC[d-f]"),
    *(
        r"^a|b$",
        r"(a)\1",
        r"(?=ab)a.",
        r"(?!ab)a.",
        r"(?:a|ab)(?:c|bcd)(d*)",
        rb"\r?\n",
        r"a{2,3}?b",
        r"(?s)a.*+",
    ),
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_the_matcher_that_counts_matches_as_re_does(pattern: str | bytes):
    chosen = random.Random(1)
    real = re.compile(pattern)
    matcher = Matcher(real)
    for _ in range(300):
        text: Any = "".join(chosen.choices('ab,x"\\ fo\ncdABCe1', k=chosen.randrange(12)))
        if isinstance(pattern, bytes):
            text = text.encode()
        for how in ("match", "fullmatch", "search"):
            matcher.steps(how, text, 0, 100_000)
            found = getattr(real, how)(text)
            assert matcher.found == (None if found is None else found.span())


@pytest.mark.parametrize(
    ("pattern", "how", "text", "growth"),
    [
        (r"[ \t]*x", "search", " ", 4),
        (r"(?:ab)*c", "match", "ab", 2),
        (r"[^x]*x", "match", "a", 2),
        (r".*;.*;.*x", "match", ";", 8),
    ],
)
def test_the_matcher_counts_backtracking(pattern: str, how: str, text: str, growth: int):
    steps = [Matcher(re.compile(pattern)).steps(how, text * length, 0, 10**7) for length in (50, 100)]
    assert round(steps[1] / steps[0]) == growth
