"""What is installed: lower bounds and locks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


# Installing what is locked


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


def test_another_file_than_the_locked_one_is_refused(fetched: Path, python: Path, tmp_path: Path):
    (tmp_path / "lock.txt").write_text(re.sub(r"sha256:.", "sha256:0", (LOCKS / "serve.txt").read_text()))
    done = install(python, fetched, tmp_path / "lock.txt")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_the_lock_is_for_every_python_that_is_supported():
    assert PYTHONS[0] == FACTS["project"]["requires-python"].removeprefix(">=")
