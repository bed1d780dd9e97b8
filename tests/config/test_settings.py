"""The promises settings make: defaults, immutability, descriptions, and who listens where."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.settings import Control, Limits, Listen, RuleTable, Settings
from multigrey.config.show import options, tables
from multigrey.config.tables.greylist import Greylist
from multigrey.config.tables.log import Log
from multigrey.config.tables.plugins import Plugins

MINIMAL = {"state_dir": "/srv/multigrey", "listen": [{"protocol": "exim", "address": "tcp:127.0.0.1:1"}]}


def test_the_defaults_the_manual_promises():
    settings = Settings.model_validate(MINIMAL)
    greylist = settings.greylist
    assert (greylist.delay, greylist.unnamed_delay) == (120, 180)
    assert (greylist.retry_window, greylist.max_age) == (2 * 86_400, 36 * 86_400)
    assert greylist.key == ("origin", "sender", "recipient")
    assert (greylist.patience, greylist.mode) == (300, "enforce")
    assert (greylist.prove_origins, greylist.prove_after) == (True, 10)
    assert (greylist.prove_domains, greylist.prove_percent) == (4, 95)
    assert (greylist.ipv4_prefix, greylist.ipv6_prefix, greylist.auto_whitelist_after) == (24, 64, 5)
    assert greylist.text == "Greylisted, please try again later"
    assert (greylist.recipient_delimiter, greylist.null_sender) == ("+", "data")
    assert greylist.message_pass is greylist.header is True
    assert (settings.store.backend, settings.store.map_size) == ("lmdb", 2**32)
    limits = settings.limits
    assert (limits.connections, limits.request_size, limits.idle) == (1000, 65_536, 1200)
    assert (limits.answer_within, limits.drain, limits.slow) == (3, 5, 0.5)
    assert (settings.user, settings.control.address, settings.plugins.dir) == (None, None, None)
    assert (settings.whitelist, settings.rule) == ((), ())
    assert settings.log == Log(format="multigrey", to="stderr", ident="multigrey", facility="mail")
    [listen] = settings.listen
    assert (listen.name, listen.mode, listen.on_error) == ("exim", 0o660, "pass")
    assert (listen.owner, listen.group, listen.allow_from) == (None, None, ())


def test_the_identity_in_the_log_follows_its_format():
    assert Log(format="postgrey").ident == "postgrey"
    assert Log(format="postgrey", ident="grey").ident == "grey"


def test_settings_do_not_change():
    settings = Settings.model_validate(MINIMAL)
    for model, key in [(settings, "user"), (settings.greylist, "delay"), (settings.listen[0], "mode")]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, key, None)


@pytest.mark.parametrize(
    ("listen", "wrong"),
    [
        ({"address": "tcp:127.0.0.1:1"}, ()),
        ({"address": "tcp:127.0.0.1:1", "allow_from": ["127.0.0.0/8"]}, ()),
        ({"address": "tcp:0.0.0.0:1"}, ("address",)),
        ({"address": "tcp:0.0.0.0:1", "allow_from": []}, ("address",)),
        ({"address": "tcp:0.0.0.0:1", "allow_from": ["192.0.2.0/28"]}, ()),
        ({"address": "tcp:[2001:db8::1]:1", "allow_from": ["2001:db8::/64"]}, ()),
        ({"address": "unix:/run/x", "mode": "0600", "owner": "mail", "group": "mail"}, ()),
        ({"address": "unix:/run/x", "allow_from": ["192.0.2.0/28"]}, ("allow_from",)),
        ({"address": "systemd:postfix"}, ()),
        ({"address": "systemd:postfix", "allow_from": ["192.0.2.0/28"]}, ()),
        ({"address": "systemd:postfix", "group": "postfix"}, ("group",)),
        ({"address": "tcp:0.0.0.0:1", "mode": "0600", "owner": "mail"}, ("address", "mode", "owner")),
    ],
)
def test_what_belongs_to_which_endpoint(listen, wrong):
    assert _wrong(Listen, {"protocol": "postfix", **listen}) == {*wrong}


@pytest.mark.parametrize(
    ("listen", "names"),
    [
        ((("postfix", ""), ("exim", "")), ["postfix", "exim"]),
        (
            (("postfix", ""), ("postfix", ""), ("exim", "")),
            ["postfix@tcp:[::1]:1", "postfix@tcp:[::1]:2", "exim"],
        ),
        ((("postfix", "mx2"), ("postfix", "")), ["mx2", "postfix"]),
        ((("postfix", "exim"), ("exim", "")), ["exim", "exim@tcp:[::1]:2"]),
        ((("exim", ""), ("postfix", "exim")), ["exim@tcp:[::1]:1", "exim"]),
        ((("postfix", "postfix"), ("postfix", "")), ["postfix", "postfix@tcp:[::1]:2"]),
    ],
)
def test_a_listener_is_called_as_its_protocol_unless_that_is_not_enough(listen, names):
    tables = [
        {"protocol": protocol, "address": f"tcp:[::1]:{port}"} | ({"name": name} if name else {})
        for port, (protocol, name) in enumerate(listen, 1)
    ]
    settings = Settings.model_validate({**MINIMAL, "listen": tables})
    assert [each.name for each in settings.listen] == names
    used = [{"name": name, "when": {"listener": name}, "action": "pass"} for name in names]
    assert len(Settings.model_validate({**MINIMAL, "listen": tables, "rule": used}).rule) == len(names)


@pytest.mark.parametrize(
    ("greylist", "wrong"),
    [
        ({"delay": "59m59s", "retry_window": "1h", "max_age": "1h"}, ()),
        ({"delay": "1h", "retry_window": "1h"}, ("delay",)),
        ({"delay": "1h", "unnamed_delay": "2h", "retry_window": "1h"}, ("delay", "unnamed_delay")),
        ({"unnamed_delay": "1s"}, ()),
        ({"retry_window": "36d"}, ()),
        ({"retry_window": "37d"}, ("max_age",)),
        ({"delay": "1s", "unnamed_delay": "1s", "retry_window": "2s", "max_age": "2s"}, ()),
        ({"delay": "1s", "retry_window": "2s", "max_age": "2s"}, ("unnamed_delay",)),
    ],
)
def test_times_that_fit_together(greylist, wrong):
    assert _wrong(Greylist, greylist) == {*wrong}


@pytest.mark.parametrize(
    ("model", "values", "wrong"),
    [
        (Limits, {"slow": "2999ms"}, ()),
        (Limits, {"slow": "3s"}, ("slow",)),
        (Limits, {"answer_within": "500ms"}, ("slow",)),
        (Control, {"address": "unix:/run/multigrey/control.sock"}, ()),
        (
            Control,
            {"address": "off", "read_group": "adm", "operate_group": "help", "admin_group": "staff"},
            (),
        ),
        (Control, {"address": "tcp:127.0.0.1:1"}, ("address",)),
        (Control, {"address": "systemd:control"}, ("address",)),
        (Control, {"address": "on"}, ("address",)),
        (RuleTable, {"name": "r", "traits": [], "action": "greylist", "delay": "5m", "text": "later"}, ()),
        (RuleTable, {"name": "r", "traits": [], "action": "reject", "text": "no"}, ()),
        (RuleTable, {"name": "r", "traits": [], "action": "defer", "delay": "5m"}, ("delay",)),
        (
            RuleTable,
            {"name": "r", "traits": [], "action": "pass", "delay": "5m", "text": "x"},
            ("delay", "text"),
        ),
        (Log, {"to": "/var/log/multigrey.log"}, ()),
        (Log, {"to": "/var/log/"}, ("to",)),
        (Log, {"to": "stdout"}, ("to",)),
        (Log, {"ident": ""}, ("ident",)),
        (Greylist, {"recipient_delimiter": ""}, ()),
        (Greylist, {"recipient_delimiter": "+-"}, ()),
        (Greylist, {"recipient_delimiter": "a"}, ("recipient_delimiter",)),
    ],
)
def test_other_checks(model, values, wrong):
    assert _wrong(model, values) == {*wrong}


def _wrong(model: type[BaseModel], values: dict) -> set[str]:
    """The keys that are complained about."""
    try:
        model.model_validate(values)
    except ValidationError as caught:
        return {path[0] for path, _ in explain(caught, model)}
    return set()


def test_plugin_tables_are_kept_apart():
    plugins = Plugins.model_validate({"dir": "/srv/plugins", "geoip": {"x": 1}, "tables": {"y": 2}})
    assert plugins.dir == Path("/srv/plugins")
    assert plugins.tables == {"geoip": {"x": 1}, "tables": {"y": 2}}
    assert _wrong(Plugins, {"geoip": 5}) == {"geoip"}
    assert _wrong(Plugins, {"tables": 5}) == {"tables"}


def test_every_key_is_described_in_full_sentences():
    described = [*options()]
    assert len(described) > 40
    for option in described:
        assert option.description[0].isupper(), option
        assert option.description.endswith("."), option
        assert len(option.description) > 40, option


def test_every_table_is_described():
    texts = dict(tables())
    assert set(texts) == {option.table for option in options() if option.table}
    for header, text in texts.items():
        for paragraph in text.split("\n\n"):
            assert paragraph[0].isupper(), header
            assert paragraph.endswith("."), header


def test_the_rows_of_the_manual():
    rows = {(option.table, option.key): option for option in options()}
    delay = rows["[greylist]", "delay"]
    assert (delay.kind, delay.default, delay.required) == ("duration", '"2m"', False)
    assert rows["[[listen]]", "protocol"].required
    assert rows["[[listen]]", "allow_from"].kind == "list of networks"
    assert rows["[[listen]]", "mode"].default == '"0660"'
    assert rows["[greylist]", "key"].kind == "list of names"
    assert rows["[greylist]", "message_pass"].default == "true"
    assert rows["[limits]", "connections"].kind == "number"
    assert rows["[store]", "map_size"].default == '"4GiB"'
    assert rows["[plugins]", "dir"].default == ""
    assert ("[plugins]", "tables") not in rows
    assert not rows["", "state_dir"].required
