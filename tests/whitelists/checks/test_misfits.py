"""What can never match or matches every client is refused with the line to write, and nothing else is."""

from __future__ import annotations

import pytest

from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError
from multigrey.whitelists.checks.misfits import clients_instead, ends_in_number, every_one
from multigrey.whitelists.postgrey import postgrey_clients, postgrey_recipients
from multigrey.whitelists.toml_file import understood


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("192.0.2.10-20", ["192.0.2.10/31", "192.0.2.12/30", "192.0.2.16/30", "192.0.2.20"]),
        ("192.0.2.10-192.0.2.11", ["192.0.2.10/31"]),
        ("192.0.2.10 - 192.0.2.10", ["192.0.2.10"]),
        ("192.0.2.*", ["192.0.2.0/24"]),
        ("192.0.*.*", ["192.0.0.0/16"]),
        ("192.0.2.", ["192.0.2.0/24"]),
        ("192.0.2.0/255.255.255.0", ["192.0.2.0/24"]),
        ("[192.0.2.1]", ["192.0.2.1"]),
        ("[2001:db8::]/32", ["2001:db8::/32"]),
        ("192.0.2.0/24 OK", ["192.0.2.0/24"]),
        ("192.0.2.1 permit", ["192.0.2.1"]),
        ("example.org OK", [".example.org"]),
        ("*.example.org", [".example.org"]),
        ("racl whitelist addr 192.0.2.0/24", ["192.0.2.0/24"]),
        ("acl whitelist domain example.net", [".example.net"]),
        *[(text, []) for text in ("192.0.2.1", "192.0.2.0/24", "192.0.2", "2001:db8::1", "example.org")],
        *[
            (text, [])
            for text in (".example.org", "/x/", "unknown", "", "192.0.2.20-10", "192.0.2.1-300", "a b c")
        ],
        ("10.0.0.1-10.255.255.254", []),
        ("1" * 1000, []),
    ],
)
def test_what_to_write_instead(text, instead):
    assert clients_instead(text) == instead


def test_names_end_in_letters():
    names = ("192.0.2.10-20", "mx.1", "mx1", "")
    assert [ends_in_number(name) for name in names] == [True, True, False, False]


@pytest.mark.parametrize("pattern", [".*", "^", ".", "^.+$", r"\.", "^[a-z0-9.-]+$", "x?", "", r"\w"])
def test_what_every_name_has(pattern):
    assert every_one(pattern, "client")


@pytest.mark.parametrize("pattern", [r"\.example\.org$", "mail", "^mx[0-9]+", r"\.com$", "[0-9]", "unknown"])
def test_what_some_names_have(pattern):
    assert not every_one(pattern, "client")


# --- in lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('client = "/.*/"', "matches every client that has a verified name"),
        ('recipient = "/@/"', "matches every mail"),
        ('client = "unknown"', "clients without a verified name, which match by their address only"),
        ('client = "/^unknown$/"', "clients without a verified name"),
        ('client = "192.0.2.10-11"', 'write client = "192.0.2.10/31"'),
        ('client = "192.0.2.10-12"', 'client = "192.0.2.12", each in an entry of its own'),
        ('client = "mx.example.7"', "ends in a number"),
        ('client = "!192.0.2.1"', "write a rule"),
        ('client = "example.org OK"', 'write client = ".example.org"'),
        ('client = "bob@example.org"', "use sender or recipient"),
    ],
)
def test_a_toml_list_refuses_them(tmp_path, entry, told):
    with pytest.raises(ConfigError) as caught:
        understood(tmp_path / "a.toml", f"[[entry]]\n{entry}\n")
    (problem,) = caught.value.problems
    assert problem.line == 2
    assert told in problem.message


@pytest.mark.parametrize("entry", ['client = "/./"\nsender_domain = "example.org"', 'client = "mx1"'])
def test_a_toml_list_takes_what_may_match(tmp_path, entry):
    assert len(understood(tmp_path / "a.toml", f"[[entry]]\n{entry}\n").entries) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("example.org OK", 'write [[entry]] and below it client = ".example.org"'),
        ("192.0.2.0/24", 'client = "192.0.2.0/24"'),
        (".example.org", 'client = ".example.org"'),
    ],
)
def test_a_list_of_another_program_is_no_toml(tmp_path, line, told):
    with pytest.raises(ConfigError) as caught:
        understood(tmp_path / "a.toml", f"# Ours\n{line}\n")
    assert [(each.line, told in each.message) for each in caught.value.problems] == [(2, True)]


def test_a_file_in_postgreys_format_goes_on_without_them(tmp_path):
    wrong = ["/.*/", "unknown", "192.0.2.10-20", "mx.7", "/^unknown$/", "192.0.2.*", "example.net OK"]
    path = tmp_path / "clients"
    path.write_text("\n".join(["example.org", *wrong, "/^mx[0-9]+\\./", "192.0.2"]))
    made = postgrey_clients(SourceOptions(path))
    assert made.count == 3
    assert [(warning.file, warning.line) for warning in made.warnings] == [
        (str(path), number) for number in range(2, 2 + len(wrong))
    ]
    assert all(str(each).endswith("; the line is ignored") for each in made.warnings)
    assert "write 192.0.2.10/31 and 192.0.2.12/30 and " in str(made.warnings[2])
    assert "write example.net" in str(made.warnings[6])
    path.write_text("/.*/\nbob@\n")
    recipients = postgrey_recipients(SourceOptions(path))
    assert (recipients.count, len(recipients.warnings)) == (1, 1)
