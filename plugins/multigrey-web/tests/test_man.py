"""multigrey-web(7) and the README: well-formed, made from the code, and true where they show examples."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from multigrey_web import __main__ as command
from multigrey_web.app import Site, make_app
from multigrey_web.settings import WebSettings
from multigrey_web.source import OPERATIONS

from man import regions
from multigrey.background.growth import DAYS_KEPT
from tests.support.debian import library_path, unpack_or_skip

PACKAGE = Path(__file__).resolve().parents[1]
PAGE = PACKAGE / "man/multigrey-web.7"
README = (PACKAGE / "README.md").read_text()


def test_the_region_is_up_to_date():
    assert PAGE in regions.PLUGIN_PAGES
    text = PAGE.read_text()
    assert regions.generate(text) == text, "run: make man"
    for name in WebSettings.model_fields:
        assert f".It Ic {name} Ar" in text


def test_the_readme_has_every_key_and_its_default():
    assert re.findall(r"(?m)^\| `(\w+)` \|", README.partition("## What it costs")[0]) == list(
        WebSettings.model_fields
    )
    for default in ("(0660)", "(30s)", "(20000)", "(32)"):
        assert default in README


def tables(text):
    """Every table [plugins.web] that is shown."""
    found = re.findall(r"(?m)^ *\[plugins\.web\]\n(?: *\w+ = .*\n)+", text)
    assert found
    return [tomllib.loads(re.sub(r"(?m)^ +", "", table))["plugins"]["web"] for table in found]


@pytest.mark.parametrize("table", [*tables(PAGE.read_text()), *tables(README)], ids=str)
def test_what_an_administrator_would_copy_is_right(table):
    WebSettings.model_validate(table)


def test_the_page_names_what_is_asked():
    named = set(re.findall(r"(?m)^\.Cm ([a-z.-]+)", PAGE.read_text()))
    assert named == OPERATIONS
    assert f"most {DAYS_KEPT} days" in PAGE.read_text()


def test_there_is_no_page_that_is_not_told_of():
    paths = {route.path for route in make_app(Site.__new__(Site)).routes}
    pages = {"/", "/waiting", "/origins", "/lost", "/review", "/record", "/origin", "/search", "/decision"}
    assert paths == pages | {"/live", "/help", "/mine", "/steer", "/act", "/static/{name}", "/{name}.{form}"}
    told = re.findall(r"(?m)^\.It ([A-Z][a-z ]+)$", PAGE.read_text())
    base = (PACKAGE / "multigrey_web/templates/base.html").read_text()
    assert told == re.findall(r'\("/\w*", "\w+", "([^"]+)"\)', base)


def test_the_unit_starts_the_command(monkeypatch):
    started = []
    monkeypatch.setattr(command, "page_of", started.append)
    monkeypatch.setattr(command.trio, "run", lambda *_: None)
    unit = (PACKAGE / "multigrey-web.service").read_text()
    program, *arguments = shlex.split(re.search(r"(?m)^ExecStart=(.*)$", unit)[1])
    scripts = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[Path(program).name] == "multigrey_web.__main__:main"
    assert command.main(arguments) == 0
    assert started == [Path("/etc/multigrey/web.toml")]
    assert "RestartPreventExitStatus=2" in unit


@pytest.mark.mta
def test_mandoc_has_nothing_to_say():
    root = unpack_or_skip("mandoc", "mandoc")
    environment = {"LD_LIBRARY_PATH": library_path(root), "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}

    def mandoc(*arguments):
        words = [root / "usr/bin/mandoc", *arguments, PAGE]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout

    said = mandoc("-T", "lint", "-W", "style").splitlines()
    assert [line for line in said if "referenced manual not found" not in line] == []
    lines = re.sub(r".\x08", "", mandoc("-T", "utf8")).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) > 100


def test_the_wheel_installs_the_page():
    build = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["shared-data"] == {f"man/{PAGE.name}": f"share/man/man7/{PAGE.name}"}
