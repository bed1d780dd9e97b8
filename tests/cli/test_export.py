from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import export as module
from multigrey.cli import main
from multigrey.cli.export import FORMS, Exported, written
from tests.mta.exim import PlainExim
from tests.mta.harness import place, write
from tests.mta.postfix import Postfix
from tests.support.debian import library_path, unpack_or_skip

DAY = 86_400
NOW = 1_000_000_000  # 2001-09-09T01:46:40Z
ROWS = [
    ("192.0.2.1", NOW - 600, NOW - 60),
    ("2001:db8::1", NOW - 600, NOW - 60),
    *[(f"198.51.100.{number}", NOW - 9 * DAY, NOW - 2 * DAY) for number in range(20)],
]
FOUND = Exported(ROWS, NOW, 36 * DAY, 0)


def run_tool(root: Path, program: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [root / program, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": library_path(root), "LC_ALL": "C", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


class TestForms:
    def test_heading_and_days(self):
        assert written("exim-hostlist", Exported(ROWS[:3], NOW, 36 * DAY, 7)).splitlines() == [
            "# 3 clients that came back after multigrey deferred them: exim-hostlist",
            "# written 2001-09-09 01:46Z, seen within 36d before",
            "# 7 more were left out (--max)",
            "# last seen 2001-09-09",
            "192.0.2.1",
            "2001:db8::1",
            "# last seen 2001-09-07",
            "198.51.100.0",
        ]

    @pytest.mark.parametrize("form", FORMS)
    def test_no_network_is_ever_written(self, form):
        lines = [line for line in written(form, FOUND).splitlines() if not line.startswith("#")]
        assert not any("/" in line for line in lines)

    @pytest.mark.mta
    def test_postfix_reads_the_table(self):
        with place() as directory, Postfix(directory / "postfix") as postfix:
            for number, rows in enumerate([ROWS, []]):
                text = written("postscreen", Exported(rows, NOW, DAY, 0))
                table = write(directory / f"proven{number}", text)
                for address in ("192.0.2.1", "2001:db8::1", "198.51.100.19", "192.0.2.2", "2001:db8::2"):
                    done = postfix.run(postfix.root / "usr/sbin/postmap", "-q", address, f"cidr:{table}")
                    known = any(address == row[0] for row in rows)
                    expected = (0, "permit\n", "") if known else (1, "", "")
                    assert (done.returncode, done.stdout, done.stderr) == expected

    @pytest.mark.mta
    def test_exim_reads_the_list(self):
        with place() as directory:
            empty = write(directory / "acl", "")
            exim = PlainExim(directory / "exim", empty, empty)
            listed = write(directory / "proven", written("exim-hostlist", FOUND))
            for address in ("192.0.2.1", "2001:db8::1", "198.51.100.7", "192.0.2.2", "2001:db8::2"):
                asked = f"${{if match_ip{{{address}}}{{{listed}}}{{yes}}{{no}}}}"
                done = exim.run(exim.binary, "-C", exim.configuration, "-be", asked)
                known = any(address == row[0] for row in ROWS)
                assert (done.returncode, done.stdout.strip()) == (0, "yes" if known else "no"), done.stderr

    @pytest.mark.mta
    @pytest.mark.parametrize("rows", [ROWS, []])
    def test_nft_reads_the_script(self, tmp_path, rows):
        root = unpack_or_skip("nftables", "nftables")
        script = tmp_path / "proven.nft"
        script.write_text(written("nft", Exported(rows, NOW, DAY, 0)))
        status, told, complaints = run_tool(root, "usr/sbin/nft", "-c", "-f", script)
        if "Operation not permitted" in complaints or "Protocol not supported" in complaints:
            pytest.skip(f"nft may not ask the kernel here: {complaints.splitlines()[0]}")
        assert (status, told, complaints) == (0, "", "")


@pytest.fixture
def daemon(monkeypatch):
    """What the daemon would answer, and what it was asked."""
    asked: list[object] = []

    def answer(*items):
        def stream(config, name, options):
            asked.append((name, options))
            return iter(items)

        monkeypatch.setattr(module, "stream", stream)
        return asked

    return answer


END = {"time": NOW, "number": 1, "more": 0, "hidden": 0}


class TestCommand:
    def test_asks_and_writes(self, daemon):
        asked = daemon({"addresses": [list(ROWS[0])]}, {"addresses": [list(ROWS[1])]}, END)
        done = CliRunner().invoke(main, ["export", "postscreen", "--since", "7d", "--max", "50"])
        assert (done.exit_code, asked) == (0, [("export", {"since": 7 * DAY, "max": 50})])
        assert done.stdout.splitlines()[-3:] == [
            "# last seen 2001-09-09",
            "192.0.2.1 permit",
            "2001:db8::1 permit",
        ]

    def test_replaces_a_file_when_it_is_complete(self, daemon, tmp_path):
        daemon({"addresses": [list(ROWS[0])]}, END)
        target = tmp_path / "proven"
        target.write_text("old")
        done = CliRunner().invoke(main, ["export", "exim-hostlist", "-o", str(target)])
        assert (done.exit_code, done.output) == (0, "")
        assert target.read_text().endswith("\n192.0.2.1\n")
        assert target.stat().st_mode & 0o777 == 0o644
        assert [path.name for path in tmp_path.iterdir()] == ["proven"]

    def test_a_daemon_that_breaks_off_leaves_the_old_file(self, daemon, tmp_path):
        daemon({"addresses": [list(ROWS[0])]})
        target = tmp_path / "proven"
        target.write_text("old")
        done = CliRunner().invoke(main, ["export", "nft", "-o", str(target)])
        assert (done.exit_code, target.read_text()) == (1, "old")

    def test_without_addresses_the_file_is_valid_and_the_status_1(self, daemon):
        daemon(END)
        done = CliRunner().invoke(main, ["export", "postscreen"])
        assert done.exit_code == 1
        assert all(line.startswith("#") for line in done.stdout.splitlines())

    def test_json(self, daemon):
        daemon({"addresses": [list(ROWS[0])]}, {**END, "more": 3})
        done = CliRunner().invoke(main, ["export", "nft", "--json"])
        assert json.loads(done.stdout) == {
            "time": NOW,
            "since": 36 * DAY,
            "more": 3,
            "addresses": [{"address": "192.0.2.1", "first_retry": NOW - 600, "last_seen": NOW - 60}],
        }

    def test_says_that_redacted_ones_were_left_out(self, daemon):
        daemon({**END, "hidden": 9})
        said = CliRunner().invoke(main, ["export", "nft"]).stderr
        assert "9 retries are left out: the client address is redacted" in said

    def test_what_is_no_address_is_never_written(self, daemon):
        daemon({"addresses": [["192.0.2.0/24", 0, 0]]}, END)
        assert isinstance(CliRunner().invoke(main, ["export", "nft"]).exception, ValueError)

    @pytest.mark.parametrize("arguments", [["ipset"], ["nft", "--since", "7"], ["nft", "--max", "0"], []])
    def test_wrong_command_lines(self, arguments):
        assert CliRunner().invoke(main, ["export", *arguments]).exit_code == 2

    def test_a_file_that_cannot_be_written(self, daemon, tmp_path):
        daemon(END)
        done = CliRunner().invoke(main, ["export", "nft", "-o", str(tmp_path / "no" / "file")])
        assert (done.exit_code, "No such file" in done.stderr) == (2, True)
