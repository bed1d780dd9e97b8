"""`multigrey status`: shows the state of the daemon on one page."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO_DAEMON, ask, common_options, show
from multigrey.cli.common import override_words
from multigrey.cli.store import octets
from multigrey.model import DAY
from multigrey.text import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["limit_key", "status"]

LONGEST = 366 * DAY
"""Seconds an override lasts at most (`overrides.mode.LONGEST`, whose module a command need not load)."""
_SLOW_LOOP = 0.25
"""Seconds of lag in the event loop from which on it delays mail servers noticeably."""
_NEARLY_FULL = 0.9
_MOST_FLOODS = 5


@click.command()
@common_options
def status(config: Path | None, json_: bool) -> None:
    """Show the state of the daemon and what needs attention.

    The command shows: since when the daemon runs, its mode and overrides; the listeners with the clients
    connected (on a unix socket: which users); the whitelists in the order in which they are asked, with the
    number of entries, when the file changed last, and whether the daemon has read that change; the records by
    state; how full the store is; how many decisions the history holds; and the plugins.

    What needs attention is at the top, after an exclamation mark.  This includes networks that flood this
    host with new senders, and input that cannot be true, as behind a NAT or a proxy that hides the clients.

    If the daemon is stopped, the command shows what its store holds.  In a store with very many records only
    a part is counted, and the numbers are estimates (about).

    Exit status: 0 when a daemon answers, 2 for a wrong configuration or command line, 3 when none does (the
    contents of its store are shown all the same), 4 when not allowed.
    """
    result = ask(config, "status", {})
    show(result, json_, _show)
    if not result["running"]:
        sys.exit(EXIT_NO_DAEMON)


def _show(out: Console, told: Mapping[str, Any]) -> None:
    from multigrey.text import printable

    for line in (*_head(told), *(f"! {warning}" for warning in _attention(told))):
        out.print(printable(line), soft_wrap=True)
    if told["running"]:
        columns = ("name", "protocol", "address", "on error", "connections", "from")
        _table(out, "Listeners", columns, _listeners(told))
    _table(
        out,
        "Whitelists, in order",
        ("", "source", "entries", "owner", "file", "changed", "state"),
        _lists(told),
    )
    _table(out, "Records", ("state", "number", "meaning"), _records(told))
    _table(out, "Store", ("", ""), _store(told))
    _table(out, "History", ("", ""), _history(told))
    _table(out, "Plugins", ("name", "from", "slow calls", "failures", "timeouts"), _plugins(told))


def _head(told: Mapping[str, Any]) -> Iterator[str]:
    now = told["now"]
    if not told["running"]:
        yield f"multigrey {told['version']}: no daemon is running; this is what {told['state_dir']} holds"
    else:
        running = f"{_span(told['uptime'])} (since {_time(told['since'])}, pid {told['pid']})"
        yield f"multigrey {told['version']} has been running for {running}"
        yield f"configuration: {told['config'] or 'built-in defaults'}, read {_time(told['loaded'])}"
    mode, delays = told["mode"], told["delays"]
    aside = "" if mode["configured"] == mode["in_effect"] else f" (configured: {mode['configured']})"
    named, unnamed = _span(delays["named"]), _span(delays["unnamed"])
    yield f"mode: {mode['in_effect']}{aside}; new senders wait {named}, without a name {unnamed}"
    for each in told["overrides"]:
        left = each["until"] - now
        # If the wall clock was set meanwhile, the difference is meaningless: leave it out.
        more = f"for {_span(left)} more, " if 0 <= left <= LONGEST else ""
        yield f"{override_words(each)} {more}until {_time(each['until'])} (set by {each['by']})"
    if told["running"]:
        yield _loads(told)
        yield "not confined" if told["confinement"] is None else "confined to what the configuration needs"


def _loads(told: Mapping[str, Any]) -> str:
    open_, lag = told["connections"], told["loop_lag"]
    decided = sum(told["decisions"].values())
    deferred = sum(n for name, n in told["decisions"].items() if name.startswith("defer"))
    return (
        f"{counted(decided, 'decision')}, {deferred:,} of them deferred; "
        f"{open_['open']} of {counted(open_['most'], 'connection')}; "
        f"event loop {lag['latest'] * 1000:.0f} ms late "
        f"(at most {lag['worst'] * 1000:.0f} ms in the last minute)"
    )


def _attention(told: Mapping[str, Any]) -> Iterator[str]:
    """What needs the attention of an administrator, one line each."""
    if told["mode"]["in_effect"] != "enforce":
        yield f"no mail is deferred: the mode is {told['mode']['in_effect']}"
    for row in told["lists"]:
        if row["trouble"]:
            yield f"whitelist {row['path']} {row['trouble']}; its old entries are still in use"
        elif row["newer_on_disk"]:
            yield f"whitelist {row['path']} has changed since it was read: run multigrey reload"
        elif row["path"] and not row["entries"]:
            yield f"whitelist {row['path']} is empty"
    yield from _attention_to_store(told)
    for plugin in told["plugins"]:
        if plugin.get("trouble"):
            yield f"plugin {plugin['name']} does not work now, and has no vote: {plugin['trouble']}"
        elif failures := plugin["failures"]:
            yield f"plugin {plugin['name']} failed {counted(failures, 'time')} and was ignored: see the log"
    if told["running"]:
        yield from _attention_to_daemon(told)


def _attention_to_store(told: Mapping[str, Any]) -> Iterator[str]:
    store = told["store"]
    if trouble := told.get("state_trouble"):
        yield trouble
    if "error" in store:
        yield f"store: {store['error']}"
    if store.get("damaged"):
        yield f"store: {store['damaged']}"
    if failures := store.get("commit_failures"):
        yield f"store: {counted(failures, 'commit')} failed: see the log"
    if store.get("used", 0) > _NEARLY_FULL * store.get("map_size", float("inf")):
        yield "the store is nearly full: raise [store] map_size"


def _attention_to_limits(limits: Mapping[str, Any]) -> Iterator[str]:
    key = limit_key(limits)
    if limits["lags"]:
        yield "the disk does not keep up with new records, and new senders get only a mark meanwhile"
    elif limits["full"]:
        yield f"the store has no room for new records, and new senders get only a mark: raise {key}"
    elif limits["forgotten"]:
        gone = counted(limits["forgotten"], "waiting record was", "waiting records were")
        yield f"{gone} evicted early: raise {key}"


def limit_key(limits: Mapping[str, Any]) -> str:
    """The configuration key that limits the number of records now, by the limits in a status."""
    by_size = limits["fits"] and not 0 < limits["max_records"] <= limits["fits"]
    return "[store] map_size" if by_size else "[limits] max_records"


def _attention_to_daemon(told: Mapping[str, Any]) -> Iterator[str]:
    if not told["clock_believed"]:
        yield "the clock was set by more than an hour, or is wrong: no record expires until it is trusted"
    yield from _lasting(told)
    yield from _attention_to_traffic(told)
    yield from _attention_to_limits(told["limits"])
    if told["loop_lag"]["worst"] > _SLOW_LOOP:
        yield "the event loop is late, so answers are slow"
    if told["connections"]["open"] >= told["connections"]["most"]:
        yield "all connections are in use: raise [limits] connections"
    if told["internal_errors"]:
        yield f"{counted(told['internal_errors'], 'connection')} ended by a bug: see the log"
    if told["log_lines_lost"]:
        yield f"{counted(told['log_lines_lost'], 'decision line')} could not be written to the log"
    for name in told["needs_restart"]:
        yield f"{name} has changed in the configuration: restart the daemon to apply it"
    yield from told["warnings"]


def _lasting(told: Mapping[str, Any]) -> Iterator[str]:
    """What does not work now, although mail is answered."""
    for row in told["listeners"]:
        if row.get("trouble"):
            yield f"{row['name']} cannot accept connections: {row['trouble']}"
    if told["history"] and told["history"]["trouble"]:
        yield f"decisions are made, but not recorded in the history: {told['history']['trouble']}"
    if told.get("log_trouble"):
        yield told["log_trouble"]
    if told.get("reload_refused"):
        yield f"the latest reload was refused, and the old configuration stays: {_first_line(told)}"


def _first_line(told: Mapping[str, Any]) -> str:
    first, _, more = str(told["reload_refused"]).partition("\n")
    return f"{first} (and more)" if more else first


def _attention_to_traffic(told: Mapping[str, Any]) -> Iterator[str]:
    """Input that cannot be true, and networks that flood this host, the worst first."""
    for row in told["input"]:
        yield f"{row['what']}; usually {row['cause']}: {row['remedy']}"
    for row in told["floods"][:_MOST_FLOODS]:
        yield (
            f"{row['network']} is over the limit of new records since {_clock(row['since'], told['now'])}: "
            f"{counted(row['attempts'], 'attempt')} in the last hour; its retries still pass"
        )
    if (more := len(told["floods"]) - _MOST_FLOODS) > 0:
        yield f"{more} more {'is' if more == 1 else 'are'} over the limit of new records"


_TEXTS = ("address", "owner", "file", "meaning", "from")
_SPARE = ("protocol", "owner", "changed")
"""Columns that are left out if the terminal is too narrow, in this order."""
_OPTIONAL = ("name", "from", "owner", "file", "changed")
"""Columns that are not shown if no row has a value."""


def _table(out: Console, title: str, columns: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    from multigrey.cli.tables import table

    found = table(columns, rows, out.width, texts=_TEXTS, spare=_SPARE, optional=_OPTIONAL, title=title)
    if found.row_count:
        out.print()
        out.print(found)


def _listeners(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in told["listeners"]:
        peers = ", ".join(map(_peer, row["peers"]))
        says_nothing = row["name"] in {row["protocol"], f"{row['protocol']}@{row['address']}"}
        name = "" if says_nothing else row["name"]
        yield name, row["protocol"], row["address"], row["on_error"], row["connections"], peers


def _peer(row: Mapping[str, Any]) -> str:
    """A connected client; a uid of this host is shown by name."""
    peer = row["peer"]
    if peer.startswith("uid "):
        with suppress(KeyError, ValueError):
            peer = f"user {pwd.getpwuid(int(peer.removeprefix('uid '))).pw_name}"
    return peer if row["connections"] == 1 else f"{peer} ({row['connections']})"


def _lists(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in told["lists"]:
        state = "loaded"
        if row["trouble"] or row["newer_on_disk"]:
            state = row["trouble"] or "changed, not read yet"
        changed = "" if row["changed"] is None else _time(row["changed"])
        place = row["position"] + 1
        yield place, row["source"], row["entries"], row["owner"], row["path"] or "", changed, state


_MEANINGS = {
    "known": "have passed, and pass at once",
    "waiting": "were deferred, and wait for a retry",
    "observed": "were only observed, not deferred",
    "expired": "never came back in time; are removed soon",
    "unreadable": "cannot be decoded: run multigrey verify",
}


def _records(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    records = told["records"]
    about = "about " if records.get("estimated") else ""
    for state, meaning in _MEANINGS.items():
        if records.get(state) or state in {"known", "waiting"}:
            yield state, f"{about}{records.get(state, 0)}", meaning


def _store(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    store = told["store"]
    if "error" in store:
        return
    yield "kind", store["backend"]
    yield "records", store["records"]
    yield "origins", store["origins"]
    if "map_size" in store:
        share = 100 * store["used"] / store["map_size"]
        yield "in use", f"{octets(store['used'])} of {octets(store['map_size'])} ({share:.1f} %)"
        yield "file", octets(store["file"])
        yield "last commit", f"{store['last_commit_us'] / 1000:.1f} ms"
    yield "not on disk yet", store["pending"]


def _history(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    if (history := told.get("history")) is not None:
        yield "decisions recorded", history["decisions"]
        if history["lost"]:
            yield "not recorded", f"{history['lost']} since the start"
    elif told["running"]:
        yield "decisions recorded", "none: [history] enabled is false"


def _plugins(told: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in told["plugins"]:
        numbers = (row[name] or "none" for name in ("calls", "failures", "timeouts"))
        yield row["name"], row["distribution"], *numbers


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _clock(seconds: int, now: int) -> str:
    """A time in hours and minutes, with the date if it is not today."""
    time, today = datetime.fromtimestamp(seconds).astimezone(), datetime.fromtimestamp(now).astimezone()
    return f"{time:%H:%M}" if time.date() == today.date() else f"{time:%Y-%m-%d %H:%M}"


def _span(seconds: int) -> str:
    """A duration in seconds as text; days are shown without minutes, hours without seconds."""
    from multigrey.config.values.units import format_duration

    coarse = seconds - seconds % (3600 if seconds >= DAY else 60 if seconds >= 3600 else 1)
    return format_duration(coarse)
