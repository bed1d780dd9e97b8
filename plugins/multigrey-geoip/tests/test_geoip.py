"""The plugin under multigrey's contract: settings, what it registers, what that answers."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from ipaddress import ip_address

import mmdb
import multigrey_geoip
import pytest
import trio
from multigrey_geoip import GeoipSettings, Refresher
from pydantic import ValidationError

from multigrey.api import Attempt, PluginError
from multigrey.plugins.loader import load_plugins

ASNS = {
    "192.0.2.0/24": {"autonomous_system_number": 64496},
    "2001:db8::/32": {"autonomous_system_number": 64497},
}
COUNTRIES = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}},
    "2001:db8::/32": {"registered_country": {"iso_code": "AT"}},
}


@pytest.fixture
def entry_point(package):
    """The one that installing the distribution would make."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["multigrey"].items()
    return EntryPoint(name, value, "multigrey")


@pytest.fixture
def files(tmp_path):
    return {
        "asn": mmdb.write(tmp_path / "asn.mmdb", ASNS),
        "country": mmdb.write(tmp_path / "country.mmdb", COUNTRIES),
    }


@pytest.fixture
def register(entry_point):
    def register(**table):
        plugins = load_plugins(None, entry_points=[entry_point])
        model = plugins.settings_models()["geoip"]
        return plugins.register({"geoip": model.model_validate(table)})

    return register


def attempt(address):
    address = None if address is None else ip_address(address)
    return Attempt("test", address, None, "mx.example.org", "a@example.org", "b@example.net")


def test_the_entry_point_leads_here(entry_point):
    assert entry_point.name == "geoip"
    assert entry_point.load() is multigrey_geoip
    plugins = load_plugins(None, entry_points=[entry_point])
    assert [info.name for info in plugins.infos] == ["multigrey", "geoip"]
    assert plugins.settings_models() == {"geoip": GeoipSettings}


def test_all_it_registers(register, files):
    built = register(**files, asns=[64496, 64499], countries=["DE", "XX"])
    mine = {key for key, owner in built.owners.items() if owner.name == "geoip"}
    assert mine == {
        ("key component", "asn"),
        ("key component", "country"),
        ("trait", "asn:64496"),
        ("trait", "asn:64499"),
        ("trait", "country:DE"),
        ("trait", "country:XX"),
        ("service", "geoip"),
    }
    assert built.warnings == []


@pytest.mark.parametrize("one", ["asn", "country"])
def test_one_file_is_enough(register, files, one):
    built = register(**{one: files[one]})
    assert built.owners["key component", one].name == "geoip"
    assert sum(owner.name == "geoip" for owner in built.owners.values()) == 2


def test_without_files_it_registers_nothing(register):
    assert not any(owner.name == "geoip" for owner in register().owners.values())


def test_without_a_table_it_registers_nothing(entry_point):
    built = load_plugins(None, entry_points=[entry_point]).register({})
    assert not any(owner.name == "geoip" for owner in built.owners.values())
    assert built.warnings == []


@pytest.mark.parametrize(
    ("address", "asn", "country"),
    [
        ("192.0.2.1", "AS64496", "DE"),
        ("192.0.2.255", "AS64496", "DE"),
        ("2001:db8::1", "AS64497", "AT"),
        ("203.0.113.1", None, None),
        ("2001:db9::1", None, None),
        (None, None, None),
    ],
)
def test_answers(register, files, address, asn, country):
    built = register(**files, asns=[64496], countries=["AT"])
    assert built.key_components["asn"].text(attempt(address)) == asn
    assert built.key_components["country"].text(attempt(address)) == country
    assert built.traits["asn:64496"].holds(attempt(address)) is (asn == "AS64496")
    assert built.traits["country:AT"].holds(attempt(address)) is (country == "AT")
    assert built.counters.failures == {}


def test_a_missing_file_is_an_error_that_names_it(register, tmp_path):
    with pytest.raises(PluginError) as caught:
        register(asn=tmp_path / "gone.mmdb")
    message = str(caught.value)
    assert message.startswith("plugin geoip (multigrey_geoip): DatabaseError: ")
    assert f"{tmp_path}/gone.mmdb: cannot be read: No such file or directory" in message


def test_a_damaged_file_is_an_error_and_leaves_nothing_behind(register, files):
    files["country"].write_bytes(b"damaged")
    with pytest.raises(PluginError, match=r"country\.mmdb: is damaged, or not in MaxMind's format"):
        register(**files)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"asn": "asn.mmdb"}, "asn must be an absolute path"),
        ({"country": "country.mmdb"}, "country must be an absolute path"),
        ({"asns": [64496]}, "asn is missing"),
        ({"countries": ["DE"]}, "country is missing"),
        ({"country": "/c", "countries": ["de"]}, "String should match pattern"),
        ({"country": "/c", "countries": ["DEU"]}, "String should match pattern"),
        ({"country": "/c", "countries": ["DE", "DE"]}, "listed twice"),
        ({"asn": "/a", "asns": [0]}, "greater than or equal to 1"),
        ({"asn": "/a", "asns": [2**32]}, "less than or equal to"),
        ({"asn": "/a", "asns": ["64496"]}, "valid integer"),
        ({"check_every": 0}, "greater than or equal to 1"),
        ({"ans": "/a"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_meant(table, message):
    with pytest.raises(ValidationError, match=message):
        GeoipSettings.model_validate(table)


async def test_the_service_looks_again_and_again(nursery, autojump_clock):
    class Looked:
        def __init__(self):
            self.times = 0
            self.twice = trio.Event()

        def refresh(self):
            self.times += 1
            if self.times == 2:
                trio.from_thread.run_sync(self.twice.set)

    databases = [Looked(), Looked()]
    await nursery.start(Refresher(databases, 60).run)
    assert databases[0].times == 0
    for database in databases:
        await database.twice.wait()
    assert trio.current_time() >= 120
    nursery.cancel_scope.cancel()


def test_what_the_service_takes_over_is_in_use_at_once(register, files, tmp_path):
    built = register(**files, asns=[65536], check_every=5)
    service = built.services["geoip"]
    assert service.seconds == 5
    assert built.key_components["asn"].text(attempt("192.0.2.1")) == "AS64496"
    mmdb.write(tmp_path / "new", {"192.0.2.0/24": {"autonomous_system_number": 65536}}).rename(files["asn"])
    assert [database.refresh() for database in service.databases] == [True, False]
    assert built.key_components["asn"].text(attempt("192.0.2.1")) == "AS65536"
    assert built.traits["asn:65536"].holds(attempt("192.0.2.1"))
