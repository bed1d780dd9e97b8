"""What the project says of itself: requirements, the contents of the wheel, the Makefile's words."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from multigrey import api
from multigrey.control import client
from tests.support import architecture

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted((ROOT / "plugins").glob("*/pyproject.toml"))
APT_LINE = "apt-get install git make python3-venv"


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements name."""
    return {re.split(r"[<>=!~ \[;]", one, maxsplit=1)[0] for one in requirements}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def foreign_imports(*folders: Path) -> Iterator[tuple[str, Path]]:
    """Top-level modules that are neither Python's nor lie in the checkout, and who imports them."""
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        ours = {found.stem for found in path.parent.iterdir()} | {found.name for found in ROOT.iterdir()}
        ours |= {found.parent.name for found in ROOT.glob("plugins/*/*/__init__.py")}
        for node in ast.walk(tree_of(path)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in {name.partition(".")[0] for name in modules}:
                if module not in ours and module not in sys.stdlib_module_names:
                    yield module, path


def undeclared(declared: set[str], *folders: Path) -> list[str]:
    known = {
        module: [name.replace("_", "-").lower() for name in found]
        for module, found in packages_distributions().items()
    }
    return [
        f"{path.relative_to(ROOT)}: {module}"
        for module, path in foreign_imports(*folders)
        if not {name.replace("_", "-").lower() for name in declared} & set(known[module])
    ]


DEPENDENCIES = {*names(PROJECT["project"]["dependencies"]), "pydantic_core"}
"""pydantic pins the version of its core, so nobody else may."""
METRICS_EXTRA = names(PROJECT["project"]["optional-dependencies"]["metrics"])
TEST_EXTRA = names(PROJECT["project"]["optional-dependencies"]["test"])


def test_what_the_package_imports_is_required():
    """What the metrics need may be missing: then they are refused by name."""
    missing = undeclared(DEPENDENCIES, ROOT / "multigrey")
    assert [path for path in missing if not path.startswith("multigrey/metrics/")] == []
    assert undeclared(DEPENDENCIES | METRICS_EXTRA, ROOT / "multigrey") == []


def test_what_the_tests_import_is_in_the_extra():
    """`make test` installs nothing else, and runs the tests of the plugins too."""
    wanted = DEPENDENCIES | TEST_EXTRA
    assert undeclared(wanted, *(ROOT / name for name in ("tests", "plugins", "man", "benchmarks"))) == []


def test_an_import_nobody_declared_is_found():
    assert undeclared(TEST_EXTRA, ROOT / "multigrey") != []


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.parent.name)
def test_a_plugin_is_tested_with_what_it_requires(path: Path):
    theirs = set(tomllib.loads(path.read_text())["project"]["dependencies"]) - {"multigrey>=0.2"}
    project = PROJECT["project"]
    assert theirs <= {*project["dependencies"], *project["optional-dependencies"]["test"]}


CONTRACT = {"multigrey.api": set(api.__all__), "multigrey.control.client": set(client.__all__)}
"""All that a plugin may import, by module."""


def outside_the_contract(source: str) -> set[str]:
    """What somebody imports of multigrey that is not promised."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "multigrey"}
        elif (
            isinstance(node, ast.ImportFrom)
            and (module := node.module or "").partition(".")[0] == "multigrey"
        ):
            promised = CONTRACT.get(module, set())
            found |= {f"{module}.{alias.name}" for alias in node.names if alias.name not in promised}
    return found


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.parent.name)
def test_a_plugin_imports_what_its_page_names_and_no_more(path: Path):
    packages = list(path.parent.glob("multigrey_*"))
    assert len(packages) == 1
    for file in packages[0].rglob("*.py"):
        assert outside_the_contract(file.read_text()) == set(), file


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from multigrey.api import Attempt", set()),
        ("from multigrey.control.client import ask", set()),
        ("from multigrey.model import Attempt", {"multigrey.model.Attempt"}),
        ("from multigrey.api import Attempt, Engine", {"multigrey.api.Engine"}),
        (
            "def f():\n    from multigrey.identity.addresses import host_name",
            {"multigrey.identity.addresses.host_name"},
        ),
        ("import multigrey.api", {"multigrey.api"}),
        ("from multigrey import api", {"multigrey.api"}),
        ("from multigrey_spf import source", set()),
    ],
)
def test_what_is_outside_the_contract_is_found(source: str, found: set[str]):
    assert outside_the_contract(source) == found


def test_the_api_hands_names_on_and_defines_nothing():
    tree = tree_of(Path(api.__file__))
    nodes = [node for node in tree.body if not isinstance(node, ast.ImportFrom | ast.Expr)]
    assert [ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)] == ["__all__"]
    assert len(nodes) == 1
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported - {"annotations"} == set(api.__all__)


def test_what_plugins_need_is_used_by_those_that_come_with_it():
    used = "\n".join(file.read_text() for path in PLUGINS for file in path.parent.glob("multigrey_*/**/*.py"))
    for module in CONTRACT:
        assert f"from {module} import" in used, module


def test_the_documents_for_newcomers_are_short_and_name_what_there_is():
    assert architecture.generate(architecture.PAGE.read_text()) == architecture.PAGE.read_text(), (
        "run: python -m tests.support.architecture"
    )
    for page, longest in (("ARCHITECTURE.md", 150), ("CONTRIBUTING.md", 100), ("SECURITY.md", 100)):
        text = (ROOT / page).read_text()
        assert len(text.splitlines()) <= longest
        for path in re.findall(r"`([\w./-]+\.(?:py|md|toml|7|5|1|8))(?::[\w.]+)?`", text):
            places = (ROOT / path, ROOT / "multigrey" / path, *(ROOT / "multigrey").glob(f"*/{path}"))
            assert path.count("NAME") or any(map(Path.exists, places)), f"{page}: {path}"


def test_every_man_page_is_in_the_wheel_under_its_section():
    pages = [path.name for path in (ROOT / "man").iterdir() if re.fullmatch(r"\.[1-9]", path.suffix)]
    assert pages
    shared = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    wanted = {f"man/{page}": f"share/man/man{page[-1]}/{page}" for page in pages}
    assert {name: place for name, place in shared.items() if name.startswith("man/")} == wanted
    assert shared["integrations"] == "share/multigrey/integrations"


def make(directory: Path, python: str) -> subprocess.CompletedProcess[str]:
    """`make serve` where nothing has been set up yet, with a script in place of Python."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, directory)
    shutil.copytree(ROOT / "locks", directory / "locks")
    program = directory / "python"
    program.write_text(f"#!/bin/sh\n{python}\n")
    program.chmod(0o755)
    return subprocess.run(
        ["make", "-C", directory, f"PYTHON={program}", "serve"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("exit 127", "needs Python 3.11 or later"),
        ('case "$2" in *version_info*) exit 1;; esac', "needs Python 3.11 or later"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "cannot make virtual environments"),
    ],
)
def test_what_is_missing_is_said_with_the_line_that_brings_it(tmp_path: Path, python: str, said: str):
    done = make(tmp_path, python)
    assert done.returncode != 0
    assert said in done.stderr
    assert APT_LINE in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_readme_and_makefile_name_the_same_line():
    assert APT_LINE in (ROOT / "README.md").read_text()


def test_ci_checks_style_and_runs_everything():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert {"make lint", "make test"} <= set(script.read_text().splitlines())


def test_every_plugin_carries_its_licence():
    ours = (ROOT / "LICENSE").read_text()
    for path in PLUGINS:
        assert tomllib.loads(path.read_text())["project"]["license-files"] == ["LICENSE"]
        assert path.with_name("LICENSE").read_text() == ours


def test_no_group_is_possessive():
    """Before Python 3.11.5 `(...)*+` may match what `(...)*` does not (CPython issue 106052)."""
    sources = [*(ROOT / "multigrey").rglob("*.py"), *(ROOT / "plugins").rglob("multigrey_*/**/*.py")]
    found = [path.name for path in sources if re.search(r"\)(?:[*+?]|\{\d*,\d*\})\+", path.read_text())]
    assert found == []
