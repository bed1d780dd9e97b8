"""Changes of a host, and the way back."""

from __future__ import annotations

import pytest

from multigrey.cli.installation import Call, Link, SetupError, Text, run, undo


def test_a_new_file_goes_away_again(tmp_path):
    change = Text(tmp_path / "etc/new.conf", "text\n")
    assert not change.is_there()
    note = change.make()
    assert change.is_there()
    assert (tmp_path / "etc/new.conf").stat().st_mode & 0o777 == 0o644
    assert undo(note) == f"rm {change.path}"
    assert not change.path.exists()
    assert undo(note) == f"{change.path}: is gone already"


def test_a_file_keeps_its_mode_and_comes_back_as_it_was(tmp_path):
    path, counted = tmp_path / "main.cf", tmp_path / "counted"
    path.write_text("before\n")
    path.chmod(0o640)
    change = Text(path, "after\n", (f"sh -c 'echo x >> {counted}'",))
    assert str(change) == f"write {path}; {change.then[0]}"
    note = change.make()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("after\n", 0o640)
    assert undo(note).startswith(f"write {path} as it was; sh")
    assert path.read_text() == "before\n"
    assert counted.read_text() == "x\nx\n", "what follows a change follows its end, too"


def test_what_was_changed_since_stays(tmp_path):
    path = tmp_path / "main.cf"
    note = Text(path, "ours\n").make()
    path.write_text("theirs\n")
    assert "was changed since" in undo(note)
    assert path.read_text() == "theirs\n"


def test_a_link(tmp_path):
    change = Link(tmp_path / "bin/x", tmp_path / "target")
    note = change.make()
    assert change.is_there()
    assert str(change) == f"ln -s {change.target} {change.path}"
    with pytest.raises(SetupError, match="File exists"):
        change.make()
    assert undo(note) == f"rm {change.path}"
    change.path.write_text("another file")
    assert "was changed since" in undo(note)


def test_a_command_and_its_way_back(tmp_path):
    change = Call(["touch", str(tmp_path / "a b")], ["rm", str(tmp_path / "a b")])
    assert not change.is_there()
    note = change.make()
    assert (tmp_path / "a b").exists()
    assert undo(note) == f"rm '{tmp_path}/a b'"
    assert not (tmp_path / "a b").exists()
    assert undo(Call(["true"]).make()) == ""
    assert Call(["true"], is_done=lambda: True).is_there()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["sh", "-c", "echo no >&2; exit 3"], "status 3: no"), (["/no/such"], "No such file")],
)
def test_a_command_that_fails_says_how(words, said):
    with pytest.raises(SetupError, match=said):
        run(words)


def test_a_file_that_cannot_be_read_or_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SetupError, match="cannot be read"):
        Text(tmp_path / "folder", "x").make()
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file/x"):
        Text(tmp_path / "file/x", "x").make()
