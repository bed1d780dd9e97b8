"""Parts of an envelope sender that change with every message, and how they are recognised.

Two kinds of knowledge.  `fold_known` holds the shapes of some big senders whose parts are known:
what names their customer stays, the rest becomes `#`.  `fold_tokens` looks at the words of a local
part without knowing who made it: what no human is called (a UUID, groups of hex, a long mix of digits
and letters) is a token anywhere; counters, dates, short tokens, and letters that are no name are tokens
only beside something that shows a machine at work: a word as `bounce` or `return`, a subdomain as
`bounces.example.org`, the address of a recipient.

A family of tokens is folded whole or not at all: lengths, places, marks and alphabets decide, and where
names could be meant how far all letters together are from a name (`identity.host_names.gibberish`), never
single letters or digits that a token has by chance.  So of a thousand tokens of a family fewer than one has
another text than the rest; tests/support/sender_families.py lists the families.

Nothing here folds the local parts of two humans: letters alone, a name with up to four digits behind it
and digits alone are no token unless a word or a host beside them says otherwise, and there no word that
people know, as `deadbeef`.  An unknown token that is left alone costs its sender one delay; a name that
is taken for a token lets a stranger use what its owner has earned.
"""

from __future__ import annotations

import re

from multigrey.identity.host_names.gibberish import oddity

__all__ = ["MACHINE_WORDS", "PLACEHOLDER", "fold_known", "fold_padded", "fold_tokens", "may_hold_token"]

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

MACHINE_WORDS = _RETURNS | _AUTOMATIC
"""Words beside which what looks like a name may be a token."""
_DIGITS = "0123456789"
_WITHOUT_DIGITS = str.maketrans("", "", _DIGITS)
_ANY_DIGIT = re.compile("[0-9]")
_WORDS = re.compile(r"([\W_]+)")
_RUNS = re.compile(r"[0-9]+|[^0-9]+")
_HEX = re.compile("[0-9a-f]+")
_HEX_GROUP = re.compile("[0-9a-f]{4,}")
_DIGITS_ONLY = re.compile("[0-9]+")
_NUMBER_OF_HEX = re.compile("[a-f]{0,3}[0-9]+|[0-9]+[a-f]{1,2}|[a-f]+")
"""A number with letters before or behind it, as customers and documents have: no token by itself."""
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
"""All that people and things are called with the letters a to f alone."""
_SIZES = sorted({len(word) for word in _HEX_WORDS})
_YEAR = re.compile("(?:[0-9]{1,2}|(?:19|20)[0-9]{2})?")
_UUID = re.compile(
    r"(?:(?<![0-9a-z])|(?<=[g-z])|(?<=bounce)|(?<=id))"
    r"[0-9a-f]{8}([-_.])[0-9a-f]{4}(?:\1[0-9a-f]{4}){2}\1[0-9a-f]{12}(?![0-9a-z])"
)
"""Also behind a word without anything between, if the word's last letter shows where it begins."""
_EXIM_ID = re.compile(
    r"(?<![0-9a-z])1[0-9a-z]{5}-(?:00[0-9a-z]{4}-[0-9a-z]{2}|0000[0-9a-z]{7}-[0-9a-z]{4})(?![0-9a-z])"
)
"""Exim's message id, of the old kind and of that since 4.97."""
_PADDED = re.compile("(?<![a-z0-9+/])[a-z0-9+/]{14,}={1,2}(?![a-z0-9=])")
_MARKS = "-_"
_MARK = re.compile("[-_]")
_URL_RUN = re.compile("[a-z0-9_-]{21,}")
_URL_SIZES = (43, 32, 27, 22, 21)
"""Characters of 256, 192, 160 and 128 bits in base64url, and of a Nano ID."""
_NAME = re.compile(r"[^\W\d_]++(?:[0-9]{1,2}|(?:19|20)[0-9]{2})|[^\W\d_]{3,}+[0-9]{1,4}")
"""Letters and a small number or a year; three letters and more with any number of four digits."""
_COOKIE = re.compile("[a-p]{20}")
"""ezmlm's hash of an address: 20 letters."""
_NUMBERED = re.compile("([a-z]{3,})[0-9]{5,}")
_NUMBERED_NAME = re.compile("[a-z]*[0-9]{0,8}")
_LIKELY, _BARELY, _PROBABLY, _SURELY = -4, 3, 6, 12
"""Least `oddity` of some 20 characters that are a token.  With marks in them, beside a machine's word, and
with digits or without; of one word that stands alone; with marks in them, alone."""
_MAY_HOLD = re.compile("[0-9]|[a-z_-]{12}|[a-f]{8}").search
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

_MAILJET = re.compile(r"[0-9a-f]{8}\.[0-9a-z_-]{24,}")
"""Eight hex digits and base64url; the customer is in the domain, which begins with bnc3."""
_MARKETO = re.compile(r"([0-9]{3}-[a-z]{3}-[0-9]{3})\.[0-9#][0-9.#]*")

_AT_DOMAINS = (
    # Calendar, and Google's own staff: the sender in a cipher that changes with each message.
    (".bounces.google.com", re.compile(r"3[\w.-]{20,}"), PLACEHOLDER),
    # Token and recipient without anything between them.
    (".bounce.twitter.com", re.compile(r"[^=]+=.+", re.DOTALL), PLACEHOLDER),
    # token_account_token, the tokens in base64 with "+" and "/".
    (".in.constantcontact.com", re.compile(r"[^_]+_([0-9]{10,})_.+", re.DOTALL), r"#_\1_#"),
    # Amazon's shops: time, token, hash.
    (".bounces.amazon.com", re.compile(r"20[0-9]{12}[0-9a-z]{16,}(?:-[0-9a-z]+)?"), PLACEHOLDER),
    # LinkedIn: what kind of mail it is, and a token of any length.
    (".bounce.linkedin.com", re.compile(r"([a-z])-[0-9a-z_-]{6,}"), r"\1-#"),
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


def may_hold_token(local: str) -> bool:
    """False for a local part that a look shows to be too short, without digits, for any token."""
    return _MAY_HOLD(local) is not None


def fold_padded(local: str) -> str:
    """The local part with its padded base64 folded; to be done before anything is cut off at a "+"."""
    return _PADDED.sub(_padded, local) if "=" in local else local


def _padded(match: re.Match[str]) -> str:
    return PLACEHOLDER if len(match[0]) % 4 == 0 and oddity(match[0]) > -8 else match[0]


def fold_tokens(local: str, domain: str, *, returns: bool) -> str:
    """The local part (lower case, without extension) with its tokens folded.

    `returns` says that it is known to belong to a machine that takes bounces.
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
    """What stands before a foreign domain at the end (`list-return-7-user=example.org`), and that end."""
    head, mark, domain = local.rpartition("=")
    if head and _DOMAIN.fullmatch(domain):
        return (head, mark + domain)
    return (local, "")


# --- tokens of several words -----------------------------------------------------------------------


def _url_tokens(text: str, *, sure: bool) -> str:
    """The text with its tokens of base64url folded that have marks in them (the others are words).

    Such a token is the end of a run of letters, digits and marks, and has one of the usual lengths.
    `sure`: something beside it shows a machine at work.
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
    """Whether a text with marks in it is one token: neither words, nor words and a shorter token."""
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
    """Places of the words that are groups of one hex token: four digits and more each, one mark between.

    What is a word at an end stays outside, unless it has the length of its neighbour.
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
    """Whether a word of at least 16 characters is no human's, whatever stands beside it."""
    if not word.isascii():
        return False
    if _HEX.fullmatch(word):
        digits = len(word) - len(word.translate(_WITHOUT_DIGITS))
        return digits >= 3 and not (_NUMBER_OF_HEX.fullmatch(word) or _are_hex_words(word.rstrip(_DIGITS)))
    return len(word) >= 20 and not _NUMBERED_NAME.fullmatch(word) and oddity(word) >= _PROBABLY


def _is_random(word: str, least: int) -> bool:
    """Whether the letters of a word, with or without a number behind them, are no name.

    Of hex from eight characters on, which letters alone can be is known; others need `least` characters.
    """
    if len(word) < 8:
        return False
    letters = word.rstrip(_DIGITS)
    if _HEX.fullmatch(word):
        return not _is_hex_name(word) and not word.isdigit()
    size = len(letters)
    return len(word) >= least and oddity(letters) >= (9 if size < 16 else 6 if size < 20 else 3)


def _is_hex_name(word: str) -> bool:
    """Whether a word of hex is one that people know, with or without a small number behind it."""
    letters = word.rstrip(_DIGITS)
    return len(word) - len(letters) <= 4 and _are_hex_words(letters)


def _are_hex_words(letters: str) -> bool:
    """Whether letters are words of hex, one behind the other."""
    ends = {0}
    for place in range(len(letters)):
        if place in ends:
            ends.update(place + size for size in _SIZES if letters[place : place + size] in _HEX_WORDS)
    return len(letters) in ends and letters != ""


def _longer(word: str) -> str:
    """Beside a token: four digits and more, and what is neither a name nor shorter than that."""
    if len(word) < 4:
        return word
    if not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 20) else word
    return PLACEHOLDER


def _automatic(word: str) -> str:
    """In automatic mail: numbers longer than a year, tokens of eight characters and more."""
    if len(word) < 5:
        return word
    if not _ANY_DIGIT.search(word) or _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 16) else word
    if word.isdigit() or (len(word) >= 8 and (_HEX.fullmatch(word) or len(_RUNS.findall(word)) >= 3)):
        return PLACEHOLDER
    return PLACEHOLDER if len(word) >= 16 and oddity(word) >= _PROBABLY else word


def _anything(word: str) -> str:
    """Where bounces go: all numbers, and all with a digit that isn't built like a name."""
    if not _ANY_DIGIT.search(word):
        return PLACEHOLDER if _COOKIE.fullmatch(word) or _is_random(word, 12) else word
    if _NAME.fullmatch(word):
        return PLACEHOLDER if _is_random(word, 10) else word
    if not _HEX.fullmatch(word) and (match := _NUMBERED.fullmatch(word)) and not _is_random(word, 10):
        return f"{match[1]}{PLACEHOLDER}"
    return PLACEHOLDER if len(word) >= 4 or word[0] in _DIGITS else word
