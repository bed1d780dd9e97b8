"""`make deb`: packages for Debian and its relatives, in dist/.

Neither debhelper nor root is needed: a tree of files, `dpkg-deb`, and wheels that the locks name, octet for
octet.  One commit gives the same packages each time.  packages/deb/README.md says why they look like this.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.support.locks import LOCKS, ROOT, graph, pins, read

FILES = ROOT / "packages/deb/files"
HOME = "usr/lib/multigrey"
"""Where the virtual environment lies."""
MAINTAINER = "multigrey <postmaster@localhost>"
PLUGINS = ("multigrey-dns", "multigrey-geoip", "multigrey-spf", "multigrey-web")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""What Debian 12, Ubuntu 22.04 and everything later can run."""
_NOT_SHIPPED = frozenset({"RECORD", "REQUESTED", "INSTALLER", "direct_url.json"})
"""Notes of pip about an installation that dpkg keeps instead."""
_PROGRAM = """\
#!/{home}/bin/python3 -I
import sys

from {module} import main

sys.exit(main())
"""


@dataclass
class Package:
    """One package: what it says of itself, and what is run when it comes and goes."""

    name: str
    tree: Path
    """Where its files are put together."""
    summary: str
    description: str
    depends: Sequence[str]
    architecture: str
    recommends: Sequence[str] = ()
    suggests: Sequence[str] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Text of postinst and the like, by name."""
    triggers: Sequence[str] = ()


def main() -> None:
    """Build every package for one version of Python."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=_python_of_the_system(), help="as in 3.11; default: the system's")
    parser.add_argument("--revision", default="1", help="of the same version of multigrey")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where the wheels are, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        _build(Path(work), chosen.python, f"{_version()}-{chosen.revision}+py{chosen.python}", chosen.output)


def _build(work: Path, python: str, version: str, output: Path) -> None:
    architecture = _run("dpkg", "--print-architecture")
    shared, own = _divide()
    wheels = _Wheels(output, work, python, shared.union(*own.values()))
    daemon = _daemon(work, python, architecture)
    wheels.take(daemon, ["multigrey", *shared])
    _furnish(daemon, python)
    plugins = [_plugin(work, name, version, architecture, own[name]) for name in PLUGINS]
    for package in plugins:
        wheels.take(package, [package.name, *own[package.name]])
        if package.name == "multigrey-web":
            _furnish_web(package)
    for package in (daemon, *plugins):
        _finish(package, version)
        made = output / f"{package.name}_{version}_{package.architecture}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zxz", "--threads-max=1", "--build", package.tree, made)
        sys.stdout.write(f"{made}\n")


# What belongs into which package


def _divide() -> tuple[set[str], dict[str, set[str]]]:
    """The distributions of the main package, and what each plugin brings beside them.

    What two plugins need is in the main package: no file can belong to two packages.
    """
    daemon = set(graph([*_requirements(ROOT / "pyproject.toml"), "prometheus-client"]))
    needs = {name: set(graph(_requirements(ROOT / f"plugins/{name}/pyproject.toml"))) for name in PLUGINS}
    twice = {
        one for name in PLUGINS for one in needs[name] if sum(one in needs[each] for each in PLUGINS) > 1
    }
    shared = {*daemon, *twice} & pins("test").keys()
    return shared, {name: needs[name] & pins("test").keys() - shared for name in PLUGINS}


def _requirements(path: Path) -> list[str]:
    return [one for one in read(path)["project"]["dependencies"] if not one.startswith("multigrey")]


# The distributions


class _Wheels:
    """Every distribution that a package may hold, installed into one directory and taken from there."""

    def __init__(self, ours: Path, work: Path, python: str, others: Iterable[str]) -> None:
        """`ours`: where the wheels of this checkout are; `others`: distributions of the lock."""
        self._work = work
        self._place = f"{HOME}/lib/python{python}/site-packages"
        self._all = work / "site-packages"
        machine = os.uname().machine
        self._target = ["--target", str(self._all), "--no-compile", "--implementation", "cp"]
        self._target += ["--python-version", python, "--only-binary", ":all:"]
        self._target += [word for each in _PLATFORMS for word in ("--platform", f"{each}_{machine}")]
        lines = re.findall(r"(?m)^[a-z0-9-]+==(?:.*\\\n)*.*\n", (LOCKS / "test.txt").read_text())
        pins = {name: line for line in lines if (name := line.partition("==")[0]) in {*others}}
        source = pins.pop("pyspf")  # is only given away as a source
        words = ("--no-build-isolation", "--use-pep517", "--no-binary", "pyspf", "-w", str(work / "wheels"))
        self._pip("wheel", "--require-hashes", "-r", self._written("source", source), *words)
        locked = self._written("locked", "".join(pins.values()))
        self._pip("install", "--require-hashes", "-r", locked, *self._target)
        made = [*(work / "wheels").glob("*.whl"), *ours.glob("multigrey*.whl")]
        self._pip("install", "--no-index", *map(str, made), *self._target)
        folders = self._all.glob("*.dist-info")
        self._notes = {canonicalize_name(path.name.partition("-")[0]): path for path in folders}

    def take(self, package: Package, distributions: Iterable[str]) -> None:
        """Move the files of distributions into the tree of a package."""
        for name in distributions:
            for line in (self._notes[name] / "RECORD").read_text().splitlines():
                file = Path(line.rpartition(",")[0].rpartition(",")[0].strip('"'))
                source, target = self._all / file, package.tree / self._place / file
                if file.parts[:3] == ("..", "..", "share"):
                    source, target = (
                        top.joinpath(*file.parts[2:]) for top in (self._all, package.tree / "usr")
                    )
                elif file.name in _NOT_SHIPPED or file.parts[0] == "..":
                    continue  # programs are made here
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)

    def _written(self, name: str, text: str) -> str:
        path = self._work / f"{name}.txt"
        path.write_text(text)
        return str(path)

    def _pip(self, command: str, *words: str) -> None:
        _run(sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", command, "--no-deps", *words)


# The packages


def _daemon(work: Path, python: str, architecture: str) -> Package:
    major, minor = python.split(".")
    scripts = {name: (FILES / name).read_text() for name in ("postinst", "prerm", "postrm")}
    return Package(
        "multigrey",
        work / "multigrey",
        "greylisting daemon for Postfix, Exim and others",
        "An unknown sender is asked once to come back a little later.  Real mail servers do,\n"
        "most spam software does not.  One daemon serves all mail servers of a host over one\n"
        "durable store, and explains every verdict.",
        [
            *("libc6 (>= 2.28)", "libgcc-s1", "libstdc++6"),
            *(f"python3 (>= {python})", f"python3 (<< {major}.{int(minor) + 1})"),
            *("init-system-helpers (>= 1.52)", "systemd (>= 247) | systemd-standalone-sysusers"),
        ],
        architecture,
        recommends=("postfix | exim4-daemon-light | exim4-daemon-heavy | mail-transport-agent",),
        suggests=(*PLUGINS, "apparmor", "logcheck"),
        scripts=scripts,
        triggers=("/usr/sbin/postfix", "/usr/sbin/exim4", f"/{HOME}/lib"),
    )


def _plugin(work: Path, name: str, version: str, architecture: str, own: Iterable[str]) -> Package:
    project = read(ROOT / f"plugins/{name}/pyproject.toml")["project"]
    compiled = {"maxminddb", "markupsafe"} & set(own)
    return Package(
        name,
        work / name,
        _without_capital(project["description"].partition(":")[2].strip() or project["description"]),
        f"A plugin of multigrey: {project['description']}.",
        [f"multigrey (= {version})"],
        architecture if compiled else "all",
        scripts={"prerm": (FILES / "plugin.prerm").read_text()},
    )


def _without_capital(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _furnish(package: Package, python: str) -> None:
    """What an administrator meets, beside the Python code."""
    put = partial(_put, package)
    share = ROOT / "integrations"
    put(f"{HOME}/pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n")
    (package.tree / HOME / "bin").mkdir()
    (package.tree / HOME / "bin/python3").symlink_to(f"/usr/bin/python{python}")
    _add_program(package, "multigrey", "multigrey.__main__")
    service = (share / "systemd/multigrey.service").read_text()
    service = re.sub(r"(?m)^# ExecStart= expects .*\n", "", service)
    service = service.replace("/opt/multigrey/bin/multigrey", "/usr/bin/multigrey")
    put(
        "usr/lib/systemd/system/multigrey.service",
        service.replace("\nUMask=", "\nAppArmorProfile=-multigrey\nUMask="),
    )
    for name in ("postfix", "exim"):
        unit = f"multigrey-{name}.socket"
        put(f"usr/lib/systemd/system/{unit}", (share / "systemd" / unit).read_text())
    for kind in ("sysusers", "tmpfiles"):
        text = (share / f"systemd/multigrey.{kind}").read_text()
        put(f"usr/lib/{kind}.d/multigrey.conf", re.sub(r"(?m)^# copy to .*\n", "", text))
    put("etc/multigrey/multigrey.toml", (share / "systemd/minimal.toml").read_text())
    (package.tree / "etc/multigrey/whitelists").mkdir()
    put("etc/logrotate.d/multigrey", (FILES / "logrotate").read_text())
    put("etc/apparmor.d/multigrey", (FILES / "apparmor").read_text())
    put("etc/logcheck/ignore.d.server/multigrey", (FILES / "logcheck").read_text())
    for shell, where in _COMPLETIONS.items():
        put(where, _run(sys.executable, "-m", "multigrey", "completions", shell) + "\n")
    documents = f"usr/share/doc/{package.name}"
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        put(f"{documents}/{name}", (ROOT / name).read_text())


_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/multigrey",
    "zsh": "usr/share/zsh/vendor-completions/_multigrey",
    "fish": "usr/share/fish/vendor_completions.d/multigrey.fish",
}


def _furnish_web(package: Package) -> None:
    service = (ROOT / "plugins/multigrey-web/multigrey-web.service").read_text()
    service = service.replace("/opt/multigrey-web/bin/", "/usr/bin/")
    _put(package, "usr/lib/systemd/system/multigrey-web.service", service)
    _put(package, "usr/lib/sysusers.d/multigrey-web.conf", "# [control] read_group\ng multigrey-read -\n")
    package.scripts = {**package.scripts, "postinst": (FILES / "web.postinst").read_text()}
    _add_program(package, "multigrey-web", "multigrey_web.__main__")


def _add_program(package: Package, name: str, module: str) -> None:
    program = _put(package, f"{HOME}/bin/{name}", _PROGRAM.format(home=HOME, module=module))
    program.chmod(0o755)
    (package.tree / "usr/bin").mkdir(parents=True)
    (package.tree / "usr/bin" / name).symlink_to(f"../lib/multigrey/bin/{name}")


def _put(package: Package, place: str, text: str) -> Path:
    path = package.tree / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# What dpkg needs


def _finish(package: Package, version: str) -> None:
    """Write the control files, and give every file the mode and the time that it always has."""
    documents = f"usr/share/doc/{package.name}"
    _put(package, f"{documents}/copyright", (ROOT / "LICENSE").read_text() + _THIRD_PARTIES)
    for page in (package.tree / "usr/share/man").glob("man*/*"):
        page.with_name(f"{page.name}.gz").write_bytes(gzip.compress(page.read_bytes(), 9, mtime=0))
        page.unlink()
    control = package.tree / "DEBIAN"
    control.mkdir()
    for name, text in package.scripts.items():
        (control / name).write_text(text)
    if package.triggers:
        (control / "triggers").write_text("".join(f"interest-noawait {each}\n" for each in package.triggers))
    files = sorted(path for path in package.tree.rglob("*") if control not in path.parents and path.is_file())
    names = {path: path.relative_to(package.tree) for path in files if not path.is_symlink()}
    conffiles = [f"/{name}\n" for name in names.values() if name.parts[0] == "etc"]
    if conffiles:
        (control / "conffiles").write_text("".join(conffiles))
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {name}\n" for path, name in names.items()]  # noqa: S324  (dpkg's format)
    (control / "md5sums").write_text("".join(sums))
    size = sum(-(-path.stat().st_size // 1024) for path in names)
    (control / "control").write_text(_control(package, version, size))
    for path in (package.tree, *package.tree.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.read_bytes()[:2] == b"#!"
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (_epoch(), _epoch()), follow_symlinks=False)


_THIRD_PARTIES = f"""
The Python distributions below /{HOME}/lib are by others, and each has its licence in its dist-info folder.
"""


def _control(package: Package, version: str, size: int) -> str:
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": package.architecture,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(size),
        "Depends": ", ".join(package.depends),
        "Recommends": ", ".join(package.recommends),
        "Suggests": ", ".join(package.suggests),
        "Section": "mail",
        "Priority": "optional",
        "Description": package.summary,
    }
    head = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    return head + "".join(f" {line}\n" for line in package.description.splitlines())


def _version() -> str:
    found = re.search(r'__version__ = "(.+)"', (ROOT / "multigrey/__init__.py").read_text())
    assert found is not None
    return found[1]


def _epoch() -> int:
    return int(os.environ["SOURCE_DATE_EPOCH"])


def _python_of_the_system() -> str:
    """As in 3.11: the version that a package for this system has to fit."""
    return _run("/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  (the build's own)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
