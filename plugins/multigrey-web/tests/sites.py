"""State directories with something to see, and a daemon with the page that shows it."""

from __future__ import annotations

import itertools
import os
import pwd
import socket
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from itertools import islice
from pathlib import Path

import trio

from multigrey.api import StoreOptions
from multigrey.background.flow import Flow
from multigrey.codec import encode_record
from multigrey.config.tables.history import History as HistorySettings
from multigrey.history.recorder import HistoryRecorder
from multigrey.model import DAY, HOUR, Action, Attempt, DecisionEvent, Entry, Reason, Record, Table, Verdict
from multigrey.stores.lmdb.store import LmdbStore
from multigrey.stores.meta import GROWTH
from tests.mta.harness import free_port, until
from tests.support.clocks import FakeClock
from tests.support.daemon import Daemon

HERE = Path(__file__).parent
NOW = 1_790_000_000
MAP_SIZE = 4 << 30
_USER = "nobody"
_EARLY = """
import encodings.unicode_escape, encodings.latin_1, encodings.idna
import anyio._backends._trio, h11, h2.connection, multigrey_web.service, wsproto
"""
HOSTILE = (
    "<script>document.title='owned'</script>@example.org",
    "\u202egro.elpmaxe@x\u202c",
    "x" * 300 + "@example.org",
    '"><img src=x onerror=alert(1)>@example.org',
    "{{ 7 * 7 }}@example.org",
    "caf\udce9@example.org",
    "\u0007bell\u200b@example.org",
)

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
[[whitelist]]
source = "list"
path = "{dir}/list.toml"
owner = "mail team"
[plugins.web]
address = "ADDRESS"
refresh = "5s"
"""
LIST = """
[[entry]]
client = "mx.example.com"
reason = "orders <b>of</b> the shop"
review_by = 2001-01-01
"""


def waits(number, *, age=30, delay=120, **changes):
    """A record that waits."""
    values = {
        "first_seen": NOW - age,
        "last_seen": NOW - age,
        "delay": delay,
        "client": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        "sender": f"user{number}@sender{number % 5000}.example",
        "recipient": f"person{number % 500}@example.net",
        "origin": f"sender{number % 5000}.example",
    }
    return Record(**{**values, **changes})


def many(count):
    """Half of them known, and of the rest a hundredth still before their time."""
    for number in range(count):
        if number % 2:
            yield waits(number, age=3600, passed_at=NOW - 3000, passes=number % 7)
        else:
            yield waits(number, age=100 if number % 200 == 0 else 4000)


def decisions(count, sender="user{}@sender.example"):
    """A day of mail: most of what is deferred comes back."""
    ids = (f"d{number:06}" for number in itertools.count())
    for number in range(count):
        begin = NOW - DAY + (number * 83_000) // count
        origin = f"sender{number % 23}.example"
        attempt = Attempt(
            "smtp",
            ip_address(f"192.0.2.{number % 250}"),
            f"mx.{origin}",
            f"mx.{origin}",
            sender.format(number),
            f"person{number % 40}@example.net",
        )
        make = partial(_event, attempt, origin, ids)
        yield make(begin, Action.DEFER, Reason.NEW)
        yield make(begin + 7, Action.PASS, Reason.KNOWN, sender="known@friend.example")
        if number % 5:
            age = 130 + number * number % 2900
            yield make(begin + age, Action.PASS, Reason.RETRY, age=age)


def lost(count):
    """Mail of six days ago that was not sent again."""
    for number in range(count):
        sender = HOSTILE[number % len(HOSTILE)]
        attempt = Attempt("smtp", ip_address("198.51.100.9"), None, sender[:60], sender, "who@example.net")
        yield _event(
            attempt,
            "198.51.100.0/24",
            iter([f"l{number:06}"]),
            NOW - 6 * DAY + number,
            Action.DEFER,
            Reason.NEW,
        )


def _event(attempt, origin, ids, time, action, reason, age=0, **changes):
    verdict = Verdict(action, reason, delay=120, age=age, attempts=1 + (age > 0))
    return DecisionEvent(time, next(ids), replace(attempt, **changes), verdict, origin)


def growing(days):
    """Rows of samples: a store that grows, and breathes by day and night."""
    for day in range(NOW // DAY - days, NOW // DAY + 1):
        rows = []
        for hour in range(24):
            time = day * DAY + hour * HOUR
            if time <= NOW:
                age = days - (NOW - time) / DAY
                records = int(2_000 * age + 300 * (12 - abs(hour - 12)))
                rows.append([time, records, records // 9, records * 350, 20 + hour, 200 + 9 * hour, 0])
        yield GROWTH.key(b"%08d" % day), GROWTH.coder.encode(rows)


def fill(state, *, records=(), events=(), growth=()):
    """Write a state directory.  Records get keys like any other."""
    state.mkdir(parents=True, exist_ok=True)
    trio.run(_fill, state, iter(records), list(events), list(growth))


async def _fill(state, records, events, growth):
    store = LmdbStore(StoreOptions(state, MAP_SIZE))
    history = HistoryRecorder(state, HistorySettings(), FakeClock(NOW))
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        numbered = enumerate(records)
        while batch := list(islice(numbered, 10_000)):
            puts = {
                (Table.RECORD, _digest(number)): Entry(encode_record(record), NOW + 30 * DAY)
                for number, record in batch
            }
            await store.load(puts, lambda _old, new: new)
        if growth:
            await store.load({key: Entry(value, None) for key, value in growth}, lambda _old, new: new)
        if events:
            flow = Flow(store, FakeClock(NOW), lambda event: "unnamed" if "/" in event.origin else "named")
            for event in events:
                flow(event)
            await flow.note()
            nursery.start_soon(history.run)
            for start in range(0, len(events), 150):
                for event in sorted(events, key=lambda each: each.time)[start : start + 150]:
                    history(event)
                await history.flush()
        nursery.cancel_scope.cancel()


def _digest(number):
    return (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 + 1 & (1 << 128) - 1).to_bytes(16)


def installed(directory):
    """A folder that makes Python find the plugin as if it were installed."""
    package = HERE.parent
    info = directory / "site" / "multigrey_web-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: multigrey-web\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[multigrey]\nweb = multigrey_web\n")
    if os.geteuid() == 0:
        # Root's daemon becomes another user before it loads plugins; root's Python may be closed to them.
        (info.parent / "sitecustomize.py").write_text(_EARLY)
    return {"PYTHONPATH": f"{info.parent}:{package}"}


def given_away(directory):
    """Give the directory to the user that root's daemon becomes."""
    state = directory / "state"
    state.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        account = pwd.getpwnam(_USER)
        for path in (directory, state, *state.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def serving(directory, *, config="", address=None):
    """A daemon with the page; gives where it is."""
    (directory / "list.toml").write_text(LIST)
    (directory / "list.toml").chmod(0o644)
    given_away(directory)
    address = f"tcp:127.0.0.1:{free_port()}" if address is None else address
    text = CONFIG.replace("ADDRESS", address) + config
    with Daemon(directory, text, now=NOW, env=installed(directory), user=_USER) as daemon:
        url = f"http://{address.removeprefix('tcp:')}"
        path = Path(address.removeprefix("unix:"))
        until(lambda: path.is_socket() or fetched(f"{url}/static/page.css"), "the page is there")
        yield url, daemon


def fetched(url):
    """A page; "" when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:
            return reply.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return ""


def open_directory():
    """One that another user can enter; pytest's own are closed."""
    directory = Path(tempfile.mkdtemp(prefix="mg-web-"))
    directory.chmod(0o755)
    return directory


def asked_by(directory, sender):
    """A mail server asks about one recipient."""
    request = (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.77\nclient_name=unknown\n"
        f"helo_name=mx\nsender={sender}\nrecipient=bob@example.net\n\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / "p.sock"))
        sock.sendall(request.encode())
        assert b"DEFER_IF_PERMIT" in sock.recv(1000)
