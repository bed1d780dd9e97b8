"""What root follows on its way to a directory, with links that another user really made."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from multigrey.listeners.directories import open_directory

NOBODY = {"user": "nobody", "group": "nogroup", "extra_groups": []}
"""For subprocess: another user."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to fear the links of others")


def nobody(*command, **more) -> None:
    subprocess.run([*map(str, command)], check=True, **NOBODY, **more)


@pytest.fixture
def theirs(short_directory):
    """A directory of another user, in one of root."""
    short_directory.chmod(0o755)
    made = short_directory / "theirs"
    made.mkdir()
    os.chown(made, 65534, 65534)
    return made


@pytest.fixture
def precious(short_directory):
    """A directory of root."""
    made = short_directory / "precious"
    made.mkdir()
    return made


def opened(path, **more):
    directory = open_directory(path, **more)
    directory.close()
    return directory


def test_missing_ones_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    assert opened(path, mode=0o711).path == path
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o711, 0o755]
    assert opened(path).path == path
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        open_directory(tmp_path / "file" / "x")


@as_root
@pytest.mark.parametrize("rest", ["", "new", "new/er"])
def test_a_link_of_another_user_is_not_followed(theirs, precious, rest):
    nobody("ln", "-s", precious, theirs / "link")
    with pytest.raises(OSError, match="link on its way is a link that another user can change"):
        open_directory(theirs / "link" / rest)
    assert list(precious.iterdir()) == []


@as_root
def test_nor_is_one_that_another_user_could_exchange(theirs, precious):
    (theirs / "link").symlink_to(precious)
    with pytest.raises(OSError, match="another user can change"):
        open_directory(theirs / "link")


@as_root
@pytest.mark.parametrize("sticky", [False, True])
def test_where_all_may_write_links_of_root_count_if_they_cannot_be_exchanged(
    short_directory, precious, sticky
):
    public = short_directory / "public"
    public.mkdir()
    public.chmod(0o1777 if sticky else 0o777)
    short_directory.chmod(0o755)
    (public / "ours").symlink_to(precious)
    nobody("ln", "-s", precious, public / "theirs")
    if sticky:
        assert opened(public / "ours" / "new").path == public / "ours" / "new"
    else:
        with pytest.raises(OSError, match="another user can change"):
            open_directory(public / "ours")
    with pytest.raises(OSError, match="another user can change"):
        open_directory(public / "theirs")


@pytest.mark.parametrize("target", ["precious", "../{name}/precious", "{path}/precious"])
def test_links_of_root_in_its_own_directories_are_followed(short_directory, precious, target):
    link = short_directory / "link"
    link.symlink_to(target.format(path=short_directory, name=short_directory.name))
    opened(link / "new")
    assert (precious / "new").is_dir()


def test_links_without_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_directory(tmp_path / "a" / "x")


@as_root
def test_what_is_exchanged_afterwards_leads_nowhere_else(theirs, precious):
    directory = open_directory(theirs / "run")
    os.chown(theirs / "run", 65534, 65534)
    nobody("mv", theirs / "run", theirs / "old")
    nobody("ln", "-s", precious, theirs / "run")
    (directory.path / "made").touch()
    directory.close()
    assert (theirs / "old" / "made").exists()
    assert list(precious.iterdir()) == []
