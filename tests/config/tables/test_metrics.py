"""`[metrics]`: loopback, or allow_from is required; and only with its extra."""

from __future__ import annotations

import pytest

from multigrey.config.load import load
from multigrey.config.tables import metrics
from multigrey.errors import ConfigError


def settings(tmp_path, text):
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n[metrics]\n{text}\n')
    return load(config, {}, {}, uid=1000).settings.metrics


def test_off_by_default(tmp_path):
    assert settings(tmp_path, "").address is None


@pytest.mark.parametrize(
    "text",
    [
        'address = "tcp:127.0.0.1:9710"',
        'address = "tcp:[::1]:9710"',
        'address = "tcp:0.0.0.0:9710"\nallow_from = ["192.0.2.0/28"]',
    ],
)
def test_right(tmp_path, text):
    assert settings(tmp_path, text).address.port == 9710


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('address = "unix:/run/x.sock"', 'expected a TCP endpoint, as in "tcp:127.0.0.1:9710"'),
        ('address = "systemd:x"', "expected a TCP endpoint"),
        ('address = "tcp:192.0.2.1:9710"', "can be reached from other hosts: add allow_from"),
        ('adress = "tcp:127.0.0.1:9710"', 'did you mean "address"'),
    ],
)
def test_wrong(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert message in str(caught.value)
    assert "metrics.ad" in str(caught.value)


def test_the_extra_is_named_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs the extra "metrics".*pip install "multigrey\[metrics\]"'):
        settings(tmp_path, 'address = "tcp:127.0.0.1:9710"')
    assert settings(tmp_path, "").address is None
