"""Changes to lists that people wrote."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import ConfigError
from multigrey.whitelists.edit import Edited, entry_at, rewrite, with_entry, with_review, without_entry
from multigrey.whitelists.toml_file import understood

PATH = Path("list.toml")
TEXT = """\
# Partners of the shop; ask before you change it.
[list]
owner = "shop"   # all of it

# The warehouse
# sends each notice once.
[[entry]]
client = "mx.partner.example"
reason = "once"  # really
# not yet:
# review_by = 2020-01-01

[[entry]]
  sender_domain = "news.example"
  client = "192.0.2.0/24"
  review_by = 2026-01-01  # soon
  reason = "news"

# the end
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def entries(text):
    return [entry.text for entry in understood(PATH, text).entries]


def test_one_more():
    values = {
        "reason": 'they say "soon"\\',
        "client": "198.51.100.7",
        "recipient": "bob@example.org",
        "owner": "ops",
        "added": date(2026, 11, 22),
        "expires": datetime(2026, 11, 22, 18, tzinfo=UTC),
    }
    edited = with_entry(PATH, TEXT, values)
    assert edited.text == TEXT + (
        '\n[[entry]]\nclient = "198.51.100.7"\nrecipient = "bob@example.org"\nowner = "ops"\n'
        'reason = "they say \\"soon\\"\\\\"\nadded = 2026-11-22\nexpires = 2026-11-22T18:00:00Z\n'
    )
    assert edited.entry.text == "client=198.51.100.7 recipient=bob@example.org"
    assert edited.entry.line == 21


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet", '[list]\nowner = "x"'])
def test_the_first_one(text):
    edited = with_entry(PATH, text, {"client": "192.0.2.1"})
    assert edited.text.startswith(text)
    assert entries(edited.text) == ["client=192.0.2.1"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "has no condition"),
        ({"client": "192.0.2.1/33"}, "entry[3].client"),
        ({"client": "0.0.0.0/0"}, "would match every client"),
        ({"client": "192.0.2.1", "reason": "two\nlines"}, "entry[3].reason"),
    ],
)
def test_what_is_no_entry_is_refused(values, told):
    with pytest.raises(ConfigError) as caught:
        with_entry(PATH, TEXT, values)
    assert told in str(caught.value)
    assert str(caught.value).startswith("list.toml:")


def test_a_file_that_is_wrong_already_is_left_alone():
    with pytest.raises(ConfigError, match=r"list\.toml:2"):
        with_entry(PATH, "[[entry]]\nclient = 1\n", {"client": "192.0.2.1"})


@pytest.mark.parametrize(
    ("index", "comments", "left"),
    [
        (0, False, TEXT.replace('[[entry]]\nclient = "mx.partner.example"\nreason = "once"  # really\n', "")),
        (
            0,
            True,
            TEXT.replace(
                "# The warehouse\n# sends each notice once.\n"
                '[[entry]]\nclient = "mx.partner.example"\nreason = "once"  # really\n',
                "",
            ),
        ),
    ],
)
def test_one_less(index, comments, left):
    edited = without_entry(PATH, TEXT, index, comments=comments)
    assert edited.text == left
    assert edited.entry.text == "client=mx.partner.example"


def test_the_last_one_leaves_what_follows():
    edited = without_entry(PATH, TEXT, 1)
    assert edited.text == TEXT[: TEXT.index("[[entry]]\n  sender")] + "# the end\n"
    only = '[[entry]]\nclient = "192.0.2.1"\n'
    assert without_entry(PATH, only, 0).text == ""


@pytest.mark.parametrize(
    ("index", "old", "new"),
    [
        (0, "# really\n", "# really\nreview_by = 2027-06-30\n"),
        (1, "review_by = 2026-01-01  # soon", "review_by = 2027-06-30  # soon"),
    ],
)
def test_another_day_to_look(index, old, new):
    edited = with_review(PATH, TEXT, index, date(2027, 6, 30))
    assert edited.text == TEXT.replace(old, new)
    assert edited.entry.review_by == date(2027, 6, 30)


@pytest.mark.parametrize(
    ("line", "index"), [(7, 0), (9, 0), (13, 1), (17, 1), (1, None), (5, None), (12, None), (19, None)]
)
def test_which_entry_stands_on_a_line(line, index):
    if index is None:
        with pytest.raises(ConfigError, match="not part of an entry"):
            entry_at(PATH, TEXT, line)
    else:
        assert entry_at(PATH, TEXT, line) == index


@pytest.mark.parametrize("change", [without_entry, lambda *args: with_review(*args, date(2027, 1, 1))])
def test_a_layout_that_is_not_understood_is_refused(change):
    text = 'entry = [{client = "192.0.2.1"}, {client = "192.0.2.2"}]\n'
    with pytest.raises(ConfigError, match="by hand"):
        change(PATH, text, 0)


def test_line_ends_of_other_systems_stay():
    text = TEXT.replace("\n", "\r\n")
    assert entries(without_entry(PATH, text, 0).text) == [entries(text)[1]]
    assert with_entry(PATH, text, {"client": "192.0.2.1"}).text.startswith(text)


CLIENTS = st.lists(st.sampled_from([f"192.0.2.{number}" for number in range(9)]), max_size=5)
NOISE = st.sampled_from(["", "\n", "# a comment\n", "\n\n# [[entry]]\n", "   # client = 1\n\n"])


@given(clients=CLIENTS, noise=st.lists(NOISE, min_size=12, max_size=12), data=st.data())
def test_whatever_stands_around_entries(clients, noise, data):
    text = "".join(
        f'{noise[place]}[[entry]]\nclient = "{client}"\n{noise[-place - 1]}'
        for place, client in enumerate(clients)
    )
    more = with_entry(PATH, text, {"client": "198.51.100.1"}).text
    assert more.startswith(text)
    for index in range(len(clients) + 1):
        comments = data.draw(st.booleans())
        left = without_entry(PATH, more, index, comments=comments).text
        assert entries(left) == entries(more)[:index] + entries(more)[index + 1 :]
        if not comments:
            assert [line for line in left.splitlines() if "#" in line] == [
                line for line in more.splitlines() if "#" in line
            ]


# --- files -----------------------------------------------------------------------------------------


def test_a_file_keeps_its_mode_and_its_link(tmp_path):
    real = tmp_path / "real.toml"
    real.write_text(TEXT)
    real.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to("real.toml")
    before = real.stat()
    edited = rewrite(link, lambda text: without_entry(link, text, 0))
    assert link.is_symlink()
    assert real.read_text() == edited.text
    after = real.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert names(tmp_path) == ["link.toml", "real.toml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text(TEXT)
    os.chown(path, 12345, 12346)
    rewrite(path, lambda text: without_entry(path, text, 0))
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)


def test_a_refused_change_leaves_the_file_alone(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text(TEXT)
    inode = path.stat().st_ino
    with pytest.raises(ConfigError):
        rewrite(path, lambda text: with_entry(path, text, {}))
    assert path.read_text() == TEXT
    assert path.stat().st_ino == inode
    assert names(tmp_path) == ["list.toml"]


def test_a_disk_that_takes_nothing_leaves_the_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "list.toml"
    path.write_text(TEXT)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multigrey.whitelists.edit.os.fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        rewrite(path, lambda text: without_entry(path, text, 0))
    assert path.read_text() == TEXT
    assert names(tmp_path) == ["list.toml"]


def test_a_new_file_only_where_it_is_wanted(tmp_path):
    path = tmp_path / "new.toml"

    def add(text: str) -> Edited:
        return with_entry(path, text, {"client": "192.0.2.1"})

    with pytest.raises(ConfigError, match="cannot be read"):
        rewrite(path, add)
    rewrite(path, add, create=True)
    assert path.stat().st_mode & 0o7777 == 0o644
    assert entries(path.read_text()) == ["client=192.0.2.1"]
    with pytest.raises(ConfigError, match="cannot be changed"):
        rewrite(tmp_path / "nowhere/new.toml", add, create=True)
