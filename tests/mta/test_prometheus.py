"""What Prometheus' own tool says of the shipped rules and of a real daemon's samples; the dashboard."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from multigrey.identity.redaction import TOKEN
from multigrey.metrics.definitions import HISTOGRAM, METRICS
from tests.support.daemon import Daemon
from tests.support.debian import unpack_or_skip

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "integrations/prometheus"
DEADLINE = 20

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
name = "postfix"
[metrics]
address = "tcp:127.0.0.1:@PORT@"
[log]
format = "json"
to = "{dir}/state/log"
redact = true
[[class]]
name = "partners"
target = "5m"
when = { sender_domain = "example.org" }
"""


@pytest.fixture(scope="module")
def promtool():
    program = unpack_or_skip("prometheus", "prometheus", dependencies=False) / "usr/bin/promtool"

    def run(*arguments, said=""):
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, input=said, cwd=SHIPPED, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.mta
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "multigrey.rules.yml"),
        ("test", "rules", "multigrey.rules.test.yml"),
        ("check", "config", "--syntax-only", "scrape.yml"),
    ],
)
def test_promtool_agrees_with_what_is_shipped(promtool, arguments):
    status, said = promtool(*arguments)
    assert status == 0, said


def queries():
    board = json.loads((SHIPPED / "multigrey.dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


@pytest.mark.mta
def test_promtool_reads_every_query_of_the_dashboard(promtool, tmp_path):
    rules = [
        {
            "record": f"query:{number}",
            "expr": re.sub(r"\$__rate_interval", "5m", query).replace("$instance", ".*"),
        }
        for number, (_, query) in enumerate(queries())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    status, said = promtool("check", "rules", "--lint=none", path)
    assert status == 0, said


def known_samples():
    for metric in METRICS.values():
        if metric.kind == HISTOGRAM:
            yield from (f"{metric.name}_{end}" for end in ("bucket", "sum", "count"))
        else:
            yield metric.sample


def named(text):
    return set(re.findall(r"\bmultigrey_[a-z_]+", text))


def wrong_labels(text):
    """Labels that a metric in a query does not have."""
    labels = {
        sample: metric.labels
        for metric in METRICS.values()
        for sample in (metric.sample, f"{metric.name}_bucket")
    }
    for name, inside in re.findall(r"(multigrey_[a-z_]+)\{([^}]*)\}", text):
        for label in re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", inside)):
            if label not in {*labels.get(name, ()), "instance", "job", "le"}:
                yield f"{name} has no {label}"


def test_the_dashboard_asks_for_what_there_is():
    assert len(list(queries())) > 20
    for title, query in queries():
        assert named(query) <= set(known_samples()) or query.startswith("min(up"), title
        assert not list(wrong_labels(query)), title


def test_the_rules_ask_for_what_there_is():
    text = (SHIPPED / "multigrey.rules.yml").read_text()
    assert named(text) <= set(known_samples())
    assert not list(wrong_labels(text))
    assert list(wrong_labels('multigrey_mode{client="x"}')) == ["multigrey_mode has no client"]


def test_panels_lie_beside_each_other_and_are_told():
    board = json.loads((SHIPPED / "multigrey.dashboard.json").read_text())
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_the_scrape_asks_where_the_readme_listens():
    (target,) = re.findall(r'targets: \["(.*?)"\]', (SHIPPED / "scrape.yml").read_text())
    assert f'address = "tcp:{target}"' in (SHIPPED / "README.md").read_text()


# --- a real daemon ---


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def fetch(port, path, **fields):
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ask(path, sender):
    request = (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.10\nclient_name=unknown\n"
        f"helo_name=anna\nsender={sender}\nrecipient=bob@example.net\n\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(str(path))
        sock.sendall(request.encode())
        return sock.recv(4096).decode()


def until(holds):
    end = time.perf_counter() + DEADLINE
    waiting = threading.Event()
    while not holds():
        assert time.perf_counter() < end
        waiting.wait(0.02)


@pytest.fixture
def daemon(short_directory):
    port = free_port()
    with Daemon(short_directory, CONFIG.replace("@PORT@", str(port)), user="nobody") as running:
        running.port = port
        yield running


@pytest.mark.mta
def test_a_daemon_tells_promtool_what_it_likes(promtool, daemon):
    path = daemon.directory / "state/postfix.sock"
    assert "DEFER_IF_PERMIT" in ask(path, "anna@example.org")
    daemon.clock.advance(400)
    assert "X-Greylist: delayed 400 seconds" in ask(path, "anna@example.org")
    status, text = fetch(daemon.port, "/metrics")
    assert status == 200
    code, said = promtool("check", "metrics", said=text)
    assert code == 0, said
    assert 'multigrey_class_over_target_total{class="partners"} 1.0' in text
    assert 'multigrey_acceptance_delay_seconds_sum{class="partners",origin="unnamed"} 400.0' in text
    assert "multigrey_answer_seconds_count 2.0" in text
    assert fetch(daemon.port, "/metrics", Accept="application/openmetrics-text")[1].endswith("# EOF\n")


def test_health_readiness_and_a_log_that_names_nobody(daemon):
    log = daemon.directory / "state/log"
    assert fetch(daemon.port, "/healthz")[1].startswith("ok read=")
    assert fetch(daemon.port, "/readyz") == (200, "ready\n")
    assert "DEFER_IF_PERMIT" in ask(daemon.directory / "state/postfix.sock", "anna@example.org")
    until(lambda: log.read_text().endswith("\n"))
    (line,) = log.read_text().splitlines()
    fields = json.loads(line)
    assert fields["reason"] == "new"
    assert TOKEN.sub("-", fields["sender"]) == "-@example.org"
    assert TOKEN.fullmatch(fields["client_address"])
    assert not [text for text in ("anna", "bob", "192.0.2") if text in line]


def test_the_log_begins_anew_at_a_signal(daemon):
    log = daemon.directory / "state/log"
    moved = log.with_name("log.1")
    log.rename(moved)
    daemon.send(signal.SIGUSR1)
    until(log.exists)
    ask(daemon.directory / "state/postfix.sock", "anna@example.org")
    until(lambda: "reason" in log.read_text())
    assert moved.read_text() == ""
    assert " figures: " in daemon.stderr()
