"""Backup, as an operation."""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path

import pytest

from multigrey.contracts import StoreOptions
from multigrey.control.operations.backup import operations
from multigrey.control.operations.operation import OperationError
from multigrey.errors import StoreError
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.control import collected, items, make_settings, parts

TEXT = """
state_dir = "{dir}/state"
origin.providers_file = "{dir}/../other/providers.toml"
origin.shared_hosts_file = "shared.toml"
[[whitelist]]
source = "postgrey-clients"
path = "clients"
[[whitelist]]
source = "list"
path = "whitelists"
[[whitelist]]
source = "list"
path = "missing.toml"
"""


def made_of(told) -> dict[str, bytes]:
    """The parts in the items of the operation."""
    found: dict[str, bytes] = {}
    for item in told:
        if "part" in item:
            name = item["part"]
            assert name not in found
            found[name] = b""
        elif "data" in item:
            found[name] += b64decode(item["data"])
    sizes = {item["part"]: item["size"] for item in told if "part" in item}
    assert {name: len(content) for name, content in found.items()} == sizes
    return found


class History:
    """A history that cannot be read."""

    async def backup(self):
        raise StoreError("history.mdb: damaged")


async def backed_up(directory: Path, settings, *, configuration: Path | None = None, history=None, **options):
    store = LmdbStore(StoreOptions(directory / "state", 2**24))
    async with parts(store, settings, decisions=history) as (_, made):
        made.core.site_key = bytes(range(32))
        object.__setattr__(made.core.assembly, "configuration", configuration)
        return await items(collected(operations, made), "backup", **options)


async def test_a_store_without_a_file_has_nothing_to_copy():
    async with parts() as (_, made):
        with pytest.raises(OperationError, match="no local file"):
            await items(collected(operations, made), "backup")


async def test_what_is_in_it_and_what_is_not(tmp_path):
    base = tmp_path / "etc"
    for path in (base / "whitelists", tmp_path / "other"):
        path.mkdir(parents=True)
    settings = make_settings(base, TEXT)
    texts = {
        "clients": "a",
        "clients.local": "b",
        "whitelists/one.toml": "c",
        "whitelists/Zürich two.toml": "d",
        "../other/providers.toml": "e",
        "shared.toml": "f" * 300_000,
    }
    for name, text in texts.items():
        (base / name).write_text(text)
    (base / "password").write_text("secret")
    about, *told, last = await backed_up(tmp_path, settings, configuration=base / "multigrey.toml")
    found = made_of(told)
    assert list(found)[:3] == ["state/store.mdb", "state/site.key", "configuration/multigrey.toml"]
    assert found.pop("state/store.mdb")
    assert found.pop("state/site.key") == bytes(range(32))
    assert b"postgrey-clients" in found.pop("configuration/multigrey.toml")
    assert {name: text.decode() for name, text in found.items()} == {
        "elsewhere/1/providers.toml": "e",
        **{f"configuration/{name}": text for name, text in texts.items() if not name.startswith("..")},
    }
    assert about["configuration"] == str(base / "multigrey.toml")
    assert about["elsewhere"] == {"elsewhere/1/providers.toml": f"{base}/../other/providers.toml"}
    assert last["left_out"] == [{"path": f"{base}/missing.toml", "why": "No such file or directory"}]


async def test_without_the_key_and_without_a_configuration(tmp_path):
    settings = make_settings()
    about, *told, last = await backed_up(tmp_path, settings, without_key=True)
    assert list(made_of(told)) == ["state/store.mdb"]
    assert (about["configuration"], last["left_out"]) == (None, [])


async def test_a_history_that_cannot_be_read_is_left_out_and_named(tmp_path):
    *told, last = await backed_up(tmp_path, make_settings(), history=History())
    assert "state/history.mdb" not in made_of(told)
    assert last["left_out"] == [{"path": "the history", "why": "history.mdb: damaged"}]


@pytest.mark.parametrize("kind", ["fifo", "device", "name", "hidden", "large"])
async def test_what_is_no_list_is_left_out(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("multigrey.control.operations.backup.LARGEST_LIST", 500)
    name = {"name": "x" * 100, "hidden": ".list"}.get(kind, "list")
    settings = make_settings(tmp_path, f'[[whitelist]]\nsource = "postgrey-clients"\npath = "{name}"\n')
    path = tmp_path / name
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            path.write_text("x" * (501 if kind == "large" else 1))
    *told, last = await backed_up(tmp_path, settings, configuration=tmp_path / "multigrey.toml")
    assert list(made_of(told)) == ["state/store.mdb", "state/site.key", "configuration/multigrey.toml"]
    assert [each["path"] for each in last["left_out"]] == [str(path)]


async def test_an_option_of_a_wrong_type(tmp_path):
    async with parts(LmdbStore(StoreOptions(tmp_path, 2**24))) as (_, made):
        with pytest.raises(OperationError, match="without_key: true or false"):
            await items(collected(operations, made), "backup", without_key="no")
