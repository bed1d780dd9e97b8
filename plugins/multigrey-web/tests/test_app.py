"""Every page, from canned answers: what it holds, what it asks for, and that nobody's words become markup."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import asynccontextmanager
from copy import copy
from functools import cache
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest
import trio
from canned import ANSWERS, KEY, NOW, Asked, delays, flows, lost, origin, waits
from multigrey_web.answers import Answers
from multigrey_web.app import FORMS, Site, make_app
from multigrey_web.exports import EXPORTS
from multigrey_web.guard import Guard
from multigrey_web.logins import ACTS, Logins
from multigrey_web.settings import WebSettings
from multigrey_web.source import OPERATIONS
from sites import HOSTILE

from multigrey.api import LOOPBACK
from multigrey.control.client import ControlError

TROUBLE = ControlError("no daemon answers at unix:/run/x: Connection refused")
PAGES = ["/", "/waiting", "/origins", "/lost", "/review", f"/record?key={KEY}", "/origin?name=example.org"]
PAGES += ["/search?q=s%40example.org", "/decision?id=abcdef", "/live"]
TABLES = [*(f"/{name}" for name in ("waiting", "origins", "lost", "review", "live", "traffic", "growth"))]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Tree(HTMLParser):
    """Checks that elements nest, and gathers what is asked about."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.ids, self.text = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


class Reply:
    def __init__(self, sent):
        self.status = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.text = b"".join(message.get("body", b"") for message in sent[1:]).decode()

    @property
    def tree(self):
        return Tree(self.text)


@cache
def compiled():
    """A site without answers: compiling the templates takes a while."""
    return Site(None, WebSettings.usual(), host="mx1.example.net")


def site(answers):
    found = copy(compiled())
    found._answers = answers
    return found


@asynccontextmanager
async def browsing(daemon=None, logins=None):
    """Gives a function that fetches a page."""
    daemon = Asked() if daemon is None else daemon
    answers = Answers(daemon, 30.0)
    found = site(answers)
    if logins is not None:
        found._logins, found._act = logins, daemon
    guard = Guard(make_app(found), LOOPBACK, forms=FORMS if logins else ())

    async def fetch(address, method="GET", body=b"", **headers):
        path, _, query = address.partition("?")
        sent = []

        async def send(message):
            sent.append(message)

        pairs = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "scheme": "http",
            "query_string": query.encode(), "root_path": "", "http_version": "1.1", "server": None,
            "client": None,
            "headers": [(name.encode(), value.encode()) for name, value in pairs.items()],
        }  # fmt: skip
        bodies = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return bodies.pop() if bodies else await trio.sleep_forever()

        await guard(scope, receive, send)
        return Reply(sent)

    async with trio.open_nursery() as nursery:
        await nursery.start(answers.run)
        yield fetch
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", PAGES)
async def test_a_page_is_sound(address):
    async with browsing() as fetch:
        found = await fetch(address)
    assert (found.status, found.headers["content-type"]) == (200, "text/html; charset=utf-8")
    tree = found.tree
    assert len(tree.ids) == len(set(tree.ids))
    assert len(tree.all("h1")) == len(tree.all("main")) == len(tree.all("title")) == 1
    assert tree.all("html") == [{"lang": "en"}]
    assert tree.all("a")[0] == {"class": "skip", "href": "#main"}
    assert len(tree.all("caption")) == len(tree.all("table"))
    assert all(attributes.get("scope") in {"col", "row"} for attributes in tree.all("th"))
    for _, attributes in tree.elements:
        assert not {"style", "onclick", "onload", "srcdoc"} & attributes.keys()
        assert {*attributes.get("aria-labelledby", "").split()} <= {*tree.ids}
    for attributes in tree.all("script"):
        assert attributes["src"].startswith("/static/")
    assert "style" not in {tag for tag, _ in tree.elements}
    for attributes in (*tree.all("a"), *tree.all("link")):
        assert attributes["href"].startswith(("/", "#"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (
            "/",
            [
                "Waiting now 1",
                "Median delay 2m 30s",
                "95 % within 15m",
                "Never came back 1 of 4",
                "Kept out in a week 4,120 of 5,010 deferred mails never came back, up to 2026-09-19",
                "Records 12",
                "4.0 KiB",
            ],
        ),
        (
            "/",
            [
                "s0@example.org r@example.net example.org",
                "l@example.org",
                "1m to 5m 2",
                "client=x",
                "2026-09-21",
            ],
        ),
        ("/waiting", ["1 still has to wait; 0 more", "1m – record s0@example.org"]),
        ("/origins", ["example.org named 9 5 3 1 2m 30s 15m"]),
        ("/lost", ["l@example.org r@example.net 192.0.2.0/24 2"]),
        ("/review", ["no owner stale client=x /etc/list:2 look"]),
        (f"/record?key={KEY}", ["waiting, 1m left", "1, 0 too early", KEY, "no record"]),
        ("/origin?name=example.org", ["defer: new s@example.org r@example.net 192.0.2.1 abcdef"]),
        (f"/record?key={KEY}", ["s@example.org → r@example.net Waiting for 1m", "multigrey records pass"]),
        ("/search?q=s%40example.org", ["Waiting for 1m: 1 attempt", "a retry passes in 1m", "192.0.2.1"]),
        ("/search?q=s%40example.org", ["multigrey explain abcdef", "defer: new"]),
        ("/search", ["Type any part of a mail"]),
        ("/decision?id=abcdef", ["Now it would be defer: early Too early.", "records (decides) first seen"]),
        ("/decision?id=abcdef", ["a retry passes, from 2026-09-21", "Then defer: new No record exists"]),
    ],
)
async def test_what_stands_there(address, words):
    async with browsing() as fetch:
        text = (await fetch(address)).tree.words
    for word in words:
        assert word in text


@pytest.mark.parametrize("address", PAGES)
async def test_an_open_page_gets_only_its_inside(address):
    async with browsing() as fetch:
        whole, inside = await fetch(address), await fetch(address, hx_request="true")
    assert inside.status == 200
    assert inside.headers["vary"] == "HX-Request"
    assert "<html" not in inside.text
    assert inside.text.strip() in whole.text


async def test_a_page_refreshes_itself_with_what_was_chosen():
    async with browsing() as fetch:
        tree = (await fetch("/lost?days=7&sort=last&dir=desc")).tree
    (inside,) = (each for each in tree.all("div") if each.get("id") == "inside")
    assert inside["hx-get"] == "/lost?days=7&sort=last&dir=desc"
    assert inside["hx-trigger"] == "every 30s"


def told_of(text):
    """A daemon in whose answers a stranger's words are everywhere."""
    row = waits(sender=text, recipient=text, origin=text, client=text)
    report = {
        **ANSWERS["report"],
        "lost": [lost(sender=text, recipient=text, origin=text)],
        "due": [{"owner": text, "entries": [dict.fromkeys(["kind", "place", "entry", "message"], text)]}],
    }
    return Asked(
        report=report,
        flow={**flows(), "origins": [origin(text)]},
        waiting={**ANSWERS["waiting"], "waiting": [row]},
        records_show={**ANSWERS["records.show"], "record": row},
    )


@pytest.mark.parametrize("hostile", [*HOSTILE, "\ud800", "'; DROP", "</title></div>", "{% raw %}"])
async def test_what_strangers_chose_stays_words(hostile):
    hostile = hostile[:300]
    for address in [*PAGES, "/origin?name={}", "/lost?days={}", "/waiting?sort={}&dir={}"]:
        shapes = []
        for text in ("harmless", hostile):
            word = quote(text, errors="surrogatepass")
            async with browsing(told_of(text)) as fetch:
                found = await fetch(address.format(word, word))
            assert found.status == 200
            assert not {"\u202e", "\u200b", "\u0007"} & set(found.text)
            shapes.append([(tag, sorted(attributes)) for tag, attributes in found.tree.elements])
        assert shapes[0] == shapes[1], address


async def test_only_operations_that_read_are_asked():
    daemon = Asked()
    async with browsing(daemon) as fetch:
        for address in PAGES:
            await fetch(address)
    asked = {name for name, _ in daemon.questions}
    assert asked == OPERATIONS - {"expect-list", "origins.providers"}  # of the page for users
    reports = {tuple(options.items()) for name, options in daemon.questions if name == "report"}
    assert reports == {(("since", NOW - NOW % 3600 - 86_400), ("limit", 20_000), ("rows", 100))}


@pytest.mark.parametrize(
    ("query", "days"),
    [("", 1), ("?days=7", 7), ("?days=30", 30), ("?days=31", 1), ("?days=-1", 1), ("?days=x", 1)],
)
async def test_periods(query, days):
    daemon = Asked()
    async with browsing(daemon) as fetch:
        await fetch(f"/lost{query}")
    (options,) = (options for name, options in daemon.questions if name == "report")
    assert options["since"] == NOW - NOW % 3600 - days * 86_400


async def test_tables_are_sorted_by_links():
    rows = [waits(1), waits(3), waits(2)]
    daemon = Asked(waiting={**ANSWERS["waiting"], "waiting": rows})
    async with browsing(daemon) as fetch:
        found = await fetch("/waiting?sort=sender&dir=desc")
    assert re.findall(r">(s\d)@", found.text) == ["s3", "s2", "s1"]
    assert [each.get("aria-sort") for each in found.tree.all("th")] == [
        None,
        "descending",
        None,
        None,
        None,
        None,
    ]


def asked_for(daemon):
    return [options for name, options in daemon.questions if name == "history"]


async def test_an_id_leads_to_the_whole_story():
    daemon = Asked()
    async with browsing(daemon) as fetch:
        await fetch("/search?q=abcdef")
    pair = {"sender": "s@example.org", "recipient": "r@example.net", "limit": 200}
    assert asked_for(daemon) == [{"id": "abcdef", "limit": 200}, pair]


async def test_two_addresses_are_sender_and_recipient_in_any_order():
    nothing = {"items": [{**ANSWERS["history"]["items"][0], "decisions": 0}]}
    daemon = Asked(history=nothing)
    async with browsing(daemon) as fetch:
        text = (await fetch("/search?q=a%40x.example+b%40y.example")).tree.words
    assert [each["sender"] for each in asked_for(daemon)] == ["a@x.example", "b@y.example"]
    assert "No decision about it is in the history, which goes back to" in text
    assert "recorded" not in text


async def test_a_search_says_what_the_history_lacks():
    head, story = ANSWERS["history"]["items"]
    head = {**head, "not_recorded": "not recorded: 7 decisions of the time looked at"}
    for items, said in (([head, story], ""), ([head], "longer ago, or it was not recorded.")):
        async with browsing(Asked(history={"items": items})) as fetch:
            text = (await fetch("/search?q=example.org")).tree.words
        assert "Not recorded: 7 decisions of the time looked at." in text
        assert said in text


async def test_a_pasted_line_is_read_by_the_daemon():
    line = "Dec 1 postfix/smtpd[9]: NOQUEUE: reject: RCPT from x[192.0.2.1]: from=<s@example.org> to=<r@x>"
    daemon = Asked(explain={**ANSWERS["explain"], "then": None})
    async with browsing(daemon) as fetch:
        text = (await fetch(f"/search?q={quote(line)}")).tree.words
    assert "Waiting for 1m" in text
    assert asked_for(daemon) == [{"sender": "s@example.org", "recipient": "r@example.net", "limit": 200}]
    async with browsing(Asked(explain=ControlError("no attempt found in this text"))) as fetch:
        assert "no attempt found in this text" in (await fetch(f"/search?q={quote(line)}")).tree.words


async def test_a_refusal_of_another_program_is_named_as_such():
    line = "Dec 1 postfix/smtpd[9]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 blocked; to=<r@x.example>"
    whose = "Postfix asked a block list (zen)"
    async with browsing(Asked(explain={**ANSWERS["explain"], "foreign": whose})) as fetch:
        text = (await fetch(f"/search?q={quote(line)}")).tree.words
    assert f"This refusal is not multigrey’s: {whose}" in text
    assert "Waiting for" not in text


async def test_ids_addresses_and_origins_are_links():
    async with browsing() as fetch:
        links = {each["href"] for each in (await fetch("/search?q=x.example")).tree.all("a")}
    for link in ("/search?q=s%40example.org", "/decision?id=abcdef", "/origin?name=example.org"):
        assert link in links
    assert "/search?q=192.0.2.1" in links


@pytest.mark.parametrize("address", PAGES)
async def test_every_page_has_the_search_box(address):
    async with browsing() as fetch:
        tree = (await fetch(address)).tree
    (form,) = tree.all("form")
    assert (form["role"], form["action"], form["method"]) == ("search", "/search", "get")
    (box,) = tree.all("input")
    assert box["id"] in {label["for"] for label in tree.all("label")}


async def test_trouble_is_told_and_the_rest_is_shown():
    async with browsing(Asked(report=ControlError("[history] enabled is false"))) as fetch:
        text = (await fetch("/")).tree.words
    assert "[history] enabled is false" in text
    assert "Mails, by the beginning" in text  # from the samples
    assert "s0@example.org" in text


async def test_a_list_that_is_cut_says_so():
    report = {**ANSWERS["report"], "more": True}
    async with browsing(Asked(report=report)) as fetch:
        assert "it goes back to 2026-09-20 16:00:00" in (await fetch("/lost")).tree.words


async def test_figures_say_how_far_they_go_back():
    young = {**flows(), "recorded_since": NOW - 3600}
    async with browsing(Asked(flow=young)) as fetch:
        text = (await fetch("/")).tree.words
    assert "Figures of mail go back to 2026-09-21 13:13:20 , when they were first taken" in text
    async with browsing(Asked(flow={**young, "recorded_since": None})) as fetch:
        assert "have not been taken yet" in (await fetch("/")).tree.words
    async with browsing() as fetch:
        assert "first taken" not in (await fetch("/")).tree.words


async def test_in_the_first_minutes_there_is_what_is_known_so_far_and_no_chart():
    slots = [[NOW - NOW % 300, False, [4, 4, 0, 0, 2, 1, 3, 1]]]
    async with browsing(Asked(flow={**flows(), "slots": slots})) as fetch:
        tree = (await fetch("/")).tree
    assert "The chart is being gathered: it begins with two whole stretches of 5m" in tree.words
    assert "(so far) 2 1 3" in tree.words
    assert len([each for each in tree.all("div") if each.get("class") == "chart"]) == 3


async def test_the_running_stretch_is_not_drawn_and_time_without_a_daemon_is_a_dash():
    async with browsing() as fetch:
        tree = (await fetch("/")).tree
    chart = json.loads(next(each["data-chart"] for each in tree.all("div") if "data-chart" in each))
    assert [time - NOW + NOW % 300 for time in chart["times"]] == [-900, -600, -300]
    assert chart["lines"][0]["values"] == [1, None, 2]
    assert "(so far) 2 1 3" in tree.words
    assert "14:00 – – –" in tree.words


async def test_nothing_is_a_zero_before_it_is_known(autojump_clock):
    async def slow(name, options):
        await trio.sleep(3 if name in {"growth", "status"} else 60)
        return ANSWERS[name]

    async with browsing(slow) as fetch:
        await fetch("/")
        text = (await fetch("/")).tree.words
    assert text.count("being gathered") >= 12
    for card in ("Waiting now", "Median delay", "Deferred mails", "Never came back", "Due for review"):
        assert f"{card} – being gathered" in text
    for wrong in (
        "No mail is waiting",
        "No attempt",
        "None in this time",
        "Nothing is due",
        "No origin sent",
    ):
        assert wrong not in text


@pytest.mark.parametrize("address", ["/origins", "/lost", "/review", "/waiting"])
async def test_a_list_that_is_not_there_yet_is_not_empty(autojump_clock, address):
    async def slow(name, options):
        await trio.sleep(0 if name == "growth" else 60)
        return ANSWERS[name]

    async with browsing(slow) as fetch:
        text = (await fetch(address)).tree.words
    assert "being gathered" in text
    assert "None" not in text
    assert "No " not in text


@pytest.mark.parametrize("address", PAGES)
async def test_without_a_daemon_every_page_says_so(address):
    async with browsing(Asked(**{name.replace(".", "_"): TROUBLE for name in ANSWERS})) as fetch:
        found = await fetch(address)
    assert found.status == 200
    assert "no daemon answers at unix:/run/x" in found.tree.words


async def test_what_takes_long_comes_later(autojump_clock):
    async def slow(name, options):
        await trio.sleep(60)
        return ANSWERS[name]

    async with browsing(slow) as fetch:
        for address in PAGES:
            found = await fetch(address)
            assert found.status == 200
            assert "still being gathered" in found.tree.words


async def test_what_never_came_back_is_no_nought_before_it_can_be_known():
    early = flows(never=None, settled=0)
    early["week"] = {**early["week"], "first_figures": NOW + 86_400}
    report = {**ANSWERS["report"], "lost": [], "delays": delays(never=0), "first_figures": NOW + 86_400}
    async with browsing(Asked(flow=early, report=report)) as fetch:
        words, lost_words = (await fetch("/")).tree.words, (await fetch("/lost")).tree.words
    assert "Never came back – not known yet: first figures on 2026-09-22" in words
    assert "Kept out in a week – first figures on 2026-09-22" in words
    for text in (words, lost_words):
        assert "Not known yet: first figures on 2026-09-22." in text
    async with browsing(Asked(flow=flows(never=0))) as fetch:
        assert "Never came back 0 of 4; which" in (await fetch("/")).tree.words


@pytest.mark.parametrize("address", PAGES)
async def test_the_state_of_the_host_is_on_every_page(address):
    async with browsing() as fetch:
        tree = (await fetch(address)).tree
    assert "multigrey 0.2.0 enforce normal pressure" in tree.words
    assert "3 connections of mail servers up 1d 1h no trouble" in tree.words
    assert "– mx1.example.net – multigrey" in tree.words
    pressure = {"slot": "pressure", "word": "tight", "by": "root"}
    tight = {"overrides": [pressure], "mode": {"in_effect": "observe"}}
    async with browsing(Asked(status={**ANSWERS["status"], **tight})) as fetch:
        text = (await fetch(address)).tree.words
    assert "multigrey 0.2.0 observe tight" in text
    assert "2 to look at" in text
    assert "Greylisting is only observed" in text


async def test_without_a_daemon_its_state_is_not_made_up():
    async with browsing(Asked(status=TROUBLE)) as fetch:
        text = (await fetch("/waiting")).tree.words
    assert "mx1.example.net the daemon does not answer" in text
    assert "enforce" not in text


FLOOD = {"network": "94.102.49.0/24", "since": NOW, "seconds": 9, "attempts": 31_000}
INPUT = {
    "listener": "smtp",
    "problem": "x",
    "what": "listener smtp: Odd",
    "cause": "a NAT",
    "remedy": "mend it",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": {"in_effect": "observe"}}, "only observed"),
        ({"mode": {"in_effect": "off"}}, "switched off"),
        (
            {"overrides": [{"slot": "mode", "word": "off", "by": "root (uid 0)"}]},
            "mode off, set by root (uid 0)",
        ),
        ({"state_trouble": "state directory /x: it is gone"}, "State directory /x: it is gone."),
        ({"store": {"error": "gone"}}, "The store does not answer: gone"),
        ({"store": {"records": 1, "failing": 3.0}}, "cannot be written"),
        ({"store": {"records": 1, "damaged": "page 7"}}, "The store was damaged: page 7."),
        ({"limits": {"full": True}}, "remembered by a mark only"),
        (
            {"floods": [FLOOD]},
            "94.102.49.0/24 is over the limit of new records since 2026-09-21 14:13:20: 31,000 attempts",
        ),
        ({"floods": [FLOOD] * 8}, "3 more are over the limit of new records"),
        ({"input": [INPUT]}, "listener smtp: Odd; usually a NAT."),
        ({"input": [INPUT]}, "Remedy: mend it."),
        ({"plugins": [{"name": "x", "failures": 3}]}, "Plugins failed 3 times"),
        (
            {"plugins": [{"name": "x", "failures": 3, "trouble": "trait y: no"}]},
            "The plugin x does not work now, and has no vote: trait y: no.",
        ),
        (
            {"listeners": [{"name": "exim", "trouble": "Too many open files"}]},
            "exim cannot accept connections: Too many open files.",
        ),
        (
            {"lists": [{"path": "/l", "trouble": "does not exist"}]},
            "The whitelist /l does not exist; its old entries are still in use.",
        ),
        (
            {"log_trouble": "decisions cannot be logged to /x: full"},
            "Decisions cannot be logged to /x: full.",
        ),
        ({"reload_refused": "a.toml:1: b: c\nd"}, "the old configuration stays: a.toml:1: b: c"),
    ],
)
async def test_what_somebody_should_know_first(change, words):
    async with browsing(Asked(status={**ANSWERS["status"], **change})) as fetch:
        assert words in (await fetch("/")).tree.words
    async with browsing() as fetch:
        assert words not in (await fetch("/")).tree.words


@pytest.mark.parametrize(
    "address",
    [
        "/nope",
        "/record",
        "/record?key=abc",
        f"/record?key={'G' * 32}",
        "/origin",
        "/waiting?" + "a=1&" * 11,
        "/static/nope.js",
        "/static/../app.py",
        "/static/vendor/htmx.min.js",
        "//",
    ],
)
async def test_there_is_no_such_page(address):
    async with browsing() as fetch:
        found = await fetch(address)
    assert (found.status, found.tree.words.endswith("To the overview")) == (404, True)


@pytest.mark.parametrize("query", ["%ff%fe", "name=%ff", "=&=&", "%", "name", "name=" + "x" * 2_000])
async def test_whatever_a_query_is_there_is_an_answer(query):
    async with browsing() as fetch:
        for path in ("/", "/waiting", "/origin"):
            assert (await fetch(f"{path}?{query}")).status in {200, 404}


async def test_static_files_are_kept_under_the_address_of_their_version():
    async with browsing() as fetch:
        (address, *_) = [each["src"] for each in (await fetch("/")).tree.all("script")]
        found, unversioned = await fetch(address), await fetch(address.partition("?")[0])
    assert "immutable" in found.headers["cache-control"]
    assert unversioned.headers["cache-control"] == "no-store"
    assert found.text == unversioned.text
    assert found.headers["content-type"].startswith("text/javascript")


async def test_only_the_head():
    async with browsing() as fetch:
        found = await fetch("/", "HEAD")
    assert found.status == 200


async def test_the_latest_decisions_are_refreshed_every_few_seconds():
    daemon = Asked()
    async with browsing(daemon) as fetch:
        tree = (await fetch("/live?only=defer")).tree
        passed = (await fetch("/live?only=pass")).tree.words
    assert [each["hx-trigger"] for each in tree.all("div") if "hx-trigger" in each] == ["every 3s"]
    assert "defer: new s@example.org" in tree.words
    assert "None of the latest decisions passed mail." in passed
    assert asked_for(daemon)[0] == {"latest": True, "limit": 100}


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_each_table_can_be_exported(form, caplog):
    caplog.set_level("INFO")
    queries = {"origin": "?name=example.org", "search": "?q=s%40example.org"}
    async with browsing() as fetch:
        for name in EXPORTS:
            found = await fetch(f"/{name}.{form}{queries.get(name, '')}")
            assert found.status == 200
            kind = {"csv": "text/csv; charset=utf-8", "json": "application/json"}[form]
            assert found.headers["content-type"] == kind
            assert found.headers["content-disposition"] == f'attachment; filename="multigrey-{name}.{form}"'
            rows = json.loads(found.text) if form == "json" else list(csv.DictReader(io.StringIO(found.text)))
            assert rows
            assert list(rows[0]) == list(EXPORTS[name].columns)
            assert f"export of {name}" in caplog.text


@pytest.mark.parametrize("address", ["/search?q=s%40example.org", "/origin?name=example.org", *TABLES[:5]])
async def test_each_table_links_to_its_exports(address):
    async with browsing() as fetch:
        page = "/" if address in {"/traffic", "/growth"} else address
        links = [each["href"] for each in (await fetch(page)).tree.all("a")]
    path, _, query = address.partition("?")
    for form in ("csv", "json"):
        assert f"{path}.{form}{'?' + query if query else ''}" in links


async def test_an_export_that_is_not_there_yet_says_so(autojump_clock):
    async def slow(name, options):
        await trio.sleep(60)

    async with browsing(slow) as fetch:
        found = await fetch("/waiting.csv")
    assert (found.status, found.headers["retry-after"]) == (503, "10")
    assert "being gathered" in found.text
    async with browsing(Asked(waiting=TROUBLE)) as fetch:
        found = await fetch("/waiting.json")
    assert (found.status, "no daemon answers" in found.text) == (503, True)


@pytest.mark.parametrize("address", ["/waiting.xml", "/nope.csv", "/record.csv", "/.csv", "/origin.csv"])
async def test_there_is_no_such_export(address):
    async with browsing() as fetch:
        assert (await fetch(address)).status == 404


@pytest.mark.parametrize(
    ("settings", "redact", "said"),
    [
        ({}, False, "a user of the proxy: search: a@x.example"),
        ({"user_header": "X-Remote-User"}, False, "anna: search: a@x.example"),
        ({"user_header": "X-Remote-User"}, True, "anna: search"),
    ],
)
async def test_who_searches_is_logged(caplog, monkeypatch, settings, redact, said):
    caplog.set_level("INFO")
    monkeypatch.setattr(compiled(), "_logins", Logins(**settings))
    monkeypatch.setattr(compiled(), "_redact", redact)
    async with browsing() as fetch:
        await fetch("/search?q=a%40x.example", x_remote_user="anna")
        await fetch("/search?q=a%40x.example", hx_request="true", x_remote_user="anna")
    assert caplog.messages == [f"[plugins.web]: {said}"]


BROWSER = {
    "sec_fetch_site": "same-origin",
    "x_user": "anna",
    "content_type": "application/x-www-form-urlencoded",
}


def logins(*may):
    return Logins(user_header="X-User", may=may)


def sent(logins, **fields):
    user = logins.user({"x-user": "anna"})
    return urlencode({"token": logins.token(user, "localhost"), **fields}).encode()


def with_deeds(**answers):
    daemon = Asked()
    done = {"expect": {"expected": {}}, "records.pass": {"records": 1}, "override": {"override": {}}}
    daemon.answers |= {**done, **answers}
    return daemon


async def post(fetch, body, **headers):
    return await fetch("/act", "POST", body, **{"content_length": str(len(body)), **BROWSER, **headers})


DEEDS = [
    ("expect", {"recipient": "r@example.net", "seconds": "900"}, "expect mail to r@example.net for 15m"),
    ("pass", {"sender": "s@example.org", "recipient": "r@example.net"}, "let s@example.org to r@example.net"),
    ("mode", {"word": "observe", "seconds": "900"}, "mode observe for 15m"),
]


@pytest.mark.parametrize(("act", "fields", "text"), DEEDS)
async def test_who_may_acts_and_it_is_logged(caplog, act, fields, text):
    caplog.set_level("INFO")
    daemon, who = with_deeds(), logins(*ACTS)
    async with browsing(daemon, who) as fetch:
        found = await post(fetch, sent(who, act=act, **fields))
    assert found.status == 200
    assert f"Done: {text}" in found.tree.words
    assert [name for name, _ in daemon.questions if name in daemon.answers][-1] in {*with_deeds().answers}
    assert any(message.startswith(f"[plugins.web]: anna: does {act}: {text}") for message in caplog.messages)


@pytest.mark.parametrize(
    ("may", "headers", "changes", "status"),
    [
        ((), {}, {}, 403),
        (("mode",), {}, {}, 403),
        (ACTS, {"x_user": ""}, {}, 403),
        (ACTS, {"x_user": "bob"}, {}, 403),
        (ACTS, {"sec_fetch_site": "cross-site"}, {}, 403),
        (ACTS, {"sec_fetch_site": ""}, {}, 403),
        (ACTS, {}, {"token": "x"}, 403),
        (ACTS, {}, {"recipient": ""}, 400),
        (ACTS, {}, {"seconds": "1"}, 400),
        (ACTS, {}, {"act": "forget"}, 403),
        (ACTS, {"content_type": "text/plain"}, {}, 415),
        (ACTS, {"content_length": "5000"}, {}, 413),
        (ACTS, {"content_length": "x"}, {}, 413),
    ],
)
async def test_nobody_else_acts(may, headers, changes, status):
    daemon, who = with_deeds(), logins(*may)
    fields = {"act": "expect", "recipient": "r@example.net", "seconds": "900", **changes}
    async with browsing(daemon, who) as fetch:
        assert (await post(fetch, sent(who, **fields), **headers)).status == status
        assert (await fetch("/act")).status == 405
    assert not [name for name, _ in daemon.questions if name == "expect"]


async def test_without_acts_forms_are_refused():
    async with browsing() as fetch:
        assert (await post(fetch, b"act=expect")).status == 405


async def test_what_the_daemon_refuses_is_told():
    who = logins(*ACTS)
    body = sent(who, act="pass", sender="s@example.org", recipient="r@example.net")
    async with browsing(with_deeds(**{"records.pass": ControlError("uid 7 may read")}), who) as fetch:
        found = await post(fetch, body)
    assert (found.status, "uid 7 may read" in found.tree.words) == (502, True)
    async with browsing(with_deeds(**{"records.pass": {"records": 0}}), who) as fetch:
        found = await post(fetch, body)
    assert (found.status, "No waiting record matches" in found.tree.words) == (404, True)


async def test_forms_are_shown_to_those_who_may():
    async with browsing(None, logins("expect", "pass")) as fetch:
        anna = (await fetch("/search?q=s%40example.org", x_user="anna")).tree
        nobody = (await fetch("/search?q=s%40example.org")).tree
        assert (await fetch("/steer", x_user="anna")).status == 404
    assert [form["action"] for form in anna.all("form")] == ["/search", "/act", "/act"]
    assert "You are anna." in anna.words
    assert [form["action"] for form in nobody.all("form")] == ["/search"]
    assert "This page changes nothing." in nobody.words
    async with browsing(None, logins("mode")) as fetch:
        found = await fetch("/steer", x_user="anna")
        assert (found.status, len(found.tree.all("form"))) == (200, 3)
        assert (await fetch("/steer")).status == 404


OWN = {"x_user": "anna", "x_mail": "anna@example.net, Info@Example.net", "x_groups": "staff"}
PROVIDERS = [{"providers": [{"provider": "mailhoster.example", "hosts": ["mailhoster.example"]}]}]


def own_logins(**changes):
    names = {"user_header": "X-User", "role_header": "X-Groups", "address_header": "X-Mail"}
    return Logins(**{**names, "roles": {"postmaster": ()}, **changes})


def waiting_for(*rows):
    expected = [{"recipient": to, "from": of, "until": NOW + 900} for to, of in rows]
    told = {"expect-list": {"time": NOW, "expected": expected}, "origins.providers": {"items": PROVIDERS}}
    return with_deeds(**told)


async def test_users_see_only_what_they_wait_for_themselves():
    daemon = waiting_for(("anna@example.net", "shop.example"), ("bob@example.net", "bank.example"))
    async with browsing(daemon, own_logins()) as fetch:
        found = await fetch("/mine", **OWN)
        for page in (*PAGES, "/steer"):
            reply = await fetch(page, **OWN)
            assert (reply.status, reply.headers["location"]) == (303, "/mine"), page
        for table in TABLES:
            assert (await fetch(f"{table}.csv", **OWN)).status == 404
        assert (await fetch("/waiting")).headers["location"] == "/mine"
        assert (await fetch("/mine", **{**OWN, "x_mail": ""})).status == 404
        asked = {name for name, _ in daemon.questions}
        postmaster = await fetch("/waiting", **{**OWN, "x_groups": "postmaster"})
    assert postmaster.status == 200
    tree = found.tree
    assert "shop.example → anna@example.net, until" in tree.words
    assert "info@example.net" in tree.words
    assert [each["hx-trigger"] for each in tree.all("div") if "hx-trigger" in each] == ["every 3600s"]
    assert not any(word in tree.words for word in ("bob@", "bank.example", "enforce", "Waiting", "Origins"))
    assert [form["action"] for form in tree.all("form")] == ["/act"]
    assert asked == {"expect-list"}


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"from": "shop@mailhoster.example"}, 200, "mail from shop@mailhoster.example to anna@example.net"),
        ({"from": "shop.example"}, 200, "expect mail from shop.example to anna@example.net for 2d"),
        ({"from": "<Shop@Example.org>"}, 200, "from shop@example.org"),
        ({"from": "mailhoster.example"}, 400, "give the whole address"),
        ({"from": "eu.mailhoster.example"}, 400, "give the whole address"),
        ({"from": "example"}, 400, "expected an address"),
        ({"from": "a b@example.org"}, 400, "expected an address"),
        ({"from": ""}, 400, "expected an address"),
        ({"from": "shop.example", "recipient": "bob@example.net"}, 400, "one of your own addresses"),
    ],
)
async def test_a_user_expects_mail_to_their_own_addresses(fields, status, words):
    daemon, who = waiting_for(), own_logins()
    user = who.user({"x-user": "anna", "x-groups": "staff", "x-mail": "anna@example.net"})
    form = {"token": who.token(user, "localhost"), "act": "mine", "recipient": "anna@example.net", **fields}
    async with browsing(daemon, who) as fetch:
        found = await post(fetch, urlencode(form).encode(), **OWN)
    assert (found.status, words in found.tree.words) == (status, True)
    done = [options for name, options in daemon.questions if name == "expect"]
    assert len(done) == (status == 200)
    assert all(each["seconds"] == 2 * 86_400 for each in done)


async def test_a_user_waits_for_ten_mails_at_most():
    rows = [("anna@example.net", f"shop{number}.example") for number in range(10)]
    who = own_logins()
    user = who.user({"x-user": "anna", "x-groups": "staff", "x-mail": "anna@example.net"})
    form = {"token": who.token(user, "localhost"), "act": "mine", "recipient": "anna@example.net"}
    async with browsing(waiting_for(*rows), who) as fetch:
        again = await post(fetch, urlencode({**form, "from": "shop3.example"}).encode(), **OWN)
        more = await post(fetch, urlencode({**form, "from": "more.example"}).encode(), **OWN)
    assert again.status == 200
    assert (more.status, "you wait for as many mails as are possible" in more.tree.words) == (400, True)


async def test_who_has_no_address_expects_nothing_for_oneself():
    who = own_logins()
    user = who.user({"x-user": "anna"})
    form = {"token": who.token(user, "localhost"), "act": "mine", "recipient": "", "from": "shop.example"}
    async with browsing(waiting_for(), who) as fetch:
        assert (await post(fetch, urlencode(form).encode(), **{**OWN, "x_mail": ""})).status == 403


async def test_the_page_for_senders_is_off_and_tells_nothing_of_this_host(monkeypatch):
    async with browsing() as fetch:
        assert (await fetch("/help")).status == 404
    table = {"address": "unix:/run/w.sock", "help": True}
    monkeypatch.setattr(compiled(), "_settings", WebSettings.model_validate(table))
    daemon = Asked()
    async with browsing(daemon, own_logins()) as fetch:
        found, other = await fetch("/help"), await fetch("/help?id=abcdef&q=x", **OWN)
    assert found.status == 200
    assert found.text == other.text
    assert found.headers["x-robots-tag"] == "noindex"
    assert daemon.questions == []
    tree = found.tree
    assert "You need not do anything. Your mail server tries again by itself" in tree.words
    assert not tree.all("a") + tree.all("link") + tree.all("script") + tree.all("img")
    assert not any(word in found.text for word in ("mx1", "multigrey", "example"))
