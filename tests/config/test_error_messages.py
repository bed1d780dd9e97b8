"""Pydantic's errors in plain words, also for models of plugins; nothing else may leave `load`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.load import load
from multigrey.config.show import options
from multigrey.errors import ConfigError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    port: int = 5


class Plugin(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="x", min_length=1, max_length=3)
    either: int | bool = 5
    above: float = Field(default=1, gt=0, lt=10)
    inner: Inner = Inner()
    several: list[Inner] = []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nam": "y"}, [(("nam",), 'unknown key; did you mean "name"?')]),
        ({"zzz": {}}, [(("zzz",), "unknown table (known here: name, either, above, inner, several)")]),
        ({"port": 5}, [(("port",), "unknown key; it belongs in [inner] or [several]")]),
        (
            {"inner": {"name": "y"}},
            [(("inner", "name"), "unknown key; it belongs at the top of the file, before the first table")],
        ),
        ({"inner": {"prt": 5}}, [(("inner", "prt"), 'unknown key; did you mean "port"?')]),
        ({"inner": 5}, [(("inner",), "expected a table, got 5")]),
        (
            {"several": {}},
            [(("several",), "is one table; write [[…]] with two brackets, because there can be several")],
        ),
        ({"several": [{}, {"port": "x"}]}, [(("several", 1, "port"), 'expected a whole number, got "x"')]),
        ({"name": "long"}, [(("name",), "has 4 characters; expected at most 3")]),
        ({"name": 5}, [(("name",), "expected text in quotes, got 5")]),
        ({"above": 0}, [(("above",), "is 0; expected more than 0.0")]),
        ({"above": 10}, [(("above",), "is 10; expected less than 10.0")]),
        ({"name": ""}, [(("name",), 'String should have at least 1 character (got "")')]),
    ],
)
def test_in_plain_words(values, said):
    with pytest.raises(ValidationError) as caught:
        Plugin.model_validate(values)
    assert [*explain(caught.value, Plugin)] == said


def test_a_union_is_told_once_for_each_kind():
    with pytest.raises(ValidationError) as caught:
        Plugin.model_validate({"either": "x"})
    assert [message for _, message in explain(caught.value, Plugin)] == [
        'expected a whole number, got "x"',
        'expected true or false, got "x"',
    ]


WORDS = st.sampled_from(
    [
        "2m",
        "90d",
        "4GiB",
        "tcp:127.0.0.1:1",
        "tcp:0.0.0.0:1",
        "unix:/run/x",
        "systemd:x",
        "pass",
        "defer",
        "lmdb",
        "/srv/x",
        "~/x",
        "192.0.2.0/24",
        "0660",
        "postfix",
        "sender",
        "rcpt",
        "postgrey",
        "mail",
        "x" * 300,
        "",
    ]
)
VALUES = st.recursive(
    st.one_of(
        WORDS, st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.one_of(st.sampled_from(sorted({option.key for option in options()})), st.text(max_size=6))
TABLE = st.dictionaries(KEYS, VALUES, max_size=5)
NAMES = ["greylist", "store", "limits", "control", "plugins", "log"]
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NAMES, TABLE),
        **dict.fromkeys(["listen", "whitelist", "rule"], st.one_of(st.lists(TABLE, max_size=3), VALUES)),
        **dict.fromkeys(["state_dir", "user", "greylst"], VALUES),
    },
)


@given(document=DOCUMENT)
def test_whatever_stands_in_the_file_only_config_error_leaves(tmp_path_factory, document):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes("".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in document.items()).encode())
    path.chmod(0o644)
    try:
        load(path, {"STATE_DIRECTORY": "/var/lib/multigrey"})
    except ConfigError as error:
        problems = error.problems
    else:
        problems = ()
    for problem in problems:
        assert problem.message
        assert str(problem).isprintable()
        assert problem.line is not None or problem.file != str(path)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False).replace(
            "\x7f", "\\u007f"
        )
    return json.dumps(value)
