"""What a confined daemon can still do, and what it cannot: real daemons with a plugin that tries."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from multigrey.config.load import load
from multigrey.daemon.confinement import Requirement, needs_at_reload, needs_at_start, outside
from multigrey.daemon.landlock import version
from tests.daemon.test_daemon import CONFIG, DEFERRED, ROOT, ask, daemon, eventually
from tests.mta.harness import free_port

with_landlock = pytest.mark.skipif(version() < 6, reason="this kernel has no Landlock, or only an old one")

TRYING = """
import json, os, pathlib, socket, threading
from multigrey.api import hookimpl
T = json.loads(TOLD)
outside, state = pathlib.Path(T["outside"]), pathlib.Path(T["state"])
def bound(family, address):
    with socket.socket(family) as sock:
        sock.bind(address)
def connected(family, address):
    with socket.socket(family) as sock:
        sock.connect(address)
ACTS = {
    "make": lambda: (outside / "made").touch(),
    "write": lambda: (outside / "file").write_text("x"),
    "truncate": lambda: os.truncate(outside / "file", 0),
    "mkdir": lambda: (outside / "directory").mkdir(),
    "link": lambda: (outside / "link").symlink_to("/"),
    "fifo": lambda: os.mkfifo(outside / "fifo"),
    "socket": lambda: bound(socket.AF_UNIX, str(outside / "socket")),
    "unlink": lambda: (outside / "theirs").unlink(),
    "move out": lambda: (state / "to-move").rename(outside / "moved"),
    "listen": lambda: bound(socket.AF_INET, ("127.0.0.1", T["free"])),
    "connect": lambda: connected(socket.AF_INET, ("127.0.0.1", T["taken"])),
    "abstract": lambda: connected(socket.AF_UNIX, "\\0" + T["abstract"]),
    "signal": lambda: os.kill(T["pid"], 0),
    "shadow": lambda: pathlib.Path("/etc/shadow").read_text(),
    "read": lambda: (outside / "file").read_text(),
    "own": lambda: (state / "own").write_text("x"),
    "null": lambda: pathlib.Path("/dev/null").write_text("x"),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 53)),
}
def tried(work):
    try:
        work()
    except OSError as error:
        return error.strerror
    return "done"
def all_tried():
    status = pathlib.Path("/proc/thread-self/status").read_text()
    return {**{name: tried(work) for name, work in ACTS.items()},
            "no new privileges": "NoNewPrivs:\\t1" in status}
@hookimpl
def multigrey_register(registry, settings):
    (state / "to-move").touch()
    thread = threading.Thread(target=lambda: (state / "result").write_text(json.dumps(all_tried())))
    thread.start()
    thread.join()
"""
FORBIDDEN = [
    *["make", "write", "truncate", "mkdir", "link", "fifo", "socket", "unlink", "move out"],
    *["listen", "connect", "abstract", "signal"],
]


def tried(directory: Path, mode: str) -> dict[str, object]:
    """What the plugin could do in a thread of its own, by name."""
    outside, plugins, port = directory / "outside", directory / "plugins", free_port()
    for each in (outside, plugins):
        each.mkdir()
    outside.chmod(0o777)
    for name in ("file", "theirs"):
        (outside / name).touch()
        (outside / name).chmod(0o666)
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    name = f"multigrey-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen(["sleep", "600"], **user) as other,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        told = {
            "outside": str(outside),
            "state": str(directory / "state"),
            "free": free_port(),
            "taken": server.getsockname()[1],
            "abstract": name,
            "pid": other.pid,
        }
        file = plugins / "trying.py"
        file.write_text(TRYING.replace("TOLD", repr(json.dumps(told))))
        file.chmod(0o644)
        plugins.chmod(0o755)
        config = f"""
            plugins = {{ dir = "{plugins}" }}
            confinement = {{ mode = "{mode}", connect = [{port}] }}
            {CONFIG}
        """
        try:
            with daemon(directory, config) as d:
                assert ask(directory) == DEFERRED
                assert "Traceback" not in d.stderr()
        finally:
            other.kill()
    return json.loads((directory / "state" / "result").read_text())


@with_landlock
def test_a_plugin_of_a_confined_daemon_can_change_nothing_outside(directory: Path):
    done = tried(directory, "auto")
    reached = [name for name in FORBIDDEN if done[name] == "done"]
    assert reached == []
    assert done["shadow"] == "Permission denied" or os.geteuid() != 0
    assert {name: done[name] for name in ("read", "own", "null", "udp", "no new privileges")} == {
        **dict.fromkeys(("read", "own", "null", "udp"), "done"),
        "no new privileges": True,
    }


def test_without_confinement_the_same_plugin_does_all_of_it(directory: Path):
    """The negative control: it is the confinement that forbids."""
    done = tried(directory, "off")
    assert [name for name in FORBIDDEN if done[name] != "done"] == []
    assert done["no new privileges"] is False


@pytest.fixture
def directory(short_directory: Path) -> Path:
    return short_directory


def cli(d, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multigrey", *map(str, words), "-c", str(d.config)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def logs_of(directory: Path) -> Path:
    made = directory / "logs"
    made.mkdir()
    if os.geteuid() == 0:
        os.chown(made, 65534, 65534)
    return made


@with_landlock
def test_a_confined_daemon_does_all_its_work(directory: Path):
    logs, chroot = logs_of(directory), directory / "chroot" / "multigrey"
    (directory / "list").write_text("example.com\n")
    config = f"""
        state_dir = "{{dir}}/state"
        listen = [
          {{ protocol = "postfix", address = "unix:{{dir}}/state/postfix.sock" }},
          {{ protocol = "exim", address = "unix:{chroot}/exim.sock" }},
        ]
        log = {{ to = "{logs}/decisions" }}
        whitelist = [{{ source = "postgrey-clients", path = "{{dir}}/list" }}]
    """
    with daemon(directory, config) as d:
        if os.geteuid() == 0:
            os.chown(chroot, 65534, 65534)
        assert json.loads(cli(d, "status", "--json").stdout)["confinement"]
        assert ask(directory) == DEFERRED
        eventually(lambda: "action=defer" in (logs / "decisions").read_text(), "the line")
        (logs / "decisions").rename(logs / "decisions.1")
        d.send(signal.SIGUSR1)
        eventually((logs / "decisions").exists, "the log file that is made again")
        (directory / "list").write_text("example.com\nexample.org\n")
        assert cli(d, "reload").returncode == 0
        assert ask(directory) == "action=DUNNO\n\n"
        # The daemon could not write there: its caller does.
        assert cli(d, "backup", directory / "all.tar.gz").returncode == 0
        assert (directory / "all.tar.gz").stat().st_size
        assert cli(d, "compact").returncode == 0
        assert cli(d, "verify").returncode == 0
        d.stop()
        assert d.process.returncode == 0
        assert not (chroot / "exim.sock").exists()
        assert "Traceback" not in d.stderr()


@with_landlock
@pytest.mark.parametrize(
    ("change", "path"),
    [
        ('log = {{ to = "{0}/logs/decisions" }}', "{0}/logs/decisions"),
        ('plugins = {{ dir = "{0}/plugins" }}', "{0}/plugins"),
        ('confinement = {{ write = ["{0}/logs"] }}', "{0}/logs"),
        ("confinement = {{ connect = [389] }}", "port 389"),
    ],
)
def test_a_reload_that_needs_more_is_refused_whole_and_check_config_says_so(directory, change, path):
    logs_of(directory)
    (directory / "plugins").mkdir(mode=0o755)
    (directory / "plugins").chmod(0o755)
    with daemon(directory) as d:
        before = d.config.read_text()
        d.config.write_text(f"{change.format(directory)}\ngreylist = {{ delay = '7s' }}\n{before}")
        text = f"restart needed: {path.format(directory)}"
        checked = cli(d, "check-config")
        assert (checked.returncode, text in checked.stderr) == (0, True), checked.stderr
        reloaded = cli(d, "reload")
        assert reloaded.returncode != 0
        assert text in reloaded.stderr
        d.send(signal.SIGHUP)
        eventually(lambda: d.stderr().count(text) == 2, "the error in the log")
        assert json.loads(cli(d, "status", "--json").stdout)["delays"]["named"] != 7
        d.config.write_text(f"greylist = {{ delay = '7s' }}\n{before}")
        assert "restart needed" not in cli(d, "check-config").stderr
        assert cli(d, "reload").returncode == 0
        assert json.loads(cli(d, "status", "--json").stdout)["delays"]["named"] == 7
        d.stop()
        d.config.write_text(f"{change.format(directory)}\n{before}")
        assert "restart needed" not in cli(d, "check-config").stderr
        d.start()
        assert "restart needed" not in cli(d, "check-config").stderr
        assert cli(d, "reload").returncode == 0


def test_an_unconfined_daemon_refuses_no_reload(directory: Path):
    logs = logs_of(directory)
    with daemon(directory, f'confinement = {{ mode = "off" }}\n{CONFIG}') as d:
        d.config.write_text(f'log = {{ to = "{logs}/decisions" }}\n{d.config.read_text()}')
        assert "restart needed" not in cli(d, "check-config").stderr
        assert cli(d, "reload").returncode == 0
        ask(directory)
        eventually(lambda: "action=defer" in (logs / "decisions").read_text(), "the line")


WITHOUT = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# seccomp(2): system call 444 (landlock_create_ruleset) fails as on a kernel that does not know it (ENOSYS)
code = struct.pack("=HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, 444, 6, 0, 0, 0x50026, 6, 0, 0, 0x7FFF0000)
text = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(text)))
assert not libc.prctl(38, 1, 0, 0, 0)
assert not libc.prctl(22, 2, program, 0, 0), ctypes.get_errno()
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_on_a_kernel_without_landlock_the_daemon_says_so_once_and_goes_on(directory: Path):
    config = directory / "multigrey.toml"
    config.write_text(CONFIG.replace("{dir}", str(directory)))
    command = [sys.executable, "-c", WITHOUT, "-m", "multigrey", "serve", "-c", str(config)]
    command += ["--user", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:

        def answers() -> bool:
            assert process.poll() is None, process.stderr.read()
            with contextlib.suppress(OSError):
                return ask(directory) == DEFERRED
            return False

        eventually(answers, "the daemon")
        process.send_signal(signal.SIGHUP)
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.count("not confined: this kernel has no Landlock") == 1
    assert "NoNewPrivs:\t1" in status


FULL = """
state_dir = "/var/lib/multigrey"
listen = [
  { protocol = "postfix", address = "unix:/var/spool/postfix/multigrey/p.sock" },
  { protocol = "exim", address = "tcp:127.0.0.1:10025" },
  { protocol = "greylistd", address = "systemd:g" },
]
log = { to = "/var/log/multigrey/decisions" }
metrics = { address = "tcp:127.0.0.1:9710" }
confinement = { write = ["/srv/copies"], connect = [53] }
plugins.web = { address = "unix:/run/web/page.sock", more = [{ at = "tcp:[::1]:10030" }, "unix:", 3] }
"""


def settings_of(tmp_path: Path, text: str):
    path = tmp_path / "multigrey.toml"
    path.write_text(text)
    path.chmod(0o644)
    return load(path, {}, uid=0).settings


def test_what_a_configuration_needs(tmp_path: Path):
    settings = settings_of(tmp_path, FULL)
    at_reload = [
        ("write", "/srv/copies", "confinement.write.0"),
        ("log", "/var/log/multigrey", "log.to"),
        ("socket", "/run/web", "plugins.web.address"),
        ("bind", 10030, "plugins.web.more.0.at"),
        ("connect", 53, "confinement.connect"),
    ]
    at_start = [
        ("write", "/var/lib/multigrey", "state_dir"),
        ("socket", "/var/spool/postfix/multigrey", "listen.0.address"),
        ("bind", 10025, "listen.1.address"),
        ("socket", "/var/lib/multigrey", "control.address"),
        ("bind", 9710, "metrics.address"),
    ]

    def shown(needs):
        return [(need.kind, need.value, ".".join(map(str, need.key))) for need in needs]

    assert shown(needs_at_reload(settings)) == at_reload
    assert shown(needs_at_start(settings)) == [*at_start, *at_reload]


@pytest.mark.parametrize(
    ("granted", "kind", "value", "is_inside"),
    [
        (("write", "/a"), "write", "/a", True),
        (("write", "/a"), "log", "/a/b/c", True),
        (("write", "/a"), "socket", "/a/../a/b", True),
        (("write", "/a"), "write", "/a/../b", False),
        (("write", "/a"), "write", "/ab", False),
        (("log", "/a"), "write", "/a", False),
        (("log", "/a"), "log", "/a", True),
        (("socket", "/a"), "log", "/a", False),
        (("bind", 25), "bind", 25, True),
        (("bind", 25), "bind", 26, False),
        (("bind", 25), "connect", 25, False),
        (("connect", 0), "connect", 25, True),
        (("connect", 25), "connect", 0, False),
        (("write", "/a"), "bind", 25, False),
    ],
)
def test_what_lies_outside(granted, kind, value, is_inside):
    need = Requirement(kind, value, (), "")
    assert (outside([dict(zip(("kind", "value"), granted, strict=True))], [need]) == []) is is_inside


def test_links_count_as_what_they_lead_to(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    need = Requirement("write", str(tmp_path / "link"), (), "")
    assert outside([{"kind": "write", "value": str(tmp_path / "real")}], [need]) == []
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/")
    assert outside([{"kind": "write", "value": str(tmp_path / "real")}], [need]) == [need]
