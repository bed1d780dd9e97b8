from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Attempt, Command, Ignored, Signal, Stage
from multigrey.protocols.greylistd import GreylistdDialogue
from tests.support.feeding import DEFER, PASS, REJECT, always, converse, feed, options

V4 = IPv4Address("192.0.2.10")
ALONE = Attempt("test", V4, None, "", "", "", Stage.DATA)
TRIPLET = Attempt("test", V4, None, "", "Alice@Sender.Example", "bob@test.example")
DATA = b"192.0.2.10 Alice@Sender.Example bob@test.example"


def make(request_size=65536, *, administer=False):
    return GreylistdDialogue(options(request_size=request_size, administer=administer))


def administrator():
    return make(administer=True)


def raw(text):
    return Attempt("test", None, None, "", "", "", raw=text)


@pytest.mark.parametrize(
    "data", [DATA, b"update " + DATA, b"UPDATE  \t" + DATA.replace(b" ", b"   ") + b" \r"]
)
@pytest.mark.parametrize(("reply", "sent"), [(DEFER, b"grey"), (PASS, b"white"), (REJECT, b"black")])
def test_update(data, reply, sent):
    for talk in (
        feed(make, data, eof=True, respond=always(reply)),
        feed(make, data + b"\n", respond=always(reply)),
        feed(make, data + b"\nupdate more\n", eof=True, respond=always(reply)),
    ):
        assert talk.heard == [TRIPLET]
        assert talk.sent == sent
        assert talk.end is Signal.CLOSED


@pytest.mark.parametrize(
    ("option", "reply", "sent"),
    [
        (b"--grey", DEFER, b"true"),
        (b"--grey", PASS, b"false"),
        (b"--grey", REJECT, b"false"),
        (b"--white", DEFER, b"false"),
        (b"--white", PASS, b"true"),
        (b"-WHITE", PASS, b"true"),
        (b"--white --grey", PASS, b"true"),
    ],
)
def test_update_with_an_option_is_true_or_false(option, reply, sent):
    talk = feed(make, option + b" " + DATA, eof=True, respond=always(reply))
    assert talk.heard == [TRIPLET]
    assert talk.sent == sent


@pytest.mark.parametrize(
    ("state", "sent"), [("black", b"true"), ("white", b"false"), ("grey", b"false"), ("unseen", b"false")]
)
def test_black_only_looks(state, sent):
    talk = feed(make, b"--black " + DATA, eof=True, respond=always({"state": state}))
    assert talk.heard == [Command("state", TRIPLET)]
    assert talk.sent == sent


@pytest.mark.parametrize(
    ("data", "attempt"),
    [
        (b"192.0.2.0/24 a@b c@d", Attempt("test", IPv4Address("192.0.2.0"), None, "", "a@b", "c@d")),
        (b"192.0.2.10/24 a@b c@d", Attempt("test", IPv4Address("192.0.2.0"), None, "", "a@b", "c@d")),
        (b"2001:db8::25 a@b c@d", Attempt("test", IPv6Address("2001:db8::25"), None, "", "a@b", "c@d")),
        (
            b"2001:db8:0:1::25/64 a@b c@d",
            Attempt("test", IPv6Address("2001:db8:0:1::"), None, "", "a@b", "c@d"),
        ),
        (
            b"2001.0db8.0000.0001.0000.0000.0000.0000/64 a@b c@d",  # as ${mask:} writes it
            Attempt("test", IPv6Address("2001:db8:0:1::"), None, "", "a@b", "c@d"),
        ),
        (b"::ffff:192.0.2.10 a@b c@d", Attempt("test", V4, None, "", "a@b", "c@d")),
        (b"192.0.2.10 a@b bob", Attempt("test", V4, None, "", "a@b", "bob")),
        (b"192.0.2.10 a c", Attempt("test", V4, None, "", "a", "c")),
        # The null sender: its empty word vanishes, or it is written out.
        (b"192.0.2.10 c@d", Attempt("test", V4, None, "", "", "c@d", Stage.DATA)),
        (b"192.0.2.10  c@d", Attempt("test", V4, None, "", "", "c@d", Stage.DATA)),
        (b"192.0.2.10 <> c@d", Attempt("test", V4, None, "", "", "c@d", Stage.DATA)),
        (b"192.0.2.10 <> bob", Attempt("test", V4, None, "", "", "bob", Stage.DATA)),
        # Of several recipients none is told.
        (b"192.0.2.10 a@b, c@d", ALONE),
        (b"192.0.2.10 a@b, c@d, e@f", ALONE),
        (b"192.0.2.10 <> a@b, c@d", ALONE),
        # Filters for OpenSMTPD know nothing but the address.
        (b"192.0.2.10", ALONE),
        (b"192.0.2.10 <>", ALONE),
        (b"192.0.2.10/24", replace(ALONE, client_address=IPv4Address("192.0.2.0"))),
        (b"::ffff:192.0.2.10", ALONE),
        (b"2001:DB8::25", replace(ALONE, client_address=IPv6Address("2001:db8::25"))),
        # No second question comes for a server that probes an address.
        (
            b"192.0.2.10 double-bounce@b c@d",
            Attempt("test", V4, None, "", "double-bounce@b", "c@d", Stage.DATA),
        ),
        (
            b"192.0.2.10 Double-Bounce-7k2m9x@b c@d",
            Attempt("test", V4, None, "", "Double-Bounce-7k2m9x@b", "c@d", Stage.DATA),
        ),
        (b"192.0.2.10 verify@b c@d", Attempt("test", V4, None, "", "verify@b", "c@d")),
        # Bytes stay what they are in addresses, and apart in opaque keys.
        (b"192.0.2.10 j\xc3\xb6rg@b c@d", Attempt("test", V4, None, "", "jörg@b", "c@d")),
        (b"192.0.2.10 \xe9\xff@b c@d", Attempt("test", V4, None, "", "\udce9\udcff@b", "c@d")),
        (b"192.0.2.10 a\xc2\xa0b@b c@d", Attempt("test", V4, None, "", "a\xa0b@b", "c@d")),
        (b"192.0.2.10 a\x00\x1f@b c@d", Attempt("test", V4, None, "", "a\x00\x1f@b", "c@d")),
        (b"192.0.2.10 nobody", raw("192.0.2.10 nobody")),
        (b"192.0.2.10 <> a b", raw("192.0.2.10 <> a b")),
        (b"192.0.2.10 a@b c@d, e@f", raw("192.0.2.10 a@b c@d, e@f")),
        (b"192.0.2", raw("192.0.2")),
        (b"[2001", raw("[2001")),
        (b"192.0.2.10 a b c", raw("192.0.2.10 a b c")),
        (b'192.0.2.10 "A b"@c  D@e', raw('192.0.2.10 "a b"@c d@e')),
        (b"unknown a@b c@d", raw("unknown a@b c@d")),
        (b"192.0.2.0/33 a@b c@d", raw("192.0.2.0/33 a@b c@d")),
        (b"192.0.2.0/x/24 a@b c@d", raw("192.0.2.0/x/24 a@b c@d")),
        (b"Any  KEY\tat all", raw("any key at all")),
        (b"\xc3\x84\xff", raw("ä\udcff")),
        (b"updates", raw("updates")),
        (b"state x", raw("state x")),
        (b"do_update x", raw("do_update x")),
    ],
)
def test_what_data_words_mean(data, attempt):
    assert feed(make, data, eof=True).heard == [attempt]
    assert feed(make, b"update " + data + b"\n").heard == [attempt]


@pytest.mark.parametrize("data", [b"192.0.2.10", b"192.0.2.10 a@b, c@d"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (b"", ALONE),
        (b"update --grey", ALONE),
        (b"--black", Command("state", ALONE)),
        (b"check", Command("check", ALONE)),
        (b"status", Command("state", ALONE)),
        (b"add --black", Command("add", ALONE, {"list": "black"})),
        (b"delete", Command("delete", ALONE)),
    ],
)
def test_every_word_takes_an_address_alone_and_several_recipients(words, expected, data):
    talk = feed(administrator, words + b" " + data, eof=True, respond=lambda asked: {"state": "grey"})
    assert talk.heard == [expected]
    assert talk.end is Signal.CLOSED


@pytest.mark.parametrize(
    ("data", "command", "result", "sent"),
    [
        (b"status " + DATA, Command("state", TRIPLET), {"state": "unseen"}, b"unseen"),
        (b"status --grey any key", Command("state", raw("any key")), {"state": "white"}, b"white"),
        (b"check " + DATA, Command("check", TRIPLET), {"state": "grey"}, b"grey"),
        (b"check --grey " + DATA, Command("check", TRIPLET), {"state": "grey"}, b"true"),
        (b"check --black " + DATA, Command("check", TRIPLET), {"state": "grey"}, b"false"),
        (
            b"add " + DATA,
            Command("add", TRIPLET, {"list": "white"}),
            {"list": "white"},
            b"Added to whitelist",
        ),
        (
            b"add --Black x",
            Command("add", raw("x"), {"list": "black"}),
            {"list": "black"},
            b"Added to blacklist",
        ),
        (b"delete " + DATA, Command("delete", TRIPLET), {"list": "grey"}, b"Removed from greylist"),
        (b"delete " + DATA, Command("delete", TRIPLET), {"list": ""}, b"error: Not found"),
        (b"save", Command("save"), {}, b"saved: everything known is on disk"),
        (b"reload", Command("reload"), {}, b"reloaded: configuration and lists"),
        (b"clear", Command("clear", None, {"list": ""}), {}, b"cleared: data and statistics"),
        (b"clear --grey", Command("clear", None, {"list": "grey"}), {}, b"cleared: data of the greylist"),
        (b"list --grey", Command("list", None, {"list": "grey"}), {"rows": [], "more": False}, b""),
        (b"list --grey --white", Command("list", None, {"list": ""}), {}, b""),
        (
            b"check " + DATA,
            Command("check", TRIPLET),
            "the store\ndoes not answer",
            b"error: the store does not answer",
        ),
    ],
)
def test_commands(data, command, result, sent):
    for talk in (
        feed(administrator, data, eof=True, respond=always(result)),
        feed(administrator, data.upper() + b"\r\n", respond=always(result))
        if command.attempt is None
        else None,
    ):
        if talk is not None:
            assert talk.heard == [command]
            assert talk.sent == sent
            assert talk.end is Signal.CLOSED


STATISTICS = {
    "since": 1_000_000_000,
    "now": 1_000_000_000 + 2 * 86400 + 3600,
    "white": 12,
    "grey": 3,
    "black": 0,
    "passed": 4567,
    "deferred": 89,
    "host": "mx.example.org",
}


def test_stats():
    talk = feed(make, b"stats", eof=True, respond=always(STATISTICS))
    assert talk.heard == [Command("stats")]
    assert talk.sent.decode().splitlines() == [
        "Statistics since 2001-09-09 01:46:40 UTC (2 days and 1 hour ago)",
        "-" * 64,
        "12 items, matching 4567 requests, are currently whitelisted",
        " 3 items, matching   89 requests, are currently greylisted",
        " 0 items, matching    0 requests, are currently blacklisted",
    ]


def test_mrtg():
    talk = feed(make, b"mrtg\n", respond=always(STATISTICS))
    assert talk.heard == [Command("stats")]
    assert talk.sent == b"3\n12\n2 days and 1 hour\nmx.example.org\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (1, "1 second"),
        (60, "1 minute"),
        (61, "1 minute and 1 second"),
        (3600, "1 hour"),
        (3601, "1 hour"),
        (7320, "2 hours and 2 minutes"),
        (86400 * 400 + 59, "400 days"),
    ],
)
def test_durations(seconds, words):
    talk = feed(make, b"mrtg", eof=True, respond=always({"since": 1000, "now": 1000 + seconds}))
    assert talk.sent.decode().splitlines()[2] == words


ROWS = {
    "rows": [
        ["white", 1_000_000_000, 7, "192.0.2.0/24 a@b c@d"],
        ["grey", 10**30, 1, "evil\n  2001-01-01 \x1b[1m jörg"],
        ["white", -5, 123456, "x"],
    ],
    "more": True,
}


def test_list():
    talk = feed(make, b"list", eof=True, respond=always(ROWS))
    assert talk.sent.decode() == (
        "\nWhitelist data:\n===============\n"
        "  Last Seen            Count  Data\n"
        "  2001-09-09 01:46:40      7  192.0.2.0/24 a@b c@d\n"
        "  1970-01-01 00:00:00  123456  x\n"
        "\nGreylist data:\n==============\n"
        "  Last Seen            Count  Data\n"
        "  9999-12-31 23:59:59      1  evil   2001-01-01  [1m jörg\n"
        "\n(there is more than fits here)\n"
    )
    grey = feed(make, b"list --grey --black", eof=True, respond=always(ROWS)).sent
    assert b"Greylist data:" in grey
    assert b"Whitelist" not in grey


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"\n", b"error: No data received"),
        (b" \t\r\n", b"error: No data received"),
        (b"update\n", b"error: Missing argument"),
        (b"--grey\n", b"error: Missing argument"),
        (b"check --white\n", b"error: Missing argument"),
        (b"stats now\n", b"error: Too many arguments"),
        (b"list --white x\n", b"error: Too many arguments"),
        (b"--red x\n", b"error: 'red' is not a known state"),
        (b"check --\xff\x1b x\n", b"error: '' is not a known state"),
        (b"add --red x\n", b"error: No such list: 'red'"),
        (b"list --red\n", b"error: Invalid list: 'red'"),
        (b"list --white --red\n", b"error: Invalid list: 'red'"),
        (b"clear --red\n", b"error: Invalid list: 'red'"),
        (b"clear --white --grey\n", b"error: one list at a time"),
    ],
)
def test_mistakes_are_answered(data, sent):
    talk = feed(administrator, data)
    assert talk.heard == [Ignored()]
    assert talk.sent == sent
    assert talk.end is Signal.CLOSED


@pytest.mark.parametrize("word", [b"add x", b"delete x", b"save", b"reload", b"clear", b"CLEAR --white"])
def test_words_that_change_things_need_permission(word):
    talk = feed(make, word, eof=True)
    assert talk.heard == [Ignored()]
    assert talk.sent == b"error: " + word.split()[0].lower() + b" is not allowed on this endpoint"


def test_a_request_in_two_segments_is_one_request():
    talk = converse(make(), [b"--grey 192.0.2.10 ", b"Alice@Sender.Example bob@test.example", b""])
    assert talk.heard == [TRIPLET]
    assert talk.sent == b"true"


@pytest.mark.parametrize("data", [b"stats", b"update 192.0.2.10", DATA])
def test_nothing_is_guessed_while_neither_line_end_nor_end_of_file_came(data):
    talk = feed(make, data)
    assert talk.heard == []
    assert talk.end is Signal.NEED_DATA


def test_patience_is_limited_only_once_something_has_arrived():
    """Debian's own client sends neither a line end nor an end of file, then waits for its answer."""
    dialogue = make()
    assert dialogue.patience is None
    dialogue.receive(b"status x")
    assert dialogue.next_request() is Signal.NEED_DATA
    assert dialogue.patience is not None
    dialogue.receive(b"")
    assert dialogue.next_request() == Command("state", raw("x"))
    assert dialogue.patience is None


def test_a_connection_without_a_byte_is_closed_unanswered():
    talk = feed(make, b"", eof=True)
    assert (talk.heard, talk.sent, talk.end) == ([], b"", Signal.CLOSED)


def test_null_sender_triplets_differ_from_pairs_and_utf8_senders_from_each_other():
    null = feed(make, b"192.0.2.10 c@d", eof=True).heard[0]
    pair = feed(make, b"192.0.2.10 c", eof=True).heard[0]
    assert (null.raw, pair.raw) == ("", "192.0.2.10 c")
    keys = {feed(make, b"k \xc3%c" % octet, eof=True).heard[0].raw for octet in (0xA4, 0xB6, 0xBC)}
    assert len(keys) == 3


@pytest.mark.parametrize("data", [b"x" * 1001, b"x" * 1000 + b"\n", b"a " * 5000])
def test_an_over_long_request_ends_the_connection_silently(data):
    talk = feed(lambda: make(request_size=1000), data, eof=True)
    assert talk.error is not None
    assert talk.error.reply is None
    assert talk.sent == b""


def test_thousands_of_words():
    words = b" ".join(b"w%d" % i for i in range(10_000))
    assert converse(make(request_size=1 << 20), [words + b"\n"]).heard == [raw(words.decode())]


def test_a_slow_drip_searches_every_byte_once():
    dialogue = make(request_size=1 << 21)
    for _ in range(1 << 17):
        dialogue.receive(b"word ")
        assert dialogue.next_request() is Signal.NEED_DATA
    dialogue.receive(b"\n")
    assert isinstance(dialogue.next_request(), Attempt)


WORDS = st.sampled_from(
    b"update check status add delete stats mrtg list save reload clear --white --grey --black -- -x "
    b"192.0.2.1 192.0.2.0/24 a@b <> c@d,".split(b" ")
) | st.just(b"\n")
RESULTS = st.dictionaries(
    st.sampled_from(["state", "list", "since", "now", "white", "grey", "host", "more", "passed"]),
    st.none() | st.integers() | st.text(max_size=10) | st.booleans(),
)


@given(st.lists(WORDS | st.binary(max_size=60)), st.booleans(), RESULTS)
def test_any_bytes_in_any_pieces(pieces, eof, result):
    def small():
        return make(request_size=200, administer=True)

    def respond(request):
        return DEFER if isinstance(request, Attempt) else result

    pieces = [piece + b" " for piece in pieces]
    last = [b""] if eof else []
    data = b"".join(pieces)
    whole = converse(small(), ([data] if data else []) + last, respond)
    parts = converse(small(), pieces + last, respond)
    single = converse(small(), [data[i : i + 1] for i in range(len(data))] + last, respond)
    assert whole.outcome() == parts.outcome() == single.outcome()
    assert len(whole.heard) <= 1
    assert not whole.heard or whole.end is Signal.CLOSED
