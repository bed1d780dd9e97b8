r"""The words of Debian's greylistd, for everything that talks to its socket.

Grammar, in bytes:

    request = [word] *("-" option) *data (LF / end of file)      ; separated by ASCII white space
    answer  = text, without a line end when it is one line; then we close

    word     data  answer
    update   yes   white, grey or black; with an option (--white --grey --black) true or false
    check    yes   what update would answer, without keeping anything
    status   yes   white, grey, black or unseen
    add      yes   "Added to whitelist" (or the option's list)
    delete   yes   "Removed from greylist" or "error: Not found"
    stats    no    a few lines for people; mrtg: four lines for that program
    list     no    what is known, per list (or only the options' lists); times are UTC
    save, reload, clear [--option]    a line saying so
    (none)   yes   update

Words and options may have any case.  Every error is answered by "error: " and the reason.

Data: three words of which the first is an address are client address, envelope sender and recipient.  Two
words of which the second contains "@" are address and recipient, with the null sender (its empty word
vanishes between blanks; Debian asks so at DATA).  A sender written "<>" is the null sender too.  Instead of
the address there may be a network as `${mask:}` writes it (IPv6 with dots), which stands for its first
address.  An address with several recipients ("a@b, c@d", `$recipients` of a message to many) has the null
sender, and is judged without a recipient.  An address alone (filters for OpenSMTPD ask so when a client
connects) is an attempt of which nothing else is known.  No client asks a second time about an attempt without
a sender, or with a sender that probes addresses (`identity.sender.is_probe`).  So these are at the stage
`data`: judged now.
Everything else is one opaque key: lower case, words joined by single blanks, other bytes kept.

Differences from greylistd, on purpose: a request is complete at its line end or at the end of file, never
after the first segment; `--black` only looks and never makes or refreshes a record; bytes that are not ASCII
stay distinct; words that change what is stored work only on an endpoint that may administer.

Two clients, Debian's own `greylist` and an OpenSMTPD filter, send neither a line end nor an end of file, and
wait.  Silence cannot be seen without a clock.  So `patience` says how long the caller has to wait before it
may call `receive(b"")` for the peer; nothing is guessed from the bytes.

Limits: one request per connection, at most the endpoint's `request_size`; a longer one ends the connection
without an answer.  What follows the request is discarded.

Evolution: none; others define the protocol.

Danger: a quoted local part with blanks makes more than three words, and so an opaque key, in which rules and
whitelists see no address.  The exim protocol does not have this problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from multigrey.contracts import DialogueOptions
from multigrey.errors import AddressError, CommandError, ProtocolError
from multigrey.identity.addresses import parse_client_address
from multigrey.identity.sender import is_probe
from multigrey.model import Action, Address, Attempt, Command, Ignored, Reply, Signal, Stage
from multigrey.protocols.wire import Inbox, decode, encode, one_line

__all__ = ["GreylistdDialogue"]

_LISTS = ("white", "grey", "black")
_WORDS_WITH_DATA = frozenset({"update", "check", "status", "add", "delete"})
_WORDS_ALONE = frozenset({"stats", "mrtg", "list", "save", "reload", "clear"})
_CHANGING = frozenset({"add", "delete", "save", "reload", "clear"})
_LIST_OF = {Action.PASS: "white", Action.DEFER: "grey", Action.REJECT: "black"}
_DONE = {
    "save": "saved: everything known is on disk",
    "reload": "reloaded: configuration and lists",
    "clear": "cleared: data and statistics",
}
_PATIENCE = 0.5
_LINE_OCTETS = 2000
_LAST_SECOND = 253402300799  # of the year 9999


class GreylistdDialogue:
    """One connection of greylistd's clients (see the module's text)."""

    def __init__(self, options: DialogueOptions) -> None:
        self._listener = options.listener
        self._administer = options.administer
        self._inbox = Inbox(options.request_size)
        self._out = b""
        self._done = False
        self._word = "update"
        self._lists: Sequence[str] = ()

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which what has arrived is a whole request; None: wait for more."""
        return _PATIENCE if self._inbox and not self._done else None

    def receive(self, data: bytes) -> None:
        """See `contracts.Dialogue.receive`."""
        if not self._done:
            self._inbox.feed(data)

    def next_request(self) -> Attempt | Command | Ignored | Signal:
        """See `contracts.Dialogue.next_request`."""
        if self._done:
            return Signal.CLOSED
        try:
            raw = self._inbox.take(b"\n")
            if raw is None:
                if not self._inbox.ended:
                    return Signal.NEED_DATA
                if not self._inbox:
                    return Signal.CLOSED
                raw = self._inbox.take_rest()
        except ProtocolError:
            self._done = True
            raise
        self._done = True
        try:
            return self._read(raw.split())
        except CommandError as problem:
            return self._say(_error(str(problem)))

    def answer(self, request: Attempt | Command, reply: Reply | Mapping[str, Any] | str) -> None:
        """See `contracts.Dialogue.answer`."""
        del request  # there is only one
        if isinstance(reply, str):
            text = _error(reply)
        elif isinstance(reply, Reply):
            text = self._state(_LIST_OF[reply.action])
        else:
            text = self._result(reply)
        self._say(text)

    def data_to_send(self) -> bytes:
        """See `contracts.Dialogue.data_to_send`."""
        out, self._out = self._out, b""
        return out

    def _say(self, text: str) -> Ignored:
        self._out += encode(text)
        return Ignored()

    def _read(self, words: list[bytes]) -> Attempt | Command | Ignored:
        if not words:
            raise CommandError("No data received")
        word = decode(words[0]).lower()
        if word in _WORDS_WITH_DATA or word in _WORDS_ALONE:
            self._word = word
            del words[0]
        options = 0
        while options < len(words) and words[options].startswith(b"-"):
            options += 1
        self._lists = [decode(option).lstrip("-").lower() for option in words[:options]]
        del words[:options]
        if self._word in _CHANGING and not self._administer:
            raise CommandError(f"{self._word} is not allowed on this endpoint")
        if self._word in _WORDS_ALONE:
            if words:
                raise CommandError("Too many arguments")
            return self._alone()
        if not words:
            raise CommandError("Missing argument")
        return self._with_data(words)

    def _alone(self) -> Command:
        """A word without data."""
        if self._word not in {"list", "clear"}:
            return Command("stats" if self._word == "mrtg" else self._word)
        for name in self._lists:
            if name not in _LISTS:
                raise CommandError(f"Invalid list: {_shown(name)}")
        if self._word == "clear" and len(self._lists) > 1:
            raise CommandError("one list at a time")  # or `clear` would delete more than was asked for
        return Command(self._word, None, {"list": self._lists[0] if len(self._lists) == 1 else ""})

    def _with_data(self, words: Sequence[bytes]) -> Attempt | Command:
        if self._word in {"update", "check", "add"}:
            self._check_state()
        attempt = _attempt(self._listener, words)
        if self._word == "update":
            return attempt if self._lists[:1] != ["black"] else Command("state", attempt)
        if self._word == "add":
            return Command("add", attempt, {"list": self._lists[0] if self._lists else "white"})
        return Command("state" if self._word == "status" else self._word, attempt)

    def _check_state(self) -> None:
        if self._lists and self._lists[0] not in _LISTS:
            name = _shown(self._lists[0])
            raise CommandError(
                f"No such list: {name}" if self._word == "add" else f"{name} is not a known state"
            )

    def _state(self, state: str) -> str:
        """The answer to update and check: the state, or whether it is the one asked about."""
        if not self._lists:
            return state
        return "true" if state == self._lists[0] else "false"

    def _result(self, result: Mapping[str, Any]) -> str:
        if self._word == "status":
            return _text(result, "state")
        if self._word in {"update", "check"}:
            return self._state(_text(result, "state"))
        if self._word == "add":
            return f"Added to {_text(result, 'list')}list"
        if self._word == "delete":
            found = _text(result, "list")
            return f"Removed from {found}list" if found else _error("Not found")
        if self._word == "list":
            return "".join(_listing(result, self._lists or _LISTS))
        if self._word == "mrtg":
            return _mrtg(result)
        if self._word == "clear" and self._lists:
            return f"cleared: data of the {self._lists[0]}list"
        return _statistics(result) if self._word == "stats" else _DONE[self._word]


def _attempt(listener: str, words: Sequence[bytes]) -> Attempt:
    """What the data words mean."""
    address = _address(words[0])
    told = None if address is None else _envelope([decode(word) for word in words[1:]])
    if told is None:
        return Attempt(listener, None, None, "", "", "", raw=decode(b" ".join(words)).lower())
    sender, recipient = told
    stage = Stage.RCPT if sender and not is_probe(sender) else Stage.DATA
    return Attempt(listener, address, None, "", sender, recipient, stage)


def _envelope(words: Sequence[str]) -> tuple[str, str] | None:
    """Sender and recipient from the words after an address; None: they are neither."""
    null = words[:1] == ["<>"]
    rest = words[1:] if null else words
    if len(rest) > 1 and all(word.endswith(",") for word in rest[:-1]):
        return "", ""
    if len(rest) == 1 and (null or "@" in rest[0]):
        return "", rest[0]
    if len(rest) == 2 and not null:
        return rest[0], rest[1]
    return None if rest else ("", "")


def _address(word: bytes) -> Address | None:
    """An address, or the first address of a network; None for anything else."""
    text = decode(word)
    bare, slash, length = text.partition("/")
    if slash and bare.count(".") == 7:
        bare = bare.replace(".", ":")
    try:
        if slash:
            return parse_client_address(str(ip_network(f"{bare}/{length}", strict=False).network_address))
        return parse_client_address(text)
    except (AddressError, ValueError):
        return None


def _shown(text: str) -> str:
    return f"'{one_line(text, 40)}'"


def _error(text: str) -> str:
    return f"error: {one_line(text, 400)}"


def _text(result: Mapping[str, Any], name: str) -> str:
    return one_line(str(result.get(name, "")), _LINE_OCTETS)


def _number(result: Mapping[str, Any], name: str) -> int:
    value = result.get(name, 0)
    return value if isinstance(value, int) else 0


def _moment(second: int) -> str:
    return datetime.fromtimestamp(min(max(second, 0), _LAST_SECOND), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: int) -> str:
    """A length of time in its two largest units."""
    parts = []
    rest = max(seconds, 0)
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
        if parts and (len(parts) == 2 or not count):
            break
    return " and ".join(parts) or "0 seconds"


def _mrtg(result: Mapping[str, Any]) -> str:
    uptime = _duration(_number(result, "now") - _number(result, "since"))
    return f"{_number(result, 'grey')}\n{_number(result, 'white')}\n{uptime}\n{_text(result, 'host')}\n"


def _statistics(result: Mapping[str, Any]) -> str:
    """Lines like `N items, matching M requests, are currently whitelisted`, which other programs parse."""
    since = _number(result, "since")
    title = f"Statistics since {_moment(since)} UTC ({_duration(_number(result, 'now') - since)} ago)"
    matched = {"white": "passed", "grey": "deferred", "black": "rejected"}
    items = {name: str(_number(result, name)) for name in _LISTS}
    hits = {name: str(_number(result, matched[name])) for name in _LISTS}
    wide, wider = (max(map(len, column.values())) for column in (items, hits))
    lines = [title, "-" * len(title)]
    lines += [
        f"{items[name]:>{wide}} items, matching {hits[name]:>{wider}} requests, are currently {name}listed"
        for name in _LISTS
    ]
    return "\n".join(lines) + "\n"


def _listing(result: Mapping[str, Any], lists: Sequence[str]) -> Iterator[str]:
    rows = [row for row in result.get("rows", ()) if len(row) == 4]
    for name in _LISTS:
        shown = [row for row in rows if row[0] == name] if name in lists else []
        if shown:
            title = f"{name.capitalize()}list data:"
            yield f"\n{title}\n{'=' * len(title)}\n  {'Last Seen':<20} {'Count':>5}  Data\n"
        for _, seen, count, data in shown:
            yield f"  {_moment(seen):<20} {count:>5}  {one_line(str(data), _LINE_OCTETS)}\n"
    if result.get("more"):
        yield "\n(there is more than fits here)\n"
