"""Where the control socket is, and who may connect."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from multigrey.config.settings import Control
from multigrey.control.endpoint import control_path, open_control
from multigrey.errors import ListenerError
from tests.support.control import make_settings


@pytest.mark.parametrize(
    ("control", "path"),
    [
        ({}, Path("/state/control.sock")),
        ({"address": "unix:/run/c"}, Path("/run/c")),
        ({"address": "off"}, None),
    ],
)
def test_where_it_is(control, path):
    assert control_path(Control.model_validate(control), Path("/state")) == path


@pytest.mark.parametrize(
    ("control", "mode"), [("", 0o600), ('read_group = "adm"', 0o666), ('admin_group = "adm"', 0o666)]
)
def test_only_with_groups_others_may_connect(tmp_path, control, mode):
    opened = open_control(make_settings(tmp_path, f"[control]\n{control}"))
    assert opened is not None
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == mode
    opened.close()
    assert not (tmp_path / "control.sock").exists()


def test_none_at_all(tmp_path):
    assert open_control(make_settings(tmp_path, '[control]\naddress = "off"')) is None


def test_a_path_that_is_too_long_costs_the_control_socket_only(tmp_path, caplog):
    settings = make_settings(tmp_path).model_copy(update={"state_dir": tmp_path / ("x" * 100)})
    assert open_control(settings) is None
    assert "no control socket" in caplog.text


def test_an_address_that_was_chosen_has_to_work(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(ListenerError, match="in the way"):
        open_control(make_settings(tmp_path, '[control]\naddress = "unix:{dir}/c"'))
