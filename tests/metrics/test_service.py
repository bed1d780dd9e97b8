"""The paths, and what is remembered over a restart."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from multigrey.background.alarms import Alarms
from multigrey.background.eviction import Eviction
from multigrey.background.loop_lag import LoopLag
from multigrey.config.load import load
from multigrey.errors import StoreError
from multigrey.identity.redaction import Redactor
from multigrey.listeners.connection import ConnectionLimits
from multigrey.listeners.server import Server
from multigrey.metrics.http import HttpRequest
from multigrey.metrics.service import PATHS, MetricsService, ServedDaemon
from multigrey.metrics.tally import UNNAMED
from multigrey.model import Attempt, Reason
from tests.support.control import make_core
from tests.support.decisions import decision
from tests.support.engines import SITE_KEY, harness

ATTEMPT = Attempt("postfix", ip_address("192.0.2.10"), None, "h", "a@example.org", "b@example.net")


@pytest.fixture
def sock():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def metrics(h, sock, tmp_path, **changes) -> MetricsService:
    settings = load(None, {}, {"state_dir": str(tmp_path)}, uid=1000).settings
    running = ServedDaemon(
        core=make_core(h, settings),
        server=Server(h.engine, None, ConnectionLimits(10, 60.0, 3.0)),
        eviction=Eviction(h.clock, h.store, 0),
        log=lambda: SimpleNamespace(lost=0, trouble=""),
        reload_refused=lambda: "",
        lag=LoopLag(),
        alarms=Alarms(h.clock),
        host="mx1",
        state_trouble=lambda: "",
        history=lambda: {"decisions": 1, "lost": 0, "trouble": "the disk is full"},
        ready=lambda: "",
    )
    made = MetricsService(replace(running, **changes), sock)
    h.engine.subscribers = (*h.engine.subscribers, made.tally)
    return made


async def fetch(made, path):
    response = await made._answer(HttpRequest("GET", path, {}))
    return response.status.value, response.body.decode()


async def test_paths(sock, tmp_path):
    async with harness() as h:
        made = metrics(h, sock, tmp_path)
        await h.engine.judge(ATTEMPT, "pass")
        status, text = await fetch(made, "/metrics")
        assert status == 200
        assert (
            'multigrey_decisions_total{action="defer",listener="postfix",observed="no",reason="new"} 1.0'
            in text
        )
        assert 'reason="error"} 0.0' in text
        assert "multigrey_history_up 0.0" in text
        assert (await fetch(made, "/healthz"))[0] == 200
        assert await fetch(made, "/readyz") == (200, "ready\n")
        assert await fetch(made, "/") == (404, f"Not found; known paths: {' '.join(PATHS)}\n")
        assert await fetch(metrics(h, sock, tmp_path, ready=lambda: "stopping"), "/readyz") == (
            503,
            "stopping\n",
        )


async def test_a_store_that_was_damaged_is_well_and_mentioned(sock, tmp_path, monkeypatch):
    async with harness() as h:
        made = metrics(h, sock, tmp_path)
        health = {**await h.store.health(), "damaged": "look at the disk"}

        async def damaged():
            return health

        monkeypatch.setattr(h.store, "health", damaged)
        status, text = await fetch(made, "/healthz")
        assert (status, text.splitlines()[1:]) == (200, ["attention: look at the disk"])


@pytest.mark.parametrize("path", [*PATHS, "/"])
@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        (None, True),
        ("127.0.0.1:9710", True),
        ("[2001:db8::1]:9710", True),
        ("LOCALHOST:9710", True),
        ("mx1:9710", True),
        ("mx1.example.org", True),
        ("evil.example", False),
        ("mx1.evil.example:9710", False),
        ("localhost, evil.example", False),
        ("2130706433", False),
        ("", False),
    ],
)
async def test_only_known_names_are_answered(sock, tmp_path, path, host, is_known):
    async with harness() as h:
        made = metrics(h, sock, tmp_path)
        settings = made._running.core.settings
        settings.__dict__["metrics"] = settings.metrics.model_copy(update={"hosts": ("mx1.example.org",)})
        response = await made._answer(HttpRequest("GET", path, {} if host is None else {"host": host}))
        assert (response.status != 421) is is_known
        assert is_known or b"add it to hosts in [metrics]" in response.body


async def test_a_store_that_fails(sock, tmp_path, monkeypatch):
    async def refuses(*arguments):
        raise StoreError("disk full")

    async with harness() as h:
        made = metrics(h, sock, tmp_path)
        for name in ("health", "read", "apply"):
            monkeypatch.setattr(h.store, name, refuses)
        assert "multigrey_store_up 0.0" in (await fetch(made, "/metrics"))[1]
        assert await fetch(made, "/healthz") == (503, "not well: the store cannot be read: disk full\n")
        await made.save()
        await made._restore()


async def test_a_state_directory_that_is_gone(sock, tmp_path):
    async with harness() as h:
        assert "multigrey_state_directory_up 1.0" in (await fetch(metrics(h, sock, tmp_path), "/metrics"))[1]
        made = metrics(h, sock, tmp_path, state_trouble=lambda: "it was removed")
        assert "multigrey_state_directory_up 0.0" in (await fetch(made, "/metrics"))[1]
        assert await fetch(made, "/healthz") == (503, "not well: it was removed\n")


async def test_open_deferrals_outlive_a_restart(sock, tmp_path):
    async with harness() as h:
        first = metrics(h, sock, tmp_path)
        await h.engine.judge(ATTEMPT, "pass")
        await first.save()
        second = metrics(h, sock, tmp_path)
        await second._restore()
        await second._restore()
        assert second.tally.waiting()[UNNAMED] == 1


async def test_floods_and_input_that_cannot_be_true(sock, tmp_path):
    async with harness() as h:
        alarms = Alarms(h.clock, redactor=lambda: h.engine.setup.redactor)
        made = metrics(h, sock, tmp_path, alarms=alarms)
        (listen, *_) = made._running.core.settings.listen
        text = (await fetch(made, "/metrics"))[1]
        assert "multigrey_over_limit_attempts_total 0.0" in text
        assert "multigrey_over_limit_networks 0.0" in text
        assert "multigrey_over_limit_hourly_attempts{" not in text
        problem = f'multigrey_input_implausible{{listener="{listen.name}",problem="one-address"}}'
        assert f"{problem} 0.0" in text
        for index in range(300):
            host = f"h{index}.d{index % 50}.example"
            nat = {"client": "172.18.0.1", "helo": host, "sender": f"a@{host}", "listener": listen.name}
            alarms._room = 1
            alarms(decision(Reason.OWN_NETWORK, **nat))
            alarms(
                decision(Reason.OVER_LIMIT, client=f"10.0.{index % 30}.9", origin=f"10.0.{index % 30}.0/24")
            )
            alarms(
                decision(Reason.OVER_LIMIT, client=f"10.{index % 30}.0.9", origin=f"10.{index % 30}.0.0/24")
            )
        text = (await fetch(made, "/metrics"))[1]
        assert f"{problem} 1.0" in text
        assert f'multigrey_own_clients_ratio{{listener="{listen.name}"}} 1.0' in text
        assert "multigrey_over_limit_attempts_total 600.0" in text
        assert text.count("multigrey_over_limit_hourly_attempts{") == 5
        assert 'multigrey_over_limit_hourly_attempts{network="10.0.0.0/16"} 310.0' in text
        assert "multigrey_over_limit_since_seconds{network=" in text
        h.engine.setup = replace(h.engine.setup, redactor=Redactor(SITE_KEY))
        assert "10.0.0.0" not in (await fetch(made, "/metrics"))[1]


@pytest.mark.parametrize("jump", [400, -400])
async def test_a_clock_that_is_in_doubt_closes_no_hour(sock, tmp_path, jump):
    async with harness() as h:
        made = metrics(h, sock, tmp_path)
        await h.engine.judge(ATTEMPT, "pass")
        h.clock.step(jump * 86_400)
        h.engine.shared.clock_believed = lambda: False
        await fetch(made, "/metrics")
        await made.save()
        assert made.tally.waiting()[UNNAMED] == 1
        h.clock.step(-jump * 86_400)
        h.engine.shared.clock_believed = lambda: True
        await fetch(made, "/metrics")
        assert made.tally.waiting()[UNNAMED] == 1
