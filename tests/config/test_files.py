"""Which files are read, and which are refused because others could write them."""

from __future__ import annotations

import os

import pytest

from multigrey.config.files import (
    LARGEST,
    UnreadableError,
    code_dangers,
    directory_dangers,
    list_dangers,
    read_config,
)

ME = os.geteuid()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text("# ä\n")
    path.chmod(0o640)
    return path


def test_a_sound_file(config):
    assert read_config(config, ME) == ("# ä\n", [])


@pytest.mark.parametrize(
    ("mode", "refused"),
    [
        (0o600, False),
        (0o644, False),
        (0o755, False),
        (0o660, True),
        (0o602, True),
        (0o666, True),
        (0o777, True),
    ],
)
def test_modes(config, mode, refused):
    config.chmod(mode)
    text, dangers = read_config(config, ME)
    assert text
    assert bool(dangers) is refused
    assert all("chmod go-w" in danger for danger in dangers)


@pytest.mark.skipif(ME != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    ("owner", "started_as", "refused"),
    [(0, 0, False), (0, 1000, False), (1000, 1000, False), (1000, 0, True), (1000, 1001, True)],
)
def test_owners(config, owner, started_as, refused):
    os.chown(config, owner, -1)
    assert bool(read_config(config, started_as)[1]) is refused
    assert bool([*code_dangers(config.parent, [1000])]) is False
    os.chown(config.parent, owner, -1)
    assert bool([*code_dangers(config.parent, [started_as])]) is refused


@pytest.mark.parametrize(
    ("octets", "line", "message"),
    [
        (b"\xef\xbb\xbfa = 1\n", 1, "byte order mark"),
        (b"\xff\xfea\0", 1, "UTF-16"),
        (b"\xfe\xff\0a", 1, "UTF-16"),
        (b"a = 1\nb = '\xe4'\n", 2, "is not UTF-8 (octet 0xe4)"),
        (b"#" * (LARGEST + 1), None, "larger than 1 MiB"),
    ],
)
def test_what_is_no_text(config, octets, line, message):
    config.write_bytes(octets)
    with pytest.raises(UnreadableError) as caught:
        read_config(config, ME)
    assert caught.value.line == line
    assert message in caught.value.message


def test_the_largest_file_is_read(config):
    config.write_bytes(b"#" * LARGEST)
    assert len(read_config(config, ME)[0]) == LARGEST


def test_only_regular_files_are_read(config, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = tmp_path / "link"
    link.symlink_to(config)
    for path, message in [
        (fifo, "is a FIFO"),
        (tmp_path, "is a directory"),
        ("/dev/null", "is a device"),
        (tmp_path / "missing", "cannot be read: No such file"),
    ]:
        with pytest.raises(UnreadableError, match=message):
            read_config(path, ME)
    assert read_config(link, ME) == ("# ä\n", [])


def test_a_list_may_belong_to_anybody_but_not_be_open_to_everybody(tmp_path):
    directory = tmp_path / "lists"
    directory.mkdir(mode=0o755)
    clients = directory / "clients"
    assert [*list_dangers(clients)] == [], "a missing list is the reader's business"
    clients.write_text("example.org\n")
    clients.chmod(0o644)
    assert [*list_dangers(clients)] == []

    local = directory / "clients.local"
    local.write_text("example.net\n")
    local.chmod(0o664)
    assert [danger.split(" is ")[0] for danger in list_dangers(clients)] == [str(local)]

    local.chmod(0o644)
    clients.chmod(0o622)
    directory.chmod(0o775)
    assert [danger.split(" is ")[0] for danger in list_dangers(clients)] == [str(clients), str(directory)]

    clients.chmod(0o644)
    directory.chmod(0o1777)
    assert [*list_dangers(clients)] == [], "a sticky directory keeps others from replacing it"


def test_plugin_directories(tmp_path):
    directory = tmp_path / "plugins"
    assert "No such file" in " ".join(code_dangers(directory, [ME]))
    directory.mkdir(mode=0o755)
    assert [*code_dangers(directory, [ME])] == []
    directory.chmod(0o1777)
    assert "writable by group or others" in " ".join(code_dangers(directory, [ME]))
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o644)
    assert [*code_dangers(file, [ME])] == [f"{file} is not a directory"]


def test_on_a_trusted_mount_modes_and_owners_mean_nothing(tmp_path, monkeypatch):
    mount, elsewhere = tmp_path / "mount", tmp_path / "elsewhere"
    for directory in (mount, elsewhere):
        (directory / "whitelists").mkdir(parents=True)
        for path in (directory / "multigrey.toml", directory / "whitelists/local.toml"):
            path.write_text("")
            path.chmod(0o777)
        (directory / "whitelists").chmod(0o777)
    (mount / "link.toml").symlink_to(elsewhere / "multigrey.toml")

    def dangers(directory):
        _, found = read_config(directory / "multigrey.toml", ME + 1)
        lists = directory / "whitelists"
        return [*found, *list_dangers(lists / "local.toml"), *directory_dangers(lists, [ME + 1])]

    assert len(dangers(mount)) == len(dangers(elsewhere)) >= 3
    monkeypatch.setenv("MULTIGREY_TRUST_MODES", f"nowhere::{mount}:/no/such")
    assert dangers(mount) == []
    assert len(dangers(elsewhere)) >= 3
    assert read_config(mount / "link.toml", ME)[1] != [], "where the link leads to counts"
