"""What was typed into the search box: an address, a domain, a client, an id, an origin, or a pasted text.

Pure.  Whatever surrounds addresses in a text that people copy is left out: `Name <a@b>`, `to=<a@b>`, quotes,
commas at the end.  Two addresses are sender and recipient, in any order.  A line of a mail log is not read
here: the daemon reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Search", "search_of", "whole", "words_of"]

_LONGEST_LINE_OF_WORDS = 4
"""A text of more words than this, apart from its addresses, is a line of a log."""
_ID = re.compile(r"(?:id=)?([2-9a-hj-np-z]{4,16})")
_TOKEN = re.compile(r"h:[a-z2-7]{16}(?:@\S*)?")
_AROUND = " \t\r\n,;:\"'()[]"
_BETWEEN = re.compile(r"[\s<>,;\"'()]+")
_LABEL = re.compile(r"(?:from|to|orig_to|sender|recipient|mailto|F)[=:]")


@dataclass(frozen=True, slots=True)
class Search:
    """What to ask the daemon for."""

    tries: Sequence[Mapping[str, str]] = ()
    """Words for the history by kind; the next are tried if the first find nothing."""
    line: str = ""
    """A line of a log that the daemon has to read first."""


def search_of(text: str) -> Search:
    """What a text asks for; nothing if it is empty."""
    text = text.strip()
    bare = text.strip(_AROUND)
    if not bare:
        return Search()
    if bare == "<>" or _TOKEN.fullmatch(bare):
        return Search(({"about": bare},))
    addresses = list(dict.fromkeys(_addresses(text)))
    words = [word for word in text.split() if "@" not in word]
    if len(words) > _LONGEST_LINE_OF_WORDS and not _is_named(text, addresses):
        return Search(line=text)
    if len(addresses) > 1:
        first, second = addresses[:2]
        return Search(({"sender": first, "recipient": second}, {"sender": second, "recipient": first}))
    if addresses:
        return Search(({"about": addresses[0]},))
    bare = bare.strip("<>@.") if "/" not in bare else bare
    if found := _ID.fullmatch(bare):
        return Search(({"id": found[1]},))
    return Search(({"about": bare},) if bare else ())


def _addresses(text: str) -> list[str]:
    # Split first: a pattern for whole addresses would look at each character again and again.
    found = [_label_less(each).rstrip(".") for each in _BETWEEN.split(text) if "@" in each]
    return [each for each in found if 0 < each.find("@") < len(each) - 1]


def _label_less(text: str) -> str:
    found = _LABEL.match(text)
    return text if found is None else text[found.end() :]


def _is_named(text: str, addresses: Sequence[str]) -> bool:
    """Whether the words before an address are the name of a person, as mail programs copy it."""
    return len(addresses) == 1 and re.fullmatch(r"[^<>=\[\]]*<[^<>\s]+>[\s,;]*", text) is not None


def words_of(explained: Mapping[str, Any]) -> Mapping[str, str]:
    """The words that find the mail of a line of a log."""
    then, attempt = explained.get("then"), explained["attempt"]
    if then is not None:
        return {"id": then["id"]}
    if attempt["raw"]:
        return {"about": attempt["raw"]}
    return {"sender": attempt["sender"], "recipient": attempt["recipient"]}


def whole(words: Mapping[str, str], items: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """The words for the whole story: an id finds one decision, of a mail with more of them."""
    if "id" not in words:
        return words
    story = next(story for item in items for story in item.get("stories", ()))
    if story["raw"]:
        return {"about": story["raw"]}
    return {"sender": story["sender"] or "<>", "recipient": story["recipient"]}
