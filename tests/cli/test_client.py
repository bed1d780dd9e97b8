"""Finding the daemon, what is said when there is none, and the stores of stopped ones."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from multigrey.cli import client, main
from multigrey.cli.client import AskError, ask, show, show_item, stream
from multigrey.events.line import format_json_fields
from tests.support.daemon import ROOT, Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
"""
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def _config(tmp_path, text: str = CONFIG):
    path = tmp_path / "multigrey.toml"
    path.write_text(text.replace("{dir}", str(tmp_path)))
    path.chmod(0o644)
    return path


@contextmanager
def _answering(path, said: bytes):
    """Somebody at a socket who says this to one line, and what the line was."""
    path.parent.mkdir(exist_ok=True)
    heard: list[dict] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                heard.append(json.loads(lines.readline()))
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join()
    path.unlink()


def _trouble(config, name: str = "reload") -> AskError:
    with pytest.raises(AskError) as caught:
        ask(config, name, {})
    return caught.value


def test_one_question_and_its_answer(tmp_path):
    with _answering(tmp_path / "state" / "control.sock", b'{"id": 1, "answer": {"x": 2}}\n') as heard:
        assert ask(_config(tmp_path), "status", {"a": "\udcff"}) == {"x": 2}
    assert heard == [{"multigrey": 1, "id": 1, "ask": "status", "with": {"a": "\udcff"}}]


def test_items_one_after_the_other(tmp_path):
    said = b'{"id": 1, "item": {"x": 1}}\n{"id": 1, "item": {"x": 2}}\n{"id": 1, "end": true}\n'
    with _answering(tmp_path / "state" / "control.sock", said):
        assert list(stream(_config(tmp_path), "list", {})) == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (b'{"id": 1, "error": "no", "code": "refused"}\n', 1, "no"),
        (b'{"id": null, "error": "you?", "code": "not-allowed"}\n', 4, "you?"),
        (b'{"id": 1, "error": "something new", "code": "zzz"}\n', 1, "something new"),
        (b"", 3, "closed the connection too early"),
        (b'{"id": 1, "item"', 3, "closed the connection too early"),
        (b"220 smtp.example.org\n", 3, "not a multigrey of this version"),
        (b"{}\n", 3, "not a multigrey of this version"),
        (b"[]\n", 3, "not a multigrey of this version"),
        (b'{"id": 1, "end": true}\n', 3, "did not answer"),
    ],
)
def test_what_goes_wrong_with_an_answer(tmp_path, said, code, words):
    with _answering(tmp_path / "state" / "control.sock", said):
        error = _trouble(_config(tmp_path))
    assert error.exit_code == code
    assert words in error.message


def test_a_daemon_that_does_not_answer_in_time(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        config = _config(tmp_path, CONFIG + f'[control]\naddress = "unix:{path}"')
        with pytest.raises(AskError, match=r"did not answer within 0\.05 s") as caught:
            ask(config, "status", {}, timeout=0.05)
    assert caught.value.exit_code == 3


@contextmanager
def _queue(path):
    """A daemon at which as many wait as may."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(0)
        while True:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            try:
                waiting.connect(str(path))
            except BlockingIOError:
                break
        yield listening


def test_a_daemon_with_a_queue_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "s"
    config = _config(tmp_path, CONFIG + f'[control]\naddress = "unix:{path}"')
    with _queue(path) as listening:

        def serve() -> None:
            listening.accept()[0].close()
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                lines.readline()
                connection.sendall(b'{"id": 1, "answer": {}}\n')

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(config, "status", {}) == {}
        thread.join()
    path.unlink()
    monkeypatch.setattr(client, "_PATIENCE", 0.05)
    with _queue(path):
        error = _trouble(config)
    assert (error.exit_code, error.message) == (3, f"unix:{path}: does not answer")


@pytest.mark.parametrize("left_behind", [False, True])
def test_without_daemon_and_store_it_says_where_who_and_what_to_do(tmp_path, left_behind):
    config = _config(tmp_path)
    if left_behind:
        (tmp_path / "state").mkdir()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "state" / "control.sock"))
    for name in ("reload", "status"):
        error = _trouble(config, name)
        assert error.exit_code == 3
        assert f"unix:{tmp_path}/state/control.sock" in error.message
        assert "asked as " in error.message
        assert "systemctl start multigrey" in error.message


def test_without_a_socket_there_is_nobody_to_ask(tmp_path):
    error = _trouble(_config(tmp_path, CONFIG + '[control]\naddress = "off"'))
    assert (error.exit_code, 'is "off"' in error.message) == (3, True)


@pytest.mark.parametrize(
    "wrong",
    [
        "[greylist]\ndelay = 1",
        "[control]\nzzz = 1",
        "[control]\naddress = 'unix:{dir}/state/control.sock'\nz = 1",
    ],
)
def test_a_wrong_configuration_keeps_nobody_from_asking_a_daemon_that_runs(tmp_path, wrong):
    config = _config(tmp_path, CONFIG + wrong)
    with _answering(tmp_path / "state" / "control.sock", b'{"id": 1, "answer": {}}\n'):
        assert ask(config, "status", {}) == {}
    error = _trouble(config)
    assert error.exit_code == 2
    assert str(config) in error.message


def test_a_configuration_that_cannot_be_parsed(tmp_path):
    error = _trouble(_config(tmp_path, "state_dir = "))
    assert "syntax error" in error.message


def test_the_system_configuration_means_the_systems_state_whoever_asks(tmp_path, monkeypatch):
    config = _config(tmp_path, "")
    monkeypatch.setattr("multigrey.control.endpoint.SYSTEM_CONFIG", config)
    monkeypatch.setattr("multigrey.control.endpoint.find_config", lambda *_: config)
    monkeypatch.setattr("multigrey.config.defaults._SYSTEM_STATE", tmp_path / "system")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with _answering(tmp_path / "system" / "control.sock", b'{"id": 1, "answer": {"x": 1}}\n'):
        assert ask(None, "status", {}) == {"x": 1}


def test_the_store_of_a_stopped_daemon_and_of_one_that_runs(short_directory):
    daemon = Daemon(short_directory, CONFIG, user="nobody")
    with daemon:
        assert ask(daemon.config, "status", {})["running"] is True
        assert ask(daemon.config, "verify", {})["unreadable"] == 0
        # somebody who took the socket away does not get at the store behind the daemon's back
        (short_directory / "state" / "control.sock").unlink()
        error = _trouble(daemon.config, "status")
        assert error.exit_code == 3
        assert "its store cannot be used either" in error.message
    told = ask(daemon.config, "status", {})
    assert told["running"] is False
    assert told["store"]["backend"] == "lmdb"
    assert ask(daemon.config, "verify", {})["unreadable"] == 0
    assert _trouble(daemon.config, "reload").exit_code == 3
    assert "unknown operation" in _trouble(daemon.config, "nope").message
    owners = {path.stat().st_uid for path in (short_directory / "state").iterdir()}
    assert owners == {(short_directory / "state").stat().st_uid}
    with daemon:
        assert ask(daemon.config, "status", {})["running"] is True


_AS_SOMEBODY = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
from importlib import import_module
from pkgutil import walk_packages
import rich.console, rich.table, multigrey
for module in walk_packages(multigrey.__path__, "multigrey."):  # later they may be out of reach
    if not module.name.endswith("__main__"):
        import_module(module.name)
from multigrey.cli import main
gid, uid = int(sys.argv.pop(1)), int(sys.argv.pop(1))
os.setgroups([]); os.setgid(gid); os.setuid(uid)
main()
"""


def _as(uid: int, gid: int, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", _AS_SOMEBODY, str(ROOT), str(gid), str(uid), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@as_root
@pytest.mark.parametrize(
    ("groups", "status", "change", "words"),
    [
        ("", 4, 4, "may not use the control socket"),
        ('read_group = "{group}"', 0, 4, "may read, but not use override"),
        ('admin_group = "{group}"', 0, 0, ""),
        ('admin_group = "root"', 4, 4, "may not use the control socket; allowed are root"),
    ],
)
def test_users_and_groups(short_directory, groups, status, change, words):
    someone = pwd.getpwnam("daemon")
    control = "\n[control]\n" + groups.replace("{group}", "daemon")
    with Daemon(short_directory, CONFIG + control, user="nobody") as daemon:
        config = str(daemon.config)
        assert _as(NOBODY.pw_uid, NOBODY.pw_gid, "status", "-c", config).returncode == 0
        looked = _as(someone.pw_uid, someone.pw_gid, "status", "-c", config)
        changed = _as(someone.pw_uid, someone.pw_gid, "mode", "off", "-c", config)
    assert (looked.returncode, changed.returncode) == (status, change)
    assert words in changed.stderr
    if not change:
        assert f"set by daemon (uid {someone.pw_uid})" in daemon.stderr()


@as_root
def test_a_help_desk_may_let_mail_in_and_nothing_more(short_directory):
    someone = pwd.getpwnam("daemon")
    with Daemon(short_directory, f'{CONFIG}\n[control]\noperate_group = "daemon"\n', user="nobody") as daemon:

        def ask(*words: str) -> int:
            return _as(someone.pw_uid, someone.pw_gid, *words, "-c", str(daemon.config)).returncode

        assert (
            ask("status") == ask("expect", "b@example.net") == ask("expect", "b@example.net", "--cancel") == 0
        )
        assert ask("records", "pass", "--recipient", "b@example.net") == 1
        for words in (
            ["records", "pass", "--state", "waiting"],
            ["records", "pass", "--recipient", "example.net"],
            ["records", "forget", "--recipient", "b@example.net"],
            ["origins", "forget", "example.net"],
            ["mode", "off"],
            ["relax"],
            ["reload"],
            ["backup", str(daemon.directory / "state" / "copy")],
            ["compact"],
        ):
            assert (words, ask(*words)) == (words, 4)
    assert "expect recipient=b@example.net" in daemon.stderr()


@as_root
def test_somebody_elses_store_is_not_looked_into(short_directory):
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        pass
    someone = pwd.getpwnam("daemon")
    told = _as(someone.pw_uid, someone.pw_gid, "status", "-c", str(daemon.config))
    assert told.returncode in {3, 4}
    assert told.stdout == ""
    assert "Traceback" not in told.stderr


def test_how_trouble_is_shown(tmp_path):
    @click.command()
    def command() -> None:
        client.refuse("first\nsecond\x1b[31m", 4)

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stderr) == (4, "multigrey: first\nsecond\\x1b[31m\n")


def test_json_is_unicode_and_says_what_the_log_says():
    value = {"j\udcf6": ["\udcff\\", {"x": ("😀\\", 1, None)}]}
    text = client.json_text(value)
    assert json.loads(text.encode()) == {"j\\xf6": ["\\xff\\\\", {"x": ["😀\\", 1, None]}]}
    written = format_json_fields({"sender": "j\udcf6rg"})
    assert json.loads(written) == json.loads(client.json_text({"sender": "j\udcf6rg"}))
    assert client.json_text({"a": "😀"}) == json.dumps({"a": "😀"})
    assert json.loads(client.json_text(["\ud800"]).encode()) == ["\\ud800"]


def test_commands_show_json_by_one_function():
    stored_or_sent = {"backup.py": 1, "host_setup.py": 2, "client.py": 3}
    """Times that json.dumps stands in a file for anything but standard output; two are `json_text` itself."""
    found = {
        path.name: path.read_text().count("json.dumps(") for path in Path(client.__file__).parent.glob("*.py")
    }
    assert {name: times for name, times in found.items() if times} == stored_or_sent


@pytest.mark.parametrize("command", ["check-config", "show-config", "personal-data", "check"])
def test_a_path_that_is_not_utf_8_is_shown_as_valid_json(command, tmp_path):
    file = tmp_path / "j\udcf6rg" / "multigrey.toml"
    file.parent.mkdir()
    file.write_text(f'state_dir = "{tmp_path}/state"\n')
    done = CliRunner().invoke(main, [command, "--config", str(file), "--json"])
    assert json.loads(done.stdout.encode())


def test_json_or_words(capsys):
    def render(out, told) -> None:
        out.print(f"[b]{told['x']}[/b] :warning: " + "x" * 100)

    for function in (show, show_item):
        function({"x": "\udcff"}, json_=True, render=render)
        assert json.loads(capsys.readouterr().out) == {"x": "\\xff"}
        function({"x": 1}, json_=False, render=render)
        assert capsys.readouterr().out == "[b]1[/b] :warning: " + "x" * 100 + "\n"
