"""Conditions of whitelist entries, attempts close to them, and the slow way to tell whether they hold."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from multigrey.identity.addresses import host_name, normalise_address, split_address
from multigrey.identity.sender import listed_forms
from multigrey.model import Attempt, Origin
from multigrey.whitelists.entry import Condition, network_condition

NETWORKS = ["192.0.2.0/24", "192.0.2.0/25", "192.0.2.1/32", "0.0.0.0/1", "2001:db8::/32", "2001:db8::1/128"]
ADDRESSES = ["192.0.2.1", "192.0.2.200", "203.0.113.9", "2001:db8::1", "2001:db8:1::", "::1"]
NAMES = ["example.org", "mx.example.org", "a.mx.example.org", "notexample.org", "example.net", "org"]
USERS = ["bob", "bob+list", "bob+list+x", "alice"]
MAILBOXES = [f"{user}@{domain}" for user in USERS for domain in NAMES[:3]]
WRAPPED = ["prvs=1234abcdef=bob@example.org", "Btv1==0775a20b9c2==bob+list@mx.example.org"]
WRAPPED += ["bob-alice=example.org@mx.example.org", "srs0=hh=tt=example.org=bob@example.net"]
REGEXES = ["^mx", "example\\.org$", "bob", "list"]


def text_conditions(subject):
    hows = [("exact", NAMES), ("below", NAMES), ("regex", REGEXES)]
    if subject == "origin":
        hows = [("exact", NAMES)]
    if subject in {"sender", "recipient"}:
        hows = [
            ("exact", [*MAILBOXES, ""]),
            ("user", USERS),
            ("domain", NAMES),
            ("domain below", NAMES),
            ("regex", REGEXES),
            ("domain regex", REGEXES),
        ]
    return st.one_of(
        *(
            st.sampled_from(texts).map(lambda text, how=how: Condition(subject, how, text))
            for how, texts in hows
        )
    )


CONDITIONS = st.one_of(
    st.sampled_from(NETWORKS).map(lambda text: network_condition(ip_network(text))),
    *(text_conditions(subject) for subject in ("client", "origin", "sender", "recipient")),
)
ODD = st.text(max_size=8) | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ATTEMPTS = st.builds(
    Attempt,
    listener=st.just("test"),
    client_address=st.none() | st.sampled_from(ADDRESSES).map(ip_address),
    client_name=st.none() | st.sampled_from([*NAMES, "MX.Example.ORG."]) | ODD,
    helo=ODD,
    sender=st.sampled_from(["", *MAILBOXES, *WRAPPED, "Bob+LIST@example.org", "bob"]) | ODD,
    recipient=st.sampled_from([*MAILBOXES, "postmaster"]) | ODD,
    raw=st.sampled_from(["", "", "", "made up"]),
)
ORIGINS = st.builds(Origin, st.sampled_from(NAMES), st.booleans())


def holds(condition, attempt, origin):
    """One condition, as the manual tells it."""
    subject, how, text = condition.subject, condition.how, condition.text
    if how == "network":
        address = attempt.client_address
        return (
            address is not None
            and address.version == condition.network.version
            and address in condition.network
        )
    if subject == "origin":
        return origin.named and origin.text == text
    if subject == "client":
        name = host_name(attempt.client_name or "")
        return bool(name) and named(how, text, name)
    if attempt.raw:
        return False
    address, recipient = normalise_address(attempt.sender), normalise_address(attempt.recipient)
    texts = listed_forms(address, recipient) if subject == "sender" else [recipient]
    return any(address_holds(how, text, address) for address in texts)


def address_holds(how, text, address):
    local, domain = split_address(address)
    if how == "regex":
        return bool(re.search(text, address, re.IGNORECASE))
    if how == "domain regex":
        return bool(re.search(text, domain, re.IGNORECASE))
    if how == "domain":
        return domain == text
    if how == "domain below":
        return domain == text or domain.endswith("." + text)
    if not text or not address:
        return address == text
    user, wanted = split_address(text) if how == "exact" else (text, domain)
    return domain == wanted and (local == user or local.startswith(user + "+"))


def named(how, text, name):
    if how == "regex":
        return bool(re.search(text, name, re.IGNORECASE))
    return name == text or (how == "below" and name.endswith("." + text))
