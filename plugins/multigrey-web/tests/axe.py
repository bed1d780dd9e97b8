"""axe-core, which looks for what keeps people from using a page; fetched by its hash, and not installed."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile

import pytest

from tests.support.debian import cache_directory, locked

VERSION = "4.10.2"
SHA512 = "RE3mdQ7P3FRSe7eqCWoeQ/Z9QXrtniSjp1wUjt5nRC3WIpz5rSCve6o3fsZ2aCpJtrZjSZgjwXAoTO5k4tEI0w=="
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { runOnly: arguments[0], resultTypes: ["violations"] }).then(
  (found) => done(found.violations.map((each) => [each.id, each.nodes.map((node) => node.html).slice(0, 3)])),
  (error) => done([["axe failed", [String(error)]]]),
);
"""


def script():
    """The text of axe-core; the test is skipped where npm cannot fetch it."""
    cache = cache_directory().parent / "npm"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"axe-core-{VERSION}.tgz"
    with locked(cache, "axe-core"):
        if not archive.exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("npm is not installed, so axe-core cannot be fetched")
            words = [npm, "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(cache)]
            done = subprocess.run(words, cwd=cache, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"axe-core cannot be fetched: {done.stderr[-300:]}")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert digest == SHA512
    with tarfile.open(archive) as tar:
        found = tar.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


def complaints(browser, text):
    """What axe-core has against the page that the browser shows: rules, and the elements that break them."""
    browser.run(text)
    return browser.driver.execute_async_script(_RUN, list(RULES))
