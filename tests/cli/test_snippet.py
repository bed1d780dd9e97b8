from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.cli.snippet import greylistd_edit, integrations
from tests.mta.exim import PlainExim
from tests.mta.harness import free_port, place, write
from tests.mta.postfix import Postfix
from tests.support.daemon import Daemon

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    def run(listen: str, *arguments: str):
        path = tmp_path / "multigrey.toml"
        path.write_text(f'state_dir = "{tmp_path}"\n{listen}')
        path.chmod(0o644)
        return CliRunner().invoke(main, ["snippet", *arguments, "--config", str(path)])

    return run


def listen(protocol: str, address: str, **others: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in others.items())
    return f'[[listen]]\nprotocol = "{protocol}"\naddress = "{address}"\n{lines}'


class TestPostfix:
    @pytest.mark.parametrize(
        ("address", "service"),
        [
            ("unix:/var/spool/postfix/multigrey/policy.sock", "unix:multigrey/policy.sock"),
            ("unix:/var/spool/postfix/private/grey", "unix:private/grey"),
            ("unix:/run/multigrey/postfix.sock", "unix:/run/multigrey/postfix.sock"),
            ("tcp:127.0.0.1:10023", "inet:127.0.0.1:10023"),
            ("tcp:[::1]:10023", "inet:[::1]:10023"),
            ("systemd:postfix", "unix:multigrey/policy.sock"),
        ],
    )
    def test_names_the_socket_twice(self, run, address, service):
        done = run(listen("postfix", address), "postfix", "--json")
        assert done.exit_code == 0, done.output
        (text,) = json.loads(done.stdout)["files"].values()
        assert text.count(f"{{ {service}, timeout=5s, default_action=DUNNO }}") == 2

    def test_all_addresses_are_this_host(self, run):
        text = listen("postfix", "tcp:0.0.0.0:10023") + 'allow_from = ["192.0.2.0/28"]\n'
        told = json.loads(run(text, "postfix", "--json").stdout)
        assert "inet:127.0.0.1:10023" in told["files"]["/etc/postfix/main.cf"]
        assert any("give the mail server this host's address" in note for note in told["notes"])

    @pytest.mark.parametrize(
        ("others", "hint"),
        [
            ({"group": "postfix", "mode": "0660"}, None),
            ({"group": "mail"}, "usermod -aG mail postfix"),
            ({}, 'set group = "postfix"'),
            ({"group": "postfix", "mode": "0600"}, "does not let its group write"),
        ],
    )
    def test_says_who_may_connect(self, run, others, hint):
        address = "unix:/var/spool/postfix/multigrey/policy.sock"
        notes = json.loads(run(listen("postfix", address, **others), "postfix", "--json").stdout)["notes"]
        assert len(notes) == 1 if hint is None else any(hint in note for note in notes)

    def test_outside_the_queue_a_chroot_is_in_the_way(self, run):
        done = run(listen("postfix", "unix:/run/multigrey/p.sock", group="postfix"), "postfix")
        assert "in a chroot" in done.stdout
        assert "so it works in a chroot" not in done.stdout

    def test_the_whole_output_can_be_pasted(self, run):
        done = run(listen("postfix", "tcp:127.0.0.1:10023"), "postfix")
        assert [line for line in done.stdout.splitlines() if line.strip() and line[0] not in "# s"] == []
        assert "#   postfix reload" in done.stdout

    @pytest.mark.mta
    def test_postfix_understands_it(self, run):
        (text,) = json.loads(run(listen("postfix", "tcp:[::1]:10023"), "postfix", "--json").stdout)[
            "files"
        ].values()
        with place() as directory, Postfix(directory / "postfix", text) as postfix:
            told = postfix.postconf("-h", "smtpd_recipient_restrictions")
            assert "{ inet:[::1]:10023, timeout=5s, default_action=DUNNO }" in told
            assert postfix.run(postfix.root / "usr/sbin/postconf", "-n").stderr == ""


class TestExim:
    @pytest.mark.parametrize(
        ("address", "where"),
        [
            ("unix:/run/multigrey/exim.sock", "/run/multigrey/exim.sock"),
            ("tcp:127.0.0.1:10024", "inet:127.0.0.1:10024"),
            ("tcp:[::1]:10024", "inet:[::1]:10024"),
            ("systemd:exim", "/run/multigrey/exim.sock"),
        ],
    )
    def test_defines_the_macro(self, run, address, where):
        done = run(listen("exim", address), "exim", "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        (text,) = told["files"].values()
        assert f"MULTIGREY_SOCKET = {where}\n" in text
        assert "CHECK_RCPT_NO_FAIL_TOO_MANY_BAD_RCPT = true\n" in text
        copied = told["then"][0].split()[1:-1]
        assert [Path(each).name for each in copied] == ["multigrey.rcpt.acl", "multigrey.data.acl"]
        assert all(Path(each).is_file() for each in copied)

    @pytest.mark.mta
    def test_exim_reaches_the_daemon_there(self, short_directory):
        """The macro of a TCP listener and of a unix socket, expanded by a real Exim while the daemon runs."""
        port = free_port()
        sockets = {"tcp": f"tcp:127.0.0.1:{port}", "unix": "unix:{dir}/state/exim.sock"}
        config = 'state_dir = "{dir}/state"\n' + "".join(
            listen("exim", address, name=name) for name, address in sockets.items()
        )
        config = config.replace('name = "unix"\n', 'name = "unix"\nmode = "0666"\n')
        with Daemon(short_directory, config, user="nobody") as daemon, place() as directory:
            empty = write(directory / "acl", "")
            for name in sockets:
                done = CliRunner().invoke(
                    main, ["snippet", "exim", "--json", "--listener", name, "--config", str(daemon.config)]
                )
                (text,) = json.loads(done.stdout)["files"].values()
                exim = PlainExim(directory / name, empty, empty, text)
                question = r"multigrey/1\nclient_address=192.0.2.1\nsender=a@example.org\nrecipient=b@x\n\n"
                asked = f"${{readsocket{{MULTIGREY_SOCKET}}{{{question}}}{{5s}}}}"
                defined = text.rpartition("MULTIGREY_SOCKET = ")[2].strip()
                done = exim.run(
                    exim.binary, "-C", exim.configuration, "-be", asked.replace("MULTIGREY_SOCKET", defined)
                )
                assert done.stdout.startswith("action=defer"), done.stdout + done.stderr


class TestGreylistd:
    def test_changes_the_path(self, run):
        done = run(
            listen("greylistd", "unix:/run/multigrey/greylistd.sock", group="Debian-exim"), "greylistd"
        )
        assert done.exit_code == 0
        assert greylistd_edit("/run/multigrey/greylistd.sock") in done.stdout

    @pytest.mark.parametrize("path", ["/run/multigrey/greylistd.sock", "/var/run/greylistd/socket"])
    def test_asks_twice_and_wants_true(self, tmp_path, path):
        before = "${readsocket{/var/run/greylistd/socket}\\\n  {--grey $x}\\\n  {5s}{}{false}}\n"
        file = tmp_path / "acl"
        file.write_text(f"accept\n{before}deny\n{before}")
        for _ in range(2):
            subprocess.run(["sh", "-c", f"{greylistd_edit(path)} {file}"], check=True)
        first = f"${{readsocket{{{path}}}\\\n  {{--grey $x}}\\\n  {{5s}}{{}}{{"
        second = first.replace("5s", "1s") + "false}}"
        after = f"${{if eq{{{first}{second}}}}}}}{{true}}}}\n"
        assert file.read_text() == f"accept\n{after}deny\n{after}"

    def test_tcp_will_not_do(self, run):
        assert run(listen("greylistd", "tcp:127.0.0.1:10025"), "greylistd").exit_code == 1


class TestWhichListener:
    TWO = listen("exim", "tcp:127.0.0.1:1", name="one") + listen("exim", "tcp:127.0.0.1:2", name="two")

    def test_the_first_by_default(self, run):
        told = json.loads(run(self.TWO, "exim", "--json").stdout)
        assert told["listener"] == "one"
        assert "The listener two would do as well: --listener" in told["notes"]

    def test_the_one_asked_for(self, run):
        assert json.loads(run(self.TWO, "exim", "--json", "--listener", "two").stdout)["listener"] == "two"

    def test_one_that_is_not_there(self, run):
        done = run(self.TWO, "exim", "--listener", "three")
        assert (done.exit_code, "one, two" in done.stderr) == (1, True)

    @pytest.mark.parametrize("server", ["postfix", "greylistd"])
    def test_without_one_the_table_to_add_is_told(self, run, server):
        done = run(self.TWO, server)
        assert (done.exit_code, f'protocol = "{server}"' in done.stderr) == (1, True)

    def test_a_wrong_configuration(self, run):
        assert run("[listen]\n", "exim").exit_code == 2


class TestSystemd:
    def test_one_that_nobody_makes(self, run):
        done = run(listen("exim", "systemd:nobody"), "exim")
        assert (done.exit_code, "FileDescriptorName=nobody" in done.stderr) == (1, True)


class _File(PurePosixPath):
    """A file of a distribution, as importlib.metadata gives it."""

    def locate(self) -> Path:
        return Path("/opt/venv/lib/python3.11/site-packages") / self


class TestWhereTheFilesAre:
    def test_in_a_checkout(self):
        assert integrations() == CHECKOUT / "integrations"

    def test_of_an_installed_wheel(self, tmp_path):
        files = [
            _File("multigrey/cli/snippet.py"),
            _File("../../../share/multigrey/integrations/exim/multigrey.rcpt.acl"),
        ]
        assert integrations(tmp_path / "multigrey", files) == Path("/opt/venv/share/multigrey/integrations")

    def test_nowhere(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        if not any(Path(each, "share/multigrey").exists() for each in ("/usr", "/usr/local")):
            assert integrations(tmp_path / "multigrey", []) is None

    def test_a_real_wheel_brings_them(self, tmp_path):
        """Built and unpacked: its own record leads to the files, wherever it is installed."""
        if os.environ.get("PIP_NO_INDEX"):
            pytest.skip("building a wheel needs hatchling from an index")
        build = subprocess.run(
            [
                sys.executable,
                "-c",
                "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]))",
                tmp_path,
            ],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if "No module named 'hatchling'" in build.stderr:
            pytest.skip("hatchling is not installed here")
        assert build.returncode == 0, build.stderr
        (wheel,) = tmp_path.glob("*.whl")
        shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
        (data,) = (tmp_path / "unpacked").glob("*.data/data/share/multigrey/integrations")
        assert (data / "exim/multigrey.rcpt.acl").is_file()
