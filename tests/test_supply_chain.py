"""What is installed, and what is given away: lower bounds, locks, bills of materials, wheels."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support import sbom
from tests.support.locks import LOCKS, PROJECTS, PYTHONS, ROOT, Pin, graph, parse, pins, read

FACTS = read(ROOT / "pyproject.toml")
RUNTIME = FACTS["project"]["dependencies"]
GROUPS = FACTS["dependency-groups"]
BACKENDS = [*GROUPS["build"], *chain(*(read(path)["build-system"]["requires"] for path in PROJECTS))]
EVERYTHING = [*RUNTIME, *chain(*FACTS["project"]["optional-dependencies"].values()), *BACKENDS]
REQUIRED = {"serve": RUNTIME, "test": EVERYTHING, "build": BACKENDS, "supply": GROUPS["supply"]}
HASHED = sorted(REQUIRED)
ADVISORIES = read(LOCKS / "advisories.toml")


# What the locks hold


def uncovered(requirements: Iterable[str], locked: Mapping[str, Pin]) -> list[str]:
    """Requirements that a lock does not fulfil."""
    wanted = {one: Requirement(one) for one in requirements}
    held = {one: locked.get(canonicalize_name(wanted[one].name)) for one in wanted}
    return [one for one, pin in held.items() if pin is None or pin.version not in wanted[one].specifier]


@pytest.mark.parametrize("lock", [*HASHED, "lowest"])
def test_a_lock_covers_what_the_project_requires(lock: str):
    assert uncovered(REQUIRED.get(lock, EVERYTHING), pins(lock)) == [], "run: make lock"


@pytest.mark.parametrize("lock", ["serve", "test", "build"])
def test_a_lock_holds_what_that_brings_along_and_no_more(lock: str):
    assert set(pins(lock)) == set(graph(REQUIRED[lock])), "run: make lock"


def test_the_lowest_versions_are_the_bounds_or_what_another_bound_asks_for():
    """A bound that went down after `make lock` is found, too."""
    bounds = {
        Requirement(one).name: Version(bound.version)
        for one in EVERYTHING
        for bound in Requirement(one).specifier
        if bound.operator == ">="
    }
    lowest = pins("lowest")
    other = {name: str(lowest[canonicalize_name(name)].version) for name in bounds}
    other = {name: found for name, found in other.items() if Version(found) != bounds[name]}
    assert other == {}, "run: make lock"


@pytest.mark.parametrize(
    ("requirement", "found"),
    [("h11>=0.16", False), ("h11>=99", True), ("H11", False), ("not-there", True), ("h11<0.16", True)],
)
def test_what_a_lock_does_not_cover_is_found(requirement: str, found: bool):
    locked = parse("h11==0.16.0 ; sys_platform == 'linux' \\\n    --hash=sha256:" + "a" * 64 + "\n")
    assert locked == {"h11": Pin(Version("0.16.0"), ("a" * 64,))}
    assert bool(uncovered([requirement], locked)) == found


@pytest.mark.parametrize("lock", HASHED)
def test_every_pin_has_its_hashes(lock: str):
    assert all(pin.hashes for pin in pins(lock).values())


@pytest.mark.parametrize("lock", ["serve", "build"])
def test_the_locks_agree(lock: str):
    assert pins(lock).items() <= pins("test").items()


@pytest.mark.parametrize("path", sorted(LOCKS.iterdir()), ids=lambda path: path.name)
def test_no_lock_names_an_index(path: Path):
    """Where packages come from is the machine's business."""
    assert re.findall(r"\S+://\S+|--(?:index|extra|find|trusted)\S+", path.read_text()) == []


def test_the_makefile_installs_nothing_else():
    text = (ROOT / "Makefile").read_text()
    assert "LOCKED  := --require-hashes " in text
    lines = re.findall(r"(?m)^.*\bpip\b.* install .*|^.*\$\(INSTALL\).*", text.replace("\\\n", " "))
    assert len(lines) > 5
    for line in lines:
        assert "$(LOCKED) " in line or "--no-deps --editable ." in line or line.startswith("INSTALL")


# Advisories


def open_to(locked: Mapping[str, Pin]) -> list[str]:
    """Packages in a version that an advisory is about."""
    return [
        f"{name} {locked[name].version}: {', '.join(known['ids'])}, fixed in {known['fixed']}"
        for name, known in ADVISORIES.items()
        if name in locked and locked[name].version < Version(known["fixed"])
    ]


@pytest.mark.parametrize("lock", [*HASHED, "lowest"])
def test_no_version_that_may_be_installed_has_a_known_advisory(lock: str):
    """The lowest versions are those that our bounds and those of our dependencies allow together."""
    assert open_to(pins(lock)) == [], "raise the bound in pyproject.toml"


def test_what_is_installed_fulfils_the_bounds():
    installed = {name: Pin(Version(version(name)), ()) for name in graph(EVERYTHING)}
    assert uncovered(EVERYTHING, installed) == [], "run: make .venv/tools"
    assert open_to(installed) == []


def test_a_version_with_an_advisory_is_found():
    assert open_to({"h11": Pin(Version("0.14.0"), ()), "h2": Pin(Version("4.4.1"), ())}) == [
        "h11 0.14.0: CVE-2025-43859, GHSA-vqfr-h8mv-ghfj, fixed in 0.16.0"
    ]


@pytest.mark.parametrize("name", sorted(ADVISORIES))
def test_an_advisory_is_whole_and_of_something_we_use(name: str):
    known = ADVISORIES[name]
    assert set(known) == {"ids", "public", "fixed", "what"}
    assert name in pins("test")
    assert isinstance(known["public"], date)
    for one in known["ids"]:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[23456789cfghjmpqrvwx]{4}){3}", one)


# Bills of materials


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_the_bill_of_materials_says_what_the_lock_says(path: Path):
    assert path.with_name(sbom.NAME).read_text() == sbom.bill(path), "run: python -m tests.support.sbom"
    assert read(path)["tool"]["hatch"]["build"]["targets"]["wheel"]["sbom-files"] == [sbom.NAME]


def test_the_bill_of_materials_has_version_hashes_and_licence_of_everything():
    found = json.loads((ROOT / sbom.NAME).read_text())
    parts = {part["name"]: part for part in found["components"]}
    assert set(parts) == set(pins("serve"))
    for name, pin in pins("serve").items():
        assert parts[name]["version"] == str(pin.version)
        assert {one["content"] for one in parts[name]["hashes"]} == set(pin.hashes)
        assert len(parts[name]["licenses"]) == 1
    assert not {"serialNumber", "timestamp"} & {*found, *found["metadata"]}


# Wheels


def copy(target: Path, *, umask: int, backwards: bool) -> None:
    """The sources as they are, with modes and in an order that nothing should depend on."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in sorted(filter(None, listed.stdout.split("\0")), reverse=backwards):
        if (source := ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(source.read_bytes())
            (target / name).chmod((source.stat().st_mode | 0o644) & ~umask & 0o777)


def build(directory: Path, **environment: str) -> dict[str, bytes]:
    """What `make wheel` builds there, with the tools of this environment."""
    venv = Path(sys.executable).parents[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-C", directory, "wheel", f"VENV={venv}", "-o", venv / "installed"],
        env={**kept, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in sorted((directory / "dist").iterdir())}


needs_checkout = pytest.mark.skipif(
    not (ROOT / ".git").exists() or not all(map(shutil.which, ("git", "make"))),
    reason="needs git, make and a checkout",
)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All wheels, built from a commit of 2026-02-03 04:05:06 UTC."""
    directory = tmp_path_factory.mktemp("one")
    copy(directory, umask=0o022, backwards=False)
    dated = {"GIT_COMMITTER_DATE": "1770091506 +0000", "GIT_AUTHOR_DATE": "1770091506 +0000"}
    who = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message=tests: One"]):
        subprocess.run(["git", *who, *arguments], cwd=directory, env={**os.environ, **dated}, check=True)
    return build(directory)


@needs_checkout
def test_a_wheel_is_the_same_octets_wherever_it_is_built(wheels: dict[str, bytes], tmp_path: Path):
    other = tmp_path / "a longer name" / "with a blank"
    copy(other, umask=0o077, backwards=True)
    assert len(wheels) == len(PROJECTS)
    assert build(other, SOURCE_DATE_EPOCH="1770091506", TZ="Asia/Kathmandu", LC_ALL="C") == wheels
    later = build(other, SOURCE_DATE_EPOCH="1770091600")
    assert [name for name in wheels if later[name] == wheels[name]] == []


@needs_checkout
def test_a_wheel_carries_its_bill_of_materials(wheels: dict[str, bytes], tmp_path: Path):
    for name, octets in wheels.items():
        (tmp_path / name).write_bytes(octets)
        with zipfile.ZipFile(tmp_path / name) as archive:
            distribution = "-".join(name.split("-")[:2])
            found = json.loads(archive.read(f"{distribution}.dist-info/sboms/{sbom.NAME}"))
        assert f"{found['metadata']['component']['name'].replace('-', '_')}-" in name


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def fetched() -> Path:
    """A folder with the files that the lock of `make serve` names for this Python."""
    cache = Path(os.environ.get("MULTIGREY_CACHE") or ROOT / ".cache")
    folder = cache / f"wheels-{sys.implementation.cache_tag}"
    done = subprocess.run(
        [
            *[*PIP, "download", "--quiet", "--retries", "1", "--timeout", "10", "--require-hashes"],
            *["--only-binary", ":all:", "--dest", folder, "-r", LOCKS / "serve.txt"],
        ],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode and "Retrying" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder


def install(python: Path, folder: Path, requirements: Path) -> subprocess.CompletedProcess[str]:
    """Into the environment of another Python, from a folder of files."""
    return subprocess.run(
        [
            *[*PIP, "--python", python, "install", "--quiet", "--no-index", "--find-links", folder],
            *["--require-hashes", "--only-binary", ":all:", "-r", requirements],
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def python(short_directory: Path) -> Path:
    """The Python of an empty environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", short_directory / "venv"], check=True)
    return short_directory / "venv" / "bin" / "python"


CONFIG = """
state_dir = "{0}/state"
[[listen]]
protocol = "postfix"
address = "unix:{0}/state/postfix.sock"
"""
QUESTION = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nclient_name=unknown\n"
    b"helo_name=mail.example.org\nsender=alice@example.org\nrecipient=bob@example.net\n\n"
)


@needs_checkout
def test_the_wheel_serves_with_what_is_locked(
    wheels: dict[str, bytes], fetched: Path, python: Path, short_directory: Path
):
    name = next(name for name in wheels if name.startswith("multigrey-"))
    wheel, requirements = short_directory / name, short_directory / "requirements.txt"
    wheel.write_bytes(wheels[name])
    ours = f"multigrey @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheels[name]).hexdigest()}\n"
    requirements.write_text((LOCKS / "serve.txt").read_text() + ours)
    done = install(python, fetched, requirements)
    assert done.returncode == 0, done.stderr
    config = short_directory / "multigrey.toml"
    config.write_text(CONFIG.format(short_directory))
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    with subprocess.Popen(
        [python.with_name("multigrey"), "serve", "--config", config, *user],
        cwd="/", stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            assert " ready: " in (said := process.stderr.readline()), said + process.stderr.read()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(f"{short_directory}/state/postfix.sock")
                sock.sendall(QUESTION)
                assert sock.recv(1000).startswith(b"action=DEFER_IF_PERMIT 4.7.1 Greylisted")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
        assert process.wait(10) == 0


def test_another_file_than_the_locked_one_is_refused(fetched: Path, python: Path, tmp_path: Path):
    (tmp_path / "lock.txt").write_text(re.sub(r"sha256:.", "sha256:0", (LOCKS / "serve.txt").read_text()))
    done = install(python, fetched, tmp_path / "lock.txt")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_lock_is_for_every_python_that_is_supported():
    assert PYTHONS[0] == FACTS["project"]["requires-python"].removeprefix(">=")
