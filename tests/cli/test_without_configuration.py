"""The first minute of a new user: `multigrey serve` and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import main

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"postfix": 10023, "exim": 10024}
QUESTIONS = {
    "postfix": "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
    "client_name=mail.example.org\nhelo_name=mail.example.org\nsender=alice@example.org\n"
    "recipient=bob@example.net\n\n",
    "exim": "multigrey/1\nclient_address=192.0.2.1\nsender=alice@example.org\nrecipient=bob@example.net\n\n",
}


def free(port: int) -> bool:
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock.connect_ex(("127.0.0.1", port)) != 0


READY = " ready: postfix on tcp:127.0.0.1:10023, exim on tcp:127.0.0.1:10024, "


@contextmanager
def serving(directory: Path, *more: str, ready: str = READY, before: str = "") -> Iterator[Path]:
    """The state directory of a daemon that was told nothing else; afterwards it has ended well."""
    if Path("/etc/multigrey/multigrey.toml").exists():
        pytest.skip("this machine has a configuration")
    if ready == READY and not all(map(free, PORTS.values())):
        pytest.skip("somebody listens on the default ports")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(directory), "PYTHONPATH": str(ROOT)}
    arguments = ["--state-dir", directory / "state", *(["--user", "nobody"] * (os.geteuid() == 0))]
    with subprocess.Popen(
        [sys.executable, "-m", "multigrey", "serve", *arguments, *more],
        cwd="/",
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        try:
            if before:
                assert before in said
                said = process.stderr.readline()
            assert ready in said
            yield directory / "state"
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
        assert process.wait(10) == 0


def answer(sock: socket.socket, question: str) -> str:
    with sock:
        sock.settimeout(10)
        sock.sendall(question.encode())
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(4096), b"")).decode()


def test_both_mail_servers_are_answered_on_tcp_and_on_unix_sockets(short_directory: Path):
    with serving(short_directory) as state:
        first = answer(socket.create_connection(("127.0.0.1", PORTS["postfix"])), QUESTIONS["postfix"])
        assert first == "action=DEFER_IF_PERMIT 4.7.1 Greylisted, please try again later\n\n"
        again = answer(socket.create_connection(("127.0.0.1", PORTS["exim"])), QUESTIONS["exim"])
        assert again.startswith("action=defer reason=early ")
        for name, question in QUESTIONS.items():
            path = state / "run" / f"{name}.sock"
            assert path.stat().st_mode & 0o777 == 0o660
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            assert "Greylisted, please try again later" in answer(sock, question)
    assert (state / "store.mdb").exists()


def test_the_end_leaves_no_socket_behind(short_directory: Path):
    """Also when the daemon started as root and was another user at the end."""
    with serving(short_directory) as state:
        assert len(list((state / "run").iterdir())) == 2
    assert list((state / "run").iterdir()) == []


LATE = """
import os, signal, sys
from functools import partial
from pathlib import Path
from multigrey.cli import serve
from multigrey.clock import SystemClock
from multigrey.config.load import load
real, before = serve.load_site_key, set()

def load_site_key(path):
    before.update(sys.modules)
    return real(path)

serve.load_site_key = load_site_key
overrides = {"user": "nobody"} if os.geteuid() == 0 else {}
load_config = partial(load, Path(sys.argv[1]), os.environ, overrides, uid=os.geteuid())
status = serve.prepare_and_run(load_config, SystemClock(), lambda: os.kill(os.getpid(), signal.SIGTERM))
print(status, sorted(set(sys.modules) - before))
"""


def test_everything_is_imported_before_root_is_given_up(short_directory: Path):
    """A checkout below /root works, although the daemon's user can read nothing there."""
    config = short_directory / "multigrey.toml"
    config.write_text(
        f'state_dir = "{short_directory}/state"\n'
        f'[[listen]]\nprotocol = "postfix"\naddress = "unix:{short_directory}/socket"\n'
    )
    config.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", LATE, config], cwd=ROOT, capture_output=True, text=True, check=False
    )
    late = "['lmdb._envid']" if os.geteuid() else "[]"  # nobody else has anything to give up
    assert done.stdout == f"0 {late}\n", done.stderr


def test_a_default_port_in_use_is_replaced_by_the_next_free_one(short_directory: Path):
    if not all(map(free, [*PORTS.values(), 10025])):
        pytest.skip("somebody listens on the default ports")
    with closing(socket.create_server(("127.0.0.1", PORTS["postfix"]))):
        before = (
            f"(pid {os.getpid()}) listens on tcp:127.0.0.1:10023: postfix is served on tcp:127.0.0.1:10025"
        )
        ready = " ready: postfix on tcp:127.0.0.1:10025, exim on tcp:127.0.0.1:10024, "
        with serving(short_directory, ready=ready, before=before):
            said = answer(socket.create_connection(("127.0.0.1", 10025)), QUESTIONS["postfix"])
            assert "Greylisted" in said
            where = [
                "--listener",
                "postfix@tcp:127.0.0.1:10025",
                "--state-dir",
                str(short_directory / "state"),
            ]
            assert (
                "postfix@tcp:127.0.0.1:10025 answered" in CliRunner().invoke(main, ["check", *where]).stdout
            )
        more, ready = ["--listen", "exim=10026"], " ready: postfix on tcp:127.0.0.1:10024, "
        with serving(short_directory, *more, ready=ready, before=before.replace("10025", "10024")):
            pass


def test_listeners_of_the_command_line_replace_those_of_their_protocols(short_directory: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
    path = short_directory / "state" / "other.sock"
    more = ["--listen", f"postfix={port}", "--listen", f"exim={path}"]
    with serving(
        short_directory, *more, ready=f" ready: postfix on tcp:127.0.0.1:{port}, exim on unix:{path}"
    ):
        said = answer(socket.create_connection(("127.0.0.1", port)), QUESTIONS["postfix"])
        assert "Greylisted" in said
        assert not (short_directory / "state" / "run").exists()


@pytest.mark.parametrize("word", ["postfix", "=10023", "postfix="])
def test_a_listener_without_protocol_or_address(word: str):
    done = subprocess.run(
        [sys.executable, "-m", "multigrey", "serve", "--listen", word],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "PROTOCOL=ADDRESS" in done.stderr) == (2, True)
