"""The test suite of RFC 7208, as the source archive of pyspf brings it, on the way a check takes here.

Nothing of it is kept in the sources: it is fetched once into a cache folder.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import spf
import trio
from multigrey_spf import SpfSettings, SpfSource, question_of
from multigrey_spf.dnslookup import Answer, Unanswered
from multigrey_spf.evaluation import Check, Session
from spfzone import attempt

from multigrey.identity.addresses import parse_client_address

VERSION = "2.0.14"
ARCHIVE = f"pyspf-{VERSION}.tar.gz"
SHA256 = "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186"
MEMBER = f"pyspf-{VERSION}/test/rfc7208-tests.yml"
CASES = 203
SEVERAL = {
    "multispf1": "permerror",
    "invalid-domain-empty-label": "fail",
    "invalid-domain-long": "fail",
    "invalid-domain-long-via-macro": "fail",
    "p-macro-multiple": "pass",
    "ptr-limit": "neutral",
}
"""Cases for which the suite allows several results, with the one that is given here."""


@pytest.fixture(scope="module")
def scenarios():
    yaml = pytest.importorskip("yaml")
    default = Path(__file__).parents[3] / ".cache"
    folder = Path(os.environ.get("MULTIGREY_CACHE") or default) / "pyspf"
    archive = folder / ARCHIVE
    if not archive.exists():
        fetch(folder)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        assert member is not None
        return list(yaml.safe_load_all(member.read()))


def fetch(folder):
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    wanted.write_text(f"pyspf=={VERSION} --hash=sha256:{SHA256}\n")  # pip runs its setup.py
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pyspf"]
    command += ["--no-build-isolation", "--require-hashes", "-r", str(wanted)]
    try:
        subprocess.run(
            [*command, "--dest", str(folder)],
            check=True, timeout=45, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        if b"DO NOT MATCH THE HASHES" in (getattr(error, "stderr", None) or b""):
            raise
        pytest.skip(f"the source archive of pyspf {VERSION} cannot be fetched: {type(error).__name__}")


class SuiteZone:
    """The zone of one scenario, answered as a resolver would that follows aliases."""

    def __init__(self, zonedata):
        self.records = {name.lower(): list(entries(records)) for name, records in zonedata.items()}

    async def resolve(self, name, kind):
        await trio.lowlevel.checkpoint()
        for _ in range(10):
            values, aliases = self.values(name, kind)
            if values or not aliases:
                break
            name = aliases[0].lower()
        return Answer(tuple(values), 60)

    def values(self, name, kind):
        if name.startswith("error.") and name not in self.records:
            raise Unanswered("as the suite wants it", silent=True)
        values, aliases = [], []
        for record_kind, value in self.records.get(name, ()):
            if value == "TIMEOUT" and record_kind in {None, kind} and not values:
                raise Unanswered("as the suite wants it", silent=True)
            if value == "TIMEOUT":
                continue
            if record_kind == "CNAME":
                aliases.append(value)
            if record_kind == kind:
                values.append(value)
        return values, aliases


def entries(records):
    """(type, value) for each; type None: of every type.  SPF stands for TXT unless there is some."""
    plain = [record for record in records if isinstance(record, dict)]
    has_txt = any("TXT" in record for record in plain)
    for record in records:
        if record == "TIMEOUT":
            yield None, record
            continue
        ((kind, value),) = record.items()
        if kind == "SPF" and not has_txt:
            kind = "TXT"
        if value == "NONE":
            continue
        if kind == "TXT" and value != "TIMEOUT":
            value = tuple(part.encode() for part in ([value] if isinstance(value, str) else value))
        if kind == "MX":
            value = tuple(value)
        yield kind, value


def cases(scenarios):
    for scenario in scenarios:
        for name, case in scenario["tests"].items():
            allowed = case["result"]
            yield scenario, name, case, [allowed] if isinstance(allowed, str) else allowed


def asked(case):
    address = str(parse_client_address(case["host"]))
    return attempt(address, sender=case["mailfrom"], helo=case["helo"])


async def test_every_case(scenarios):
    wrong, count, several = [], 0, {}
    for scenario, name, case, allowed in cases(scenarios):
        source = SpfSource(SpfSettings(budget=10), SuiteZone(scenario["zonedata"]))
        question = question_of(asked(case))
        # not `ask`: half of the clients have private addresses, which are never asked about
        result = "none" if question is None else (await source._check(question)).result
        count += 1
        if len(allowed) > 1:
            several[name] = result
        if result not in allowed or source.counts["late"] or source.counts["broken"]:
            wrong.append((name, case["mailfrom"], allowed, result))
    assert wrong == []
    assert count == CASES
    assert several == SEVERAL


class Explaining(Check):
    """Fetches explanations, which a check in use never does."""

    def get_explanation(self, spec):
        return spf.query.get_explanation(self, spec)


async def test_the_explanations_too(scenarios):
    """They cost questions and macros: another look at how both are done here."""
    wrong, count = [], 0
    for scenario, name, case, allowed in cases(scenarios):
        question = question_of(asked(case))
        if question is None or "explanation" not in case:
            continue
        lookups = SpfSource(SpfSettings(), SuiteZone(scenario["zonedata"])).lookups
        session = Session(lambda name, kind, ask=lookups.ask: trio.from_thread.run(ask, name, kind))
        check = Explaining(question, session)
        check.set_default_explanation("DEFAULT")
        result, _, explanation = await trio.to_thread.run_sync(check.check)
        count += 1
        if result not in allowed or explanation != case["explanation"]:
            wrong.append((name, allowed, result, case["explanation"], explanation))
    assert wrong == []
    assert count > 20
