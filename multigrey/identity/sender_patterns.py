"""Recognises the parts of an envelope sender that change with every message, and replaces them by `#`.

It works in two ways.  `fold_known` knows the address formats of some big senders: the part that names the
customer stays, the rest becomes `#`.  `fold_tokens` examines the words of any local part.  Text that is
never a human's name (a UUID, groups of hex, a long mix of digits and letters) is always a token.  Counters,
dates, short tokens, and letters that do not form a name are tokens only together with a sign of a machine: a
word such as `bounce` or `return`, a subdomain such as `bounces.example.org`, the address of a recipient.

All tokens of one family are folded, or none.  The decision depends on lengths, positions, separators and
alphabets, and, if the text could be a name, on how unlike a name all its letters together are
(`identity.host_names.gibberish`).  It never depends on single letters or digits that a token has by chance.
So fewer than one of a thousand tokens of a family gets another text than the rest;
tests/support/sender_families.py lists the families.

The local parts of two humans are never folded to the same text.  Letters alone, a name with up to four
digits after it, and digits alone are not tokens unless a word or a host beside them shows a machine; even
then a known word such as `deadbeef` is not a token.  The two errors differ: a token that is not recognised
delays its sender once more; a name that is taken for a token lets others use the trust of its owner.
"""

from __future__ import annotations

import re

from multigrey.identity.host_names.gibberish import oddity

__all__ = ["MACHINE_WORDS", "PLACEHOLDER", "fold_known", "fold_padded", "fold_tokens", "may_hold_token"]

PLACEHOLDER = "#"
"""Replaces the parts that change.  It is legal in a local part (RFC 5322 section 3.2.3), but very rare; an
address that really contains it can be confused only with tokens of the same shape."""

_RETURNS = frozenset(
    [
        *["bounce", "bounces", "bounced", "ubounce", "errors", "error", "return", "returns"],
        *["returnpath", "sentto", "verp", "undeliverable", "undelivered", "unsubscribe", "unsub"],
        *["probe", "callout", "callback"],
    ]
)
"""Words that occur only in addresses of machines that receive bounces or verify addresses.  Beside them
counters of any length are folded."""

_AUTOMATIC = frozenset(
    [
        *["noreply", "donotreply", "reply", "notification", "notifications", "notify", "alert", "alerts"],
        *["news", "newsletter", "newsletters", "mailing", "mailings", "campaign", "digest"],
        *["ticket", "tickets", "order", "orders", "invoice", "invoices", "report", "reports", "backup"],
        *["verify", "verification"],
    ]
)
"""Words of automatic mail that are less certain: beside them only long numbers and tokens are folded."""

_RETURN_HOST = re.compile(
    r"(?:^|[.-])(?:bounces?|bnce?[0-9]*+|verp|returns?|returnpath)(?:-[^.]*+)?\.[^.]++\."
)
"""A subdomain for bounces.  Two labels must follow, so that the domain of a company of that name does not
match."""

MACHINE_WORDS = _RETURNS | _AUTOMATIC
"""Words beside which text that looks like a name may be a token."""
_DIGITS = "0123456789"
_WITHOUT_DIGITS = str.maketrans("", "", _DIGITS)
_ANY_DIGIT = re.compile("[0-9]")
_WORDS = re.compile(r"([\W_]+)")
_RUNS = re.compile(r"[0-9]+|[^0-9]+")
_HEX = re.compile("[0-9a-f]+")
_HEX_GROUP = re.compile("[0-9a-f]{4,}")
_DIGITS_ONLY = re.compile("[0-9]+")
_NUMBER_OF_HEX = re.compile("[a-f]{0,3}[0-9]+|[0-9]+[a-f]{1,2}|[a-f]+")
"""A number with letters before or after it, as in customer and document numbers: not a token by itself."""
_HEX_WORDS = frozenset(
    [
        *["aada", "aba", "abad", "abada", "abba", "abbad", "abbe", "abc", "abe", "abed", "acced"],
        *["accede", "ace", "aced", "ada", "add", "adda", "added", "ade", "baa", "baaba", "baba"],
        *["babe", "baca", "bad", "bade", "bea", "bead", "beaded", "bebba", "bebe", "becca", "bed"],
        *["beda", "bede", "bee", "beebe", "beef", "beffa", "cab", "caba", "cad", "cade", "cafe"],
        *["cea", "cede", "ceded", "dab", "dace", "dad", "dada", "dade", "dea", "dead", "deaf", "deb"],
        *["dec", "deca", "decade", "decaf", "decca", "dee", "deed", "deedee", "def", "deface"],
        *["defaced", "eba", "ebb", "ebba", "ebbe", "ed", "eda", "edd", "edda", "efe", "eff", "effa"],
        *["fab", "facade", "face", "faced", "fad", "fade", "faded", "fae", "feb", "febe", "fed"],
        *["fedde", "fee", "feed"],
    ]
)
"""All words and names that consist only of the letters a to f."""
_SIZES = sorted({len(word) for word in _HEX_WORDS})
_YEAR = re.compile("(?:[0-9]{1,2}|(?:19|20)[0-9]{2})?")
_UUID = re.compile(
    r"(?:(?<![0-9a-z])|(?<=[g-z])|(?<=bounce)|(?<=id))"
    r"[0-9a-f]{8}([-_.])[0-9a-f]{4}(?:\1[0-9a-f]{4}){2}\1[0-9a-f]{12}(?![0-9a-z])"
)
"""Also directly after a word, if the word's last letter shows where the UUID begins."""
_EXIM_ID = re.compile(
    r"(?<![0-9a-z])1[0-9a-z]{5}-(?:00[0-9a-z]{4}-[0-9a-z]{2}|0000[0-9a-z]{7}-[0-9a-z]{4})(?![0-9a-z])"
)
"""Exim's message id, in the old format and in the format since 4.97."""
_PADDED = re.compile("(?<![a-z0-9+/])[a-z0-9+/]{14,}={1,2}(?![a-z0-9=])")
_MARKS = "-_"
_MARK = re.compile("[-_]")
_URL_RUN = re.compile("[a-z0-9_-]{21,}")
_URL_SIZES = (43, 32, 27, 22, 21)
"""Numbers of characters of 256, 192, 160 and 128 bits in base64url, and of a Nano ID."""
_NAME = re.compile(r"[^\W\d_]++(?:[0-9]{1,2}|(?:19|20)[0-9]{2})|[^\W\d_]{3,}+[0-9]{1,4}")
"""Letters and a small number or a year; or three letters or more with any number of up to four digits."""
_COOKIE = re.compile("[a-p]{20}")
"""ezmlm's hash of an address: 20 letters."""
_NUMBERED = re.compile("([a-z]{3,})[0-9]{5,}")
_NUMBERED_NAME = re.compile("[a-z]*[0-9]{0,8}")
_LIKELY, _BARELY, _PROBABLY, _SURELY = -4, 3, 6, 12
"""Least `oddity` of about 20 characters that are a token.  In order: with separators and digits, beside a
machine's word; with separators, without digits, beside a machine's word; one word by itself; with separators,
by itself."""
_MAY_HOLD = re.compile("[0-9]|[a-z_-]{12}|[a-f]{8}").search
_NEIGHBOURS = re.compile(r"#[-._=#]*#")
_DOMAIN = re.compile(r"[\w-]++(?:\.[\w-]++)+")

_POOLS = (".mcsv.net", ".mcdlv.net", ".rsgsv.net", ".d.sender-sib.com")
"""Domains of Mailchimp and Brevo below which the name of the sending host is part of the sender's domain
(mail12.suw15.mcsv.net) and changes."""

_SHAPES = (
    # Mailchimp and Mandrill: the account stays; campaign and recipient are removed.
    ("bounce-mc.", re.compile(r"(bounce-mc\.us[0-9]+_[0-9]+)\..+", re.DOTALL), r"\1.#"),
    ("bounce-md_", re.compile(r"(bounce-md_[0-9]+)\..+", re.DOTALL), r"\1.#"),
    # Silverpop writes its numbers with the letters a to p.
    ("v-", re.compile(r"v-[a-p]{5,}(?:_[a-p]{5,}){3}_[a-p](?:-[0-9])?"), "v-#"),
    # Postfix's time-dependent probe sender (address_verify_sender_ttl): a number in base 31, no vowels.
    ("double-bounce", re.compile("double-bounce-?[0-9b-df-hj-np-tv-z]{2,13}"), "double-bounce"),
    # Journal reports of Exchange.
    ("microsoftexchange", re.compile("microsoftexchange[0-9a-f]{32}"), "microsoftexchange#"),
)
"""Formats that occur at any domain: the beginning of the local part, its pattern, the folded result."""

_MAILJET = re.compile(r"[0-9a-f]{8}\.[0-9a-z_-]{24,}")
"""Eight hex digits and base64url; the customer is in the domain, which begins with bnc3."""
_MARKETO = re.compile(r"([0-9]{3}-[a-z]{3}-[0-9]{3})\.[0-9#][0-9.#]*")

_AT_DOMAINS = (
    # Google Calendar, and Google's own staff: the sender is encrypted, differently in each message.
    (".bounces.google.com", re.compile(r"3[\w.-]{20,}"), PLACEHOLDER),
    # Token and recipient without anything between them.
    (".bounce.twitter.com", re.compile(r"[^=]+=.+", re.DOTALL), PLACEHOLDER),
    # token_account_token, the tokens in base64 with "+" and "/".
    (".in.constantcontact.com", re.compile(r"[^_]+_([0-9]{10,})_.+", re.DOTALL), r"#_\1_#"),
    # Amazon: time, token, hash.
    (".bounces.amazon.com", re.compile(r"20[0-9]{12}[0-9a-z]{16,}(?:-[0-9a-z]+)?"), PLACEHOLDER),
    # LinkedIn: the kind of mail, and a token of any length.
    (".bounce.linkedin.com", re.compile(r"([a-z])-[0-9a-z_-]{6,}"), r"\1-#"),
    # Brevo: bounces-counter-recipient.
    (".d.sender-sib.com", re.compile(r"bounces-.+", re.DOTALL), "bounces-#"),
)
"""Formats of one domain and of those below it: the domain, the pattern of the local part, the folded
result."""

_BEGINNINGS = tuple([begin for begin, _, _ in _SHAPES])
_SUFFIXES = tuple([suffix for suffix, _, _ in _AT_DOMAINS])


def fold_known(local: str, domain: str) -> tuple[str, str] | None:
    """Folded local part and domain of a sender in a known format; None for all others."""
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
    """The domain without the name of a host, if it lies below one of `_POOLS`."""
    for end in _POOLS:
        if domain.endswith(end):
            return end[1:]
    return domain


def may_hold_token(local: str) -> bool:
    """False if a quick test shows that a local part cannot contain a token: no digits, and too short."""
    return _MAY_HOLD(local) is not None


def fold_padded(local: str) -> str:
    """The local part with padded base64 folded.

    Must run before the extension is cut off at a "+", because base64 may contain "+".
    """
    return _PADDED.sub(_padded, local) if "=" in local else local


def _padded(match: re.Match[str]) -> str:
    return PLACEHOLDER if len(match[0]) % 4 == 0 and oddity(match[0]) > -8 else match[0]


def fold_tokens(local: str, domain: str, *, returns: bool) -> str:
    """The local part (lower case, without extension) with its tokens folded.

    `returns`: whether it is known to belong to a machine that receives bounces.
    """
    if not may_hold_token(local):
        return local
    head, tail = _verp(local)
    stems = [word.rstrip(_DIGITS) for word in _WORDS.split(head)[::2]]
    bounces = bool(returns or tail or not _RETURNS.isdisjoint(stems) or _RETURN_HOST.search(domain))
    automatic = bounces or not _AUTOMATIC.isdisjoint(stems)
    if bounces and _MAILJET.fullmatch(head) and oddity(head) > 0:
        return PLACEHOLDER + tail
    plain = _url_tokens(_EXIM_ID.sub(PLACEHOLDER, _UUID.sub(PLACEHOLDER, head)), sure=automatic)
    parts = _WORDS.split(plain)
    words = parts[::2]
    tokens = {place for place, word in enumerate(words) if len(word) >= 16 and _is_token(word)}
    tokens |= _hex_groups(parts, sure=automatic)
    if bounces:
        fold = _anything
    elif tokens or plain != head:
        fold = _longer
    elif automatic:
        fold = _automatic
    else:
        return local
    folded = [PLACEHOLDER if place in tokens else fold(word) for place, word in enumerate(words)]
    if folded == words and plain == head:
        return local
    parts[::2] = folded
    return _NEIGHBOURS.sub(PLACEHOLDER, "".join(parts)) + tail


def _verp(local: str) -> tuple[str, str]:
    """The text before a foreign domain at the end (`list-return-7-user=example.org`), and that end or ""."""
    head, mark, domain = local.rpartition("=")
    if head and _DOMAIN.fullmatch(domain):
        return (head, mark + domain)
    return (local, "")


# --- tokens of several words -----------------------------------------------------------------------


def _url_tokens(text: str, *, sure: bool) -> str:
    """The text with those base64url tokens folded that contain "-" or "_" (the others are single words).

    Such a token is the end of a run of letters, digits, "-" and "_", and has one of the usual lengths.
    `sure`: other text beside it shows a machine.
    """
    if "-" not in text and "_" not in text:
        return text

    def fold(match: re.Match[str]) -> str:
        run = match[0]
        last = text[match.end() : match.end() + 1] == PLACEHOLDER and run[-1] in _MARKS
        end = len(run) - last
        for size in _URL_SIZES:
            begin = end - size
            if begin < 0 or (begin and run[begin - 1] not in _MARKS):
                continue
            if _is_url_token(run[begin:end], sure=sure):
                return f"{run[:begin]}{PLACEHOLDER}{run[end:]}"
        return run

    return _URL_RUN.sub(fold, text)


def _is_url_token(token: str, *, sure: bool) -> bool:
    """Whether a text with separators is one token: not several words, and not words and a shorter token."""
    words = [word for word in _MARK.split(token) if word]
    if len(words) == 1 and len(token) == len(words[0]):
        return False
    mixed = _ANY_DIGIT.search(token.rstrip(_DIGITS)) is not None
    if oddity(token) < (_SURELY if not sure else _LIKELY if mixed else _BARELY) or not (sure or mixed):
        return False
    if not MACHINE_WORDS.isdisjoint(words) or all(map(_HEX.fullmatch, words)):
        return False
    first = words[0]
    named = first.isalpha() or _NAME.fullmatch(first)
    if named and token.startswith(first) and len(first) >= 3 and oddity(first) <= 0:
        rest = token[len(first) + 1 :]
        shorter = len(rest) in _URL_SIZES[2:] or (len(rest) >= 16 and _HEX.fullmatch(rest) is not None)
        return sure and not shorter
    return True


def _hex_groups(parts: list[str], *, sure: bool) -> set[int]:
    """Positions of the words that are groups of one hex token.

    Each group has four digits or more, with one separator between two groups.  A known word at an end is not
    part of the token, unless it has the length of its neighbour.
    """
    words = parts[::2]
    found: set[int] = set()
    begin = 0
    while begin < len(words):
        end = begin + 1
        if _HEX_GROUP.fullmatch(words[begin]):
            mark = parts[2 * begin + 1] if end < len(words) else ""
            while len(mark) == 1 and end < len(words) and parts[2 * end - 1] == mark:
                if not _HEX_GROUP.fullmatch(words[end]):
                    break
                end += 1
            found |= _one_token(words, range(begin, end), sure=sure)
        begin = end
    return found


def _one_token(words: list[str], places: range, *, sure: bool) -> set[int]:
    while len(places) > 1 and _stands_out(words[places[0]], words[places[1]]):
        places = places[1:]
    while len(places) > 1 and _stands_out(words[places[-1]], words[places[-2]]):
        places = places[:-1]
    groups = [words[place] for place in places]
    if len(groups) < 2 or sum(map(len, groups)) < (8 if sure else 16):
        return set()
    numbered = _DIGITS_ONLY if sure or len(groups) > 2 else _NUMBER_OF_HEX
    decisive = any(not numbered.fullmatch(group) and not _is_hex_name(group) for group in groups)
    return set(places) if decisive else set()


def _stands_out(group: str, neighbour: str) -> bool:
    if len(group) == len(neighbour):
        return False
    letters = group.rstrip(_DIGITS)
    return _YEAR.fullmatch(group, len(letters)) is not None and _are_hex_words(letters)


# --- single words ----------------------------------------------------------------------------------


def _is_token(word: str) -> bool:
    """Whether a word of at least 16 characters is a token, independent of the text beside it."""
    if not word.isascii():
        return False
    if _HEX.fullmatch(word):
        digits = len(word) - len(word.translate(_WITHOUT_DIGITS))
        return digits >= 3 and not (_NUMBER_OF_HEX.fullmatch(word) or _are_hex_words(word.rstrip(_DIGITS)))
    return len(word) >= 20 and not _NUMBERED_NAME.fullmatch(word) and oddity(word) >= _PROBABLY


def _is_random(word: str, least: int) -> bool:
    """Whether the letters of a word, with or without a number after them, do not form a name.

    Hex of eight characters or more is compared with the known words of hex letters; all other words must
    have at least `least` characters.
    """
    if len(word) < 8:
        return False
    letters = word.rstrip(_DIGITS)
    if _HEX.fullmatch(word):
        return not _is_hex_name(word) and not word.isdigit()
    size = len(letters)
    return len(word) >= least and oddity(letters) >= (9 if size < 16 else 6 if size < 20 else 3)


def _is_hex_name(word: str) -> bool:
    """Whether a word of hex digits is a known word, with or without a small number after it."""
    letters = word.rstrip(_DIGITS)
    return len(word) - len(letters) <= 4 and _are_hex_words(letters)


def _are_hex_words(letters: str) -> bool:
    """Whether the letters are a sequence of known words of hex letters."""
    ends = {0}
    for place in range(len(letters)):
        if place in ends:
            ends.update(place + size for size in _SIZES if letters[place : place + size] in _HEX_WORDS)
    return len(letters) in ends and letters != ""


def _longer(word: str) -> str:
    """The word, folded if it stands beside a token and is a token itself.

    That is a word of four characters or more with a digit that is not a name, or long random letters.
    """
    if len(word) < 4:
        return word
    if not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 20) else word
    return PLACEHOLDER


def _automatic(word: str) -> str:
    """The word, folded if it is a token in automatic mail.

    That is a number longer than a year, or a token of eight characters or more.
    """
    if len(word) < 5:
        return word
    if not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 16) else word
    if word.isdigit() or (len(word) >= 8 and (_HEX.fullmatch(word) or len(_RUNS.findall(word)) >= 3)):
        return PLACEHOLDER
    return PLACEHOLDER if len(word) >= 16 and oddity(word) >= _PROBABLY else word


def _anything(word: str) -> str:
    """The word, folded if it is a token in an address for bounces.

    That is every number, and every word with a digit that is not built like a name.
    """
    if not _ANY_DIGIT.search(word):
        return PLACEHOLDER if _COOKIE.fullmatch(word) or _is_random(word, 12) else word
    if _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 10) else word
    if not _HEX.fullmatch(word) and (match := _NUMBERED.fullmatch(word)) and not _is_random(word, 10):
        return f"{match[1]}{PLACEHOLDER}"
    return PLACEHOLDER if len(word) >= 4 or word[0] in _DIGITS else word
