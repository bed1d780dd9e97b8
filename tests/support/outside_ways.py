"""The ways of `outside_text`: a function of one text for each function that takes text from outside.

A function that only hands text on to others needs no way of its own: the test asks whether it was called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from multigrey_dns import subjects
from multigrey_spf import dnslookup, evaluation, own_hosts, question_of
from multigrey_web import acting, search, words
from multigrey_web.logins import ACTS, Logins, User

from multigrey.archive.names import why_no_name
from multigrey.archive.tar import about_of
from multigrey.config.load import load
from multigrey.config.origin_lists import registered_domain
from multigrey.config.values import hosts, patterns, types, units, when
from multigrey.contracts import DialogueOptions, SourceOptions
from multigrey.control import attempt_options
from multigrey.control.protocol import ControlDialogue, read_answer_line
from multigrey.core import open_core
from multigrey.daemon.assembly import assemble
from multigrey.events import as_json, line, query
from multigrey.events.foreign_refusal import foreign_refusal
from multigrey.events.line_time import line_time
from multigrey.events.pasted_line import find_attempt
from multigrey.events.typed_address import read_address, read_address_or_domain, read_addresses
from multigrey.identity import addresses, components, sender, sender_patterns, shortened
from multigrey.identity.envelope import sender_key_domain, sender_key_text
from multigrey.identity.host_names import generated_names, gibberish, host_pattern
from multigrey.identity.origin import origin_of
from multigrey.identity.redaction import Redactor
from multigrey.matching import matchers, timespans
from multigrey.matching.facts import forwarded_note
from multigrey.matching.near_misses import near_attempts
from multigrey.metrics.http import parse_head
from multigrey.model import Action, Attempt, DecisionEvent, Origin, Reason, Stage, Verdict
from multigrey.protocols import reply_text, wire
from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue
from multigrey.rules.conditions import Maker
from multigrey.rules.rules import Rule, Rules
from multigrey.whitelists import list_source, postgrey
from multigrey.whitelists.checks import regexes
from multigrey.whitelists.roles import RoleAddresses
from tests.support.clocks import FakeClock
from tests.support.engines import memory_store

SITE_KEY = bytes(range(32))
STORE = memory_store()
"""The engine's; it has to run while the ways are used."""
OWN = "example.org"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
CLIENT = ip_address("192.0.2.77")
read_when = partial(when.read_conditions, directory=None)
ROOM = 1 << 20
"""Octets: the bounds of the dialogues are much narrower, and would hide how they grow."""

Way = Callable[[str], object]


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def dialogue(make: Callable[..., Any], frame: str, *, ends: bool = False) -> Way:
    """What a peer sends, with the text in the place of {}; all requests in it are read."""
    before, _, after = frame.partition("{}")

    def way(text: str) -> None:
        made = make(DialogueOptions("x", ROOM, administer=True))
        made.receive(octets(before) + text.encode("utf-8", "surrogateescape") + octets(after))
        if ends:
            made.receive(b"")
        for _ in range(16):
            made.next_request()

    return way


def control(frame: str) -> Way:
    before, _, after = frame.partition("{}")

    def way(text: str) -> None:
        made = ControlDialogue(ROOM)
        made.receive(octets(before) + text.encode("utf-8", "surrogateescape") + octets(after) + b"\n")
        made.next_question()

    return way


# --- attempts --------------------------------------------------------------------------------------

ATTEMPT = Attempt(
    "x", CLIENT, "mail.example.org", "mail.example.org", "a@example.org", "b@example.net", message="m"
)
NAMED = Origin(OWN, named=True)
COMPONENTS = (
    *(components.ClientAddress(), components.ClientNetwork(24, 64), components.OriginText()),
    *(
        components.Sender(),
        components.SenderDomain(),
        components.Recipient("+"),
        components.RecipientDomain(),
    ),
    components.Helo(),
)
FIELDS = ("client_name", "helo", "sender", "recipient", "message", "authenticated", "raw")


def attempts(use: Callable[[Attempt], object]) -> Way:
    """Every text of an attempt is hostile in its turn; so is what the mail server said besides."""

    def way(text: str) -> None:
        for field in FIELDS:
            use(replace(ATTEMPT, **{field: text}))
        use(replace(ATTEMPT, client_name=text, helo=text, sender=text, recipient=text))
        use(replace(ATTEMPT, sender="", recipient=text, stage=Stage.DATA))
        use(replace(ATTEMPT, client_name=None, attributes={"reverse_client_name": text, "size": text}))

    return way


def _event(attempt: Attempt) -> DecisionEvent:
    verdict = Verdict(Action.DEFER, Reason.NEW, detail=attempt.sender)
    return DecisionEvent(0, "id", attempt, verdict)


def _log(attempt: Attempt) -> None:
    event = _event(attempt)
    for hide in (None, Redactor(SITE_KEY).fields):
        line.format_event(event, hide)
        line.format_json(event, hide)
    line.format_postgrey(event)
    as_json.event_as_json(as_json.hidden(event, Redactor(SITE_KEY)))
    query.marks_of(event)


def _engine() -> Callable[[Attempt], object]:
    """The whole engine with its built-in whitelists and traits, and rules with every kind of condition."""
    assembly = assemble(load(None, {"STATE_DIRECTORY": "/nonexistent"}), SITE_KEY, FakeClock())
    setup = replace(assembly.setup, rules=Rules([_rule()], assembly.registry.traits))
    core = open_core(
        replace(assembly, setup=setup),
        STORE,
        site_key=SITE_KEY,
        clock=FakeClock(),
        ids=iter(lambda: "id", ""),
    )

    def ask(attempt: Attempt) -> None:
        core.engine.begin(attempt, "pass")
        core.engine.shared.is_first(attempt)

    return ask


def _rule() -> Rule:
    keys: dict[str, Any] = {
        "client_name": ["/x{3}y/", ".example.com", "example.com"],
        "helo": ["/x{3}y/", ".example.com"],
        "sender": ["/x{3}y/", "bob@example.com", "bob@", "@.example.com", "<>"],
        "recipient": ["/x{3}y/", "bob@example.com"],
        "sender_domain": ["/x{3}y/", ".example.com"],
        "origin": "example.com",
        "size": ">1MiB",
    }
    traits = ("generated-name", "helo-mismatch", "helo-is-address", "null-sender", "no-client-name")
    keys |= {"trait": list(traits)}
    return Rule("r", when=read_when({"any": [{key: value} for key, value in keys.items()]}))


def _lists() -> Callable[[Attempt], object]:
    options = SourceOptions(None, "o", lambda: 0, lambda _: NAMED)

    def listed(made: type, texts: list[str]) -> Any:
        return made([postgrey._Line("f", number, text) for number, text in enumerate(texts)])

    table = [
        list_source.ListedEntry(Path("f.toml"), 1, (condition,), "o")
        for condition in (
            *map(postgrey._client_condition, ("/x{3}y/", "example.com", "10.0.0.0/8")),
            *map(postgrey._recipient_condition, ("/x{3}y/", "bob@", "bob@example.com", "example.com")),
        )
    ]
    sources = [
        listed(postgrey.ClientList, ["/x{3}y/", "example.com", "10.0.0.0/8"]),
        listed(postgrey.RecipientList, ["/x{3}y/", "bob@", "bob@example.com", "example.com"]),
        list_source.EntryList([table], options),
        RoleAddresses(),
    ]
    return lambda attempt: [source.match(attempt) for source in sources]


def _text_at(text: str) -> object:
    condition = postgrey._client_condition("example.com")
    entry = list_source.ListedEntry(Path("f.toml"), 1, (condition,), "o")
    options = SourceOptions(None, "o", lambda: 0, lambda _: NAMED)
    return list_source.EntryList([[entry]], options).text_at(text, 1)


def _origins() -> Callable[[Attempt], object]:
    setup = assemble(load(None, {"STATE_DIRECTORY": "/nonexistent"}), SITE_KEY, FakeClock()).setup
    origins, scheme = setup.origins, setup.scheme

    def use(attempt: Attempt) -> None:
        origins.explained(attempt, "192.0.2.0/24")
        origins.retries(attempt)
        origins.judged_domain(attempt)
        origins.generated(attempt)
        origins.helo_mismatch(attempt)
        origins.home_of(attempt.sender)
        origins.word_by_spf(attempt.helo)
        origin_of(attempt, "192.0.2.0/24")
        scheme.named_key(attempt, NAMED, "192.0.2.0/24")
        scheme.network_key(attempt, "192.0.2.0/24")
        scheme.mark_digest(attempt, NAMED, "192.0.2.0/24")
        sender_key_text(attempt)
        sender_key_domain(attempt)
        for component in COMPONENTS:
            component.text(attempt)
        forwarded_note(attempt)
        list(near_attempts(attempt))
        attempt_options.attempt_as_json(attempt)

    return use


def _spf(text: str) -> None:
    """A record in the DNS of a sender's domain."""
    values = {"TXT": ((b"v=spf1 " + text.encode("utf-8", "surrogateescape"),),)}
    question = question_of(ATTEMPT)
    assert question is not None

    def ask(_name: str, kind: str) -> dnslookup.Known:
        return dnslookup.Known(dnslookup._bounded(kind, values.get(kind, ())), 1.0)

    evaluation.evaluate(question, evaluation.Session(ask))
    own_hosts(question, evaluation.Session(ask), evaluation.nobodys)


def _told(text: str) -> None:
    for name in attempt_options.PARTS:
        try:
            attempt_options.attempt_of({"sender": "a@b.c", "recipient": "a@b.c", name: text})
        except attempt_options.OperationError:
            continue


def _postgrey(text: str) -> None:
    postgrey.ClientList([postgrey._Line("f", 1, text)])
    postgrey.RecipientList([postgrey._Line("f", 1, text)])


def _conditions(text: str) -> None:
    for key in ("client_name", "sender", "client_address", "size", "time"):
        try:
            Maker({}).all_of(read_when({key: text}), ())
        except ValueError:
            continue


def _query(text: str) -> None:
    for kind in query.WORDS:
        try:
            made = query.Query.of({kind: text}, shown_as=Redactor(SITE_KEY).matches)
        except query.CommandError:
            continue
        made.fits(_event(replace(ATTEMPT, sender=text, recipient=text, client_name=text)))


_LOGINS = Logins(
    user_header="x-user",
    role_header="x-groups",
    may=ACTS,
    roles={"desk": ACTS},
    secret=b"0123456789abcdef",
    address_header="x-mail",
)


def _user(text: str) -> None:
    names = ("x-user", "x-groups", "x-mail", "x-multigrey-proxy", "host", "origin")
    headers = dict.fromkeys(names, text)
    user = _LOGINS.user(headers)
    _LOGINS.is_from_proxy(headers)
    _LOGINS.is_own({**headers, "sec-fetch-site": "same-origin"}, text, user)


def _form(text: str) -> None:
    fields = dict.fromkeys(("sender", "recipient", "from", "word"), text)
    own = User("anna", addresses=(text.strip().lower(),))
    for act in ACTS:
        try:
            acting.deed_of(act, fields, "anna")
        except ValueError:
            continue
    try:
        acting.own_deed_of(fields, own, (), ("mailhoster.example",))
    except ValueError:
        return


_REDACTOR = Redactor(SITE_KEY)
_ONE_TEXT: tuple[Way, ...] = (
    *(
        addresses.parse_client_address,
        addresses.normalise_address,
        addresses.host_name,
        addresses.split_address,
    ),
    *(sender.forwarded_sender, sender.is_probe, sender.sender_domain, gibberish.oddity),
    *(sender_patterns.may_hold_token, sender_patterns.fold_padded),
    *(host_pattern.is_made, host_pattern.is_mail_server, registered_domain),
    *(wire.known_address, wire.reply_text, wire.encode, reply_text.Template.parse),
    *(line.unescaped, line.parse_line, find_attempt, query.client_network),
    *(read_address, read_address_or_domain, read_addresses, foreign_refusal),
    lambda text: line_time(text, NOW),
    why_no_name,
    *(matchers.parse_network, timespans.parse_times, timespans.parse_days),
    *(regexes.loose_ends, regexes.alternatives),
    *(
        patterns.read_host,
        patterns.read_domain,
        patterns.read_label,
        patterns.read_login,
        patterns.read_address,
    ),
    *(patterns.read_network, patterns.read_sizes, patterns.read_times, patterns.read_days),
    *(types.parse_endpoint, types.parse_network, types.parse_mode, types.read_label),
    *(units.parse_duration, units.parse_size, attempt_options.pasted),
    *(
        _REDACTOR.text,
        _REDACTOR.address,
        _REDACTOR.client,
        _REDACTOR.name,
        _REDACTOR.token,
        _REDACTOR.matches,
    ),
    *(subjects.is_name, subjects.domain_subject, words.visible, words.cut, words.in_link),
    search.search_of,
)

WAYS: Mapping[str, Way] = {
    **{f"{each.__module__}:{each.__qualname__}": each for each in _ONE_TEXT},
    "EntryList.text_at": _text_at,
    "strip_extension": partial(addresses.strip_extension, delimiters="+-"),
    "sender_text": lambda text: sender.sender_text(text, "b@example.org"),
    "sender_text, recipient": lambda text: sender.sender_text("a+b=example.org@example.net", text),
    "sender_text, local part": lambda text: sender.sender_text(f"{text[:]}@example.com", "b@example.org"),
    "plain_domain": lambda text: sender.plain_domain(text, "b@example.org"),
    "listed_forms": lambda text: sender.listed_forms(text, text),
    "fold_known": lambda text: sender_patterns.fold_known(text, text),
    "fold_tokens": lambda text: sender_patterns.fold_tokens(text, OWN, returns=True),
    "generated names": lambda text: generated_names.evidence(f"{text}.{OWN}", OWN, CLIENT),
    "generated names, IPv6": lambda text: generated_names.holds_address(text, ip_address("2001:db8::77")),
    "host patterns": lambda text: host_pattern.pattern_of(f"{text}.{OWN}", OWN),
    "folded names": lambda text: host_pattern.folded_name(f"{text}.{OWN}", OWN, CLIENT),
    "about_of": lambda text: about_of(octets(text)),
    "one_line": lambda text: wire.one_line(text, 900),
    "HTTP host": lambda text: (hosts.host_of([text]), hosts.is_address(text)),
    "shortened domain": lambda text: shortened.is_in_domain(text, text),
    "search": _query,
    "postfix, a request": dialogue(PostfixDialogue, "{}\n\n"),
    "postfix, an attribute": dialogue(
        PostfixDialogue, "request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=a\nsender={}\n\n"
    ),
    "postfix, a certificate": dialogue(
        PostfixDialogue, "request=smtpd_access_policy\nrecipient=a@b\nccert_subject={}\n\n"
    ),
    "exim, a request": dialogue(EximDialogue, "{}\n", ends=True),
    "exim, attributes": dialogue(EximDialogue, "multigrey/1\n{}\n\n", ends=True),
    "exim, an attribute": dialogue(EximDialogue, "multigrey/1\nsender={}\nrecipient=a@b\n\n", ends=True),
    "greylistd, a request": dialogue(GreylistdDialogue, "{}\n", ends=True),
    "greylistd, words": dialogue(GreylistdDialogue, "--grey 192.0.2.1 {}\n", ends=True),
    "greylistd, a command": dialogue(GreylistdDialogue, "add --white {}\n", ends=True),
    "control, lines": control("{}"),
    "control, an option": control('{"multigrey":1,"id":1,"ask":"status","with":{"x":"{}"}}'),
    "control, a name": control('{"multigrey":1,"id":1,"ask":"{}"}'),
    "control, an answer": lambda text: read_answer_line(text.encode("utf-8", "surrogateescape")),
    "control, an attempt": _told,
    "http, a head": lambda text: parse_head(text.encode("utf-8", "surrogateescape")),
    "http, a field": lambda text: parse_head(b"GET / HTTP/1.1\r\nHost: %b" % octets(text)),
    "lists, an entry": _postgrey,
    "rules, conditions": _conditions,
    "a reply text, its help page": lambda text: reply_text.with_help(text, "https://example.org/help"),
    "web, a user": _user,
    "web, a form": _form,
    "an attempt, engine": attempts(_engine()),
    "an attempt, its origin and keys": attempts(_origins()),
    "an attempt, lists": attempts(_lists()),
    "an attempt, log and history": attempts(_log),
    "an attempt, words of a reply": attempts(
        lambda attempt: reply_text.worded(
            "{reason} {id}[[ {recipient_domain}]]", attempt, NAMED, _event(attempt).verdict, "id"
        )
    ),
    "an attempt, SPF": attempts(question_of),
    "an attempt, DNS lists": attempts(
        lambda attempt: [subjects.subject_of(attempt, of) for of in subjects.Of.__members__.values()]
    ),
    "an SPF record": _spf,
}
