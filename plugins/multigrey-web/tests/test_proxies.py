"""The shipped snippets in real proxies: nginx, Apache and Caddy, before a real daemon."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from sites import asked_by, open_directory, serving

from tests.mta.harness import free_port, until
from tests.support.debian import CHECKOUT, library_path, unpack_or_skip

pytestmark = [pytest.mark.mta, pytest.mark.timeout(180)]

SHIPPED = CHECKOUT / "integrations/web"
SOCKET = "/run/multigrey/web.sock"
LOGIN = "Basic " + base64.b64encode(b"anna:open sesame").decode()
HTPASSWD = "anna:{SHA}" + base64.b64encode(hashlib.sha1(b"open sesame").digest()).decode() + "\n"
CONFIG = 'user_header = "X-Remote-User"\nmay = ["expect", "pass"]\n'


def snippet(name, directory, **changes):
    """A shipped file with the paths of the test."""
    text = (SHIPPED / name).read_text()
    for old, new in {SOCKET: f"{directory}/web.sock", **changes}.items():
        assert old in text
        text = text.replace(old, str(new))
    return text


def nginx(directory, port):
    root = unpack_or_skip("nginx", "nginx")
    (directory / "htpasswd").write_text(HTPASSWD)
    text = snippet("nginx.conf", directory, **{"/etc/nginx/multigrey.htpasswd": directory / "htpasswd"})
    temporary = " ".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "proxy.conf"
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user} daemon off; pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port};\n{text}\n}} }}\n"
    )
    return root, [root / "usr/sbin/nginx", "-p", directory, "-c", config, "-e", "stderr"], {}


def apache(directory, port):
    root = unpack_or_skip("apache2", "apache2-bin")
    (directory / "htpasswd").write_text(HTPASSWD)
    text = snippet("apache.conf", directory, **{"/etc/apache2/multigrey.htpasswd": directory / "htpasswd"})
    named = re.search(r"a2enmod (.*)", text)[1].split()
    modules = ["mpm_event", "authn_core", "authz_core", "proxy", *named]
    loads = "".join(
        f"LoadModule {name}_module {root}/usr/lib/apache2/modules/mod_{name}.so\n" for name in modules
    )
    user = "User nobody\nGroup nogroup\n" if os.geteuid() == 0 else ""
    config = directory / "proxy.conf"
    config.write_text(
        f'ServerName localhost\nServerRoot "{directory}"\n'
        f'PidFile "{directory}/pid"\nErrorLog "{directory}/proxy.log"\n'
        f"DefaultRuntimeDir {directory}\nListen 127.0.0.1:{port}\n{loads}{user}"
        f"<VirtualHost *:{port}>\n{text}\n</VirtualHost>\n"
    )
    return root, [root / "usr/sbin/apache2", "-X", "-f", config], {}


def caddy(directory, port):
    root = unpack_or_skip("caddy", "caddy")
    program = root / "usr/bin/caddy"
    words = [program, "hash-password", "--plaintext", "open sesame"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={"HOME": str(directory)})
    changes = {"mx.example.org": f"http://127.0.0.1:{port}", "PASTE-THE-HASH-HERE": done.stdout.strip()}
    config = directory / "Caddyfile"
    config.write_text("{\n\tadmin off\n}\n" + snippet("Caddyfile", directory, **changes))
    environment = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    return root, [program, "run", "--adapter", "caddyfile", "--config", config], environment


@contextmanager
def running(make, directory):
    """A proxy, and its port."""
    port = free_port()
    root, words, environment = make(directory, port)
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": library_path(root), **environment}
    with (directory / "proxy.log").open("w") as log:
        process = subprocess.Popen([*map(str, words)], env=environment, stdout=log, stderr=log)
        try:
            until(lambda: answered(port), f"{make.__name__} answers: {(directory / 'proxy.log').read_text()}")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def answered(port):
    try:
        return fetched(port, "/")
    except OSError:
        return None


def fetched(port, path, method="GET", body=None, **headers):
    """Status and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def place():
    directory = open_directory()
    with serving(directory, config=CONFIG, address=f"unix:{directory}/web.sock") as (_, daemon):
        asked_by(directory, "someone@example.org")
        yield directory, daemon
    shutil.rmtree(directory)


@pytest.mark.parametrize("make", [nginx, apache, caddy])
def test_a_proxy_asks_for_a_password_and_names_the_user(place, make):
    directory, daemon = place
    with running(make, directory) as port:
        assert fetched(port, "/")[0] == 401
        assert fetched(port, "/", X_Remote_User="root")[0] == 401
        query = "/search?q=someone%40example.org"
        until(lambda: "Waiting for" in fetched(port, query, Authorization=LOGIN)[1], "the story is there")
        status, text = fetched(port, query, Authorization=LOGIN, X_Remote_User="root")
        assert status == 200
        assert "You are anna." in text
        token = re.search(r'name="token" value="([0-9a-f]+)"', text)[1]
        recipient = f"{make.__name__}@example.net"
        form = {"token": token, "act": "expect", "recipient": recipient, "seconds": "900"}
        headers = {"Authorization": LOGIN, "Content_Type": "application/x-www-form-urlencoded"}
        foreign = fetched(port, "/act", "POST", urlencode(form), Sec_Fetch_Site="cross-site", **headers)
        assert foreign[0] == 403
        done = fetched(port, "/act", "POST", urlencode(form), Sec_Fetch_Site="same-origin", **headers)
        assert (done[0], f"Done: expect mail to {recipient} for 15m." in done[1]) == (200, True)
    act = f"[plugins.web]: anna: does expect: expect mail to {recipient} for 15m"
    until(lambda: act in daemon.stderr(), "the act is logged with its user")
    assert "root: search" not in daemon.stderr()
