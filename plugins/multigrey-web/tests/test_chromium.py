"""The page in a real Chromium, over a real daemon: what is seen, reached, fetched and forbidden."""

from __future__ import annotations

import shutil
import socket
import time
from datetime import UTC, datetime

import axe
import pytest
from multigrey_web.settings import BAD_PORTS, USUAL_ADDRESS
from sites import HOSTILE, NOW, asked_by, decisions, fill, growing, lost, many, open_directory, serving, waits

from multigrey.model import DAY
from tests.mta.harness import until

browser_module = pytest.importorskip("browser", reason="selenium is not installed")
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
WebDriverException = pytest.importorskip("selenium.common.exceptions").WebDriverException

pytestmark = [pytest.mark.mta, pytest.mark.timeout(180)]

PAGES = [
    "/search?q=sender3.example",
    "/",
    "/?days=7",
    "/waiting",
    "/origins",
    "/lost?days=7",
    "/review",
    "/origin?name=sender3.example",
]

CHARTS = """
return [...document.querySelectorAll(".chart canvas")].map((canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 200) colours.add([...data.slice(i, i + 3)].map((value) => value >> 4).join());
  }
  return [canvas.width, canvas.height, colours.size];
});
"""
CONTRAST = """
const light = (colour) => {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
  const [r, g, b] = parts.map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!words || !element.getClientRects().length) continue;
  const [a, b] = [light(getComputedStyle(element).color), light(paper(element))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) found.push([element.tagName, element.textContent.slice(0, 30), ratio]);
}
return found;
"""


@pytest.fixture(scope="module")
def axe_script():
    return axe.script()


@pytest.fixture(scope="module")
def browser():
    with browser_module.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def directory():
    """A place with mail of a week in it, and strangers of every kind."""
    directory = open_directory()
    records = [waits(number, age=5 * number % 400) for number in range(300)]
    records += [waits(900 + n, age=119, sender=text, origin=text[:40]) for n, text in enumerate(HOSTILE)]
    events = [*decisions(600), *lost(12)]
    fill(directory / "state", records=records, events=events, growth=growing(40))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def url(directory):
    with serving(directory) as (url, _):
        yield url


@pytest.fixture
def empty():
    """A daemon that has just been installed."""
    directory = open_directory()
    with serving(directory) as (url, daemon):
        yield url, daemon
    shutil.rmtree(directory)


def ready(browser):
    """Wait until charts are drawn and answers are there."""
    until(
        lambda: browser.run(
            "return document.readyState === 'complete' && !document.querySelector('.pending') &&"
            "[...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('canvas'))"
        ),
        "the page is complete",
    )


def words(browser):
    return " ".join(browser.run("return document.querySelector('main').textContent").split())


def card(browser, name):
    """The number on a card of the first page."""
    cards = browser.run(
        "return [...document.querySelectorAll('.cards > div')]"
        ".map((each) => [each.children[0].textContent, each.children[1].textContent])"
    )
    return dict(cards)[name]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_every_page_is_whole_and_asks_nobody_else(browser, url, width, dark):
    for page in PAGES:
        browser.open(url + page, width=width, dark=dark)
        ready(browser)
        assert browser.complaints() == []
        requested = browser.requested()
        assert url + page in requested
        assert [each for each in requested if not each.startswith((f"{url}/", "data:"))] == []
        assert browser.run("return document.documentElement.scrollWidth") <= width, page
        assert browser.run(CONTRAST) == [], page
        assert browser.run("return document.title").endswith(f"– {socket.gethostname()} – multigrey")
        assert (
            browser.run("return document.querySelectorAll('main script, main img, main style').length") == 0
        )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_nothing_keeps_people_from_using_a_page(browser, directory, url, axe_script, width, dark):
    asked_by(directory, "anna@partner.example")
    for page in [*PAGES, "/search?q=anna%40partner.example", "/decision?id=d000003", "/nope"]:
        browser.open(url + page, width=width, dark=dark)
        if page != "/nope":
            ready(browser)
        assert axe.complaints(browser, axe_script) == [], page


def test_on_a_telephone_each_row_is_a_card_and_nothing_lies_beyond_the_edge(browser, url):
    beyond = """
    return [...document.querySelectorAll(".rows")]
      .filter((table) => table.scrollWidth > table.parentElement.clientWidth)
      .map((table) => table.querySelector("caption").textContent)
    """
    for page in PAGES:
        browser.open(url + page, width=360)
        ready(browser)
        assert browser.run(beyond) == [], page
    labels = "return getComputedStyle(document.querySelector('.rows [data-label]'), '::before').content"
    assert browser.run(labels) == '"Kind"'
    browser.resize(1200)
    assert browser.run(labels) == "none"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_charts_are_drawn_in_the_colours_of_the_page(browser, url, dark):
    browser.open(f"{url}/", dark=dark)
    ready(browser)
    charts = browser.run(CHARTS)
    assert len(charts) == 3
    for width, height, colours in charts:
        assert width > 600
        assert height > 150
        assert colours >= 3
    paper = browser.run("return getComputedStyle(document.documentElement).backgroundColor")
    assert paper == ("rgb(20, 24, 27)" if dark else "rgb(251, 251, 249)")
    # another scheme is drawn again, and so is another width
    browser.scheme("light" if dark else "dark")
    until(lambda: browser.run(CHARTS) != charts, "the charts change their colours")
    browser.resize(500)
    until(lambda: all(width < 500 for width, *_ in browser.run(CHARTS)), "the charts become narrower")
    assert browser.complaints() == []


def test_without_scripts_tables_stand_for_charts_and_links_sort(browser, url):
    browser.open(f"{url}/", scripts=False)
    heights = (
        "return [...document.querySelectorAll('details table, .chart, #pause')]"
        ".map((each) => [each.tagName, each.clientHeight > 50])"
    )
    assert browser.run(heights) == [
        ["DIV", False], ["TABLE", True], ["DIV", False], ["TABLE", True], ["DIV", False], ["TABLE", True],
        ["BUTTON", False],
    ]  # fmt: skip
    assert "up to 1m" in words(browser)
    browser.click("Waiting")
    browser.click("Sender")
    senders = (
        "return [...document.querySelectorAll('tbody tr')].map((row) => row.children[1].textContent.trim())"
    )
    found = browser.run(senders)
    assert len(found) == 100
    assert "user0@sender0.example" in found
    browser.click("Sender")
    assert (
        browser.run("return document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "descending"
    )
    assert browser.run(senders) != found
    browser.click("1m 55s", part=True)
    assert browser.run("return document.querySelector('h1').textContent") == "Record"
    assert "waiting," in words(browser)


def test_strangers_words_are_only_words(browser, url):
    browser.open(f"{url}/lost?days=7")
    ready(browser)
    text = words(browser)
    assert "<script>document.title='owned'</script>@example.org" in text
    assert "\\u202egro.elpmaxe@x\\u202c" in text
    assert "{{ 7 * 7 }}@example.org" in text
    assert "caf\\xe9@example.org" in text
    assert "x" * 79 + "…" in text
    assert browser.run("return document.title").startswith("Never came back – ")
    assert browser.complaints() == []


def test_the_keyboard_reaches_everything(browser, url):
    browser.open(f"{url}/")
    ready(browser)
    focused = (
        "const e = document.activeElement;"
        "return [e.tagName, e.textContent.trim().slice(0, 20), getComputedStyle(e).outlineStyle]"
    )
    browser.press(Keys.TAB)
    assert browser.run(focused) == ["A", "Skip to the content", "solid"]
    seen = []
    for _ in range(100):
        browser.press(Keys.TAB)
        tag, text, outline = browser.run(focused)
        if tag == "BODY":
            break
        assert outline == "solid", (tag, text)
        seen.append((tag, text))
    everything = (
        "return [...document.querySelectorAll('a, button, input, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility()).length - 1"
    )
    assert len(seen) == browser.run(everything)
    assert ("SUMMARY", "As a table") in seen
    assert ("BUTTON", "Pause refreshing") in seen
    browser.open(f"{url}/")
    browser.press(Keys.TAB)
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"
    browser.run("document.querySelector('summary').focus()")
    browser.press(Keys.ENTER)
    assert browser.run("return document.querySelector('details').open")


def test_a_refresh_replaces_numbers_and_leaves_the_rest(browser, empty):
    url, daemon = empty
    browser.open(f"{url}/")
    ready(browser)
    assert card(browser, "Deferred mails") == "0"
    browser.run("window.mine = 1; document.querySelector('.periods a').focus()")
    asked_by(daemon.directory, "someone@example.org")
    daemon.clock.advance(60)
    until(lambda: card(browser, "Deferred mails") == "1", "the number is replaced", 30)
    assert browser.run("return window.mine") == 1  # it is still the same page
    assert browser.run("return document.activeElement.textContent") == "24 hours"
    assert browser.complaints() == []
    browser.click_button("pause")
    assert browser.run("return document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    browser.forget()
    browser.run("htmx.trigger('#inside', 'every')")
    assert [each for each in browser.requested() if each.endswith("/")] == []


def test_nothing_yet(browser, empty):
    url, _ = empty
    browser.open(f"{url}/")
    ready(browser)
    text = words(browser)
    for said in ("The chart is being gathered", "(so far)000", "No mail is waiting.", "No origin sent"):
        assert said in text
    assert card(browser, "Waiting now") == "0"
    assert card(browser, "Median delay") == "–"
    for page in PAGES[1:]:
        browser.open(url + page)
        ready(browser)
    assert browser.complaints() == []


def test_one_record(browser, empty):
    url, daemon = empty
    asked_by(daemon.directory, "someone@example.org")
    browser.open(f"{url}/")
    ready(browser)
    assert card(browser, "Waiting now") == "1"
    assert browser.run("return document.querySelectorAll('[aria-labelledby=waiting] tbody tr').length") == 1
    assert "(so far)100" in words(browser)  # deferred, came back, passed
    browser.click("All waiting mail")
    browser.click("3m", part=True)
    assert "someone@example.org" in words(browser)


@pytest.mark.timeout(400)
def test_very_many_records(browser):
    """Bounded: what is shown, how long a page takes, and how long mail waits meanwhile."""
    directory = open_directory()
    fill(directory / "state", records=many(1_000_000))
    with serving(directory) as (url, _):
        began = time.perf_counter()
        browser.open(f"{url}/waiting")
        assert time.perf_counter() - began < 10
        until(
            lambda: "The table shows the first 100" in (browser.reload() or words(browser)),
            "waiting mail is shown",
            60,
        )
        assert "5,000 still have to wait; 495,000 more" in words(browser)
        browser.open(f"{url}/")
        ready(browser)
        assert card(browser, "Records") == "1,000,000"
        assert browser.run("return document.querySelectorAll('tbody tr').length") < 200
        slowest = max(timed(directory, number) for number in range(100))
        assert slowest < 1
        assert browser.complaints() == []
    shutil.rmtree(directory)


def timed(directory, number):
    began = time.perf_counter()
    asked_by(directory, f"new{number}@example.org")
    return time.perf_counter() - began


def test_the_days_of_the_samples_are_days(browser, url):
    browser.open(f"{url}/", scripts=False)
    days = browser.run(
        "return [...document.querySelectorAll('#growth-table tbody th')]"
        ".map((each) => each.textContent.trim())"
    )
    assert days[0] == datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%d")
    assert days[1] == datetime.fromtimestamp(NOW - DAY, UTC).strftime("%Y-%m-%d")
    assert len(days) == 36


def trouble_at(browser, port):
    """The error of the browser for a port without a listener, or for one it refuses."""
    try:
        browser.driver.get(f"http://127.0.0.1:{port}/")
    except WebDriverException as error:
        return error.msg
    return browser.driver.page_source


def test_the_usual_port_is_one_that_browsers_ask_at(browser):
    usual = int(USUAL_ADDRESS.rpartition(":")[2])
    assert "ERR_UNSAFE_PORT" not in trouble_at(browser, usual)
    refused = {port for port in BAD_PORTS if "ERR_UNSAFE_PORT" in trouble_at(browser, port)}
    assert BAD_PORTS - refused == set()


def test_a_person_types_an_address_and_sees_the_story(browser, directory, url):
    asked_by(directory, "anna@partner.example")
    browser.open(f"{url}/waiting", width=360)
    browser.type("q", "Anna Example <anna@partner.example>" + Keys.ENTER)
    until(lambda: "Waiting for" in words(browser), "the story is there")  # the history is a second late
    assert "anna@partner.example → bob@example.net" in words(browser)
    command = "multigrey records pass --sender=anna@partner.example --recipient=bob@example.net"
    assert browser.run("return document.querySelector('.command').textContent") == command
    assert (
        browser.run("return document.querySelector('.copy').getAttribute('aria-label')") == f"Copy: {command}"
    )
    id_ = browser.run("return document.querySelector('td code').textContent")
    browser.click(id_)
    until(lambda: "Now it would be" in words(browser), "the explanation is there")
    assert browser.complaints() == []


def test_a_search_needs_no_script(browser, directory, url):
    asked_by(directory, "carol@partner.example")
    browser.open(f"{url}/", scripts=False)
    browser.type("q", "carol@partner.example" + Keys.ENTER)
    until(lambda: browser.reload() or "Waiting for" in words(browser), "the story is there")
    assert browser.run("return document.querySelectorAll('.copy').length") == 0
