"""The bills of materials that our wheels carry: a CycloneDX file beside each pyproject.toml.

A bill names what the distribution brings along on Linux: version, hashes and licence of what `make lock` has
locked.  It holds neither a time nor a random number: the same lock gives the same octets.
`python -m tests.support.sbom` writes them all.
"""

from __future__ import annotations

import json
from importlib.metadata import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from multigrey import __version__
from tests.support.locks import PROJECTS, Pin, graph, pins, read

NAME = "sbom.cdx.json"


def licence(name: str) -> License:
    """What an installed distribution says of its licence: an SPDX expression where it is one."""
    facts = metadata(name)
    said = facts.get("License-Expression") or facts.get("License") or ""
    if not said or "\n" in said:
        said = next(one for one in facts.get_all("Classifier", []) if one.startswith("License ::"))
    return LicenseFactory().make_from_string(said.rpartition(" :: ")[2])


def component(name: str, pin: Pin) -> Component:
    url = PackageURL("pypi", name=name, version=str(pin.version))
    return Component(
        name=name,
        version=str(pin.version),
        purl=url,
        bom_ref=str(url),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in pin.hashes],
        licenses=[licence(name)],
    )


def bill(project: Path) -> str:
    """The bill of a pyproject.toml, as JSON.  A plugin's leaves multigrey out, which has its own."""
    facts = read(project)["project"]
    required = [one for one in facts["dependencies"] if not one.startswith("multigrey")]
    edges = graph(required)
    locked = pins("test")
    parts = {name: component(name, locked[name]) for name in edges}
    root = Component(
        name=facts["name"],
        version=facts.get("version", __version__),
        type=ComponentType.APPLICATION,
        bom_ref=facts["name"],
        licenses=[LicenseFactory().make_from_string(facts["license"])],
    )
    bom = Bom(components=parts.values())
    bom.metadata.component = root
    bom.register_dependency(root, [parts[canonicalize_name(Requirement(one).name)] for one in required])
    for name, below in edges.items():
        bom.register_dependency(parts[name], [parts[one] for one in below])
    found = json.loads(JsonV1Dot6(bom).output_as_string())
    del found["serialNumber"], found["metadata"]["timestamp"]
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    for path in PROJECTS:
        path.with_name(NAME).write_text(bill(path))
