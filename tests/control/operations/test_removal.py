"""Forgetting a person: nothing that names the address is left anywhere in the state directory."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
import trio
import trio.testing

from multigrey.config.tables.history import History as HistorySettings
from multigrey.contracts import StoreOptions
from multigrey.control.operations.operation import OptionError
from multigrey.control.operations.removal import operations
from multigrey.history.recorder import HistoryRecorder
from multigrey.model import Attempt
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.clocks import FakeClock
from tests.support.control import answer, collected, make_settings, parts

ALICE, BOB = "alice@example.org", "bob@example.net"
FROM = ip_address("192.0.2.10")


@pytest.fixture
async def site(tmp_path):
    """Alice has written to Bob and got mail from Carol, and waits for more; others have written as well."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "clients").write_text("# for Alice@example.org\nexample.com\n")
    state = tmp_path / "state"
    text = '[[whitelist]]\nsource = "postgrey-clients"\npath = "clients"\n'
    settings = make_settings(tmp_path / "etc", text).model_copy(update={"state_dir": state})
    store = LmdbStore(StoreOptions(state, 2**24))
    history = HistoryRecorder(state, HistorySettings(), FakeClock())
    async with parts(store, settings, decisions=history) as (house, made), trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        house.engine.subscribers = (*house.engine.subscribers, history)
        for sender, recipient in ((ALICE, BOB), ("carol@example.com", ALICE), ("carol@example.com", BOB)):
            await house.engine.judge(Attempt("smtp", FROM, None, "", sender, recipient), "pass")
        await made.core.expectations.add(ALICE, "", 3600, "root")
        await history.flush()
        yield state, made, collected(operations, made)
        nursery.cancel_scope.cancel()


def files_that_name(state, address: str) -> list[str]:
    # (not the tables of readers: to open and close one ends the locks of this very process on it)
    files = [path for path in state.iterdir() if path.is_file() and not path.name.endswith("lock")]
    return sorted(path.name for path in files if address.encode() in path.read_bytes())


async def test_nothing_readable_is_left(site, caplog):
    state, made, ops = site
    caplog.set_level("INFO")
    assert files_that_name(state, ALICE) == ["store.journal.1"]  # (history is compressed)
    dry = await answer(ops, "person.forget", address=ALICE, dry_run=True)
    assert (dry["records"], dry["decisions"], dry["expectations"]) == (2, 2, 1)
    caplog.clear()
    told = await answer(ops, "person.forget", address=f"Alice <{ALICE.upper()}>", scrub=True, by="root")
    assert {name: told[name] for name in ("records", "decisions", "expectations", "scrubbed")} == {
        "records": 2,
        "decisions": 2,
        "expectations": 1,
        "scrubbed": True,
    }
    assert files_that_name(state, "alice") == []
    assert made.core.expectations.all() == []
    assert await made.decisions.about({"about": ALICE}, 10) == []
    assert len(await made.decisions.about({"about": BOB}, 10)) == 1
    assert "a person was forgotten by root: records=2" in caplog.text
    again = await answer(ops, "person.forget", address=ALICE)
    assert [again[name] for name in ("records", "keys", "marks", "decisions", "expectations")] == [0] * 5


async def test_what_cannot_be_reached_is_named(site, tmp_path):
    state, _, ops = site
    (state / "store.damaged.1").write_bytes(b"")
    left = (await answer(ops, "person.forget", address=ALICE))["left"]
    assert left[:2] == [
        f"{tmp_path}/etc/clients names the address: edit it",
        f"{state}/store.damaged.1 may hold it: delete it",
    ]
    assert left[3:] == [
        "the logs of the mail servers",
        "backups and exports, and copies of them",
        "other hosts that greylist the same mail",
    ]


@pytest.mark.parametrize("address", ["", "alice", "@example.org", "alice@", None, 7, ["a@b"]])
async def test_only_an_address_is_a_person(site, address):
    _, _, ops = site
    with pytest.raises(OptionError, match="address: "):
        await answer(ops, "person.forget", address=address)
