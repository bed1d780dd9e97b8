"""Lines written by a thread: whole, in order, bounded, and told when lost."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from multigrey.log.writer import DatagramSink, FileSink, LineWriter, Sink, StreamSink

DEADLINE = 20


class ListSink:
    """Keeps lines; writes as many at a time as told, fails when told, waits while `gate` is closed."""

    def __init__(self, most: int = 1000, at_a_time: int = 1000) -> None:
        self.most = most
        self.lines: list[bytes] = []
        self.calls: list[list[bytes]] = []
        self.opened = 0
        self.closed = False
        self.broken = False
        self.at_a_time = at_a_time
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def open(self) -> None:
        self.opened += 1

    def write(self, lines: Sequence[bytes]) -> int:
        self.waiting.set()
        assert self.gate.wait(DEADLINE)
        if self.broken:
            raise OSError(28, "No space left on device")
        self.calls.append(list(lines))
        written = lines[: self.at_a_time]
        self.lines += written
        return len(written)

    def close(self) -> None:
        self.closed = True


class Errors(list[OSError]):
    """Collects what `on_error` is told."""


def make(sink: Sink, *, limit: int = 1 << 20, errors: Errors | None = None) -> LineWriter:
    collected = Errors() if errors is None else errors
    return LineWriter(
        sink, lost_line=lambda count: b"lost=%d" % count, on_error=collected.append, limit=limit
    )


def finish(writer: LineWriter) -> None:
    """Have it write everything and end."""
    ended = threading.Event()
    writer.call(ended.set)
    assert ended.wait(DEADLINE)
    writer.stop()
    writer.join(DEADLINE)


def after_everything(writer: LineWriter) -> None:
    """Wait until what was put so far is written."""
    done = threading.Event()
    writer.call(done.set)
    assert done.wait(DEADLINE)


def test_lines_come_out_in_order_and_the_sink_is_closed():
    sink = ListSink()
    writer = make(sink)
    writer.open()
    assert sink.opened == 1
    lines = [b"%d" % number for number in range(1000)]
    for line in lines[:500]:
        writer.put(line)  # before the start: kept
    writer.start()
    for line in lines[500:]:
        writer.put(line)
    finish(writer)
    assert sink.lines == lines
    assert sink.closed
    assert writer.lost == 0


def test_the_end_is_told():
    ended = threading.Event()
    writer = make(ListSink())
    writer.start(ended.set)
    assert not ended.is_set()
    writer.stop()
    assert ended.wait(DEADLINE)


def test_waiting_for_a_thread_that_never_started_is_no_wait():
    make(ListSink()).join(DEADLINE)


def test_calls_keep_their_place_among_lines():
    sink = ListSink()
    writer = make(sink)
    seen = []
    writer.put(b"one")
    writer.call(lambda: seen.append(list(sink.lines)))
    writer.put(b"two")
    writer.start()
    finish(writer)
    assert seen == [[b"one"]]
    assert sink.lines == [b"one", b"two"]


@pytest.mark.parametrize(
    ("most", "groups"),
    [
        (1, [[b"aa"], [b"bb"], [b"cccccccccc"], [b"d"]]),
        (6, [[b"aa", b"bb"], [b"cccccccccc"], [b"d"]]),
        (7, [[b"aa", b"bb"], [b"cccccccccc"], [b"d"]]),
        (1000, [[b"aa", b"bb", b"cccccccccc", b"d"]]),
    ],
)
def test_lines_go_out_in_groups_of_the_sinks_size(most, groups):
    sink = ListSink(most)
    writer = make(sink)
    for line in (b"aa", b"bb", b"cccccccccc", b"d"):
        writer.put(line)
    writer.start()
    finish(writer)
    assert sink.calls == groups


def test_a_sink_that_takes_less_is_offered_the_rest():
    sink = ListSink(at_a_time=2)
    writer = make(sink)
    for line in (b"a", b"b", b"c", b"d", b"e"):
        writer.put(line)
    writer.start()
    finish(writer)
    assert sink.lines == [b"a", b"b", b"c", b"d", b"e"]


def test_what_a_blocked_sink_leaves_no_room_for_is_counted_and_told_afterwards():
    sink = ListSink()
    sink.gate.clear()
    writer = make(sink, limit=10 * (50 + 4))
    writer.start()
    writer.put(b"0000")
    assert sink.waiting.wait(DEADLINE)  # the thread hangs in a write now
    for number in range(1, 101):
        writer.put(b"%04d" % number)
    assert writer.lost == 91
    sink.gate.set()
    finish(writer)
    assert sink.lines == [b"%04d" % number for number in range(10)] + [b"lost=91"]


def test_the_loss_is_told_once_and_room_comes_back():
    sink = ListSink()
    writer = make(sink, limit=60)
    writer.put(b"one")
    writer.put(b"two")
    writer.start()
    after_everything(writer)
    writer.put(b"three")
    finish(writer)
    assert sink.lines == [b"one", b"lost=1", b"three"]


def test_a_failing_sink_loses_lines_and_tells_when_it_works_again():
    sink, errors = ListSink(), Errors()
    sink.broken = True
    writer = make(sink, errors=errors)
    writer.put(b"one")
    writer.put(b"two")
    writer.start()
    after_everything(writer)
    assert writer.lost == 2
    assert {error.errno for error in errors} == {28}
    sink.broken = False
    writer.put(b"three")
    finish(writer)
    assert sink.lines == [b"three", b"lost=2"]


def test_when_telling_of_a_loss_fails_it_is_told_later():
    class Fragile(ListSink):
        full = True

        def write(self, lines: Sequence[bytes]) -> int:
            if self.full and lines[0].startswith(b"lost"):
                raise OSError(28, "No space left on device")
            return super().write(lines)

    sink = Fragile()
    writer = make(sink, limit=60)
    writer.put(b"one")
    writer.put(b"two")
    writer.start()
    after_everything(writer)
    assert writer.lost == 1
    sink.full = False
    writer.put(b"three")
    finish(writer)
    assert sink.lines == [b"one", b"three", b"lost=1"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_sink_ends_the_thread_and_is_told():
    class Wrong(ListSink):
        def write(self, lines: Sequence[bytes]) -> int:
            raise RuntimeError("a bug")

    ended = threading.Event()
    writer = make(Wrong())
    writer.start(ended.set)
    writer.put(b"one")
    assert ended.wait(DEADLINE)
    writer.join(DEADLINE)


# --- sinks ---


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_stream_gets_lines_with_ends(pipe):
    assert StreamSink(pipe[1]).write([b"one", b"two"]) == 2
    assert os.read(pipe[0], 100) == b"one\ntwo\n"


def test_a_stream_that_was_made_non_blocking_is_waited_for(pipe, monkeypatch):
    read, write = pipe
    waits = threading.Event()

    class Poll:
        """select.poll, and we hear of it."""

        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self) -> object:
            waits.set()
            return self._poll.poll()

    real = select.poll
    monkeypatch.setattr(select, "poll", Poll)
    os.set_blocking(write, False)
    size = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
    os.write(write, b"\0" * size)
    sink = StreamSink(write)
    sink.open()
    written: list[int] = []
    thread = threading.Thread(target=lambda: written.append(sink.write([b"last"])))
    thread.start()
    assert waits.wait(DEADLINE)
    got = b""
    while len(got) < size + 5:
        got += os.read(read, 65536)
    thread.join(DEADLINE)
    assert written == [1]
    assert got.endswith(b"\0last\n")
    sink.close()
    assert os.write(write, b"still open") > 0


def test_a_stream_nobody_reads_any_more_is_an_error():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        StreamSink(write).write([b"one"])
    os.close(write)


class ShortStream(StreamSink):
    """A descriptor that takes only so many bytes, then is full."""

    def __init__(self, descriptor: int, room: int) -> None:
        super().__init__(descriptor)
        self.room = room

    def _write_some(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        written = super()._write_some(data[: self.room])
        self.room -= written
        return written


def test_a_line_that_was_torn_is_begun_again_on_a_line_of_its_own(pipe):
    sink = ShortStream(pipe[1], room=6)
    lines = [b"one", b"two", b"three"]
    assert sink.write(lines) == 1
    with pytest.raises(OSError, match="No space"):
        sink.write(lines[1:])
    sink.room = 2
    assert sink.write(lines[1:]) == 0
    sink.room = 100
    assert sink.write(lines[1:]) == 2
    assert sink.write([b"four"]) == 1
    assert os.read(pipe[0], 100) == b"one\ntw\nt\ntwo\nthree\nfour\n"


def test_a_file_is_made_appended_to_and_made_again(tmp_path):
    path = tmp_path / "log"
    sink = FileSink(path)
    old = os.umask(0)
    try:
        sink.open()
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640
    sink.write([b"one"])
    path.rename(tmp_path / "log.1")
    sink.write([b"two"])
    sink.open()
    sink.write([b"three"])
    sink.close()
    sink.close()
    assert (tmp_path / "log.1").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"
    again = FileSink(path)
    again.open()
    again.write([b"four"])
    again.close()
    assert path.read_bytes() == b"three\nfour\n"


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one_in_use(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    sink = FileSink(folder / "log")
    sink.open()
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        sink.open()
    sink.write([b"one"])
    sink.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"one\n"


def test_a_full_disk_is_an_error_and_no_line_is_called_written():
    sink = FileSink(Path("/dev/full"))
    sink.open()
    with pytest.raises(OSError, match="No space left"):
        sink.write([b"one"])
    sink.close()


def syslog_daemon(path: Path) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(DEADLINE)
    receiver.bind(str(path))
    return receiver


def test_syslog_gets_a_datagram_a_line_also_after_it_was_restarted(tmp_path):
    path = tmp_path / "log"
    sink = DatagramSink(str(path))
    sink.open()
    with pytest.raises(FileNotFoundError):
        sink.write([b"nobody there"])
    with syslog_daemon(path) as receiver:
        assert sink.write([b"one"]) == 1
        assert sink.write([b"two"]) == 1
        assert [receiver.recv(100), receiver.recv(100)] == [b"one", b"two"]
    with pytest.raises(ConnectionRefusedError):
        sink.write([b"nobody there"])
    path.unlink()
    with syslog_daemon(path) as receiver:
        assert sink.write([b"three"]) == 1
        assert receiver.recv(100) == b"three"
        path.unlink()
        with syslog_daemon(path) as second:
            receiver.close()
            assert sink.write([b"four"]) == 1
            assert second.recv(100) == b"four"
    sink.close()
    sink.close()
