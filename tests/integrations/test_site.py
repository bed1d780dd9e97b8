"""`make site`: the manual as a web site.  Every link inside it leads somewhere, and nothing is fetched."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from man import site
from man.regions import PAGES, PLUGIN_PAGES
from tests.support.debian import unpack_or_skip

pytestmark = pytest.mark.mta


class _Links(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loaded += [given[name] for name in ("src", "data", "poster") if name in given]
        assert tag != "script"
        if tag == "link":
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    unpack_or_skip("mandoc", "mandoc")
    read = {}
    for path in site.build(tmp_path_factory.mktemp("site")):
        if path.suffix == ".html":
            read[path.name] = _Links()
            read[path.name].feed(path.read_text())
    return read


def test_every_manual_page_is_there_and_in_the_index(pages):
    names = {f"{page.name}.html" for page in (*PAGES, *PLUGIN_PAGES)}
    assert pages.keys() == names | {"index.html"}
    assert names == {*pages["index.html"].links}


def test_links_lead_somewhere(pages):
    inside = 0
    for name, page in pages.items():
        for link in page.links:
            if link.startswith("http"):
                continue
            target, _, anchor = link.partition("#")
            target = target.removeprefix("./") or name
            assert target in pages, f"{name}: {link}"
            assert not anchor or anchor in pages[target].anchors, f"{name}: {link}"
            inside += 1
    assert inside > 500


def test_only_pages_of_other_programs_are_links_out(pages):
    out = {link for page in pages.values() for link in page.links if link.startswith("http")}
    ours = {link for link in out if "multigrey" in link}
    assert ours == set()


def test_nothing_is_loaded_from_elsewhere(pages):
    assert {address for page in pages.values() for address in page.loaded} == {"style.css"}
