"""The whole daemon as a process: start, signals, reload, the end, and what survives it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, Daemon

DELAY = 120
DEFERRED = "action=DEFER_IF_PERMIT 4.7.1 Greylisted, please try again later\n\n"
DUNNO = "action=DUNNO\n\n"
CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
[[listen]]
protocol = "greylistd"
address = "unix:{dir}/state/greylistd.sock"
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/etc/passwd").exists(), reason="needs a user to become"
)


@pytest.fixture
def directory(short_directory: Path) -> Path:
    return short_directory


def daemon(directory: Path, config: str = CONFIG, **named: object) -> Daemon:
    return Daemon(directory, config, user="nobody", **named)


def talk(directory: Path, name: str, text: str) -> str:
    """One question on a connection of its own, answered to the end."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(directory / "state" / f"{name}.sock"))
        sock.sendall(text.encode())
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return data.decode()


def ask(directory: Path, recipient: str = "bob@example.net", **more: str) -> str:
    told = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "client_address": "192.0.2.1",
        "client_name": "mail.example.org",
        "helo_name": "mail.example.org",
        "sender": "alice@example.org",
        "recipient": recipient,
        **more,
    }
    text = "".join(f"{name}={value}\n" for name, value in told.items()) + "\n"
    return talk(directory, "postfix", text)


def ask_exim(directory: Path, recipient: str = "bob@example.net") -> str:
    lines = ["multigrey/1", "client_address=192.0.2.1", "sender=alice@example.org", f"recipient={recipient}"]
    return talk(directory, "exim", "\n".join(lines) + "\n\n")


def eventually(condition, what: str) -> None:
    """Wait for something another process does; fails loudly after ten seconds."""
    deadline = time.monotonic() + 10  # noqa: TID251  (another process's progress)
    while not condition():
        if time.monotonic() > deadline:  # noqa: TID251  (another process's progress)
            pytest.fail(f"never happened: {what}")
        select_nothing(0.01)


def select_nothing(seconds: float) -> None:
    import select

    select.select([], [], [], seconds)


def test_a_first_attempt_waits_a_retry_passes_and_all_doors_know(directory: Path):
    with daemon(directory) as d:
        assert ask(directory) == DEFERRED
        assert ask_exim(directory).startswith("action=defer reason=early retry_after=120 ")
        d.clock.advance(DELAY)
        assert ask_exim(directory).startswith("action=pass reason=retry ")
        assert ask(directory) == DUNNO
        words = "192.0.2.1 alice@example.org bob@example.net"
        assert talk(directory, "greylistd", words) == "white"
        eventually(lambda: len(d.log()) == 5, "five lines in the log")
        reasons = [line.split("reason=")[1].split()[0] for line in d.log()]
        assert reasons == ["new", "early", "retry", "known", "known"]


def test_what_was_answered_survives_kill_9(directory: Path):
    with daemon(directory) as d:
        assert ask(directory) == DEFERRED
        d.kill()
        d.start()
        d.clock.advance(DELAY)
        assert ask(directory).startswith("action=PREPEND X-Greylist: delayed 120 seconds")
        d.kill()
        d.start()
        assert ask(directory) == DUNNO


def test_an_orderly_end(directory: Path):
    with daemon(directory) as d:
        assert ask(directory) == DEFERRED
        d.stop()
        assert d.process.returncode == 0
        assert not (directory / "state" / "postfix.sock").exists()
        assert "Traceback" not in d.stderr()


def test_interrupt_ends_it_too(directory: Path):
    with daemon(directory) as d:
        d.send(signal.SIGINT)
        assert d.process.wait(10) == 0


def test_files_are_private_and_sockets_reachable(directory: Path):
    with daemon(directory):
        ask(directory)
        found = {}
        for path in (directory / "state").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a draft that has its name by now
                found[path.name] = path.stat()
        modes = {name: stat.S_IMODE(about.st_mode) for name, about in found.items()}
        assert modes["site.key"] == 0o600
        assert modes["store.mdb"] == 0o600
        assert modes["postfix.sock"] == 0o660
        owners = {about.st_uid for about in found.values()}
        assert 0 not in owners, "everything belongs to the user the daemon became"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up root")
def test_it_never_serves_as_root(directory: Path):
    with daemon(directory) as d:
        status = Path(f"/proc/{d.process.pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert "0" not in uids


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused as root")
def test_root_without_user_is_refused(directory: Path):
    d = Daemon(directory, CONFIG)
    with pytest.raises(RuntimeError, match="never serves as root"):
        d.start()
    assert d.process.returncode == 1


def test_reload_takes_lists_rules_and_texts_without_losing_a_connection(directory: Path):
    with daemon(directory) as d, socket.socket(socket.AF_UNIX) as kept:
        kept.settimeout(10)
        kept.connect(str(directory / "state" / "postfix.sock"))
        question = (
            b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\n"
            b"sender=a@example.org\nrecipient=%s@example.net\n\n"
        )
        kept.sendall(question % b"one")
        assert kept.recv(1000).decode() == DEFERRED
        whitelist = directory / "clients"
        whitelist.write_text("192.0.2\n")
        whitelist.chmod(0o644)
        d.config.write_text(
            d.config.read_text()
            + '\n[greylist]\ntext = "Come back, see {help}"\nhelp_url = "https://mx.example.org/help"\n'
            + '[[rule]]\nname = "slow"\nwhen = { recipient = "slow@example.net" }\naction = "defer"\n'
            + 'text = "Later, see {help}"\n'
            + f'[[whitelist]]\nsource = "postgrey-clients"\npath = "{whitelist}"\n'
        )
        d.send(signal.SIGHUP)
        eventually(lambda: " reloaded" in d.stderr(), "the reload")
        kept.sendall(question % b"two")
        assert kept.recv(1000).decode() == DUNNO
        elsewhere = ask(directory, client_address="198.51.100.1")
        assert elsewhere == "action=DEFER_IF_PERMIT 4.7.1 Come back, see https://mx.example.org/help\n\n"
        slow = ask(directory, client_address="198.51.100.1", recipient="slow@example.net")
        assert slow.endswith(" Later, see https://mx.example.org/help\n\n")


def test_a_wrong_configuration_is_refused_at_reload_and_the_old_one_stays(directory: Path):
    with daemon(directory) as d:
        d.config.write_text(d.config.read_text() + '\n[greylist]\ndelay = "soon"\ncolour = "grey"\n')
        d.send(signal.SIGHUP)
        eventually(lambda: "reload refused" in d.stderr(), "the refusal")
        assert "greylist.delay" in d.stderr()
        assert "greylist.colour" in d.stderr()
        assert ask(directory) == DEFERRED


def test_a_bug_in_a_reload_ends_nothing(directory: Path):
    """A plugin's settings model may do anything at all."""
    plugins = directory / "plugins"
    plugins.mkdir()
    plugins.chmod(0o755)
    flag = directory / "flag"
    code = (
        "import pathlib\n"
        "from pydantic import BaseModel, model_validator\n"
        "from multigrey.api import hookimpl\n"
        "class Odd(BaseModel):\n"
        "    @model_validator(mode='after')\n"
        "    def check(self):\n"
        f"        if pathlib.Path({str(flag)!r}).exists():\n"
        "            raise RuntimeError('odd')\n"
        "        return self\n"
        "@hookimpl\n"
        "def multigrey_settings():\n"
        "    return 'odd', Odd\n"
    )
    file = plugins / "odd.py"
    file.write_text(code)
    file.chmod(0o644)
    with daemon(directory, CONFIG + f'[plugins]\ndir = "{plugins}"\n[plugins.odd]\n') as d:
        flag.touch()
        d.send(signal.SIGHUP)
        eventually(lambda: "the old configuration stays" in d.stderr(), "the notice")
        assert ask(directory) == DEFERRED


def test_what_needs_a_restart_is_said(directory: Path):
    with daemon(directory) as d:
        d.config.write_text(d.config.read_text().replace("exim.sock", "other.sock"))
        d.send(signal.SIGHUP)
        eventually(lambda: "listen changed: needs restart" in d.stderr(), "the notice")
        assert ask(directory) == DEFERRED
        assert ask_exim(directory).startswith("action=defer")


def test_reload_takes_log_and_limits(directory: Path):
    with daemon(directory) as d:
        log = directory / "state" / "decisions"
        d.config.write_text(
            d.config.read_text() + f'\n[log]\nto = "{log}"\n[limits]\nrequest_size = "4KiB"\n'
        )
        d.send(signal.SIGHUP)
        eventually(lambda: " reloaded" in d.stderr(), "the reload")
        assert "needs restart" not in d.stderr()
        assert ask(directory) == DEFERRED
        eventually(lambda: log.exists() and "reason=new" in log.read_text(), "the line in the file")
        assert d.log() == []
        assert ask(directory, helo_name="x" * 5000) == ""


def test_a_reload_whose_log_file_cannot_be_opened_is_refused(directory: Path):
    with daemon(directory) as d:
        d.config.write_text(d.config.read_text() + f'\n[log]\nto = "{directory}/state/none/log"\n')
        d.send(signal.SIGHUP)
        eventually(lambda: "reload refused, the old configuration stays" in d.stderr(), "the notice")
        assert "log.to: the decision log" in d.stderr()
        asked = [sys.executable, "-m", "multigrey", "status", "-c", str(d.config)]
        told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        assert "! the latest reload was refused, and the old configuration stays: " in told
        ask(directory)
        eventually(lambda: len(d.log()) == 1, "the line on stderr")


def test_reload_runs_the_services_of_the_new_plugins_only(directory: Path):
    plugins = directory / "plugins"
    plugins.mkdir()
    plugins.chmod(0o755)
    code = (
        "import logging, trio\n"
        "from multigrey.api import hookimpl\n"
        "class Service:\n"
        "    async def run(self, *, task_status):\n"
        "        logging.getLogger('multigrey').info('service {0} runs')\n"
        "        try:\n"
        "            await trio.sleep_forever()\n"
        "        finally:\n"
        "            logging.getLogger('multigrey').info('service {0} ends')\n"
        "@hookimpl\n"
        "def multigrey_register(registry, settings):\n"
        "    registry.service('clockwork', Service())\n"
    )
    file = plugins / "clockwork.py"
    file.write_text(code.replace("{0}", "one"))
    file.chmod(0o644)
    with daemon(directory, CONFIG + f'[plugins]\ndir = "{plugins}"\n') as d:
        eventually(lambda: "service one runs" in d.stderr(), "the first service")
        file.write_text(code.replace("{0}", "two"))
        d.send(signal.SIGHUP)
        eventually(lambda: "service two runs" in d.stderr(), "the second service")
        eventually(lambda: "service one ends" in d.stderr(), "the end of the first")


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal, or handles it (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [
        int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt"))
    ]
    return any(mask >> number - 1 & 1 for mask in masks)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_signals_during_the_start_do_not_end_it(directory: Path):
    """From the first moment in which it can, the process ignores them; then they are sent all the time."""
    config = directory / "multigrey.toml"
    config.write_text(CONFIG.replace("{dir}", str(directory)))
    command = [sys.executable, "-m", "multigrey", "serve", "-c", str(config)]
    command += ["--user", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        eventually(lambda: ignores(process.pid, signal.SIGHUP) and ignores(process.pid, signal.SIGUSR1), "it")
        socket_file = directory / "state" / "postfix.sock"
        assert not socket_file.exists(), "the start has hardly begun"

        def answers() -> bool:
            assert process.poll() is None, process.stderr.read()
            for number in (signal.SIGHUP, signal.SIGUSR1):
                process.send_signal(number)
            try:
                return ask(directory) == DEFERRED
            except OSError:
                return False

        eventually(answers, "the daemon")
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_idle_peers_leave_the_control_socket_its_descriptors(directory: Path):
    config = directory / "multigrey.toml"
    config.write_text(CONFIG.replace("{dir}", str(directory)))
    command = [sys.executable, "-m", "multigrey", "serve", "-c", str(config)]
    command += ["--user", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *command], cwd=ROOT, stderr=subprocess.PIPE
    )
    state = directory / "state"
    peers: list[socket.socket] = []
    try:
        eventually((state / "control.sock").exists, "the daemon")
        for _ in range(60):
            peers.append(socket.socket(socket.AF_UNIX))
            peers[-1].connect(str(state / "postfix.sock"))
        told = subprocess.run(
            [sys.executable, "-m", "multigrey", "status", "-c", str(config)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        assert "connections" in told.stdout
    finally:
        for peer in peers:
            peer.close()
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"fit into the limit of 64 open files" in said


RUDE = """
import logging, time, trio
from multigrey.api import Findings, hookimpl
class Source:
    traits = frozenset()
    async def ask(self, attempt):
        if attempt.recipient.startswith("thread"):
            await trio.to_thread.run_sync(time.sleep, 600)
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
        return Findings()
class Service:
    async def run(self, *, task_status):
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
@hookimpl
def multigrey_register(registry, settings):
    registry.slow_source("rude", Source())
    registry.service("rude", Service())
    import pathlib
    if pathlib.Path(FLAG).exists():
        logging.getLogger("multigrey").info("rude sleeps")
        time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["thread", "shield"])
def test_plugins_that_cannot_be_cancelled_hold_neither_mail_nor_the_end(directory: Path, kind: str):
    plugins = directory / "plugins"
    plugins.mkdir()
    plugins.chmod(0o755)
    flag = directory / "flag"
    file = plugins / "rude.py"
    file.write_text(RUDE.replace("FLAG", repr(str(flag))))
    file.chmod(0o644)
    config = CONFIG + f'[plugins]\ndir = "{plugins}"\n'
    with daemon(directory, config) as d:
        answers = [ask(directory, recipient=f"{kind}{number}@example.net") for number in range(12)]
        assert answers == [DEFERRED] * 12
        assert "slow source rude: no answer within" in d.stderr()
        flag.touch()
        d.send(signal.SIGHUP)
        eventually(lambda: "rude sleeps" in d.stderr(), "the reload that hangs")
        d.stop()
        assert d.process is not None
        assert d.process.returncode == 0
        assert "left behind: service rude, slow source rude" in d.stderr()
        assert "Traceback" not in d.stderr()
        flag.unlink()
        d.start()
        d.clock.advance(3600)
        assert "X-Greylist: delayed" in ask(directory, recipient=f"{kind}3@example.net")


def test_figures_on_usr1(directory: Path):
    with daemon(directory) as d:
        ask(directory)
        d.send(signal.SIGUSR1)
        eventually(lambda: "figures:" in d.stderr(), "the figures")
        assert "defer-new=1" in d.stderr()
        assert "backend=lmdb" in d.stderr()


def test_a_second_daemon_on_the_same_state_is_refused(directory: Path):
    with daemon(directory) as first:
        other = directory / "other"
        other.mkdir()
        other.chmod(0o755)
        second = Daemon(
            other,
            CONFIG.replace("{dir}/state/", "{dir}/").replace("{dir}/state", str(directory / "state")),
            user="nobody",
        )
        with pytest.raises(RuntimeError, match=str(first.process.pid)):
            second.start()
        assert second.process.returncode == 1
        assert ask(directory) == DEFERRED


def test_a_lost_site_key_is_refused_instead_of_forgetting_everybody(directory: Path):
    with daemon(directory) as d:
        ask(directory)
        d.stop()
        (directory / "state" / "site.key").unlink()
        with pytest.raises(RuntimeError, match=r"another site\.key"):
            d.start()


def test_sd_notify_and_watchdog(directory: Path):
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        path.chmod(0o777)
        heard.settimeout(10)
        with daemon(directory, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "100000"}) as d:
            said = {heard.recv(500).decode().partition("\n")[0] for _ in range(4)}
            assert said == {"READY=1", "WATCHDOG=1"}
            d.send(signal.SIGHUP)
            while (notice := heard.recv(500).decode()).startswith("WATCHDOG"):
                pass
            assert notice.startswith("RELOADING=1\nMONOTONIC_USEC=")
            d.send(signal.SIGTERM)
            while not (notice := heard.recv(500).decode()).startswith("STOPPING"):
                pass


@pytest.mark.parametrize("listen", ['[[listen]]\nprotocol = "postfix"\naddress = "systemd:postfix"\n', ""])
def test_sockets_from_systemd(directory: Path, listen: str):
    """With `[[listen]]` that names them and without any."""
    config = f'state_dir = "{{dir}}/state"\n{listen}'
    (directory / "state").mkdir()
    (directory / "state").chmod(0o777)
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(directory / "state" / "postfix.sock"))
        handed.listen()
        with daemon(directory, config, systemd_socket=("postfix", handed)):
            assert ask(directory) == DEFERRED


def test_check_config_and_show_config_agree_with_the_daemon(directory: Path):
    d = daemon(directory)
    command = [sys.executable, "-m", "multigrey"]
    done = subprocess.run(
        [*command, "check-config", "-c", d.config], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.startswith(f"{d.config}: ok")) == (0, True), done.stderr
    shown = subprocess.run(
        [*command, "show-config", "--json", "-c", d.config], cwd=ROOT, capture_output=True, check=True
    )
    assert json.loads(shown.stdout)["settings"]["greylist"]["delay"] == "2m"


def test_what_tells_of_trouble_is_loaded_before_root_is_given_up():
    """Python itself may lie where only root can read."""
    code = (
        "import sys; from multigrey.daemon.privileges import import_before_dropping_root as load; load(); "
        "names = {*sys.modules}; 'é'.encode('unicode_escape'); print({*sys.modules} - names)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
