"""Code that only exists for speed gives what its full form gives.

A shortcut stands under `# Shortcut of NAME.`; every one of them is listed here, with values to hold both
against each other.  What it gains is measured by `python -m benchmarks`.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList
from pydantic import ValidationError

from multigrey.codec import decode_record, encode_first_record, encode_record, record_times
from multigrey.config.suffixes import RegisteredDomains, read_list
from multigrey.contracts import DialogueOptions
from multigrey.engine.progress import Progress
from multigrey.engine.round import _precheck_again
from multigrey.engine.setup import LOOPBACK
from multigrey.engine.stages import OBSERVE, OFF, STAGES, precheck
from multigrey.evidence.mark_ledger import MarkLedger
from multigrey.greylist.decision import decide, known_at_once
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.identity.addresses import _ipv4_text, network_of
from multigrey.identity.envelope import filled_in, template_of
from multigrey.identity.sender import plain_domain, sender_text
from multigrey.model import Attempt, Match, Origin, Reason, Record, Stage, Table
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.rules.rules import Rule, Rules
from multigrey.whitelists.toml_entry import ListEntry, checked_values
from multigrey.whitelists.toml_parts import UnusualError, entry_values
from tests.greylist.test_decision_model import ANY_POLICY, CASES, FRESH, SEVERAL
from tests.protocols.test_postfix import POSTFIX_38, VALUES, question
from tests.support.engines import setup
from tests.whitelists.test_toml_parts import LINES

MARK = re.compile(r"(?m)^ *# Shortcut of ([\w.]+)\.\n(?:^ *[@#].*\n)*^ *(?:(?:async )?def )?(\w+)")
ROOT = Path(__file__).resolve().parents[1]
NOW = 1_000_000_000
TEXTS = st.text(max_size=20)
BYTES = (st.binary(max_size=9) | st.text(max_size=9).map(str.encode)).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
LABELS = st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)
NAMES = st.lists(
    LABELS | st.sampled_from(["co", "uk", "com", "example", "", "kawasaki", "jp"]), max_size=5
).map(".".join)
SENDERS = st.builds(
    "{}@{}".format,
    st.from_regex(r"[a-z0-9.+=_-]{1,24}", fullmatch=True),
    st.sampled_from(["example.org", "mail.example.com", "a-b.example"]),
)


class Shortcut(NamedTuple):
    """One pair: how the comment names the full form, values for both, and both as functions of them."""

    where: str
    """Module and name of the shortcut."""
    of: str
    values: st.SearchStrategy[Any]
    short: Callable[..., Any]
    full: Callable[..., Any]


# --- sides that need a few lines -------------------------------------------------------------------


def stranger(policy: Policy, case: Case, *, marked: bool) -> StoredDecision:
    """What is asked about an attempt, with everything that may be written."""
    keys = tuple((Table.RECORD, bytes([number]) * 16) for number in range(2))
    marks = MarkLedger(bytes(16))
    return StoredDecision(
        replace(policy, observe=False),
        NOW,
        replace(case, same_message=False, provider=False, clock_believed=True),
        keys,
        (Table.ORIGIN, b"o" * 16),
        (Table.ORIGIN, b"s" * 16),
        has_marks=marked,
        mark_digest=b"m" * 16 if marked else b"",
        place=bytes(6) if marked else b"",
        weigh=marks.weigh if marked else None,
    )


def nothing(decision: StoredDecision) -> list[None]:
    return [None] * len(decision.keys)


def prechecked(check: Callable[[Progress], None], setting: Any, attempt: Attempt, *, provider: bool) -> Any:
    progress = Progress(setting, attempt, NOW)
    progress.network, progress.origin = "192.0.2.0/24", Origin("bigmail" if provider else "example.org", True)
    progress.provider = provider
    check(progress)
    return progress.verdict, progress.rule, progress.provider


AGAIN = {stage.decide for stage in STAGES if stage.again}
SETTINGS = st.builds(
    setup,
    mode=st.sampled_from(["enforce", OBSERVE, OFF]),
    rules=st.sampled_from(
        [
            Rules((), {}),
            Rules([Rule("r", action="reject")], {}),
            Rules([Rule("g", action="greylist", delay=5)], {}),
        ]
    ),
    sources=st.sampled_from([(), (lambda attempt: Match("list", attempt.recipient),)]),
    retrying=st.just(frozenset({"bigmail"})),
    retries=st.just(lambda attempt: attempt.helo == "bigmail"),
)


@st.composite
def known_ones(draw: st.DrawFn) -> tuple[Any, Attempt, bool]:
    """A setup, and an attempt of which no stage that is asked once says anything."""
    setting, provider = draw(SETTINGS), draw(st.booleans())
    attempt = Attempt(
        "mx",
        draw(st.sampled_from([IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")])),
        "mail.example.org",
        "bigmail" if provider else "mail.example.org",
        "a@example.org",
        "b@example.net",
        draw(st.sampled_from(Stage)),
        authenticated=draw(st.sampled_from(["", "", "joe"])),
    )
    return setting, attempt, provider


def known(policy: Policy, case: Case, records: list[Record | None]) -> Any:
    """What `decide` says and writes, where it says that the sender is known."""
    decision = decide(policy, NOW, case, None, records)
    nothing_written = decision.record is None and decision.origin_record is None and decision.standing is None
    is_known = decision.verdict.reason is Reason.KNOWN and nothing_written
    return decision.verdict if is_known and not decision.durable else None


def known_quickly(policy: Policy, case: Case, records: list[Record | None]) -> Any:
    found = [None if one is None else record_times(encode_record(one)) for one in records]
    if not found or any(times is None or not times[5] for times in found):
        return None
    return known_at_once(policy, NOW, [times for times in found if times is not None])


def read(dialogue_class: type[PostfixDialogue], changes: dict[str, str | None]) -> Any:
    dialogue = dialogue_class(DialogueOptions("mx", 65_536))
    dialogue.receive(question(POSTFIX_38, **changes))
    request = dialogue.next_request()
    if not isinstance(request, Attempt):
        return request
    return replace(request, attributes={}), dict(request.attributes)


class InAnyOrder(PostfixDialogue):
    """Goes the long way always."""

    def _read(self, text: str) -> Any:
        return self._read_any(text)


LIBRARY = PublicSuffixList(read_list(), accept_unknown=True)
OURS = RegisteredDomains(read_list())


def by_library(name: str) -> str | None:
    top = name.rpartition(".")[2]
    return None if "." not in name or top.isdecimal() else LIBRARY.privatesuffix(name)


def is_own(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in (ip_network("127.0.0.0/8"), ip_network("::1/128")))


ADDRESSES = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(
    IPv6Address, st.integers(0, 2**128 - 1)
)
SPARSE = st.builds(IPv6Address, st.integers(0, 2**8 - 1).map(lambda number: number << 100)) | ADDRESSES


def network(address: Any, four: int, six: int) -> str:
    return str(ip_network(f"{address}/{four if address.version == 4 else six}", strict=False))


SHOWN = ("sender", "recipient", "home")
LIST_KEYS = [*ListEntry.model_fields, "klient"]
LIST_VALUES = [
    "192.0.2.1",
    "a@example.org",
    "",
    ".example.org",
    "/x/",
    "/(/",
    3,
    True,
    False,
    date(2027, 1, 1),
]


def refused(read):
    try:
        return read()
    except (UnusualError, tomllib.TOMLDecodeError):
        return "refused"


def only_entry(data):
    if data.keys() != {"entry"} or len(data["entry"]) != 1:
        raise UnusualError
    return data["entry"][0]


def validated(table):
    try:
        return {key: value for key, value in ListEntry.model_validate(table) if value is not None}
    except ValidationError:
        return None


SHORTCUTS = [
    Shortcut(
        "greylist.stored_decision:_new",
        "judged",
        st.tuples(ANY_POLICY, CASES).map(lambda pair: (stranger(*pair, marked=False),)),
        lambda decision: decision(nothing(decision)),
        lambda decision: decision.judged(nothing(decision)),
    ),
    Shortcut(
        "greylist.stored_decision:_new_mark",
        "judged",
        st.tuples(ANY_POLICY, CASES).map(lambda pair: (stranger(*pair, marked=True),)),
        lambda decision: decision(nothing(decision)),
        lambda decision: decision.judged(nothing(decision)),
    ),
    Shortcut(
        "engine.round:_precheck_again",
        "stages.precheck",
        known_ones(),
        lambda setting, attempt, provider: prechecked(_precheck_again, setting, attempt, provider=provider),
        lambda setting, attempt, provider: prechecked(precheck, setting, attempt, provider=provider),
    ),
    Shortcut(
        "greylist.decision:known_at_once",
        "decide",
        st.tuples(
            ANY_POLICY,
            CASES.map(lambda case: replace(case, clock_believed=True)),
            st.lists(FRESH, min_size=1, max_size=3) | SEVERAL,
        ),
        known_quickly,
        known,
    ),
    Shortcut(
        "codec:encode_first_record",
        "encode_record",
        st.tuples(st.integers(0, 2**40), st.integers(0, 2**31), TEXTS, TEXTS, TEXTS, TEXTS, st.binary()),
        encode_first_record,
        lambda now, delay, client, origin, *shown: encode_record(
            replace(
                Record(now, now, delay, 1, 0, 0, 0, client),
                origin=origin,
                **dict(zip(SHOWN, shown, strict=True)),
            )
        ),
    ),
    Shortcut(
        "codec:record_times",
        "decode_record",
        SEVERAL.filter(any).map(
            lambda records: (encode_record(next(one for one in records if one is not None)),)
        ),
        record_times,
        lambda value: tuple(
            getattr(decode_record(value), name)
            for name in ("first_seen", "last_seen", "delay", "attempts", "early", "passed_at", "passes")
        ),
    ),
    Shortcut(
        "identity.addresses:network_of",
        "ipaddress.ip_network",
        st.tuples(SPARSE, st.integers(0, 32), st.integers(0, 128)),
        network_of,
        network,
    ),
    Shortcut(
        "identity.addresses:_ipv4_text",
        "str",
        st.tuples(st.integers(0, 2**32 - 1)),
        _ipv4_text,
        lambda number: str(IPv4Address(number)),
    ),
    Shortcut(
        "identity.envelope:filled_in",
        "bytes.join",
        st.lists(BYTES, min_size=1, max_size=4).map(
            lambda texts: (template_of([f"name{number}" for number in range(len(texts))]), texts)
        ),
        filled_in,
        lambda template, texts: b"".join(
            b"name%d=%d:%b;" % (number, len(raw), raw)
            for number, raw in enumerate(text.encode("utf-8", "surrogateescape") for text in texts)
        ),
    ),
    Shortcut(
        "identity.sender:plain_domain",
        "sender_text",
        st.tuples(SENDERS, st.sampled_from(["bob@example.net", "b@x.example"])),
        lambda sender, recipient: sender if plain_domain(sender, recipient) is not None else None,
        lambda sender, recipient: (
            sender_text(sender, recipient) if plain_domain(sender, recipient) is not None else None
        ),
    ),
    Shortcut(
        "config.suffixes:__call__", "PublicSuffixList.privatesuffix", st.tuples(NAMES), OURS, by_library
    ),
    Shortcut(
        "engine.setup:is_own",
        "ipaddress.ip_network",
        st.tuples(ADDRESSES | st.sampled_from([IPv4Address("127.8.9.1"), IPv6Address("::1")])),
        setup(own_networks=LOOPBACK).is_own,
        is_own,
    ),
    Shortcut(
        "whitelists.toml_parts:entry_values",
        "tomllib.loads",
        st.tuples(st.lists(st.sampled_from(LINES), max_size=6)),
        lambda lines: refused(lambda: entry_values("\n".join(["[[entry]]", *lines]), 9)),
        lambda lines: refused(lambda: only_entry(tomllib.loads("\n".join(["[[entry]]", *lines])))),
    ),
    Shortcut(
        "whitelists.toml_entry:checked_values",
        "ListEntry.model_validate",
        st.tuples(st.dictionaries(st.sampled_from(LIST_KEYS), st.sampled_from(LIST_VALUES), max_size=4)),
        checked_values,
        validated,
    ),
    Shortcut(
        "protocols.postfix:_IN_ORDER",
        "PostfixDialogue._read_any",
        st.tuples(st.dictionaries(st.sampled_from([*POSTFIX_38]), VALUES | st.none(), max_size=3)),
        lambda changes: read(PostfixDialogue, changes),
        lambda changes: read(InAnyOrder, changes),
    ),
]


@pytest.mark.parametrize("shortcut", SHORTCUTS, ids=[one.where for one in SHORTCUTS])
def test_a_shortcut_gives_what_its_full_form_gives(shortcut):
    @settings(deadline=None)
    @given(shortcut.values)
    def hold(values):
        assert shortcut.short(*values) == shortcut.full(*values)

    hold()


def test_every_shortcut_is_listed():
    found = set()
    for path in (ROOT / "multigrey").rglob("*.py"):
        text = path.read_text()
        for mark in re.finditer(
            r"(?m)^ *# Shortcut of ([\w.]+)\.\n(?:^ *[@#].*\n)*^ *(?:(?:async )?def )?(\w+)", text
        ):
            module = ".".join(path.relative_to(ROOT / "multigrey").with_suffix("").parts)
            found.add((f"{module}:{mark[2]}", mark[1]))
        assert len(re.findall(r"# Shortcut of", text)) == len(
            re.findall(r"(?m)^ *# Shortcut of [\w.]+\.$", text)
        ), path
        ast.parse(text)
    assert found == {(one.where, one.of) for one in SHORTCUTS}
