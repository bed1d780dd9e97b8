"""The package is tested where it lies, without being installed; also from multigrey's own root."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.testing

from multigrey.api import Attempt

HERE = Path(__file__).parent

for folder in (str(HERE), str(HERE.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)


@pytest.fixture
def package() -> Path:
    """The folder of the distribution."""
    return HERE.parent


@pytest.fixture
def entry_point(package):
    """The one that installing the distribution would make."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["multigrey"].items()
    return EntryPoint(name, value, "multigrey")


@pytest.fixture
def idle_clock():
    """Time that only passes when nothing has come over loopback for a moment: no test really waits."""
    return trio.testing.MockClock(autojump_threshold=0.01)


@pytest.fixture
async def server():
    """A name server on loopback."""
    from listserver import ListServer  # noqa: PLC0415  (found only now)

    server = ListServer()
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        nursery.cancel_scope.cancel()


@pytest.fixture
def attempt():
    """Makes attempts."""

    def attempt(address="192.0.2.5", name=None, helo="mx.example.com", sender="alice@example.com") -> Attempt:
        client = None if address is None else ip_address(address)
        return Attempt("test", client, name, helo, sender, "bob@example.net")

    return attempt
