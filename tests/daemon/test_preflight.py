"""check-config as the daemon's user: what would keep the daemon from starting, all of it at once."""

from __future__ import annotations

import json
import os
import pwd
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.daemon.preflight import examine, plan
from multigrey.daemon.privileges import PrivilegeError
from multigrey.daemon.systemd import find_unit
from tests.support.clocks import START

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the daemon's user")

BASE = 'state_dir = "{dir}/state"\nuser = "nobody"\n'
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def site(short_directory):
    """A directory with a state directory of the daemon's user, and a way to check a configuration in it."""
    state = short_directory / "state"
    state.mkdir()
    os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid)

    class Site:
        directory = short_directory
        path = short_directory / "multigrey.toml"

        def check(self, text, *options, mode=0o644):
            self.path.write_text(text.replace("{dir}", str(short_directory)))
            self.path.chmod(mode)
            command = ["check-config", "-c", str(self.path), "--json", *options]
            done = CliRunner(env={"STATE_DIRECTORY": None, "RUNTIME_DIRECTORY": None}).invoke(main, command)
            told = json.loads(done.stdout)
            assert done.exit_code == (0 if told["ok"] else 2)
            return told

        def wrong(self, text, *options, mode=0o644):
            return [
                f"{'' if each['file'] == str(self.path) else each['file']}{each['key']}: {each['message']}"
                for each in self.check(text, *options, mode=mode)["problems"]
            ]

    return Site()


def test_a_good_one_is_checked_as_the_daemons_user(site):
    told = site.check(BASE)
    assert (told["ok"], told["as"], told["complete"], told["problems"]) == (True, "nobody", True, [])
    done = CliRunner().invoke(main, ["check-config", "-c", str(site.path)])
    assert done.stdout == f"{site.path}: ok (as nobody)\n"


def test_whom_the_check_is_made_as(site):
    without_user = BASE.replace('user = "nobody"\n', "")
    assert site.check(without_user)["as"] == "nobody"  # who owns the state directory
    assert site.check(without_user, "--as", "daemon")["as"] == "daemon"
    told = site.check('state_dir = "{dir}/none"\n')
    assert (told["as"], told["complete"], told["ok"]) == ("root", False, True)
    done = CliRunner().invoke(main, ["check-config", "-c", str(site.path)])
    assert "not known to be the daemon's user: see --as" in done.stdout
    wrong = CliRunner().invoke(main, ["check-config", "-c", str(site.path), "--as", "nosuch"])
    assert (wrong.exit_code, "this user does not exist" in wrong.stderr) == (2, True)


def test_a_file_that_only_root_can_read(site):
    (text,) = site.wrong(BASE, mode=0o600)
    assert text == ": cannot be read: Permission denied"
    assert site.check(BASE, mode=0o600)["complete"] is False
    assert "greylist.delay" in " ".join(site.wrong(f"{BASE}[greylist]\ndelay = 7\n", mode=0o600))


def test_a_list_that_only_root_can_read(site):
    secret = site.directory / "secret.toml"
    secret.write_text("")
    secret.chmod(0o600)
    (text,) = site.wrong(f'{BASE}[[whitelist]]\nsource = "list"\npath = "{secret}"\n')
    assert "Permission denied" in text


def test_a_user_that_is_not_there_and_what_else_is_wrong(site):
    user, delay, word = site.wrong('user = "nosuch"\n[greylist]\ndelay = 7\nkey = ["sendr", "recipient"]\n')
    assert user == "user: 'nosuch': this user does not exist"
    assert delay.startswith("greylist.delay")
    assert word.startswith("greylist.key: 'sendr' is not a key component")


@pytest.mark.parametrize(("key", "what"), [("owner", "user"), ("group", "group")])
def test_owner_and_group_of_a_socket_that_are_not_there(site, key, what):
    listen = f'[[listen]]\nprotocol = "postfix"\naddress = "unix:{{dir}}/p.sock"\n{key} = "nosuch"\n'
    assert site.wrong(BASE + listen) == [
        f"listen[1].{key}: 'nosuch': this {what} does not exist on this host"
    ]


def test_a_group_of_the_control_socket_that_is_not_there_is_a_warning(site):
    told = site.check(f'{BASE}[control]\nread_group = "nosuch"\n')
    assert told["ok"]
    assert "control.read_group: 'nosuch': this group does not exist" in " ".join(told["warnings"])


def test_a_plugin_that_the_user_cannot_import(site):
    plugins, private = site.directory / "plugins", site.directory / "private"
    plugins.mkdir(mode=0o755)
    private.mkdir(mode=0o700)
    (private / "helper.py").write_text("")
    code = (
        f"import sys\nsys.path.append({str(private)!r})\nimport helper\nfrom pydantic import BaseModel\n"
        "from multigrey.api import hookimpl\n@hookimpl\ndef multigrey_settings():\n    return BaseModel\n"
    )
    (plugins / "odd.py").write_text(code)
    (plugins / "odd.py").chmod(0o644)
    config = f'{BASE}[plugins]\ndir = "{plugins}"\n[plugins.odd]\n'
    text = " ".join(site.wrong(config))
    assert "plugins.odd" in text
    assert "No module named 'helper'" in text


def test_a_key_name_and_a_missing_plugin_show_up_beside_everything_else(site):
    config = f"""{BASE}
[greylist]
key = ["sendr", "recipient"]
delay = 5
[[whitelist]]
source = "list"
path = "{{dir}}/none.toml"
[[rule]]
name = "r"
when = {{trait = "odd"}}
action = "pass"
[plugins.nosuch]
[log]
to = "{{dir}}/missing/decisions.log"
"""
    found = " ".join(site.wrong(config))
    for part in ("greylist.key", "greylist.delay", "none.toml", "plugins.nosuch", "log.to", "when"):
        assert part in found


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("{dir}/state/decisions.log", ""),
        ("{dir}/decisions.log", "cannot be written by nobody: permission denied"),
        ("{dir}/none/decisions.log", "its directory is missing"),
        ("{dir}/state", "is a directory"),
    ],
)
def test_a_log_that_the_user_cannot_write(site, to, text):
    found = site.wrong(f'{BASE}[log]\nto = "{to}"\n')
    assert len(found) == bool(text)
    assert text in " ".join(found)


def test_a_state_directory_of_another_user(site):
    other = site.directory / "other"
    other.mkdir(mode=0o700)
    assert "may not write there" in " ".join(site.wrong('user = "nobody"\nstate_dir = "{dir}/other"\n'))
    (site.directory / "file").write_text("")
    assert "is not a directory" in " ".join(site.wrong('user = "nobody"\nstate_dir = "{dir}/file"\n'))


@pytest.mark.parametrize(
    ("to", "right"),
    [
        ("/var/log/multigrey/decisions.log", True),
        ("/var/lib/multigrey/decisions.log", True),
        ("/var/log/decisions.log", False),
        ("/srv/decisions.log", False),
    ],
)
def test_where_the_shipped_unit_lets_the_daemon_write(short_directory, to, right):
    shipped = Path(__file__).parents[2] / "integrations/systemd/multigrey.service"
    config = short_directory / "multigrey.toml"
    config.write_text(f'[log]\nto = "{to}"\n')
    config.chmod(0o644)
    copy = short_directory / "multigrey.service"
    copy.write_text(re.sub(r"(?m)^(ExecStart=.*serve).*", rf"\1 --config {config}", shipped.read_text()))
    unit = find_unit([short_directory])
    made = plan(config, {}, "nobody", unit)
    found = examine(made, {}, START)
    assert found.complete
    texts = [problem.message for problem in found.problems if problem.key == "log.to"]
    assert (not texts) is right, texts
    if not right:
        assert (
            "multigrey.service lets the daemon write nothing there: choose a file in /var/log/multigrey"
            in texts[0]
        )
    assert plan(config, {}, None, unit).problem is None or "multigrey" in str(
        plan(config, {}, None, unit).problem
    )


def test_a_user_given_by_hand_has_to_be_there(short_directory):
    with pytest.raises(PrivilegeError, match="does not exist"):
        plan(short_directory / "none", {}, "nosuch")
