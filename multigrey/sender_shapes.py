"""Parts of an envelope sender that change with every message, and how they are recognised.

Two kinds of knowledge.  `fold_known` holds the shapes of some big senders whose parts are known:
what names their customer stays, the rest becomes `#`.  `fold_tokens` looks at the words of a local
part without knowing who made it: what no human is called (a UUID, a long mix of digits and letters)
is a token anywhere; counters, dates and short tokens are tokens only beside something that shows a
machine at work: a word as `bounce` or `return`, a subdomain as `bounces.example.org`, the address of
a recipient.

Nothing here folds the local parts of two humans: letters alone are no token however much they look
like hex (`deadbeef`), a name with up to four digits behind it is a name, and digits alone are
somebody's number unless a word beside them says otherwise.  An unknown token that is left alone costs its
sender one delay; a name that is taken for a token lets a stranger use what its owner has earned.
"""

from __future__ import annotations

import re

__all__ = ["PLACEHOLDER", "fold_known", "fold_tokens"]

PLACEHOLDER = "#"
"""What stands for the parts that change.  Legal in a local part (RFC 5322 section 3.2.3) but used by
nearly nobody; who has it in his address on purpose is compared with tokens of the same shape only."""

_RETURNS = frozenset(
    [
        *["bounce", "bounces", "bounced", "ubounce", "errors", "error", "return", "returns"],
        *["returnpath", "sentto", "verp", "undeliverable", "undelivered", "unsubscribe", "unsub"],
        *["probe", "callout", "callback"],
    ]
)
"""Words that only machines which take bounces or check addresses have in theirs: counters of any length
beside them are folded."""

_AUTOMATIC = frozenset(
    [
        *["noreply", "donotreply", "reply", "notification", "notifications", "notify", "alert", "alerts"],
        *["news", "newsletter", "newsletters", "mailing", "mailings", "campaign", "digest"],
        *["ticket", "tickets", "order", "orders", "invoice", "invoices", "report", "reports", "backup"],
        *["verify", "verification"],
    ]
)
"""Words of automatic mail that are less sure: beside them only long numbers and tokens are folded."""

_RETURN_HOST = re.compile(
    r"(?:^|[.-])(?:bounces?|bnce?[0-9]*+|verp|returns?|returnpath)(?:-[^.]*+)?\.[^.]++\."
)
"""A subdomain for bounces.  Two labels follow, so that it isn't the domain of a firm of that name."""

_DIGITS = "0123456789"
_ANY_DIGIT = re.compile("[0-9]")
_WORDS = re.compile(r"([\W_]+)")
_RUNS = re.compile(r"[0-9]+|[^0-9]+")
_HEX = re.compile("[0-9a-f]+")
_UUID = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-z])")
_NAME = re.compile(r"[^\W\d_]++(?:[0-9]{1,2}|(?:19|20)[0-9]{2})|[^\W\d_]{3,}+[0-9]{1,4}")
"""Letters and a small number or a year; three letters and more with any number of four digits."""
_COOKIE = re.compile("[a-p]{20}")
"""ezmlm's hash of an address: 20 letters."""
_NUMBERED = re.compile("([a-z]{3,})[0-9]{5,}")
_NEIGHBOURS = re.compile(r"#[-._=#]*#")
_DOMAIN = re.compile(r"[\w-]++(?:\.[\w-]++)+")

_POOLS = (".mcsv.net", ".mcdlv.net", ".rsgsv.net", ".d.sender-sib.com")
"""Mailchimp and Brevo: the host is in the sender's domain (mail12.suw15.mcsv.net) and changes."""

_SHAPES = (
    # Mailchimp and Mandrill: the account stays; campaign and recipient go.
    ("bounce-mc.", re.compile(r"(bounce-mc\.us[0-9]+_[0-9]+)\..+", re.DOTALL), r"\1.#"),
    ("bounce-md_", re.compile(r"(bounce-md_[0-9]+)\..+", re.DOTALL), r"\1.#"),
    # Silverpop writes its numbers with the letters a to p.
    ("v-", re.compile(r"v-[a-p]{5,}(?:_[a-p]{5,}){3}_[a-p](?:-[0-9])?"), "v-#"),
    # Postfix's time-dependent probe sender (address_verify_sender_ttl): a number in base 31, no vowels.
    ("double-bounce", re.compile("double-bounce-?[0-9b-df-hj-np-tv-z]{2,13}"), "double-bounce"),
    # Journal reports of Exchange.
    ("microsoftexchange", re.compile("microsoftexchange[0-9a-f]{32}"), "microsoftexchange#"),
)
"""Shapes that occur at any domain: what the local part begins with, its pattern, what becomes of it."""

_MARKETO = re.compile(r"([0-9]{3}-[a-z]{3}-[0-9]{3})\.[0-9#][0-9.#]*")

_AT_DOMAINS = (
    # Calendar, and Google's own staff: the sender in a cipher that changes with each message.
    (".bounces.google.com", re.compile(r"3[\w.-]{20,}"), PLACEHOLDER),
    # Token and recipient without anything between them.
    (".bounce.twitter.com", re.compile(r"[^=]+=.+", re.DOTALL), PLACEHOLDER),
    # token_account_token, the tokens in base64 with "+" and "/".
    (".in.constantcontact.com", re.compile(r"[^_]+_([0-9]{10,})_.+", re.DOTALL), r"#_\1_#"),
    # Brevo: bounces-counter-recipient.
    (".d.sender-sib.com", re.compile(r"bounces-.+", re.DOTALL), "bounces-#"),
)
"""Shapes of one domain and of those below it."""

_BEGINNINGS = tuple([begin for begin, _, _ in _SHAPES])
_SUFFIXES = tuple([suffix for suffix, _, _ in _AT_DOMAINS])


def fold_known(local: str, domain: str) -> tuple[str, str] | None:
    """Local part and domain of a sender whose shape is known, folded; None for all others."""
    if local.startswith(_BEGINNINGS):
        for begin, pattern, result in _SHAPES:
            if local.startswith(begin) and (match := pattern.fullmatch(local)):
                return (match.expand(result), _without_host(domain))
    if local[3:4] == "-" and (match := _MARKETO.fullmatch(local)):
        return (f"{match[1]}.{PLACEHOLDER}", domain)
    dotted = f".{domain}"
    if dotted.endswith(_SUFFIXES):
        for suffix, pattern, result in _AT_DOMAINS:
            if dotted.endswith(suffix) and (match := pattern.fullmatch(local)):
                return (match.expand(result), _without_host(domain))
    return None


def _without_host(domain: str) -> str:
    """The domain without what names only one host of many that do the same."""
    for end in _POOLS:
        if domain.endswith(end):
            return end[1:]
    return domain


def fold_tokens(local: str, domain: str, *, returns: bool) -> str:
    """The local part (lower case, without extension) with its tokens folded.

    `returns` says that it is known to belong to a machine that takes bounces.
    """
    if not _ANY_DIGIT.search(local):
        return local
    head, tail = _verp(local)
    plain = _UUID.sub(PLACEHOLDER, head) if head.count("-") >= 4 else head
    parts = _WORDS.split(plain)
    words = parts[::2]
    tokens = {word for word in words if len(word) >= 16 and _is_token(word)}
    stems = [word.rstrip(_DIGITS) for word in words]
    if returns or tail or not _RETURNS.isdisjoint(stems) or _RETURN_HOST.search(domain):
        fold = _anything
    elif tokens or plain is not head:
        fold = _longer
    elif not _AUTOMATIC.isdisjoint(stems):
        fold = _automatic
    else:
        return local
    folded = [PLACEHOLDER if word in tokens else fold(word) for word in words]
    if folded == words and plain is head:
        return local
    parts[::2] = folded
    return _NEIGHBOURS.sub(PLACEHOLDER, "".join(parts)) + tail


def _verp(local: str) -> tuple[str, str]:
    """What stands before a foreign domain at the end (`list-return-7-user=example.org`), and that end."""
    head, mark, domain = local.rpartition("=")
    if head and _DOMAIN.fullmatch(domain):
        return (head, mark + domain)
    return (local, "")


def _is_token(word: str) -> bool:
    """Whether a word of at least 16 characters is no human's: it changes often between digits and letters."""
    if not word.isascii():
        return False
    runs = _RUNS.findall(word)
    digits = sum([len(run) for run in runs if run[0] in _DIGITS])
    if _HEX.fullmatch(word):
        return len(runs) >= 4 and digits >= 3
    return len(word) >= 20 and len(runs) >= 6 and digits >= 4


def _longer(word: str) -> str:
    """Beside a token: four digits and more, and what is neither a name nor shorter than that."""
    if len(word) < 4 or not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return word
    return PLACEHOLDER


def _automatic(word: str) -> str:
    """In automatic mail: numbers longer than a year, tokens of eight characters and more."""
    if len(word) < 5 or not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return word
    if word.isdigit() or (len(word) >= 8 and (_HEX.fullmatch(word) or len(_RUNS.findall(word)) >= 3)):
        return PLACEHOLDER
    return word


def _anything(word: str) -> str:
    """Where bounces go: all numbers, and all with a digit that isn't built like a name."""
    if not _ANY_DIGIT.search(word):
        return PLACEHOLDER if _COOKIE.fullmatch(word) else word
    if _NAME.fullmatch(word):
        return word
    if not _HEX.fullmatch(word) and (match := _NUMBERED.fullmatch(word)):
        return f"{match[1]}{PLACEHOLDER}"
    return PLACEHOLDER if len(word) >= 4 or word[0] in _DIGITS else word
