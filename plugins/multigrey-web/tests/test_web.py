"""The plugin under multigrey's contract: what it registers, and the settings it gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from multigrey_web.service import Page
from multigrey_web.settings import WebSettings

from multigrey.api import UnixEndpoint
from multigrey.config.tables.control import Control, NoEndpoint
from multigrey.config.tables.greylist import Greylist
from multigrey.plugins.loader import load_plugins

SHARED = {"greylist": Greylist()}


@pytest.fixture
def register(entry_point):
    def register(table=None, control=None):
        plugins = load_plugins(None, entry_points=[entry_point])
        assert plugins.settings_models()["web"] is WebSettings
        settings = dict(SHARED)
        if table is not None:
            settings["web"] = WebSettings.model_validate(table)
        if control is not None:
            settings["control"] = Control.model_construct(address=control)
        return plugins.register(settings, configured={name: {} for name in settings if name == "web"})

    return register


def test_nothing_is_registered_without_a_table(register):
    assert register().services == {}


@pytest.mark.parametrize(
    ("control", "path"),
    [
        (UnixEndpoint(Path("/run/control.sock")), Path("/run/control.sock")),
        (NoEndpoint(), None),
        (None, None),
    ],
)
def test_the_page_asks_at_the_socket_of_its_daemon(register, control, path):
    page = register({"address": "tcp:127.0.0.1:10030"}, control).services["web"]
    assert isinstance(page, Page)
    assert page._control == path


def test_another_socket_can_be_named(register):
    page = register({"address": "tcp:127.0.0.1:10030", "control": "/b"}, UnixEndpoint(Path("/a"))).services[
        "web"
    ]
    assert page._control == Path("/b")
