"""Units of systemd that make sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigrey.config.socket_units import SocketUnit, enabled_names, socket_unit


def test_a_unit_is_found_by_the_name_it_hands_over(tmp_path: Path):
    (tmp_path / "a.socket").write_text("[Socket]\nListenStream=/a\nFileDescriptorName=other\n")
    (tmp_path / "b.socket").write_text(
        "[Socket]\n#FileDescriptorName=no\nFileDescriptorName = exim\nListenStream= /b \nSocketGroup=mail\n"
    )
    assert socket_unit("exim", [tmp_path / "none", tmp_path]) == SocketUnit(
        tmp_path / "b.socket", "/b", "mail"
    )
    assert socket_unit("no", [tmp_path]) is None


def enable(directory: Path, name: str, text: str, how: str = "wants") -> None:
    links = directory / f"multigrey.service.{how}"
    links.mkdir(exist_ok=True)
    unit = directory / f"multigrey-{name}.socket"
    unit.write_text(text)
    (links / unit.name).symlink_to(unit)


@pytest.mark.parametrize(
    ("there", "names"),
    [({"/etc/exim4", "/etc/postfix"}, ["exim", "postfix"]), ({"/etc/postfix"}, ["postfix"])],
)
def test_which_are_enabled(tmp_path: Path, there: set[str], names: list[str]):
    for name in ("postfix", "exim4"):
        condition = f"[Unit]\nConditionPathExists=/etc/{name}\n"
        enable(tmp_path, name, f"{condition}[Socket]\nFileDescriptorName={name.rstrip('4')}\n")
    (tmp_path / "multigrey-other.socket").write_text("[Socket]\nFileDescriptorName=other\n")
    assert enabled_names([tmp_path / "none", tmp_path], there.__contains__) == names


def test_links_to_units_that_are_gone_or_were_required_before(tmp_path: Path):
    enable(tmp_path, "postfix", "[Socket]\nFileDescriptorName=postfix\n", "requires")
    enable(tmp_path, "exim", "")
    (tmp_path / "multigrey-exim.socket").unlink()
    assert enabled_names([tmp_path]) == ["postfix"]


def test_what_an_administrator_changes_about_a_unit_counts(tmp_path: Path):
    enable(tmp_path, "exim", "[Unit]\nConditionPathExists=/etc/exim4\n[Socket]\nFileDescriptorName=exim\n")
    drop_in = tmp_path / "multigrey-exim.socket.d/local.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Unit]\nConditionPathExists=\nConditionPathExists=/etc/exim\n")
    assert enabled_names([tmp_path], {"/etc/exim"}.__contains__) == ["exim"]
    assert enabled_names([tmp_path], {"/etc/exim4"}.__contains__) == []
