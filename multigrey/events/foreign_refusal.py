"""Recognises refusals in a mail log that are not multigrey's, and says whose they are.

multigrey answers through a mail server, which logs that answer as its own.  So a refusal is foreign only if
its text, its code or the program that logged it says so.  What Postfix and Exim write: observed output, the
manual pages postconf(5) and postscreen(8), and the Exim specification.
"""

from __future__ import annotations

import re

from multigrey.events.log_pattern import LogPattern

__all__ = ["foreign_refusal"]

_LONGEST = 16_384
_OWN = LogPattern(r"(?:^|\s)action=|\"action\":|multigrey [a-z-]+ id=")
"""What only a line of multigrey, or of an ACL that asked it, has."""
_REFUSES = LogPattern(r"(?i)\breject|\bdefer|\brefuse|\bsaid: [45]\d\d|(?:^|[\s:])[45]\d\d[ -]")
_REPLIES = (
    LogPattern(r": [A-Z-]+ from [^\s\[]*\[[^\]]*\](?::\d+)?: (.*); from=<"),
    LogPattern(r" rejected (?:[A-Z]+ <.*>|(?:after )?[A-Z]+): (.*)"),
    LogPattern(r"\bsaid: (.*)"),
    LogPattern(r"SMTP error from remote mail server after .*?: (.*)"),
    LogPattern(r"^\s*([45]\d\d[ -].*)"),
)
"""The reply in lines of Postfix, of Exim, and of the sender's side; what is around it comes from clients."""
_ADDRESS = re.compile(r"<[^<>]*>")
_GREY = LogPattern(r"(?i)\bgr[ae]y-?list")

_PROGRAMS = (
    (r"postscreen\[", "postscreen's: Postfix asks it before it asks multigrey"),
    (r"\bmilter-reject: ", "a milter's, which Postfix asks besides multigrey (smtpd_milters)"),
    (r"postgrey(?:\[|-\d|\.schweikert)", "postgrey's"),
    (r"multigrey did not answer", "the mail server's own, because multigrey did not answer it"),
)
_TEXTS = (
    (
        r"(?i)blocked using ([^\s;]+)|(?:black|block)[ -]?list(?:ed)?(?: (?:at|in|by))? ([^\s;:]+\.[^\s;:]+)",
        "a DNS blocklist's: {}",
    ),
    (
        r"(?i)[45]\.7\.25 |cannot find your (?:reverse )?hostname|reverse DNS",
        "the mail server's own: the client's address has no host name that leads back to it",
    ),
    (
        r"(?i)[45]\.3\.5 |Server configuration (?:error|problem)",
        (
            "the mail server's own: something it needs did not answer or is configured wrongly, and a "
            "warning just before this line says what (see also multigrey status)"
        ),
    ),
    (
        r"(?i)[45]\.1\.[0126] |User unknown|unknown user|No such user|Unrouteable address|does not exist",
        "the mail server's own: it has no such recipient",
    ),
    (
        (
            r"(?i)[45]\.1\.[78] |Domain not found|Sender verify failed|unverified (?:sender )?address"
            r"|Could not complete (?:sender|recipient) verify|callout"
        ),
        "the mail server's own: the address or its domain could not be verified",
    ),
    (
        r"(?i)relay(?:ing)? (?:access )?(?:denied|not permitted)",
        "the mail server's own: it relays no mail there",
    ),
    (
        r"(?i)[45]\.2\.\d |over ?quota|mailbox (?:is )?(?:full|unavailable)",
        "the mailbox's: it takes no mail now",
    ),
    (
        r"(?i)4\.3\.[12] |Insufficient system storage|system not accepting",
        "the mail server's own: it takes no mail now",
    ),
    (
        r"(?i)5\.3\.4 |exceeds (?:the )?(?:fixed |maximum )?(?:message )?size",
        "the mail server's own: a limit of size",
    ),
    (
        r"(?i)too many (?:connections|errors|recipients|concurrent)|rate limit|4\.7\.0 ",
        "the mail server's own: a limit of connections or rates",
    ),
    (r"(?i)[45]\.7\.2[0-4346] |\bSPF\b|\bDMARC\b|\bDKIM\b", "that of a check of SPF, DKIM or DMARC"),
    (r"(?i)\bvirus\b|\bspam\b|message content", "a content filter's"),
    (r"(?i)Helo command rejected", "the mail server's own: a check of the name given in HELO"),
    (r"(?i): Access denied|Service unavailable", "the mail server's own: an access table or blocklist"),
)
_BY_PROGRAM = tuple((LogPattern(pattern), whose) for pattern, whose in _PROGRAMS)
_BY_TEXT = tuple((LogPattern(pattern), whose) for pattern, whose in _TEXTS)


def foreign_refusal(text: str) -> str:
    """Whose refusal a text from a log shows, as in "postscreen's: …"; "": multigrey's, or not known."""
    for line in text[:_LONGEST].splitlines():
        if _OWN.search(line) or not _REFUSES.search(line):
            continue
        reply = _reply(line)
        by_text = () if _GREY.search(reply) else _BY_TEXT
        for pattern, whose, where in (
            *((*row, line) for row in _BY_PROGRAM),
            *((*row, reply) for row in by_text),
        ):
            if matched := pattern.search(where):
                return whose.format(*filter(None, matched.groups()))
    return ""


def _reply(line: str) -> str:
    """The reply that a line shows, without addresses; "": none is found."""
    for pattern in _REPLIES:
        if matched := pattern.search(line):
            return _ADDRESS.sub("", matched[1])
    return ""
