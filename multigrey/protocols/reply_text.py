"""Reply texts with fields: the words for deferred and refused senders, filled in for each attempt.

    Greylisted[, please try again in {retry_after} seconds]
    Greylisted by {recipient_domain}, please try again later (id {id})

`{field}` stands for a value.  A part in brackets is left out when one of its fields has no value.
Doubled braces and brackets stand for themselves.

    {retry_after}       Seconds until a retry passes.  Only for a named origin that is deferred: unnamed
                        clients are mostly infected machines, and their programs have learned to read it
    {reason}            The word of the log, like `new` or `early`
    {recipient_domain}  The domain of the envelope recipient as A-labels; none for a key without one
    {id}                The id of the decision, by which `explain` finds it, so that bounces quote it.  It
                        makes every text different, and log analysers group by text
    {help}              The address of a page for senders, the same for all.  `with_help` puts it in when
                        the configuration is read, so that a text with only this field is constant

A field without a value outside brackets makes the whole text unusable: then the plain default replaces it.
The only text of strangers is the recipient's domain, of which only letters, digits and `.-_:[]` remain.  A
text never begins with a status code, which a mail server would take for its own (Postfix access(5), Exim's
`message` modifier).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from multigrey.identity.addresses import host_name, split_address
from multigrey.model import Action, Attempt, Origin, Reason, Verdict, value
from multigrey.protocols.wire import TEXT_OCTETS, one_line, reply_text

__all__ = ["FIELDS", "Fields", "Template", "fields_of", "samples", "with_help", "worded"]

FIELDS = ("retry_after", "reason", "recipient_domain", "id", "help")
"""The names that may stand in braces."""

_SOMETIMES = frozenset({"retry_after", "recipient_domain"})
"""Fields that do not always have a value; brackets are only useful with them."""
_TOKEN = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{([^{}\[\]]*)\}|[{}\[\]]|[^{}\[\]]+")
_ODD = re.compile(r"[^a-z0-9.:_\[\]-]")
_DOMAIN_OCTETS = 255
_HELP = "https://example.org/help"
_DEFERRING = (Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.OVER_LIMIT, Reason.RULE)


@value
class Fields:
    """The values for one reply."""

    reason: str
    id: str
    retry_after: int = 0
    """Seconds; 0: not to be shown."""
    recipient_domain: str = ""
    """Ready to be shown; "": none."""
    help: str = ""
    """A URL; "": none."""

    def text(self, name: str) -> str:
        """The text of a field of `FIELDS`; "" when it has no value."""
        if name == "retry_after":
            return str(self.retry_after) if self.retry_after > 0 else ""
        found: str = getattr(self, name)
        return found


def fields_of(attempt: Attempt, origin: Origin, verdict: Verdict, decision_id: str) -> Fields:
    """The values for the reply to an attempt."""
    told = origin.named and verdict.action is Action.DEFER
    return Fields(
        verdict.reason.value,
        decision_id,
        verdict.retry_after if told else 0,
        _shown_domain("" if attempt.raw else attempt.recipient),
    )


def _shown_domain(recipient: str) -> str:
    domain = split_address(recipient)[1][: _DOMAIN_OCTETS + 1]
    return _ODD.sub("?", host_name(domain))[:_DOMAIN_OCTETS]


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    is_field: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    pieces: tuple[_Piece, ...]
    optional: bool = False

    def render(self, fields: Fields) -> str | None:
        """Its text; "" when it is left out; None when a required value is missing."""
        words = []
        for piece in self.pieces:
            word = fields.text(piece.text) if piece.is_field else piece.text
            if piece.is_field and not word:
                return "" if self.optional else None
            words.append(word)
        return "".join(words)


@dataclass(frozen=True, slots=True)
class Template:
    """A reply text, read once."""

    text: str
    """The finished text of a constant template; of others, what the administrator wrote."""
    constant: bool
    """Whether `text` is the reply to every attempt."""
    parts: tuple[_Part, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a text.  Raises ValueError, whose message can follow `file:line: key:`."""
        parts = tuple(_parts(text))
        if not any(piece.is_field for part in parts for piece in part.pieces):
            plain = "".join(piece.text for part in parts for piece in part.pieces)
            return cls(plain, constant=True)
        template = cls(text, constant=False, parts=parts)
        template._check()
        return template

    def render(self, fields: Fields, otherwise: str = "") -> str:
        """The reply: one line of at most 400 octets without a status code in front, never empty.

        `otherwise` is the text when a required value is missing; "": the default text.
        """
        if self.constant:
            return reply_text(self.text)
        raw = self._raw(fields)
        line = "" if raw is None else one_line(raw, TEXT_OCTETS)
        # A recipient's domain can look like a status code ("450-a.example").
        return line if line and reply_text(line) == line else reply_text(otherwise)

    def _raw(self, fields: Fields) -> str | None:
        words = [part.render(fields) for part in self.parts]
        return None if None in words else "".join(word for word in words if word)

    def _check(self) -> None:
        for raw in _renderings(self):
            line = one_line(raw, TEXT_OCTETS)
            if not line:
                raise ValueError("would be empty without its parts in brackets: put some words beside them")
            if reply_text(line) != line:
                raise ValueError(f"could begin with a status code, as in {line[:40]!a}: begin with a word")


def samples(template: Template) -> tuple[str, ...]:
    """What replies of this template look like, to check what they begin with."""
    if template.constant:
        return (template.text,)
    return tuple(dict.fromkeys(one_line(raw, TEXT_OCTETS) for raw in _renderings(template)))


def with_help(text: str, url: str) -> str:
    """A reply text with `url` in place of `{help}`; `url` has no braces and brackets."""
    return _TOKEN.sub(lambda match: url if match[0] == "{help}" else match[0], text)


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    """The template of a text; cached, because few texts come from the configuration."""
    try:
        return Template.parse(text)
    except ValueError:
        return Template(text, constant=True)  # a text that no configuration has checked


def worded(
    text: str, attempt: Attempt, origin: Origin, verdict: Verdict, decision_id: str, otherwise: str = ""
) -> str:
    """The reply for a configured text: the text itself if it is constant, else filled in.  Never raises.

    A constant text takes one look-up.  `otherwise` as in `Template.render`.
    """
    template = _template(text)
    if template.constant:
        return template.text
    return template.render(fields_of(attempt, origin, verdict, decision_id), otherwise)


def _renderings(template: Template) -> Iterator[str]:
    """Texts for all kinds of attempts, without those that miss a required value."""
    for seconds in (0, 450, 50):
        for domain in ("", "example.org"):
            for reason in _DEFERRING:
                raw = template._raw(Fields(reason.value, "7f3k2q", seconds, domain, _HELP))  # noqa: SLF001  (the same module)
                if raw is not None:
                    yield raw


def _parts(text: str) -> Iterator[_Part]:
    """The text cut at its brackets.  Raises ValueError."""
    pieces: list[_Piece] = []
    begin: int | None = None
    for match in _TOKEN.finditer(text):
        sign = match[0]
        if sign in {"[", "]"}:
            if (sign == "[") != (begin is None):
                raise ValueError(_unbalanced(sign, inside=begin is not None))
            yield _part(text[begin : match.end()], pieces) if begin is not None else _Part(tuple(pieces))
            pieces, begin = [], match.start() if begin is None else None
        else:
            pieces.append(_piece(sign, match[1]))
    if begin is not None:
        raise ValueError('a "[" without its "]": write "[[" for the bracket itself')
    yield _Part(tuple(pieces))


def _unbalanced(sign: str, *, inside: bool) -> str:
    if inside:
        return 'a "[" within brackets: write "[[" for the bracket itself'
    return f'a "{sign}" without its "[": write "]]" for the bracket itself'


def _part(written: str, pieces: list[_Piece]) -> _Part:
    """What stood in brackets, `written`."""
    if not any(piece.is_field and piece.text in _SOMETIMES for piece in pieces):
        fields = " or ".join(f"{{{name}}}" for name in FIELDS if name in _SOMETIMES)
        raise ValueError(
            f'"{written}" would never be left out, because it contains no {fields}: '
            f'write "[{written}]" for the brackets themselves'
        )
    return _Part(tuple(pieces), optional=True)


def _piece(sign: str, field: str | None) -> _Piece:
    if field is None:
        if sign in {"{", "}"}:
            other = "}" if sign == "{" else "{"
            raise ValueError(f'a "{sign}" without its "{other}": write "{sign * 2}" for the brace itself')
        return _Piece(sign[0] if sign in {"{{", "}}", "[[", "]]"} else sign)
    if field not in FIELDS:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise ValueError(f'"{{{field}}}" is not a field: known are {known} ("{{{{" is the brace itself)')
    return _Piece(field, is_field=True)
