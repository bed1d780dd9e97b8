"""The Containerfile's steps in a Debian, its entry point as it would be run, and the Kubernetes example."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from multigrey.config.load import load
from tests.packages import mail
from tests.packages.test_systemd import with_checkout
from tests.support.daemon import ROOT
from tests.support.machine import Machine

INTEGRATIONS = ROOT / "integrations"
COMPOSE = yaml.safe_load((INTEGRATIONS / "container/compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((INTEGRATIONS / "kubernetes/multigrey.yaml").read_text()))
CONTAINERFILE = [
    (word, rest)
    for word, _, rest in (line.partition(" ") for line in (ROOT / "Containerfile").read_text().splitlines())
    if word.isupper()
]
IMAGE = dict(CONTAINERFILE)
"""The last instruction of each kind: what the image says of itself."""


def made(machine: Machine) -> None:
    """Take the steps that make the image.  Both stages have the same root here."""
    checkout, source = machine.files / "root/multigrey", machine.files / "src"
    checkout.rename(source)
    shutil.copytree(ROOT / "locks", source / "locks")
    place = "/"
    for word, rest in CONTAINERFILE:
        if word == "WORKDIR":
            place = rest
        elif word == "RUN":
            machine.shell(f"cd {place}\n{rest}")
        elif word == "COPY" and not rest.startswith(("--from", ". ")):
            target = machine.files / rest.split()[1].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / rest.split()[0], target)


def started(machine: Machine) -> dict[str, str]:
    """Start the entry point as a runtime does; returns its environment."""
    environment = dict(word.split("=", 1) for word in shlex.split(IMAGE["ENV"]))
    assert IMAGE["VOLUME"] == COMPOSE["services"]["multigrey"]["volumes"][0].partition(":")[2]
    machine.run(
        *["systemd-run", "--unit=container", f"--uid={IMAGE['USER']}", "-p", "ReadOnlyPaths=/"],
        *[
            "-p",
            f"ReadWritePaths={IMAGE['VOLUME']}",
            "-p",
            "NoNewPrivileges=yes",
            "-p",
            "CapabilityBoundingSet=",
        ],
        *[f"--setenv={name}={value}" for name, value in environment.items()],
        *json.loads(IMAGE["ENTRYPOINT"]),
        *json.loads(IMAGE["CMD"]),
    )
    return environment


@pytest.mark.mta
@pytest.mark.timeout(600)
def test_its_steps_make_a_daemon_that_a_postfix_asks() -> None:
    with with_checkout() as machine:
        mail.install_postfix(machine)
        made(machine)
        # a mount whose modes and owner nobody can change
        mount = machine.files / "etc/multigrey"
        own = (mount / "multigrey.toml").read_text() + mail.QUICK
        (mount / "multigrey.toml").write_text(own)
        machine.shell(
            "mkdir /etc/multigrey/whitelists; chown -R 4711 /etc/multigrey; chmod -R 0777 /etc/multigrey"
        )
        environment = started(machine)
        words = " ".join(f"{name}={value}" for name, value in environment.items())
        health = IMAGE["HEALTHCHECK"].partition(" CMD ")[2]
        machine.shell(
            f"for i in 1 2 3 4 5 6 7 8 9; do [ -e {IMAGE['VOLUME']}/control.sock ] && break; sleep 1; done"
        )
        machine.shell(f"export {words}\n{health}", user=IMAGE["USER"])

        steps = COMPOSE["services"]["postfix"]["build"]["dockerfile_inline"]
        for line in re.findall(r"(?m)^RUN (postconf -e '?smtpd_.*)", steps):
            machine.shell(line.replace("inet:multigrey:", "inet:127.0.0.1:"))
        machine.run("postfix", "reload")
        mail.is_greylisted(machine)
        assert machine.run("systemctl", "stop", "container").returncode == 0


def test_compose_gives_the_daemon_no_right_it_does_not_need() -> None:
    service = COMPOSE["services"]["multigrey"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "USER" in IMAGE
    assert (
        INTEGRATIONS / "container" / service["build"]["context"] / service["build"]["dockerfile"]
    ).is_file()


def one(kind: str) -> dict[str, object]:
    (found,) = (each for each in KUBERNETES if each["kind"] == kind)
    return found


def test_the_parts_of_the_kubernetes_example_fit_each_other(tmp_path: Path) -> None:
    pod = one("StatefulSet")["spec"]["template"]  # type: ignore[index]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    assert one("StatefulSet")["spec"]["selector"]["matchLabels"] == labels  # type: ignore[index]
    assert one("Service")["spec"]["selector"] == labels  # type: ignore[index]
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels  # type: ignore[index]
    (port,) = container["ports"]
    assert one("Service")["spec"]["ports"][0]["targetPort"] == port["name"]  # type: ignore[index]
    assert str(pod["spec"]["securityContext"]["runAsUser"]) == IMAGE["USER"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"state": IMAGE["VOLUME"], "configuration": "/etc/multigrey"}
    health = container["readinessProbe"]["exec"]["command"]
    assert health[2] == IMAGE["HEALTHCHECK"].partition(" CMD ")[2]
    path = tmp_path / "multigrey.toml"
    path.write_text(one("ConfigMap")["data"]["multigrey.toml"])  # type: ignore[index]
    path.chmod(0o644)
    (listen,) = load(path, {"STATE_DIRECTORY": IMAGE["VOLUME"]}).settings.listen
    assert listen.address.port == port["containerPort"]


def test_the_image_has_a_configuration_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "multigrey.toml"
    shutil.copy(INTEGRATIONS / "container/default.toml", path)
    path.chmod(0o644)
    listens = load(path, {"STATE_DIRECTORY": IMAGE["VOLUME"]}).settings.listen
    assert [str(each.address.port) for each in listens] == IMAGE["EXPOSE"].split()
