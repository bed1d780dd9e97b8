from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import COMMANDS, main

SHELLS = {"bash": "complete ", "zsh": "#compdef multigrey", "fish": "complete --no-files --command multigrey"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with a program multigrey, as pip installs one."""
    path = tmp_path / "multigrey"
    path.write_text(f"#!{sys.executable}\nfrom multigrey.__main__ import main\nmain()\n")
    path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_prints_a_script(shell):
    done = CliRunner().invoke(main, ["completions", shell])
    assert done.exit_code == 0
    assert SHELLS[shell] in done.stdout
    assert "_MULTIGREY_COMPLETE" in done.stdout


def test_another_shell_is_refused():
    assert CliRunner().invoke(main, ["completions", "tcsh"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [("multigrey ", set(COMMANDS)), ("multigrey sn", {"snippet"}), ("multigrey export --si", {"--since"})],
)
def test_the_program_names_what_could_follow(program, words, expected):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "_MULTIGREY_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [program / "multigrey"], env=environment, capture_output=True, text=True, check=True
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected


def test_bash_completes_with_the_script(program):
    """The script in a real bash: what completion leaves in COMPREPLY."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    source = CliRunner().invoke(main, ["completions", "bash"]).stdout
    ask = 'COMP_WORDS=(multigrey reh); COMP_CWORD=1; _multigrey_completion multigrey; echo "${COMPREPLY[@]}"'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment["PATH"] = f"{program}:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", f"{source}\n{ask}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["rehearse"]


def test_fish_completes_with_the_script(program):
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("there is no fish here")
    source = CliRunner().invoke(main, ["completions", "fish"]).stdout
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(program)}
    environment["PATH"] = f"{program}:{os.environ['PATH']}"
    ask = 'complete -C "multigrey mode o"; complete -C "multigrey records f"'
    done = subprocess.run(
        [fish, "--no-config", "-c", f"{source}\n{ask}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["observe", "off", "forget"]
