"""`multigrey check`: a plugin for Nagios and other programs that run such plugins."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from multigrey.cli.client import EXIT_NO_DAEMON, AskError, ask, common_options, json_text, load_for_asking
from multigrey.cli.common import Duration
from multigrey.cli.daemon_place import named_control, named_state_dir
from multigrey.cli.status import limit_key
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from multigrey.config.tables.listen import Listen

__all__ = ["LIMITS", "Measure", "check", "measured", "verdict"]

_MOST_FLOODS = 3

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class Limit(NamedTuple):
    """The values from which on a figure is a warning, and critical."""

    warning: float
    critical: float


LIMITS: Mapping[str, Limit] = {
    "answer": Limit(1, 3),
    "failing": Limit(1, 60),
    "store": Limit(80, 95),
    "lag": Limit(0.25, 1),
    "pending": Limit(500, 5_000),
}
"""The figures and their default limits: seconds an answer took; seconds for which commits have failed; per
cent of the store's room in use; seconds the event loop is late; entries that wait for the disk."""
_UNITS = {"answer": "s", "failing": "s", "store": "%", "lag": "s", "pending": ""}


@dataclass(frozen=True)
class Measure:
    """One figure and its limits."""

    name: str
    value: float
    limit: Limit

    @property
    def state(self) -> int:
        """OK, WARNING or CRITICAL."""
        if self.value >= self.limit.critical:
            return CRITICAL
        return WARNING if self.value >= self.limit.warning else OK

    @property
    def text(self) -> str:
        """The figure with its unit."""
        return f"{self.name} {self.value:g}{_UNITS[self.name]}"

    @property
    def performance(self) -> str:
        """The figure as the monitoring-plugins' guidelines want it: label=value[unit];warn;crit;min;max."""
        most = "100" if self.name == "store" else ""
        limits = f"{self.limit.warning:g};{self.limit.critical:g};0;{most}"
        return f"{self.name}={self.value:g}{_UNITS[self.name]};{limits}"


class _LimitType(click.ParamType[tuple[str, Limit]]):
    """A value NAME=WARNING,CRITICAL."""

    name = "name=warning,critical"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType.convert`."""
        name, _, numbers = str(value).partition("=")
        try:
            warning, critical = map(float, numbers.split(","))
        except ValueError:
            self.fail(f"expected NAME=WARNING,CRITICAL such as lag=0.5,2, got {value!r}", param, ctx)
        if name not in LIMITS:
            self.fail(f"unknown figure {name!r} (known: {', '.join(LIMITS)})", param, ctx)
        return name, Limit(warning, critical)


class _Plugin(click.Command):
    """A command whose wrong command line is UNKNOWN, where click ends with what would be CRITICAL here."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """See `click.Command.make_context`."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            click.echo(f"MULTIGREY {WORDS[UNKNOWN]} - {_one_line(error.format_message())}")
            sys.exit(UNKNOWN)


@click.command(cls=_Plugin)
@common_options
@click.option(
    "--warning",
    type=float,
    default=LIMITS["store"].warning,
    show_default=True,
    help="Warn when this much of the store's room is in use, in per cent.",
)
@click.option(
    "--critical",
    type=float,
    default=LIMITS["store"].critical,
    show_default=True,
    help="Critical when this much of the store's room is in use, in per cent.",
)
@click.option(
    "--limit",
    "limits",
    type=_LimitType(),
    multiple=True,
    help="Limits of another figure, as NAME=WARNING,CRITICAL: answer (1,3 seconds), failing (1,60 seconds "
    "for which commits have failed), lag of the event loop (0.25,1 seconds), pending (500,5000 entries that "
    "wait for the disk).",
)
@click.option("--listener", help="The listener to test, by name; by default the first that the user may use.")
@click.option(
    "--timeout",
    "-t",
    type=Duration(fractions=True),
    default="10s",
    show_default=True,
    help="How long the daemon may take for each of the two requests.",
)
def check(
    config: Path | None,
    warning: float,
    critical: float,
    limits: Sequence[tuple[str, Limit]],
    listener: str | None,
    timeout: float,
    *,
    json_: bool,
) -> None:
    """Report in one line whether the daemon works, as for Nagios.

    The command sends one attempt to a listener, as a mail server would: from 192.0.2.1, with
    check@multigrey.invalid as sender and recipient.  The user needs the right to connect there, which the
    group of a unix socket has.  Then it reads the daemon's figures from the control socket, and writes them
    with their limits after the bar.

    Warnings are also: a network that floods this host with new senders, input that cannot be true (all
    clients have one private address, none has a name, all announce one HELO, nearly all are own clients), a
    damaged store, and what does not work now although mail is answered: another listener that cannot accept,
    a plugin, a list, the log, the history, or the latest reload.

    Exit status: 0 OK, 1 a figure is over its warning limit, 2 critical (no answer, or a figure is over its
    critical limit), 3 unknown (wrong configuration or command line, or no permission).
    """
    chosen = {**LIMITS, "store": Limit(warning, critical), **dict(limits)}
    try:
        state, text, measures, extra = _checked(config, chosen, listener, timeout)
    except AskError as error:
        state = CRITICAL if error.exit_code == EXIT_NO_DAEMON else UNKNOWN
        text, measures, extra = error.message, [], {}
    text = _one_line(text)
    if json_:
        figures = {each.name: each.value for each in measures}
        click.echo(
            json_text({"state": WORDS[state], "text": text, "figures": {**figures, **extra}}, indent=2)
        )
    else:
        performance = [each.performance for each in measures]
        performance += [f"{name}={value:g};;;0" for name, value in extra.items()]
        click.echo(f"MULTIGREY {WORDS[state]} - {text}" + (f" | {' '.join(performance)}" if measures else ""))
    sys.exit(state)


def _one_line(text: str) -> str:
    """A text as it may stand before the bar."""
    return printable(text.replace("\n", ", ").replace("|", "/"))


def _checked(
    config: Path | None, limits: Mapping[str, Limit], listener: str | None, timeout: float
) -> tuple[int, str, list[Measure], Mapping[str, float]]:
    """The state, the text, and the figures with and without limits.  Raises AskError."""
    from multigrey.cli.probe import NotAllowedError, NotAnsweredError, probe

    listens = _listens(config, timeout)
    wanted = [each for each in listens if listener in (None, each.name)]
    if not wanted:
        there = ", ".join(each.name for each in listens)
        return UNKNOWN, f"unknown listener {listener} (there are: {there})", [], {}
    try:
        answer = probe(wanted, timeout)
    except NotAnsweredError as error:
        return CRITICAL, str(error), [], {}
    except NotAllowedError as error:
        return UNKNOWN, str(error), [], {}
    told = ask(config, "status", {}, timeout=timeout)
    if not told["running"]:
        return (
            CRITICAL,
            f"{answer.listener} answers, but the daemon of this configuration does not run",
            [],
            {},
        )
    measures = list(measured(told, answer.seconds, limits))
    problems = [f"{answer.listener} could not decide: {answer.text}"] if answer.trouble else []
    state, text = verdict(measures, told, problems)
    return (
        state,
        text or f"{answer.listener} answered in {answer.seconds * 1000:.0f} ms",
        measures,
        _extra(told),
    )


def _listens(config: Path | None, timeout: float) -> Sequence[Listen]:
    """Where the daemon listens: by its configuration, or as it says itself where there is none."""
    from multigrey.config.tables.listen import Listen
    from multigrey.config.values.types import parse_endpoint
    from multigrey.control.endpoint import socket_of

    loaded = load_for_asking(config)
    state_dir = named_state_dir()
    if loaded.path is not None and state_dir is None and named_control() is None:
        return loaded.settings.listen
    told: Mapping[str, Any] = {}
    try:
        told = ask(config, "status", {}, timeout=timeout)
    except AskError as error:
        # Otherwise it is met again, and reported, if no listener answers either.
        has_socket = socket_of(loaded.settings) is not None
        if state_dir is not None and has_socket and error.exit_code == EXIT_NO_DAEMON:
            raise
    if state_dir is not None and told.get("running") is False:
        raise AskError(f"no daemon runs with the state directory {state_dir}", EXIT_NO_DAEMON)
    found = [
        Listen.model_construct(
            name=row["name"], protocol=row["protocol"], address=parse_endpoint(row["address"])
        )
        for row in told.get("listeners") or ()
    ]
    return found or loaded.settings.listen


def measured(told: Mapping[str, Any], seconds: float, limits: Mapping[str, Limit]) -> Iterator[Measure]:
    """The figures with limits that a status holds; `seconds`: how long the listener took to answer."""
    store, lag = told.get("store", {}), told.get("loop_lag", {})
    found = {
        "answer": round(seconds, 4),
        "failing": store.get("failing"),
        "store": _percent(store.get("used"), store.get("map_size")),
        "lag": lag.get("worst"),
        "pending": store.get("pending"),
    }
    for name, value in found.items():
        if value is not None:
            yield Measure(name, value, limits[name])


def _percent(used: float | None, room: float | None) -> float | None:
    return round(100 * used / room, 1) if used is not None and room else None


def verdict(measures: Sequence[Measure], told: Mapping[str, Any], problems: Sequence[str]) -> tuple[int, str]:
    """The worst state, and what is wrong ("": nothing); each of `problems` is critical."""
    state = max((each.state for each in measures), default=OK)
    texts = [*problems, *(each.text for each in sorted(measures, key=lambda each: -each.state) if each.state)]
    if error := told.get("store", {}).get("error"):
        texts.insert(0, f"store: {error}")
        state = CRITICAL
    if trouble := told.get("state_trouble"):
        texts.insert(0, trouble)
        state = CRITICAL
    if problems:
        state = CRITICAL
    limits = told.get("limits", {})
    if limits.get("lags"):
        texts.append("the disk does not keep up with new records")
        state = max(state, WARNING)
    elif limits.get("full"):
        texts.append(f"the store is full of records: raise {limit_key(limits)}")
        state = max(state, WARNING)
    if damaged := told.get("store", {}).get("damaged"):
        texts.append(f"store: {damaged}")
        state = max(state, WARNING)
    if found := [*_of_traffic(told), *_lasting(told)]:
        texts += found
        state = max(state, WARNING)
    mode = told.get("mode", {})
    if mode.get("in_effect") != mode.get("configured"):
        texts.append(f"mode {mode['in_effect']} by an override")
    return state, ", ".join(texts)


def _lasting(told: Mapping[str, Any]) -> Iterator[str]:
    """What does not work now, although mail is answered."""
    for row in told.get("listeners", ()):
        if row.get("trouble"):
            yield f"{row['name']} cannot accept connections: {row['trouble']}"
    for row in told.get("plugins", ()):
        if row.get("trouble"):
            yield f"plugin {row['name']} does not work: {row['trouble']}"
    for row in told.get("lists", ()):
        if row.get("trouble"):
            yield f"whitelist {row['path']} {row['trouble']}"
    if trouble := told.get("log_trouble"):
        yield trouble
    if refused := told.get("reload_refused"):
        first = refused.partition("\n")[0]
        yield f"the latest reload was refused: {first}"
    if trouble := (told.get("history") or {}).get("trouble"):
        yield f"decisions are not recorded in the history: {trouble}"


def _of_traffic(told: Mapping[str, Any]) -> Iterator[str]:
    """Input that cannot be true, and networks that flood this host, the worst first."""
    for row in told.get("input", ()):
        yield f"{row['what']} (usually {row['cause']})"
    floods = told.get("floods", ())
    for row in floods[:_MOST_FLOODS]:
        number = f"{counted(row['attempts'], 'attempt')} in the last hour"
        yield f"{row['network']} is over the limit of new records: {number}"
    if (more := len(floods) - _MOST_FLOODS) > 0:
        yield f"{more} more over the limit"


def _extra(told: Mapping[str, Any]) -> Mapping[str, float]:
    """The figures without limits."""
    found = {
        "records": told.get("store", {}).get("records"),
        "commit_failures": told.get("store", {}).get("commit_failures"),
        "connections": told.get("connections", {}).get("open"),
        "remembered": (told.get("history") or {}).get("decisions"),
        "not_remembered": (told.get("history") or {}).get("lost"),
        "over_limit": None if "floods" not in told else len(told["floods"]),
    }
    return {name: value for name, value in found.items() if value is not None}
