"""The page in a real daemon: redacted, after a reload, and when the daemon ends."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import time

import pytest
from sites import asked_by, fetched, open_directory, serving

from tests.mta.harness import until


@pytest.fixture
def place():
    directory = open_directory()
    yield directory
    shutil.rmtree(directory)


def test_with_redact_there_are_tokens_and_no_addresses(place):
    with serving(place, config="[log]\nredact = true\n") as (url, _):
        asked_by(place, "hidden.person@example.org")
        text = fetched(f"{url}/waiting")
        assert "1 still has to wait" in text
        for page in ("", "origins", "lost", "review"):
            text += fetched(f"{url}/{page}")
        (key, *_) = re.findall(r"/record\?key=([0-9a-f]{32})", text)
        text += fetched(f"{url}/record?key={key}")
    assert "h:" in text
    for word in ("hidden.person", "bob@", "192.0.2.77"):
        assert word not in text


def test_without_it_there_are_addresses(place):
    with serving(place) as (url, _):
        asked_by(place, "someone@example.org")
        assert "someone@example.org" in fetched(f"{url}/waiting")


def test_it_is_there_again_after_a_reload(place):
    with serving(place) as (url, daemon):
        daemon.config.write_text(daemon.config.read_text().replace('refresh = "5s"', 'refresh = "77s"'))
        daemon.send(signal.SIGHUP)
        until(lambda: "every 77s" in fetched(url), "the new settings are in use")
        assert "error" not in daemon.stderr()


def test_browsers_keep_the_daemon_from_nothing(place):
    with serving(place) as (url, daemon):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        idle = [socket.create_connection(address) for _ in range(40)]  # more than it lets in
        for sock in idle:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        asked_by(place, "someone@example.org")
        began = time.perf_counter()
        daemon.stop()
        assert time.perf_counter() - began < 8
        assert daemon.process.returncode == 0
        for sock in idle:
            sock.close()
    assert "Traceback" not in daemon.stderr()
