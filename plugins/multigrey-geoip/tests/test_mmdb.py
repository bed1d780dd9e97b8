"""The tests' own writer writes what the real reader reads."""

from __future__ import annotations

from ipaddress import ip_network

import maxminddb
import mmdb
import pytest

VALUES = {
    "192.0.2.0/24": {"n": 64496, "text": "one"},
    "198.51.100.7/32": {"n": 0, "text": "x" * 28},
    "198.51.100.8/30": {"n": 2**32 - 1, "text": "x" * 29},
    "203.0.113.0/25": {"list": ["ü", {"deep": b"\x00"}], "text": "x" * 284},
    "2001:db8::/32": {"n": 1, "text": "x" * 285},
    "2001:db9::1/128": {"n": 2, "text": "x" * 5000},
}


@pytest.mark.parametrize("mode", [maxminddb.MODE_AUTO, maxminddb.MODE_MEMORY, maxminddb.MODE_FILE])
def test_the_real_reader_reads_it(tmp_path, mode):
    path = mmdb.write(tmp_path / "test.mmdb", VALUES)
    with maxminddb.open_database(path, mode) as reader:
        for text, value in VALUES.items():
            network = ip_network(text)
            assert reader.get(network[0]) == value
            assert reader.get(network[-1]) == value
        for address in ("192.0.3.0", "198.51.100.6", "203.0.113.128", "2001:dba::", "::1"):
            assert reader.get(address) is None
        assert [record for _, record in reader] == sorted(VALUES.values(), key=list(VALUES.values()).index)
        assert (reader.metadata().database_type, reader.metadata().ip_version) == ("Test", 6)


def test_a_file_for_ipv4_only(tmp_path):
    path = mmdb.write(tmp_path / "test.mmdb", {"192.0.2.0/24": "here"}, ip_version=4)
    with maxminddb.open_database(path) as reader:
        assert reader.get("192.0.2.255") == "here"
        assert reader.get("192.0.3.0") is None
        with pytest.raises(ValueError, match="IPv6"):
            reader.get("2001:db8::1")
