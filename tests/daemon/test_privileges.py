"""Who the daemon runs as."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from multigrey.daemon.privileges import Identity, PrivilegeError, hand_over, identity_for
from multigrey.listeners.directories import open_directory

ROOT = Path(__file__).resolve().parents[2]


def given(path, identity):
    with closing(open_directory(path)) as directory:
        hand_over(directory, identity)


def test_root_without_user_is_refused():
    with pytest.raises(PrivilegeError, match="never serves as root"):
        identity_for(None, 0)


def test_root_with_a_user():
    nobody = pwd.getpwnam("nobody")
    assert identity_for("nobody", 0) == Identity("nobody", nobody.pw_uid, nobody.pw_gid)


@pytest.mark.parametrize(
    ("user", "message"), [("no-such-user", "this user does not exist"), ("root", "is root")]
)
def test_root_with_an_impossible_user(user, message):
    with pytest.raises(PrivilegeError, match=message):
        identity_for(user, 0)


def test_others_stay_who_they_are():
    nobody = pwd.getpwnam("nobody")
    assert identity_for(None, nobody.pw_uid) is None
    assert identity_for("nobody", nobody.pw_uid) is None


def test_others_cannot_become_somebody_else():
    with pytest.raises(PrivilegeError, match="only root can become"):
        identity_for("daemon", pwd.getpwnam("nobody").pw_uid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_lies_in_the_state_directory_goes_to_the_user(tmp_path: Path):
    (tmp_path / "store.mdb").touch()
    outside = tmp_path.parent / "outside"
    outside.touch()
    (tmp_path / "link").symlink_to(outside)
    nobody = pwd.getpwnam("nobody")
    given(tmp_path, Identity("nobody", nobody.pw_uid, nobody.pw_gid))
    assert tmp_path.stat().st_uid == nobody.pw_uid
    assert (tmp_path / "store.mdb").stat().st_uid == nobody.pw_uid
    assert outside.stat().st_uid == 0, "links are not followed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_second_name_of_roots_file_is_not_given_away(tmp_path):
    """A user who may write to the directory could have linked any file of root's into it."""
    precious, state = tmp_path / "precious", tmp_path / "state"
    precious.touch()
    state.mkdir()
    (state / "store.mdb").hardlink_to(precious)
    nobody = pwd.getpwnam("nobody")
    given(state, Identity("nobody", nobody.pw_uid, nobody.pw_gid))
    assert precious.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_becoming_a_user_is_for_good():
    code = (
        "import os; from multigrey.daemon.privileges import become, identity_for\n"
        "become(identity_for('nobody', 0))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print('for good')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    nobody = pwd.getpwnam("nobody")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert done.stdout == f"({uid}, {uid}, {uid}) ({gid}, {gid}, {gid}) [{gid}]\nfor good\n"


def test_a_user_without_an_entry_cannot_become_somebody_either():
    """As in a container that runs under a bare number."""
    with pytest.raises(PrivilegeError, match="only root can become"):
        identity_for("nobody", 987654321)
    assert identity_for(None, 987654321) is None


@pytest.fixture
def home(short_directory):
    """A directory of the user to become, beside one of root with a file."""
    short_directory.chmod(0o755)
    made, precious = short_directory / "home", short_directory / "precious"
    made.mkdir()
    precious.mkdir()
    (precious / "shadow").write_text("secret")
    os.chown(made, pwd.getpwnam("nobody").pw_uid, -1)
    return made


def state_of(directory: Path) -> list[tuple[str, int, int]]:
    paths = [directory, *directory.rglob("*")]
    return [(path.name, path.lstat().st_uid, path.lstat().st_mode) for path in paths]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("link", ["state", "state/run", "control"])
def test_links_of_the_user_lead_a_start_as_root_nowhere(home, link):
    """In place of the state directory, of the default sockets' one, and of the control socket's one."""
    precious = home.parent / "precious"
    if link == "state/run":
        (home / "state").mkdir()
        os.chown(home / "state", pwd.getpwnam("nobody").pw_uid, -1)
    subprocess.run(["ln", "-s", precious, home / link], check=True, user="nobody")
    before = state_of(precious)
    config = home.parent / "multigrey.toml"
    config.write_text(f"""
        state_dir = "{home}/state"
        listen = [{{ protocol = "exim", address = "unix:{home}/state/run/exim.sock" }}]
        control = {{ address = "unix:{home}/control/control.sock" }}
    """)
    done = subprocess.run(
        [sys.executable, "-m", "multigrey", "serve", "-c", config, "--user", "nobody"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert state_of(precious) == before
    assert done.returncode == 1
    assert f"{Path(link).name} on its way is a link that another user can change" in done.stderr
