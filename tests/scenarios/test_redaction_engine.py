from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.codec import decode_record
from multigrey.identity.redaction import Redactor
from multigrey.listeners.commands import Commands
from multigrey.model import Attempt, Command, Reason, Table
from tests.support.engines import DELAY, SITE_KEY, harness

ATTEMPT = Attempt("postfix", ip_address("192.0.2.10"), None, "h", "anna@example.org", "bob@example.net")


async def test_an_engine_with_tokens_recognises_who_comes_back():
    async with harness(redactor=Redactor(SITE_KEY)) as h:
        for seconds, reason in ((0, Reason.NEW), (60, Reason.EARLY), (60, Reason.RETRY), (1, Reason.KNOWN)):
            h.clock.advance(seconds)
            await h.engine.judge(ATTEMPT, "pass")
            assert h.events[-1].verdict.reason is reason
        rows, _ = await h.store.scan(Table.RECORD, b"", 10)
        assert rows
        for _, value in rows:
            assert not [text for text in (b"anna", b"bob", b"192.0.2") if text in value]
            assert decode_record(value).sender == Redactor(SITE_KEY).text("anna@example.org")


@pytest.mark.parametrize("begin", [None, Redactor(SITE_KEY)])
async def test_switching_it_forgets_nobody(begin):
    from dataclasses import replace

    async with harness(redactor=begin) as h:
        await h.engine.judge(ATTEMPT, "pass")
        h.engine.setup = replace(h.engine.setup, redactor=None if begin else Redactor(SITE_KEY))
        h.clock.advance(DELAY)
        await h.engine.judge(ATTEMPT, "pass")
        assert h.events[-1].verdict.reason is Reason.RETRY


async def test_what_is_added_or_blocked_by_hand_names_nobody():
    async with harness(redactor=Redactor(SITE_KEY)) as h:
        commands = Commands(h.engine, h.blocks, host="x", reload=None)
        for where in ("white", "black"):
            await commands.run(Command("add", ATTEMPT, {"list": where}))
        for table in Table:
            for _, value in (await h.store.scan(table, b"", 10))[0]:
                assert not [text for text in (b"anna", b"bob", b"192.0.2") if text in value]
        assert (await commands.run(Command("state", ATTEMPT)))["state"] == "black"
