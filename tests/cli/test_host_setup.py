"""`multigrey setup`, without a host to change; tests/packages/test_setup.py changes one."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from multigrey.cli import host_setup as command
from multigrey.cli import main
from multigrey.cli.host_setup import with_check
from multigrey.cli.snippet import integrations

CHECK = "check_policy_service { unix:multigrey/policy.sock, timeout=5s, default_action=DUNNO }"


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("permit_mynetworks, reject_unlisted", f"permit_mynetworks, reject_unlisted, {CHECK}"),
        (
            "permit_mynetworks,\n    reject_x,",
            f"permit_mynetworks,\n    reject_x, {CHECK}",
        ),
        ("reject_unauth_destination, permit", f"reject_unauth_destination, {CHECK}, permit"),
        ("reject_unauth_destination permit", f"reject_unauth_destination, {CHECK}, permit"),
        ("permit", f"{CHECK}, permit"),
        ("reject_sender_login_mismatch, xpermit", f"reject_sender_login_mismatch, xpermit, {CHECK}"),
        (f"a, {CHECK}, b", f"a, {CHECK}, b"),
    ],
)
def test_the_question_comes_last_but_before_a_final_permit(value: str, result: str):
    assert with_check(value) == result


@pytest.fixture
def notes(tmp_path, monkeypatch):
    path = tmp_path / "setup.json"
    monkeypatch.setattr(command, "_NOTES", path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return path


def test_only_root_changes_anything(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(main, ["setup", "postfix"])
    assert (done.exit_code, "only root" in done.stderr) == (4, True)


def test_a_mail_server_that_is_not_here(notes, monkeypatch, tmp_path):
    monkeypatch.setitem(command._NEEDED, "postfix", tmp_path / "none")
    done = CliRunner().invoke(main, ["setup", "postfix", "--dry-run"])
    assert done.exit_code == 1
    assert "systemd does not run here" in done.stderr or "install postfix first" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"), [(None, "has done nothing"), ("{", "cannot be read"), ("{}", "not a list")]
)
def test_there_is_nothing_to_take_back(notes, text, said):
    if text is not None:
        notes.write_text(text)
    done = CliRunner().invoke(main, ["setup", "--undo"])
    assert (done.exit_code, said in done.stderr) == (1, True)


def test_what_was_done_is_taken_back_from_the_end(notes, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    row = {"kind": "text", "content": "x", "before": None, "then": ""}
    rows = [{**row, "path": str(path)} for path in (first, second)]
    first.write_text("x")
    second.write_text("changed")
    notes.write_text(json.dumps(rows))
    looked = CliRunner().invoke(main, ["setup", "--undo", "--dry-run"])
    assert (looked.exit_code, first.exists()) == (0, True)
    done = CliRunner().invoke(main, ["setup", "--undo"])
    assert done.stdout.splitlines()[:2] == [
        f"{second}: was changed since, and stays: look for multigrey in it",
        f"rm {first}",
    ]
    assert (done.exit_code, first.exists(), notes.exists()) == (0, False, False)


def test_postfix_is_asked_as_the_shipped_lines_do():
    shipped = (integrations() / "postfix/main.cf.multigrey").read_text()
    assert " ".join(shipped.split()).count(CHECK) == 2
    assert command._CHECK == CHECK
