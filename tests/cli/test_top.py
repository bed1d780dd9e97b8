from __future__ import annotations

import json

from click.testing import CliRunner

from multigrey.cli import main
from multigrey.cli import top as top_module
from tests.support.clocks import START

PICTURE = {
    "time": START,
    "since": START - 100,
    "spans": [60, 300, 900],
    "columns": ["attempts", "deferred", "passed"],
    "all": [[3, 2, 1], [4, 3, 1], [5, 3, 2]],
    "number": 2,
    "floods": [],
    "origins": [
        {"origin": "example.org", "counts": [[2, 1, 1], [3, 2, 1], [4, 2, 2]]},
        {"origin": None, "counts": [[1, 1, 0], [1, 1, 0], [1, 1, 0]]},
    ],
}


def test_top_shows_a_table(monkeypatch):
    asked: list[object] = []

    def stream(config, name, options):
        asked.append((name, options))
        yield PICTURE
        yield PICTURE

    monkeypatch.setattr(top_module, "stream", stream)
    done = CliRunner().invoke(main, ["top", "--once", "--span", "5m", "--by", "deferred", "--rows", "7"])
    assert done.exit_code == 0
    assert asked == [("top", {"span": 300, "order": "deferred", "rows": 7})]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["example.org", "2", "1", "1", "3", "2", "1", "4", "2", "2"] in rows
    assert ["(others)", "1", "1", "0", "1", "1", "0", "1", "1", "0"] in rows
    assert ["all", "3", "2", "1", "4", "3", "1", "5", "3", "2"] in rows
    assert "2 origins in the last 15m, counted for 1m40s" in done.stdout
    narrow = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["top", "--once"]).stdout.splitlines()
    assert ["example.org", "2", "1", "1", "4", "2", "2"] in [line.split() for line in narrow]
    chosen = (
        CliRunner(env={"COLUMNS": "50"}).invoke(main, ["top", "--once", "--span", "5m"]).stdout.splitlines()
    )
    assert ["example.org", "3", "2", "1"] in [line.split() for line in chosen]
    assert all(len(line.rstrip()) <= 80 for line in narrow)
    assert json.loads(CliRunner().invoke(main, ["top", "--once", "--json"]).stdout) == PICTURE
    lines = CliRunner().invoke(main, ["top", "--json"]).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [PICTURE, PICTURE]


def test_floods_stand_above(monkeypatch):
    flood = {"network": "94.102.49.0/24", "since": START, "seconds": 9, "attempts": 31_000}
    told = {**PICTURE, "floods": [flood, {**flood, "network": "a\x1bb"}, flood]}
    monkeypatch.setattr(top_module, "stream", lambda *_: iter([told]))
    shown = CliRunner(env={"COLUMNS": "200", "TZ": "UTC"}).invoke(main, ["top", "--once"]).stdout
    begin = "! over the limit of new records: 94.102.49.0/24 since "
    (line,) = [line for line in shown.splitlines() if line.startswith(begin)]
    assert "(31,000 in the last hour), a\\x1bb since" in line
    assert line.rstrip().endswith(", …")
