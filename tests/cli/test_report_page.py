"""The page of a report: whole by itself, harmless whatever senders wrote, and with tables to read."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.analysis.figures import Due, Outlook, Target
from multigrey.analysis.report import make_report
from multigrey.cli.common import moment
from multigrey.cli.report_page import _round_up, report_page
from multigrey.model import Match, Reason
from tests.support.clocks import START
from tests.support.decisions import decision

EVIL = "<script src=//example.com/x>\"'&\udcff\n"
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Page(HTMLParser):
    """Elements with their attributes, and whether each was closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def told(count=0, text="x"):
    """What the operation answers of `count` mails, with `text` wherever text may come from elsewhere."""
    events = []
    for index in range(count):
        recipient = f"r{index}@example.net"
        origin = f"{text}.example.org"
        events.append(decision(time=START + index, recipient=recipient, origin=origin))
        match = Match(text, text, text)
        back = decision(
            Reason.RETRY, START + 400 + index, recipient=recipient, sender=f"a@{text}.example.org"
        )
        events.append(replace(back, class_=text, verdict=replace(back.verdict, age=400, match=match)))
        at_once = decision(Reason.PROVIDER, START + index, recipient=f"p{index}@example.net", origin=origin)
        events.append(at_once)
        events.append(
            decision(Reason.OVER_LIMIT, START + index, recipient=f"o{index}@example.net", origin=origin)
        )
    events.sort(key=lambda event: event.time)
    due = [Due(text, "stale", text, text, text), Due("", "unused", text, text, text)] if count else []
    outlook = Outlook(START + 3600, START, 172_800, {text: Target(60, text)} if count else {}, due)
    return {**make_report(events, outlook).as_mapping(), "recorded_since": START, "unreadable": [text]}


@pytest.mark.parametrize(("count", "text"), [(0, "x"), (1, "x"), (40, "x"), (3, EVIL)])
def test_the_page_stands_by_itself(count, text):
    page = report_page(told(count, text))
    page.encode()
    found = Page(page)
    names = {name for name, _ in found.found}
    assert not names & {"script", "link", "img", "iframe", "object", "form", "base"}
    attributes = {name for _, attrs in found.found for name in attrs}
    assert not attributes & {"src", "href", "onload", "onclick", "onerror", "style", "xlink:href"}
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in found.all("meta")[1]["content"]
    assert "prefers-color-scheme: dark" in page
    assert found.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "x"), (40, "x"), (3, "&" * 900), (3, "\N{GRINNING FACE}" * 500), (3, EVIL * 99)]
)
def test_it_can_be_mailed_as_it_is(count, text):
    page = report_page(told(count, text))
    assert max(map(len, page.encode().split(b"\n"))) <= 998


def test_a_long_text_is_shown_whole():
    name = "".join(f"part{number}." for number in range(60))
    page = report_page(told(1, name))
    assert f">{name}.example.org<" in page.replace("<wbr\n>", "")


def test_tables_can_be_read_aloud():
    page = report_page(told(3))
    found = Page(page)
    tables = page.count("<table>")
    assert tables >= 8
    assert page.count("<caption") == tables
    assert all(attrs.get("scope") in {"col", "row"} for attrs in found.all("th"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in found.all("svg"))
    assert all(region["tabindex"] == "0" for region in found.all("div") if region.get("role") == "region")
    assert '<td class="number over">3</td>' in page


@pytest.mark.parametrize(
    ("most", "end"),
    [(0, 4), (4, 4), (5, 8), (13, 16), (20, 20), (29, 40), (99, 100), (101, 120), (201, 240), (1300, 1600)],
)
def test_a_scale_ends_close_above_and_has_whole_numbers(most, end):
    assert _round_up(most) == end


@given(st.integers(0, 10**9))
def test_every_scale_has_four_whole_parts(most):
    end = _round_up(most)
    assert end % 4 == 0
    assert most <= end <= max(2 * most, 4)


def test_a_caption_that_only_repeats_the_heading_is_read_aloud_but_not_shown():
    page = report_page(told(3))
    assert '<caption class="again">Delay by kind of origin</caption>' in page
    assert "<caption>Only domains whose mail came back" in page


def test_pictures():
    pictures = re.findall(r"<svg.*?</svg>", report_page(told(40)), re.DOTALL)
    trees = [ET.fromstring(picture) for picture in pictures]
    assert [tree.get("class") for tree in trees] == ["wide", "narrow"] * 2
    for tree in trees:
        width = float(tree.get("viewBox").split()[2])
        assert tree.findall("rect")
        for bar in tree.findall("rect"):
            assert 0 <= float(bar.get("x")) <= width - float(bar.get("width"))
            assert float(bar.get("height")) > 0
            assert float(bar.get("y")) + float(bar.get("height")) <= 240
    assert [bar.findtext("title") for bar in trees[2].findall("rect")] == ["≤ 10m: 40"]
    assert "<svg" not in report_page(told(0))


def test_a_picture_fits_a_telephone():
    """Every name is within the picture, and names do not touch: 12 px letters are up to 8 px wide."""
    (picture,) = re.findall(r'<svg class="narrow".*?</svg>', report_page(told(40)), re.DOTALL)[:1]
    tree = ET.fromstring(picture)
    ends = [
        (float(text.get("x")), 4 * len(text.text)) for text in tree.findall("text") if text.get("y") == "232"
    ]
    assert 1 <= len(ends) <= 4
    assert all(middle + half <= 340 + 16 for middle, half in ends)
    assert "min-width: 40rem" not in report_page(told(3))


def test_floods_have_a_table_and_what_is_not_known_yet_is_no_nought():
    page = report_page(told(3))
    assert "Over the limit of new records" in page
    assert "Providers that passed at once" in page
    assert '<th scope="row" class="word">x.example.org</th>' in page
    assert "<dt>never came back</dt><dd>not known yet</dd>" in page
    assert "Over the limit" not in report_page(told())
    assert "<dt>never came back</dt><dd>0</dd>" in report_page(told())


def test_figures_of_hours_say_what_lists_are_of():
    found = {**told(3), "counted_since": START}
    assert f"whole hours since {moment(START)}; lists are of 12 decisions since" in report_page(found)
    assert "lists are of no decisions, because" in report_page({**found, "listed": 0, "listed_since": None})
