"""The page in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from multigrey_web.__main__ import main, page_of
from multigrey_web.settings import USUAL_ADDRESS
from sites import fetched

from multigrey.api import ConfigError
from tests.mta.harness import free_port, until

PACKAGE = Path(__file__).resolve().parents[1]


def written(directory, text):
    path = directory / "multigrey.toml"
    path.write_text(f'state_dir = "{directory}/state"\n{text}')
    path.chmod(0o644)
    return path


def test_the_settings_are_those_of_the_configuration(tmp_path):
    config = written(tmp_path, '[plugins.web]\naddress = "unix:/run/x.sock"\n[plugins.other]\nx = 1\n')
    page = page_of(config)
    assert str(page._settings.address) == "unix:/run/x.sock"
    assert page._control == tmp_path / "state/control.sock"


def test_without_a_table_it_is_on_loopback(tmp_path):
    page = page_of(written(tmp_path, '[control]\naddress = "off"\n'))
    assert str(page._settings.address) == USUAL_ADDRESS
    assert page._control is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[plugins.web]\naddress = "tcp:0.0.0.0:80"\n', "multigrey.toml:2"),
        ("[plugins.web]\n", "address"),
        ("nonsense = 1\n", "nonsense"),
    ],
)
def test_a_wrong_configuration_is_refused_by_file_and_line(tmp_path, capsys, text, words):
    config = written(tmp_path, text)
    with pytest.raises(ConfigError):
        page_of(config)
    assert main(["--config", str(config)]) == 2
    assert words in capsys.readouterr().err


def test_it_serves_until_it_is_told_to_end(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    config = written(tmp_path, f'[plugins.web]\naddress = "tcp:127.0.0.1:{port}"\n')
    environment = {**os.environ, "PYTHONPATH": f"{PACKAGE}:{PACKAGE.parents[1]}"}
    command = [sys.executable, "-m", "multigrey_web", "--config", str(config)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: fetched(url), "the page is there")
            assert "no daemon answers at unix:" in fetched(url)
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert said == f"multigrey-web: [plugins.web]: serving at tcp:127.0.0.1:{port}\n"
