"""Every folder of badconfig/ is a configuration the daemon refuses, for the reason in its `expected`.

`expected` begins with `problems: N`; each line that follows is a regular expression that must be
found in one of the N lines that check-config prints.  `setup` (optional) does to the copy what git
cannot keep; see `_set_up` for its words.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import main

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "badconfig").glob("*/expected"))


def test_there_are_folders():
    assert len(FOLDERS) > 80


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_is_refused_for_that_reason(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Path("multigrey.toml")
    config.write_bytes((folder / "multigrey.toml").read_bytes())
    config.chmod(0o644)
    if (folder / "setup").exists():
        for line in (folder / "setup").read_text().splitlines():
            _set_up(*line.split())

    environ = {"STATE_DIRECTORY": "/var/lib/multigrey", "RUNTIME_DIRECTORY": None}
    result = CliRunner(env=environ).invoke(main, ["check-config", "--config", "multigrey.toml"])

    count, *patterns = (folder / "expected").read_text().splitlines()
    problems = [line for line in result.stderr.splitlines() if not line.startswith("there may be more")]
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(problems) == int(count.removeprefix("problems: ")), result.stderr
    assert patterns
    for pattern in patterns:
        assert any(re.search(pattern, problem) for problem in problems), f"{pattern}\n{result.stderr}"


def _set_up(word: str, *arguments: str) -> None:
    config = Path("multigrey.toml")
    match word, arguments:
        case "mode", (path, mode):
            Path(path).chmod(int(mode, 8))
        case "owner", (path, uid):
            if os.geteuid() != 0:
                pytest.skip("only root can give a file away")
            os.chown(path, int(uid), -1)
        case "remove", (path,):
            Path(path).unlink()
        case "directory", (path, mode):
            Path(path).mkdir()
            Path(path).chmod(int(mode, 8))
        case "fifo", (path,):
            os.mkfifo(path, 0o644)
        case "write", (path, text):
            Path(path).write_text(text)
            Path(path).chmod(0o644)
        case "append-hex", (octets,):
            config.write_bytes(config.read_bytes() + bytes.fromhex(octets))
        case "prepend-hex", (octets,):
            config.write_bytes(bytes.fromhex(octets) + config.read_bytes())
        case "pad", (count,):
            config.write_bytes(config.read_bytes() + b"#" * int(count))
        case "nest", (depth,):
            config.write_text(f"x = {'[' * int(depth)}{']' * int(depth)}")
        case _:
            raise AssertionError(f"no such word in a setup file: {word} {arguments}")
