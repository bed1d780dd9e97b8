"""The files an administrator copies agree with each other, with the man pages and with systemd."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.mta.shipped import INTEGRATIONS
from tests.support.debian import library_path, unpack_or_skip

MAN = INTEGRATIONS.parent / "man"
PAGES = ["multigrey-exim.7", "multigrey-postfix.7"]
_REGION = re.compile(
    r'^\.\\" begin integrations/(\S+)\n\.Bd -literal\n(.*?)^\.Ed\n\.\\" end integrations/\1$',
    re.MULTILINE | re.DOTALL,
)
_ESCAPES = {r"\(aq": "'", r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\-": "-", r"\e": "\\", r"\&": ""}


def as_printed(source: str) -> str:
    """Literal mdoc as a reader sees it (mandoc_char(7))."""
    return re.sub(r"\\(?:\(..|.)", lambda escape: _ESCAPES[escape[0]], source)


@pytest.mark.parametrize("page", PAGES)
def test_man_pages_show_the_shipped_files(page: str) -> None:
    regions = dict(_REGION.findall((MAN / page).read_text()))
    assert len(regions) >= 4
    for name, source in regions.items():
        assert as_printed(source) == (INTEGRATIONS / name).read_text(), f"{page}: {name}"


def test_both_acl_files_treat_the_answer_alike() -> None:
    halves = {
        (INTEGRATIONS / "exim" / name).read_text().partition(".ifdef MULTIGREY_SOCKET\n")[2]
        for name in ("multigrey.rcpt.acl", "multigrey.data.acl")
    }
    # only with MULTIGREY_STRICT they differ: senders that are judged at the data pass at RCPT
    without = re.compile(r"^#.*\n|^    !senders .*\n", re.MULTILINE)
    (both,) = {without.sub("", half) for half in halves}
    assert both.count("${readsocket{") == 4


def unit(name: str) -> configparser.ConfigParser:
    """A systemd unit; options that may be repeated keep their last value."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(INTEGRATIONS / "systemd" / name)
    return parser


@pytest.mark.parametrize(("name", "group"), [("postfix", "postfix"), ("exim", "Debian-exim")])
def test_socket_units_and_tables_say_the_same(name: str, group: str) -> None:
    socket = unit(f"multigrey-{name}.socket")["Socket"]
    (table,) = tomllib.loads((INTEGRATIONS / name / "multigrey.toml").read_text())["listen"]
    assert table["protocol"] == socket["FileDescriptorName"] == name
    assert table["address"] == f"unix:{socket['ListenStream']}"
    assert table["group"] == socket["SocketGroup"] == group
    assert table["mode"] == socket["SocketMode"] == "0660"
    assert socket["Service"] == "multigrey.service"


def test_the_service_may_write_where_sockets_are() -> None:
    writable = unit("multigrey.service")["Service"]["ReadWritePaths"].replace("-/", "/").split()
    for path in sorted(INTEGRATIONS.rglob("multigrey.toml")):
        for table in tomllib.loads(path.read_text())["listen"]:
            assert str(Path(table["address"].removeprefix("unix:")).parent) in writable


@pytest.fixture(scope="module")
def systemd_analyze():
    """Runs systemd-analyze(1) on units; only the program's path, which is not here, is replaced."""
    program = shutil.which("systemd-analyze")
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C"}
    if program is None:
        root = unpack_or_skip("systemd", "systemd")
        program = str(root / "usr/bin/systemd-analyze")
        environment["LD_LIBRARY_PATH"] = (
            f"{library_path(root)}:{root / 'usr/lib/systemd'}:{root / 'lib/systemd'}"
        )

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run


def unit_without_program(path: Path, directory: Path) -> Path:
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
    copy = directory / path.name
    copy.write_text(text)
    return copy


def test_systemd_finds_nothing_wrong(systemd_analyze, tmp_path: Path) -> None:
    paths = sorted((INTEGRATIONS / "systemd").glob("multigrey*.s[eo]*"))
    units = [unit_without_program(path, tmp_path) for path in paths]
    assert [path.suffix for path in units] == [".socket", ".socket", ".service"]
    done = systemd_analyze("verify", "--man=no", *units)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "multigrey" in line]
    assert (done.returncode, complaints) == (0, [])


def exposure(systemd_analyze, unit: Path) -> float:
    """The figure by which systemd rates how much a service could do, from 0 to 10."""
    done = systemd_analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze rates no files: {done.stderr.strip()[:200]}")
    return float(found[1])


def test_the_service_has_little_it_does_not_need(systemd_analyze, tmp_path: Path) -> None:
    path = unit_without_program(INTEGRATIONS / "systemd" / "multigrey.service", tmp_path)
    assert exposure(systemd_analyze, path) <= 1.2
    wider = tmp_path / "wider.service"
    wider.write_text(path.read_text().replace("\nPrivateMounts=yes\n", "\n"))
    assert exposure(systemd_analyze, wider) > 1.2, "the figure would tell"


def test_the_selinux_module_can_be_compiled(tmp_path: Path) -> None:
    root = unpack_or_skip("selinux", "checkpolicy", "semodule-utils")
    environment = {"PATH": f"{root}/usr/bin", "LD_LIBRARY_PATH": library_path(root)}
    for words in (
        ["checkmodule", "-M", "-m", "-o", "multigrey.mod", str(INTEGRATIONS / "selinux/multigrey.te")],
        ["semodule_package", "-o", "multigrey.pp", "-m", "multigrey.mod"],
    ):
        words[0] = f"{root}/usr/bin/{words[0]}"
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "multigrey.pp").stat().st_size > 500
