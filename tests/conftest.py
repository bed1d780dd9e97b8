"""Settings for all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, so that a red run means a change; MULTIGREY_FUZZ=1 looks further.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=2000)
settings.load_profile("fuzz" if os.environ.get("MULTIGREY_FUZZ") else "steady")


SLOW = frozenset(
    [
        *["plugins/multigrey-spf/tests/test_trust.py", "plugins/multigrey-web/tests/test_app.py"],
        *["plugins/multigrey-web/tests/test_daemon.py", "tests/background/test_eviction.py"],
        *["tests/cli/test_client.py", "tests/cli/test_explain.py", "tests/cli/test_origins.py"],
        *["tests/cli/test_records.py", "tests/cli/test_report.py", "tests/cli/test_status.py"],
        *[
            "tests/cli/test_whitelist_add.py",
            "tests/cli/test_whitelist_edit.py",
            "tests/daemon/test_daemon.py",
        ],
        "tests/daemon/test_confinement.py",
        *["tests/integrations/test_munin.py", "tests/scenarios/test_simulation.py", "tests/test_project.py"],
        "tests/scenarios/test_time_per_input.py",
        *["tests/cli/test_backup.py", "tests/cli/test_restore.py"],
        *["tests/cli/test_mode.py", "tests/cli/test_rehearse.py", "tests/cli/test_without_configuration.py"],
        *["tests/test_supply_chain.py", "tests/mta/test_prometheus.py", "tests/history/test_recorder.py"],
        *["plugins/multigrey-web/tests/test_main.py", "tests/control/operations/test_growth.py"],
        "tests/control/operations/test_flow.py",
        "plugins/multigrey-spf/tests/test_spf.py::test_five_hundred_bots_with_one_domain_have_no_origin",
        "tests/cli/test_watch.py::test_a_real_daemon",
        "tests/cli/test_check.py::test_a_real_daemon",
        "tests/test_man.py::test_the_examples_of_commands_work",
        "tests/engine/test_explain.py::test_the_engine_says_what_was_explained",
        "tests/engine/test_explain.py::test_the_property_meets_every_reason",
        "tests/greylist/test_marks.py::test_a_million_and_a_half_leave_room_for_twenty",
        "tests/stores/test_machine.py::test_like_a_dictionary",
        "tests/test_dialogues.py::test_live",
        "tests/test_dialogues.py::test_nothing_is_imported_while_serving",
    ]
)
"""Files and single tests that `make fast-test` leaves out: most start daemons."""
_SLOW_FOLDERS = ("tests/faults/", "tests/packages/")


_MINE = pytest.StashKey[set[Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--claims",
        metavar="DIR",
        help="leave test files to the other process with this directory that has begun them",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, and let a second process begin at the end."""
    for item in items:
        name = item.nodeid.partition("[")[0]
        if name in SLOW or name.partition("::")[0] in SLOW or name.startswith(_SLOW_FOLDERS):
            item.add_marker("slow")
    if claims := config.getoption("--claims"):
        files = list(dict.fromkeys(item.path for item in items))
        if not _claim(claims, "forwards"):
            files.reverse()  # they meet in the middle: neither begins a long file at the end
        items.sort(key=lambda item: files.index(item.path))


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Pass over the tests of a file that another process has begun."""
    claims = item.config.getoption("--claims")
    if claims and item.path not in (mine := item.config.stash.setdefault(_MINE, set())):
        if not _claim(claims, item.path.relative_to(item.config.rootpath).as_posix().replace("/", ",")):
            return True
        mine.add(item.path)
    return None


def _claim(directory: str, name: str) -> bool:
    """Whether this process is the first that asks for `name`."""
    try:
        Path(directory, name).mkdir()
    except FileExistsError:
        return False
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A skip that does not say what is missing is a failure."""
    del item, call
    outcome = yield
    report = outcome.get_result()
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped").strip(": ")
        if not reason or reason == "unconditional skip":
            report.outcome, report.longrepr = "failed", "a skip without a reason"


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory that unix sockets fit into and that another user can pass through."""
    yield from _short_directory()


@pytest.fixture(scope="module")
def module_directory() -> Iterator[Path]:
    """The same, one for all tests of a module: of a daemon that is only started once."""
    yield from _short_directory()


def _short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
