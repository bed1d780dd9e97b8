"""What came of it: a row for each class of senders, and the figures that goals are set for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.simulation.attacks import DICTIONARY, ISP_BOTS, SPF_BOTS
from tests.support.simulation.mail import START, WANTED, Delivery, Kind, Outcome, Role
from tests.support.simulation.schedules import DAY
from tests.support.simulation.senders import NEIGHBOURS, NEWSLETTER

__all__ = ["SHOWN_TWICE", "Row", "clock_figures", "figures", "moved", "one_shots", "rows"]

SHOWN_TWICE = 2
"""An organisation has shown that it retries once it did so for two messages that lay an hour apart."""
_WEEK = 7 * DAY


@dataclass(frozen=True)
class Row:
    """What became of one class."""

    name: str
    role: Role
    deliveries: int
    delivered: int
    late: int
    """Delivered after its deadline, or never."""
    delayed: int
    median: int
    """Delay of delivered mail that was delayed, in seconds; so are the next two."""
    p95: int
    longest: int


def rows(outcome: Outcome) -> list[Row]:
    """One row for each class."""
    by_kind = defaultdict(list)
    for delivery in outcome.deliveries:
        by_kind[delivery.kind].append(delivery)
    return [_row(kind, by_kind[kind.name]) for kind in outcome.kinds]


def _row(kind: Kind, mail: Sequence[Delivery]) -> Row:
    waited = sorted(one.delivered for one in mail if one.delivered)
    return Row(
        kind.name,
        kind.role,
        len(mail),
        sum(one.delivered is not None for one in mail),
        sum(_is_late(one, kind) for one in mail),
        sum(one.delayed for one in mail),
        quantile(waited, 0.5),
        quantile(waited, 0.95),
        waited[-1] if waited else 0,
    )


def quantile(ordered: Sequence[int], part: float) -> int:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0


def _is_late(one: Delivery, kind: Kind) -> bool:
    return one.delivered is None or one.delivered > kind.deadline


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


class _Mail:
    """The deliveries of one run, by what is asked for."""

    def __init__(self, outcome: Outcome) -> None:
        self._kinds = {kind.name: kind for kind in outcome.kinds}
        self._all = [(one, self._kinds[one.kind]) for one in outcome.deliveries]

    def of(self, which: Callable[[Kind], bool]) -> list[Delivery]:
        return [one for one, kind in self._all if which(kind)]

    def late(self, which: Callable[[Kind], bool]) -> int:
        return sum(_is_late(one, kind) for one, kind in self._all if which(kind))

    def named(self, name: str) -> list[Delivery]:
        return self.of(lambda kind: kind.name == name)


def _delayed(mail: Iterable[Delivery]) -> int:
    return sum(one.delayed for one in mail)


def _passed(mail: Sequence[Delivery]) -> float:
    return percent(sum(one.delivered is not None for one in mail), len(mail))


def _first_retry(mail: Sequence[Delivery]) -> float:
    """How much of what was deferred passed on its first retry after the delay, in per cent."""
    deferred = [one for one in mail if one.refused or one.lost]
    return 100 - percent(sum(one.late_rounds > 0 for one in deferred), len(deferred))


def figures(outcome: Outcome, retrying: frozenset[str]) -> dict[str, float]:
    """Of a run with everything in it.  `retrying`: the providers that are not to be delayed at all."""
    mail = _Mail(outcome)
    is_wanted = _has(Role.WANTED)
    wanted = mail.of(is_wanted)
    hopeless = mail.of(_has(Role.HOPELESS))
    return {
        "never delivered": sum(one.delivered is None for one in wanted),
        "over deadline": mail.late(is_wanted),
        "hopeless: never delivered": sum(one.delivered is None for one in hopeless),
        "hopeless: over deadline": mail.late(_has(Role.HOPELESS)),
        "pools: first retry passes %": _first_retry(mail.of(lambda kind: kind.pool)),
        **_follow_ups(mail, wanted),
        **_first_contacts(mail, retrying),
        **_spam(mail),
        **_floods(outcome, mail),
    }


def _has(role: Role) -> Callable[[Kind], bool]:
    return lambda kind: kind.role is role


def _follow_ups(mail: _Mail, wanted: Sequence[Delivery]) -> dict[str, float]:
    pairs = [one for one in wanted if one.follow_up]
    organisations = mail.of(lambda kind: kind.organisations and kind.role is Role.WANTED)
    after_two = [one for one in organisations if one.shown >= SHOWN_TWICE]
    after_one = [one for one in organisations if one.shown]
    beside = [one for one in wanted if one.beside_known]
    return {
        "follow-ups of a pair": len(pairs),
        "follow-ups of a pair delayed": _delayed(pairs),
        "follow-ups of an organisation": len(after_two),
        "follow-ups of an organisation delayed %": percent(_delayed(after_two), len(after_two)),
        "the same after one return %": percent(_delayed(after_one), len(after_one)),
        "new beside known recipients delayed %": percent(_delayed(beside), len(beside)),
    }


def _first_contacts(mail: _Mail, retrying: frozenset[str]) -> dict[str, float]:
    def is_retrying(kind: Kind) -> bool:
        return (
            kind.role is Role.WANTED and bool(kind.provider) and (not retrying or kind.provider in retrying)
        )

    providers = mail.of(is_retrying)
    waits = [one.delivered or 0 for one in providers]
    others = [
        one
        for one in mail.of(lambda kind: kind.role is Role.WANTED and not kind.total and not is_retrying(kind))
        if not one.follow_up and one.delayed
    ]
    return {
        "providers that retry: mail": len(providers),
        "providers that retry: longest delay s": max(waits, default=0),
        "others: first contacts delayed": len(others),
        "others: p95 of retries needed": quantile(sorted(one.rounds for one in others), 0.95),
        "others: p95 of delay s": quantile(sorted(one.delivered or 0 for one in others), 0.95),
    }


def one_shots(outcome: Outcome) -> tuple[int, int]:
    """One-shot spam: messages, and how many of them passed."""
    spam = _Mail(outcome).of(_has(Role.ONE_SHOT))
    return len(spam), sum(one.delivered is not None for one in spam)


def _spam(mail: _Mail) -> dict[str, float]:
    spam = mail.of(_has(Role.ONE_SHOT))
    opaque = defaultdict(list)
    for isp in sorted({kind.isp for kind in mail._kinds.values() if kind.isp}):
        opaque[isp] = mail.of(lambda kind, isp=isp: kind.role is Role.OPAQUE and kind.isp == isp)  # type: ignore[misc]
    after = {isp: [one for one in bots if one.born >= START + _WEEK] for isp, bots in opaque.items()}
    dictionary = [one for one in mail.named(DICTIONARY) if not one.recipient.startswith("opened")]
    return {
        "one-shot spam": len(spam),
        "one-shot spam passed %": _passed(spam),
        "eager spam passed": sum(one.delivered is not None for one in mail.of(_has(Role.EAGER))),
        "opaque bots passed % (worst ISP)": max(map(_passed, opaque.values()), default=0.0),
        "the same after a week %": max(map(_passed, after.values()), default=0.0),
        "bots sending as their ISP passed": sum(one.delivered is not None for one in mail.named(ISP_BOTS)),
        "bots authorised by SPF passed %": _passed(mail.named(SPF_BOTS)),
        "dictionary behind one retried pair passed %": _passed(dictionary),
        "retrying spam passed %": _passed(mail.of(_has(Role.RETRYING))),
    }


def _floods(outcome: Outcome, mail: _Mail) -> dict[str, float]:
    floods = outcome.floods.values()
    neighbours = mail.of(lambda kind: kind.name.startswith(NEIGHBOURS))
    return {
        "newsletter of a /24: first retry passes %": _first_retry(mail.named(NEWSLETTER)),
        "floods: attempts": sum(flood.sent for flood in floods),
        "floods passed % (worst)": max((percent(flood.passed, flood.sent) for flood in floods), default=0.0),
        "floods: growth of the store MB (worst)": max(
            ((flood.bytes_after - flood.bytes_before) / 1e6 for flood in floods), default=0.0
        ),
        "neighbours: first retry passes %": _first_retry(neighbours),
    }


def moved(calm: Outcome, full: Outcome) -> dict[str, float]:
    """How many wanted messages fared otherwise because of what other senders did.

    The mail hosts of access providers with infected customers stand apart: what these do is done below
    the provider's own name.
    """
    fates = {_identity(one): _fate(one) for one in calm.deliveries}
    kinds: Mapping[str, Kind] = {kind.name: kind for kind in full.kinds}
    others = own = 0
    for one in full.deliveries:
        kind = kinds[one.kind]
        if kind.role in WANTED and fates[_identity(one)] != _fate(one):
            others += not kind.isp
            own += bool(kind.isp)
    return {"moved by others": others, "moved by infected customers of the same ISP": own}


def clock_figures(outcome: Outcome) -> dict[str, float]:
    """Of a run in which the clock went wrong for a while."""
    mail = _Mail(outcome)
    wanted = mail.of(_has(Role.WANTED))
    pairs = [one for one in wanted if one.follow_up]
    return {
        "wrong clock: never delivered": sum(one.delivered is None for one in wanted),
        "wrong clock: over deadline": mail.late(_has(Role.WANTED)),
        "wrong clock: follow-ups of a pair delayed": _delayed(pairs),
    }


def _identity(one: Delivery) -> tuple[str, int, str]:
    return one.kind, one.number, one.recipient


def _fate(one: Delivery) -> tuple[int | None, int]:
    return one.delivered, len(one.refused)
