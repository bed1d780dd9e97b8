"""Files and drop-in directories: which are read, in which order, and everything that is wrong at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from multigrey.errors import ConfigError
from multigrey.whitelists import toml_file
from multigrey.whitelists.toml_file import ignored_files, list_files, read_lists

ONE = '[[entry]]\nclient = "{}"\n'


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "lists"
    path.mkdir()
    path.chmod(0o755)
    return path


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o644)
    return path


def problems(path):
    with pytest.raises(ConfigError) as caught:
        read_lists(path)
    return [str(problem) for problem in caught.value.problems]


def texts(path):
    return [entry.text for each in read_lists(path) for entry in each.entries]


def test_one_file_whatever_its_name(tmp_path):
    path = write(tmp_path / "partners", '[list]\nowner = "a"\n\n' + ONE.format("a.org") + ONE.format("b.org"))
    (each,) = read_lists(path, "config")
    assert (each.path, each.owner) == (path, "a")
    assert [(entry.line, entry.text, entry.owner) for entry in each.entries] == [
        (4, "client=a.org", "a"),
        (6, "client=b.org", "a"),
    ]
    (empty,) = read_lists(write(path, ""), "config")
    assert (empty.path, [*empty.entries], empty.owner) == (path, [], "config")


def test_a_directory_in_the_order_of_names(directory):
    for name in ("b.toml", "a.toml", "C.toml", "10.toml"):
        write(directory / name, ONE.format(f"{name[:-5]}.org"))
    for name in (".hidden.toml", ".#a.toml", "a.toml~", "#a.toml#", "a.toml.bak", "a.toml.dpkg-old"):
        write(directory / name, "nonsense [")
    for name in ("README", "partners.conf"):
        write(directory / name, "nonsense [")
    assert texts(directory) == ["client=10.org", "client=c.org", "client=a.org", "client=b.org"]
    assert [path.name for path in ignored_files(directory)] == ["README", "partners.conf"]
    assert [path.name for path in list_files(directory)] == ["10.toml", "C.toml", "a.toml", "b.toml"]
    assert ignored_files(directory / "a.toml") == []


def test_everything_wrong_in_every_file(directory):
    write(directory / "a.toml", '[[entry]]\nclient = 1\n[[entry]]\nclint = "x"\n')
    write(directory / "b.toml", "[[entry]\n")
    write(directory / "c.toml", b'# x\n[[entry]]\nclient = "\xff"\n')
    (directory / "d.toml").mkdir()
    os.mkfifo(directory / "e.toml")
    write(directory / "f.toml", ONE.format("x.org")).chmod(0o666)
    (directory / "g.toml").symlink_to("missing")
    found = [problem.removeprefix(f"{directory}/") for problem in problems(directory)]
    assert len(found) == 8
    assert found[0].startswith("a.toml:2: entry[1].client: expected a client")
    assert found[1].startswith('a.toml:4: entry[2].clint: unknown key; did you mean "client"?')
    assert found[2].startswith("b.toml:1: syntax error in column 8: ")
    assert found[3].startswith("c.toml:3: is not UTF-8 (octet 0xff)")
    assert found[4] == "d.toml: is not a regular file"
    assert found[5] == "e.toml: is not a regular file"
    assert "f.toml is writable by group or others (mode 0666)" in found[6]
    assert found[7] == "g.toml: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ", ":1: syntax error"),
        ('\n\nx = "', ":2: syntax error"),
        ("x = " + "[" * 5000, ": is nested too deeply to be read"),
        ("entry = 3\n", ":1: entry: expected a list, got 3"),
        ('[entry]\nclient = "a"\n', ":1: entry: is one table; write [[…]]"),
        (
            'entry = [{ client = "a.org", ownr = "b" }]\n',
            ':1: entry[1].ownr: unknown key; did you mean "owner"?',
        ),
    ],
)
def test_what_is_no_list(tmp_path, text, problem):
    (found,) = problems(write(tmp_path / "list", text))
    assert found.startswith(f"{tmp_path}/list{problem}")


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(toml_file, "LARGEST_LIST", 10)
    (found,) = problems(write(tmp_path / "list", "#" * 11))
    assert "is larger than" in found
    assert read_lists(write(tmp_path / "list", "#" * 10))


def test_what_is_not_there(tmp_path):
    assert problems(tmp_path / "gone") == [f"{tmp_path}/gone: cannot be read: No such file or directory"]


def test_a_directory_nobody_may_read(directory, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert problems(directory) == [f"{directory}: cannot be read: Permission denied"]
