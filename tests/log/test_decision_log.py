"""The decision log as the daemon uses it, into real files, pipes and sockets."""

from __future__ import annotations

import fcntl
import itertools
import json
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from multigrey.engine.ids import ID_ALPHABET, make_ids
from multigrey.errors import MultigreyError
from multigrey.events.line import Hide, format_event, format_json, format_postgrey, parse_line
from multigrey.identity.redaction import Redactor
from multigrey.log import decision_log, writer
from multigrey.log.decision_log import DecisionLog
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.support.clocks import START, FakeClock

DEADLINE = 20

EVENT = DecisionEvent(
    START,
    "7f3k2q",
    Attempt("postfix", ip_address("192.0.2.10"), None, "h.example.org", "a@example.org", "b@example.net"),
    Verdict(Action.DEFER, Reason.NEW, retry_after=120, delay=120, attempts=1),
)
UTC_TIME = "Sep  9 01:46:40"
"""START as syslog writes it."""


@pytest.fixture(autouse=True)
def utc(monkeypatch) -> Iterator[None]:
    """Local time is UTC, whatever the machine's."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        decision_log._local_time.cache_clear()
        yield
    time.tzset()


def make(to: str | Path, *, form: str = "multigrey", **others) -> DecisionLog:
    return DecisionLog(
        **{
            "form": form,
            "to": str(to),
            "ident": form,
            "facility": "mail",
            "host": "mx1.example.org",
            "clock": FakeClock(),
            "environ": {},
            **others,
        }
    )


@asynccontextmanager
async def running(log: DecisionLog) -> AsyncIterator[None]:
    """The log's `run`, cancelled at the end; then everything is written."""
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        yield
        nursery.cancel_scope.cancel()


def numbered(number: int) -> DecisionEvent:
    return replace(EVENT, id=f"{number:06}")


def ids_in(text: str) -> list[int]:
    return [int(parse_line(line)["id"]) for line in text.splitlines()]


# --- ids ---


def test_ids_are_six_signs_that_cannot_be_mistaken():
    assert len(set(ID_ALPHABET)) == 32
    assert not set("01lo") & set(ID_ALPHABET)
    for made in itertools.islice(make_ids(), 1000):
        assert re.fullmatch(f"[{ID_ALPHABET}]{{6}}", made)


def test_ids_do_not_repeat():
    ids = list(itertools.islice(make_ids(), 200_000))
    assert len(set(ids)) == len(ids)


# --- to a file ---


async def test_decisions_reach_the_file_in_order(tmp_path):
    path = tmp_path / "log"
    log = make(path)
    log.write(numbered(0))
    async with running(log):
        for number in range(1, 500):
            log.write(numbered(number))
    assert path.read_text().splitlines() == [format_event(numbered(number)) for number in range(500)]
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert log.lost == 0


async def test_a_line_is_there_soon_without_anybody_waiting(tmp_path):
    path = tmp_path / "log"
    log = make(path)
    async with running(log):
        log.write(EVENT)
        with trio.fail_after(DEADLINE):
            while not path.read_text():
                await trio.lowlevel.checkpoint()
        assert path.read_text() == format_event(EVENT) + "\n"


async def test_after_a_rotation_lines_go_to_the_new_file(tmp_path):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    log = make(path)
    async with running(log):
        log.write(numbered(1))
        await log.reopen()
        path.rename(moved)
        log.write(numbered(2))
        await log.reopen()
        log.write(numbered(3))
    assert ids_in(moved.read_text()) == [1, 2]
    assert ids_in(path.read_text()) == [3]


async def test_a_file_that_cannot_be_opened_again_is_reported_and_the_old_one_used(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    log = make(folder / "log")
    async with running(log):
        folder.rename(tmp_path / "moved")
        await log.reopen()
        log.write(EVENT)
    assert (tmp_path / "moved" / "log").read_text() == format_event(EVENT) + "\n"
    assert [record.getMessage() for record in caplog.records] == [
        f"decision log: cannot write to {folder / 'log'}: No such file or directory"
    ]


async def test_reopening_waits_for_nobody_for_long(tmp_path, autojump_clock):
    await make(tmp_path / "log").reopen()  # `run` is not there to do it
    assert trio.current_time() >= 1


async def test_a_file_that_cannot_be_opened_at_the_start_is_an_error(tmp_path):
    path = tmp_path / "missing" / "log"
    with pytest.raises(
        MultigreyError,
        match=re.escape(f"the decision log {path} cannot be opened: No such file or directory"),
    ):
        await make(path).run()


async def test_trouble_is_there_as_long_as_it_lasts(tmp_path):
    path = tmp_path / "log"
    log = make(path)
    async with running(log):
        assert log.trouble == ""
        path.unlink()
        path.mkdir()
        await log.reopen()
        assert log.trouble == f"decisions cannot be logged to {path}: Is a directory"
        path.rmdir()
        await log.reopen()
        assert log.trouble == ""


async def test_a_full_disk_stops_nothing_and_is_said_once_a_minute(caplog):
    clock = FakeClock()
    log = make("/dev/full", clock=clock)
    async with running(log):
        for _ in range(3):
            for number in range(10):
                log.write(numbered(number))
            await log.reopen()
            clock.advance(29)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "cannot write to /dev/full: No space left on device" in caplog.text
        log.write(EVENT)
        clock.advance(29)
        await log.reopen()
    assert len(caplog.records) == 2
    assert log.lost == 31


async def test_the_lost_are_counted_in_a_line_of_the_log_itself(tmp_path):
    path = tmp_path / "log"
    line = format_event(EVENT)
    log = make(path, limit=2 * (len(line) + 50))
    for _ in range(7):
        log.write(EVENT)
    async with running(log):
        pass
    assert path.read_text().splitlines() == [line, line, "time=2001-09-09T01:46:40Z lost=5"]
    assert log.lost == 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_bug_in_the_writer_is_reported_and_the_log_goes_on(tmp_path, caplog, monkeypatch):
    path = tmp_path / "log"
    log = make(path)
    bugs = iter([RuntimeError("a bug")])
    real = writer.FileSink.write

    def sometimes(sink, lines):
        for bug in bugs:
            raise bug
        return real(sink, lines)

    monkeypatch.setattr(writer.FileSink, "write", sometimes)
    monkeypatch.setattr(decision_log, "_RESTART", 0)
    async with running(log):
        broken = log._writer._thread
        log.write(numbered(1))
        while not caplog.records:
            await trio.lowlevel.checkpoint()
        log.write(numbered(2))
        await log.reopen()
    broken.join(10)  # its last words belong to this test
    assert ids_in(path.read_text()) == [2]
    assert "starting it again" in caplog.text


# --- to stderr ---


@contextmanager
def stderr_pipe() -> Iterator[int]:
    """While the block runs, descriptor 2 is a pipe; this is its other end."""
    read, write = os.pipe()
    kept = os.dup(2)
    os.dup2(write, 2)
    os.close(write)
    try:
        yield read
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(read)


async def test_decisions_reach_stderr():
    with stderr_pipe() as stderr:
        log = make("stderr")
        async with running(log):
            log.write(EVENT)
        assert os.read(stderr, 65536).decode() == format_event(EVENT) + "\n"


async def test_a_stderr_that_nobody_reads_stops_nothing_and_costs_no_memory():
    with stderr_pipe() as stderr:
        size = fcntl.fcntl(stderr, fcntl.F_GETPIPE_SZ)
        limit = 10_000
        log = make("stderr", limit=limit)
        line = len(format_event(EVENT)) + 1
        count = 0
        async with running(log):
            while log.lost < 1000:  # each turn of the loop gets its turn, or this would hang
                for _ in range(10):
                    log.write(numbered(count))
                    count += 1
                await trio.lowlevel.checkpoint()
            got = b""
            told = re.compile(rb"^time=\S+ lost=(\d+)\n", re.MULTILINE)
            with trio.fail_after(DEADLINE):
                while not told.search(got):
                    await trio.lowlevel.wait_readable(stderr)
                    got += os.read(stderr, 65536)
        got += _rest(stderr)
        lost = sum(int(number) for number in told.findall(got))
        arrived = ids_in(told.sub(b"", got).decode())
        assert arrived == sorted(arrived)
        assert lost == log.lost
        assert len(arrived) + lost == count
        assert len(arrived) * line < size + 3 * limit + 65536


def _rest(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    got = b""
    try:
        while chunk := os.read(descriptor, 65536):
            got += chunk
    except BlockingIOError:
        return got
    return got


async def test_the_end_does_not_wait_for_a_stderr_that_nobody_reads(autojump_clock):
    with stderr_pipe() as stderr:
        size = fcntl.fcntl(stderr, fcntl.F_GETPIPE_SZ)
        os.write(2, b"\0" * size)
        log = make("stderr")
        async with running(log):
            log.write(EVENT)
        assert trio.current_time() >= 2  # on the test's clock
        expected = b"\0" * size + format_event(EVENT).encode() + b"\n"
        got = b""
        while len(got) < len(expected):  # the thread that was left behind goes on when somebody reads
            got += os.read(stderr, 65536)
        assert got == expected


async def test_postgrey_lines_on_stderr_look_like_a_log_file():
    with stderr_pipe() as stderr:
        log = make("stderr", form="postgrey")
        async with running(log):
            log.write(EVENT)
        expected = f"{UTC_TIME} mx1 postgrey[{os.getpid()}]: {format_postgrey(EVENT)}\n"
        assert os.read(stderr, 65536).decode() == expected


def without_time(event: DecisionEvent, hide: Hide | None = None) -> str:
    return re.sub(r"\Atime=\S+ (?=action=)", "", format_event(event, hide))


@pytest.mark.parametrize(
    ("form", "text"), [("postgrey", format_postgrey), ("multigrey", without_time), ("json", format_json)]
)
async def test_for_the_journal_lines_have_no_second_time(form, text):
    with stderr_pipe() as stderr:
        status = os.fstat(2)
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        log = make("stderr", form=form, environ=environ)
        async with running(log):
            log.write(EVENT)
        assert os.read(stderr, 65536).decode() == text(EVENT) + "\n"


# --- postgrey's form, syslog ---


async def test_postgrey_lines_in_a_file(tmp_path):
    path = tmp_path / "log"
    log = make(path, form="postgrey", ident="greylist", limit=300)
    bounce = replace(EVENT, verdict=Verdict(Action.PASS, Reason.NULL_SENDER))
    log.write(bounce)  # has no line
    for _ in range(3):
        log.write(EVENT)
    async with running(log):
        pass
    begin = f"{UTC_TIME} mx1 greylist[{os.getpid()}]: "
    assert path.read_text().splitlines() == [
        begin + format_postgrey(EVENT),
        begin + "2 lines lost: they could not be written in time",
    ]


@pytest.mark.parametrize(
    ("form", "facility", "priority"), [("postgrey", "mail", 22), ("multigrey", "local3", 158)]
)
async def test_syslog_gets_a_datagram_for_each_decision(tmp_path, form, facility, priority):
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(DEADLINE)
        log = make("syslog", form=form, facility=facility, syslog_path=str(path))
        async with running(log):
            log.write(numbered(1))
            log.write(numbered(2))
        text = format_postgrey if form == "postgrey" else without_time
        begin = f"<{priority}>{UTC_TIME} {form}[{os.getpid()}]: "
        for number in (1, 2):
            assert receiver.recv(4096).decode() == begin + text(numbered(number))


async def test_a_missing_syslog_daemon_is_said_and_does_not_keep_us_from_starting(tmp_path, caplog):
    log = make("syslog", syslog_path=str(tmp_path / "log"))
    async with running(log):
        log.write(EVENT)
    assert log.lost == 1
    assert "decision log: cannot write to syslog: No such file or directory" in caplog.text


async def test_a_host_without_a_name_still_has_one_in_the_log(tmp_path):
    path = tmp_path / "log"
    log = make(path, form="postgrey", host="")
    log.write(EVENT)
    async with running(log):
        pass
    assert " localhost postgrey[" in path.read_text()


# --- JSON, redacted ---


async def test_json_lines_and_the_one_about_those_lost(tmp_path):
    path = tmp_path / "log"
    log = make(path, form="json", limit=1200)
    for number in range(40):
        log.write(numbered(number))
    async with running(log):
        pass
    *lines, last = map(json.loads, path.read_text().splitlines())
    assert [line["id"] for line in lines] == [f"{number:06}" for number in range(len(lines))]
    assert last["lost"] == 40 - len(lines) == log.lost > 0


@pytest.mark.parametrize("form", ["multigrey", "json", "postgrey"])
async def test_a_redacted_log_names_nobody(tmp_path, form):
    path = tmp_path / "log"
    log = make(path, form=form, hide=Redactor(bytes(range(32))).fields)
    async with running(log):
        log.write(EVENT)
    text = path.read_text()
    assert "@example.org" in text
    assert not [clear for clear in ("a@example.org", "b@example.net", "192.0.2.10") if clear in text]
