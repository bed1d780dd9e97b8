"""Debian packages unpacked into private directories: real programs, nothing installed.

`unpack("postfix", "postfix")` gives a directory that holds `usr/sbin/postconf` and so on.  apt-get only
downloads, `dpkg -x` only extracts: no maintainer script runs, no user is added, no privilege is needed.
It happens once per checkout; two test runs may ask at the same moment.

Tests call `unpack_or_skip`, which skips where there is no apt at all; scripts call `unpack`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = [
    "DebianError",
    "NoAptError",
    "cache_directory",
    "library_path",
    "locked",
    "mirror",
    "run",
    "unpack",
    "unpack_or_skip",
]

CHECKOUT = Path(__file__).resolve().parents[2]
FALLBACK = Path("/var/cache/multigrey-tests")
"""For root with a checkout that only root can enter: the programs unpacked give up root and must reach it."""


class DebianError(Exception):
    """apt-get or dpkg failed; the text ends with what they said."""


class NoAptError(DebianError):
    """This machine has no apt-get or no dpkg."""


def unpack(set_name: str, *packages: str, dependencies: bool = True, suite: str = "") -> Path:
    """The directory into which `packages` are unpacked, made at the first call.

    With `dependencies` it also holds what they depend on and this machine lacks; without, only they
    themselves.  With the name of another Debian release as `suite` it holds all they depend on, the C library
    and its loader included.  Packages that conflict with each other belong into different sets.
    Raises NoAptError where there is no apt, DebianError when it fails (no network, no such package).
    """
    cache = cache_directory()
    root, stamp = cache / set_name, cache / f"{set_name}.stamp"
    words = (*packages, "+dependencies" if dependencies else "+nothing", *([f"+{suite}"] if suite else []))
    wanted = " ".join(words) + "\n"
    if _content(stamp) == wanted:
        return root
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise NoAptError(f"{program} is not here: Debian's {', '.join(packages)} cannot be unpacked")
    with locked(cache, set_name):
        if _content(stamp) != wanted:
            tree = _download(cache, set_name, packages, dependencies=dependencies, suite=suite)
            _replace(root, tree)
            stamp.write_text(wanted)
    return root


def unpack_or_skip(set_name: str, *packages: str, dependencies: bool = True, suite: str = "") -> Path:
    """`unpack` for tests: skips where there is no apt; any other trouble fails the test.

    Another release may be gone from the mirrors: then it skips too.
    """
    import pytest

    try:
        return unpack(set_name, *packages, dependencies=dependencies, suite=suite)
    except NoAptError as error:
        pytest.skip(str(error))
    except DebianError as error:
        if not suite:
            raise
        pytest.skip(f"Debian {suite} cannot be had: {error}")


def cache_directory() -> Path:
    """Where the sets lie: $MULTIGREY_CACHE, else `.cache` in the checkout; the folder may not exist yet."""
    named = os.environ.get("MULTIGREY_CACHE")
    if named:
        return Path(named).resolve() / "debian"
    if os.getuid() == 0 and not _everyone_may_enter(CHECKOUT):
        return FALLBACK / "debian"
    return CHECKOUT / ".cache" / "debian"


def library_path(root: Path) -> str:
    """The directories of `root` that hold shared libraries, as LD_LIBRARY_PATH wants them.

    Found by looking, not by name: they differ between architectures, and some packages use their own.
    """
    found = {
        library.parent
        for top in ("usr/lib", "lib")
        for pattern in ("*.so*", "*/*.so*", "*/*/*.so*")
        for library in (root / top).glob(pattern)
    }
    return ":".join(str(directory) for directory in sorted(found))


def _download(cache: Path, set_name: str, packages: Sequence[str], *, dependencies: bool, suite: str) -> Path:
    """Fetch and extract into a new directory beside the final one."""
    work = cache / f"{set_name}.new"
    shutil.rmtree(work, ignore_errors=True)
    debs, tree = work / "debs", work / "tree"
    (debs / "partial").mkdir(parents=True)
    tree.mkdir()
    if suite:
        _fetch(debs, packages, dependencies=dependencies, options=_lists_of(work / "apt", suite))
    else:
        _fetch_of_here(cache, debs, packages, dependencies=dependencies)
    for deb in sorted(debs.glob("*.deb")):
        run("dpkg", "-x", str(deb), str(tree))
    _open_up(tree)
    tree.chmod(0o755)
    return tree


def _fetch_of_here(cache: Path, debs: Path, packages: Sequence[str], *, dependencies: bool) -> None:
    try:
        _fetch(debs, packages, dependencies=dependencies, options=())
    except DebianError:  # no package lists here, or older than what the mirrors still have: take our own
        _fetch(debs, packages, dependencies=dependencies, options=_own_lists(cache))


def _fetch(debs: Path, packages: Sequence[str], *, dependencies: bool, options: Sequence[str]) -> None:
    """Put the packages' files into `debs`; what is there already stays."""
    apt = ("apt-get", "-q", "-y", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", *options)
    if dependencies:
        archives = f"Dir::Cache::archives={debs}"
        run(*apt, "--no-install-recommends", "--download-only", "-o", archives, "install", *packages)
    # "install" leaves out what this machine has installed
    here = {deb.name.partition("_")[0] for deb in debs.glob("*.deb")}
    missing = [package for package in packages if package not in here]
    if missing:
        run(*apt, "download", *missing, cwd=debs)


def _own_lists(cache: Path) -> tuple[str, ...]:
    """apt options that name fresh package lists inside the cache; needs no root, changes nothing outside."""
    lists = cache / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache / 'apt'}")
    (cache / "apt" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    with locked(cache, "lists"):
        run("apt-get", "-q", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", *options, "update")
    return options


def _lists_of(directory: Path, suite: str) -> tuple[str, ...]:
    """apt options for another release on this machine's Debian mirror, as if nothing were installed."""
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "archives/partial").mkdir(parents=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (directory / "sources.list").write_text(f"deb [signed-by={keys}] {mirror()} {suite} main\n")
    (directory / "status").write_text("")
    settings = {
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory,
    }
    options = tuple(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))
    run("apt-get", "-q", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", *options, "update")
    return options


def mirror() -> str:
    """The mirror of Debian that this machine's apt uses.  Raises DebianError."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise NoAptError(f"{program} is not here: no package of Debian can be had")
    targets = ("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    known = [line.split() for line in run(*targets).splitlines()]
    found = next((uri for origin, uri in known if origin == "Debian"), None)
    if found is None:
        raise DebianError("this machine knows no mirror of Debian")
    return found


def _replace(root: Path, tree: Path) -> None:
    """Make `tree` the set's directory; the stamp is written only after this."""
    shutil.rmtree(root, ignore_errors=True)
    tree.rename(root)
    shutil.rmtree(tree.parent)


def _open_up(tree: Path) -> None:
    """Let everybody read and nobody become somebody else.

    With set-id bits the loader would ignore LD_LIBRARY_PATH and LD_PRELOAD (ld.so(8)).
    """
    for path in tree.rglob("*"):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        may_run = 0o111 if mode & 0o111 else 0
        path.chmod(mode & 0o777 | 0o444 | may_run)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run to the end and return the output; DebianError with its last lines if it fails."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise DebianError(f"{' '.join(command)} ended with status {done.returncode}:\n{tail}")
    return done.stdout


@contextlib.contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """Hold the exclusive lock of one set in the cache; it ends with the process at the latest."""
    _make(cache)
    with (cache / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _make(directory: Path) -> None:
    """Make it and its parents, enterable for everyone whatever the umask."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)


def _everyone_may_enter(directory: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (directory, *directory.parents))
