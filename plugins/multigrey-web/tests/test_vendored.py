"""What comes from others is unchanged, named, and all there is."""

from __future__ import annotations

import re
from hashlib import sha256

from multigrey_web.app import static_files


def test_the_sums_are_those_that_are_told(package):
    folder = package / "multigrey_web/static/vendor"
    rows = re.findall(
        r"(?m)^\| `(\S+)` \| (\S+) \| (\S+) \| \w+, (\S+) \| `([0-9a-f]{64})` \|$",
        (folder / "VERSIONS.md").read_text(),
    )
    assert {name for name, *_ in rows} == {
        path.name for path in folder.iterdir() if path.suffix in {".js", ".css"}
    }
    for name, _, version, licence, digest in rows:
        data = (folder / name).read_bytes()
        assert sha256(data).hexdigest() == digest, name
        assert "ermission" in (folder / licence).read_text()
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_nothing_that_is_sent_names_another_place():
    for name, (data, _) in static_files().items():
        urls = set(re.findall(rb"https?://[\w.-]+", data))
        assert urls <= {b"https://github.com", b"http://www.w3.org"}, name  # a comment, a namespace


def test_every_file_has_its_type():
    kinds = {name: kind for name, (_, kind) in static_files().items()}
    assert set(kinds) == {
        "early.js", "htmx.min.js", "icon.svg", "page.css", "page.js", "uPlot.iife.min.js", "uPlot.min.css",
    }  # fmt: skip
    assert {kinds["page.css"], kinds["page.js"], kinds["icon.svg"]} == {
        "text/css", "text/javascript", "image/svg+xml",
    }  # fmt: skip
