"""Files that are missing, damaged, of the wrong kind, replaced."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_address

import maxminddb
import mmdb
import pytest
from multigrey_geoip import asn_of, country_of
from multigrey_geoip.database import Database, DatabaseError

IN_ONE = ip_address("192.0.2.1")
IN_TWO = ip_address("2001:db8::1")
NOWHERE = ip_address("203.0.113.1")


def asns(one=64496, two=64497):
    return {
        "192.0.2.0/24": {"autonomous_system_number": one, "autonomous_system_organization": "One"},
        "2001:db8::/32": {"autonomous_system_number": two},
        "198.51.100.0/24": {"autonomous_system_organization": "without a number"},
    }


@pytest.fixture
def path(tmp_path):
    return mmdb.write(tmp_path / "asn.mmdb", asns())


@pytest.fixture
def database(path):
    return Database(path, "autonomous_system_number", asn_of)


def test_look_ups(database):
    assert database.get(IN_ONE) == 64496
    assert database.get(IN_ONE) == 64496
    assert database.get(IN_TWO) == 64497
    assert database.get(NOWHERE) is None
    assert database.get(ip_address("198.51.100.1")) is None
    assert database.get(None) is None
    assert database.get(None) is None


def test_ipv6_and_a_file_that_only_knows_ipv4(tmp_path):
    path = mmdb.write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 1}}, ip_version=4)
    database = Database(path, "autonomous_system_number", asn_of)
    assert database.get(IN_ONE) == 1
    assert database.get(IN_TWO) is None


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"country": {"iso_code": "DE"}, "registered_country": {"iso_code": "AT"}}, "DE"),
        ({"registered_country": {"iso_code": "AT"}}, "AT"),
        ({"country": {"geoname_id": 1}}, None),
        ({"country": {"iso_code": 7}}, None),
        ({}, None),
    ],
)
def test_the_country_of_a_record(record, code):
    assert country_of(record) == code


def test_a_missing_file(tmp_path):
    with pytest.raises(DatabaseError) as caught:
        Database(tmp_path / "gone.mmdb", "autonomous_system_number", asn_of)
    assert str(caught.value) == f"{tmp_path}/gone.mmdb: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a database",
        b"\x00" * 10_000,
        mmdb.MARKER,
        mmdb.encode(asns())[:-40],
        mmdb.encode(asns()).replace(mmdb.MARKER, b"\xab\xcd\xefMaxMind.con"),
    ],
)
def test_a_damaged_file(tmp_path, data):
    path = tmp_path / "asn.mmdb"
    path.write_bytes(data)
    with pytest.raises(DatabaseError) as caught:
        Database(path, "autonomous_system_number", asn_of)
    assert str(caught.value) == f"{path}: is damaged, or not in MaxMind's format"


def test_a_file_of_another_kind(tmp_path):
    path = mmdb.write(tmp_path / "city.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "DE"}}}, "City")
    with pytest.raises(DatabaseError) as caught:
        Database(path, "autonomous_system_number", asn_of)
    assert str(caught.value) == f"{path}: does not contain autonomous_system_number (its type is City)"


def test_records_of_a_shape_nobody_expects(tmp_path):
    path = mmdb.write(tmp_path / "odd.mmdb", {"192.0.2.0/24": "just text"})
    with pytest.raises(DatabaseError, match="is damaged"):
        Database(path, "country.iso_code", country_of)


def test_nothing_to_do_while_the_file_stays(database):
    assert not database.refresh()
    assert database.get(IN_ONE) == 64496


def test_a_replaced_file_is_taken_over(database, path, tmp_path):
    assert database.get(IN_ONE) == 64496
    mmdb.write(tmp_path / "new", asns(one=65536)).rename(path)
    assert database.refresh()
    assert database.get(IN_ONE) == 65536
    assert not database.refresh()


def test_whether_it_was_replaced_is_asked_of_whoever_was_given(path):
    stamp = [(1, 1, 1)]
    database = Database(path, "autonomous_system_number", asn_of, stamp_of=lambda path: stamp[0])
    assert database.refresh()
    assert not database.refresh()
    stamp[0] = (2, 1, 1)
    assert database.refresh()


def test_the_time_of_the_file_is_enough(database, path):
    os.utime(path, ns=(1, 1))
    assert database.refresh()


def test_a_file_that_is_overwritten_in_place_does_not_disturb(database, path):
    """A mapped file that is truncated would kill the process here."""
    path.write_bytes(b"")
    assert database.get(IN_ONE) == 64496
    assert database.get(IN_TWO) == 64497


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()])
def test_a_bad_new_file_is_told_once_and_the_old_one_stays(database, path, caplog, damage):
    damage(path)
    with caplog.at_level(logging.ERROR):
        assert not database.refresh()
        assert not database.refresh()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: ")
    assert record.getMessage().endswith("; the previous content stays in use")
    assert database.get(IN_ONE) == 64496
    mmdb.write(path, asns(one=65536))
    assert database.refresh()
    assert database.get(IN_ONE) == 65536


def test_the_fast_reader_is_in_use(database):
    """The one in Python takes twenty times as long."""
    assert type(database._reader).__module__ == maxminddb.extension.Reader.__module__
