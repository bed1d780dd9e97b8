"""What `logging` is told reaches stderr, in one of two forms, and never holds anybody up."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

import pytest

from multigrey.events.line import LONGEST
from multigrey.log.diagnostics import DiagnosticsHandler, diagnostics, is_journal

ours = logging.getLogger("multigrey.somewhere")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def journal(descriptor: int) -> dict[str, str]:
    status = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def lines(descriptor: int) -> list[str]:
    return os.read(descriptor, 1 << 20).decode().splitlines()


def test_elsewhere_a_line_begins_with_time_and_word(pipe):
    read, write = pipe
    with diagnostics({}, descriptor=write):
        ours.warning("whitelist %s: %d entries", "clients", 3)
    (line,) = lines(read)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning whitelist clients: 3 entries", line)


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
    ],
)
def test_in_the_journal_a_line_begins_with_its_priority(pipe, level, priority):
    read, write = pipe
    with diagnostics(journal(write), level=logging.DEBUG, descriptor=write):
        ours.log(level, "hello")
    assert lines(read) == [f"<{priority}>hello"]


def test_who_is_heard(pipe):
    read, write = pipe
    others = logging.getLogger("another.library")
    before = ours.getEffectiveLevel(), list(logging.getLogger().handlers)
    with diagnostics(journal(write), descriptor=write):
        ours.debug("our whisper")
        ours.info("our word")
        others.info("their word")
        others.warning("their warning")
    ours.error("after the end")
    assert lines(read) == ["<6>our word", "<4>another.library: their warning"]
    assert before == (ours.getEffectiveLevel(), list(logging.getLogger().handlers))


def test_further_lines_are_indented_and_nothing_unprintable_gets_out(pipe):
    read, write = pipe
    with diagnostics(journal(write), descriptor=write):
        ours.error("peer said %s", "one\ntime=x action=pass\r\x1b[2J\u2028two\udcff")
    assert lines(read) == [
        "<3>peer said one",
        "<3>  time=x action=pass\\x0d\\x1b[2J\\u2028two\\xff",
    ]


def test_a_traceback_is_whole(pipe):
    read, write = pipe
    with diagnostics(journal(write), descriptor=write):
        try:
            int("no number")
        except ValueError:
            ours.exception("trouble")
    got = lines(read)
    assert got[0] == "<3>trouble"
    assert got[1] == "<3>  Traceback (most recent call last):"
    assert got[-1] == "<3>  ValueError: invalid literal for int() with base 10: 'no number'"


@pytest.mark.parametrize("sign", ["a", "é", "\u2028"])
def test_no_line_is_so_long_that_a_reader_would_split_it(pipe, sign):
    read, write = pipe
    with diagnostics(journal(write), descriptor=write):
        ours.error(sign * 10_000)
    data = os.read(read, 1 << 20)
    assert LONGEST - 3 < len(data) <= LONGEST
    assert data.endswith(b"\n")
    assert data.decode().count("\n") == 1


def test_a_wrong_call_of_a_logger_hurts_nobody(pipe, capsys):
    read, write = pipe
    handler = DiagnosticsHandler(write, journal=True)
    for text in ("%d", "next %s"):
        handler.handle(logging.LogRecord("multigrey", logging.ERROR, __file__, 1, text, ("one",), None))
    handler.close()
    assert lines(read) == ["<3>next one"]
    assert "Logging error" in capsys.readouterr().err


def test_a_stderr_that_nobody_reads_holds_up_nobody(pipe):
    read, write = pipe
    handler = DiagnosticsHandler(write, journal=True)
    record = logging.LogRecord("multigrey", logging.ERROR, __file__, 1, "x" * 4000, None, None)
    count = 2000  # more than the pipe and the queue hold
    for _ in range(count):
        handler.handle(record)
    told = re.compile(rb"^<4>(\d+) lines lost: standard error was not read in time\n", re.MULTILINE)
    arrived = lost = 0
    with os.fdopen(os.dup(read), "rb") as file:
        while arrived + lost < count:
            found = told.fullmatch(file.readline())
            arrived += found is None
            lost += int(found[1]) if found else 0
    handler.close()
    assert arrived + lost == count
    assert lost > 0


def test_outside_the_journal_the_lost_are_told_too(pipe):
    handler = DiagnosticsHandler(pipe[1], journal=False)
    handler.close()
    assert handler._lost_line(3) == b"warning 3 lines lost: standard error was not read in time"


def test_a_stderr_that_is_gone_is_borne(pipe):
    read, write = os.pipe()
    os.close(read)
    with diagnostics({}, descriptor=write):
        ours.error("nobody hears")
    os.close(write)


def test_what_counts_as_the_journal(pipe):
    _, write = pipe
    environ = journal(write)
    assert is_journal(environ, write)
    assert not is_journal({}, write)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, write)
    assert not is_journal(environ, 999_999)
    with open(os.devnull) as other:  # noqa: PTH123  (a device, not a path)
        assert not is_journal(environ, other.fileno())
