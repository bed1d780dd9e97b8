"""The rules the house stands on, checked in the source itself.

Each rule is a function from a module to what is wrong with it, so that a small wrong module shows that
the rule can fail.  A new module needs a layer below, and a test of its own name.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "multigrey"

LAYERS: dict[str, int] = {
    # 0 values
    **dict.fromkeys(["", "errors", "model", "clock", "contracts"], 0),
    # 1 pure: bytes and values in, values out
    **dict.fromkeys(
        ["addresses", "origin", "keys", "decision", "protocols", "codec", "logline", "messages", "seldom"], 1
    ),
    **dict.fromkeys(
        [
            "question",
            "standing",
            "senders",
            "sender_shapes",
            "lookups",
            "replies",
            "fairness",
            "timespans",
            "facts",
            "maillog",
            "redaction",
            "timeline",
            "analysis",
            "identity",
            "greylist",
        ],
        1,
    ),
    # 2 edges: files, configuration, stores
    **dict.fromkeys(["stores", "config", "hookspecs", "whitelists"], 2),
    # 3 engine: what a decision needs around it
    **dict.fromkeys(
        ["api", "plugins", "registry", "guards", "builtins", "rules"],
        3,
    ),
    **dict.fromkeys(
        [
            *["events", "linewriter", "diagnostics"],
            "engine",
            "ways",
            "judging",
            "recent",
            "forgetting",
            "conditions",
            "bounding",
            "hits",
            "known_names",
            "known_marks",
            "learned",
            "slow",
            "explaining",
            "reasons",
        ],
        3,
    ),
    **dict.fromkeys(
        ["expectations", "following", "growth", "history", "overrides", "reasons", "recall", "remembered"], 3
    ),
    # 4 shell: whoever asks or commands the engine
    **dict.fromkeys(["listeners", "commands", "supervise", "privileges", "metrics", "control"], 4),
    # 5 wiring
    **dict.fromkeys(["assemble", "daemon", "cli", "__main__"], 5),
}
"""Module or package, without "multigrey.", and its layer: it may import from its own and lower ones."""

VALUE_MODULES = frozenset(
    ["__future__", "collections", "dataclasses", "enum", "ipaddress", "pathlib", "types", "typing"]
)
"""All that layer 0 imports from outside (clock: also `time`)."""

IMPURE_MODULES = frozenset(
    [
        *["trio", "lmdb", "pluggy", "socket", "os", "random", "logging", "time"],
        *["asyncio", "secrets", "select", "signal", "subprocess", "threading", "uuid"],
        *["http", "importlib", "io", "pathlib", "shutil", "ssl", "tempfile", "urllib"],
    ]
)
"""What layer 1 never imports."""

IMPURE_CALLS = frozenset(["now", "utcnow", "today"])
"""Methods of datetime and date that read the clock; and `open`, which reads the disk."""

CLOCK_READERS = frozenset(["time", "time_ns", "monotonic", "monotonic_ns"])
"""Of module time; only `clock` calls them."""

BOUNDARIES: dict[str, str] = {
    "daemon:Daemon._reload_by_signal": "a reload that fails by a bug leaves everything as it was",
    "ways:each": "what one attempt meets is the answer to that attempt, and to no other",
    "engine:Engine.report": "a listener that fails harms no answer and no other listener",
    "listeners.connections:Server.welcome": "a protocol that cannot make a dialogue costs that connection",
    "listeners.troubles:Troubles._protocol_error": "the same boundary, for a dialogue's last words",
    "listeners.connections:Server._connection": "one connection's trouble never reaches another's",
    "listeners.steps:Steps._begin": "the same, for a bug that a whole round met",
    "listeners.steps:Steps.all": "the same boundary, for what happens without a task",
    "control.server:ControlServer._connection": "one connection's trouble never reaches another's",
    "control.server:_Connection._answer": "a bug in an operation is an answer, and ends nothing",
    "metrics.responder:_attend": "one connection's trouble never reaches another's",
    "supervise:supervise": "background work is restarted, whatever ended it",
    "stores.batches:attempt": "a batch that fails by a bug must not stop all later ones",
    "stores.thread:_Job.do": "carried from the thread to the task that waits, which raises it",
    "diagnostics:DiagnosticsHandler.emit": "the contract of logging: a wrong call hurts nobody",
}
"""Functions that may catch everything, and why.  Catching it to clean up and raise it again is free."""

LONGEST_MODULE = 450
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 10

TESTED_ELSEWHERE: dict[str, str] = {
    "identity.name_doubt": "tests/identity/test_name_evidence.py: what is seen, and what follows",
    "api": "tests/test_project.py, and every plugin imports it",
    "__main__": "tests/cli runs it",
    "assemble": "tests/cli/test_check.py and tests/test_daemon.py assemble whole configurations",
    "cli.serve": "tests/test_daemon.py and tests/mta start it",
    "config.connecting": "tables of settings: tests/config/test_settings.py",
    "config.kinds": "what types.py is made of: tests/config/test_types.py",
    "config.tables": "what settings.py is made of: tests/config/test_settings.py",
    "contracts": "typing protocols without code",
    "errors": "exceptions without code",
    "listeners.accepting": "tests/listeners/test_connections.py connects through it",
    "listeners.steps": "what tests/listeners/test_connections.py sees of connections",
    "listeners.troubles": "what tests/listeners/test_connections.py reads in the log",
    "listeners.connection": "plain data of tests/listeners/test_connections.py",
    "control.running": "tests/cli/test_status.py and tests/cli/test_steering.py",
    "control.parts": "plain data",
    "cli.offline": "tests/cli/test_asking.py",
    "cli.history": "tests/cli/test_records.py",
    "cli.recorded": "tests/cli/test_records.py",
    "control.recorded": "tests/control/test_records.py",
    "control.walking": "tests/control/test_records.py",
    "cli.attempting": "tests/cli/test_explain.py describes attempts with it",
    "cli.expect": "tests/cli/test_explain.py",
    "cli.rules": "tests/cli/test_explain.py",
    "reasons": "tests/test_explaining.py",
    "hookspecs": "two empty functions; tests/test_plugins.py calls them",
    "stores.entries": "tests/contract and tests/stores/test_machine.py run it in every store",
    "stores.environment": "tests/stores/test_lmdb.py opens, grows, copies and replaces it",
    "stores.memory": "tests/contract/test_store.py",
    "stores.site_key": "tests/stores/test_files.py",
}
"""Modules without a test file of their own name, and where they are tested."""


@dataclass(frozen=True)
class Module:
    """One source file; `name` is dotted, without "multigrey." and without "__init__"."""

    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def layer(self) -> int | None:
        """None: nobody gave it one."""
        return layer_of(self.name)

    def imports(self, *, typing_only: bool = True) -> Iterator[tuple[str, int]]:
        """Dotted names it imports, anywhere, and the lines; ours as "multigrey.…".

        What stands under `if TYPE_CHECKING:` only with `typing_only`.
        """
        skipped = set() if typing_only else set(type_checking_nodes(self.tree))
        for node in ast.walk(self.tree):
            if node in skipped:
                continue
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                if base == PACKAGE:  # a module, or a name of the package itself
                    names = (alias.name for alias in node.names)
                    yield from ((f"{base}.{name}" if name in LAYERS else base, node.lineno) for name in names)
                else:
                    yield base, node.lineno

    def functions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """Qualified names and nodes of every function and method, nested ones too."""
        yield from named_functions(self.tree, "")


def layer_of(name: str) -> int | None:
    """The layer of the longest known beginning of a dotted name."""
    while True:
        if name in LAYERS:
            return LAYERS[name]
        if "." not in name:
            return None
        name = name.rpartition(".")[0]


def type_checking_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for child in node.body:
                yield from ast.walk(child)


def named_functions(
    node: ast.AST, prefix: str
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
            yield from named_functions(child, f"{prefix}{child.name}.")
        else:
            inside = f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix
            yield from named_functions(child, inside)


# --- the rules ---


def imports_from_above(module: Module) -> Iterator[str]:
    if module.layer is None:
        yield f"{module.name} has no layer"
        return
    for name, line in module.imports():
        if name.startswith("."):
            yield f"line {line}: relative import"
        elif name.partition(".")[0] == PACKAGE:
            theirs = layer_of(name.removeprefix(PACKAGE).removeprefix("."))
            if theirs is None or theirs > module.layer:
                yield f"line {line}: layer {module.layer} imports {name} of layer {theirs}"


def impure(module: Module) -> Iterator[str]:
    """Layers 0 and 1 take time, randomness, and what others wrote as arguments."""
    if module.layer not in {0, 1}:
        return
    clock = {"time"} if module.name == "clock" else set()
    for name, line in module.imports(typing_only=False):
        top = name.partition(".")[0]
        allowed = top not in IMPURE_MODULES if module.layer else top in VALUE_MODULES | {PACKAGE} | clock
        if not allowed:
            yield f"line {line}: layer {module.layer} imports {name}"
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name("open")):
                yield f"line {node.lineno}: opens a file"
            case ast.Call(func=ast.Name("__import__" | "eval" | "exec" as called)):
                yield f"line {node.lineno}: {called} goes round these rules"
            case ast.Call(func=ast.Attribute(value, method)) if method in IMPURE_CALLS:
                if ast.unparse(value).rpartition(".")[2] in {"datetime", "date"}:
                    yield f"line {node.lineno}: reads the clock"


def reads_the_clock(module: Module) -> Iterator[str]:
    if module.name == "clock":
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(ast.Name("time"), name) if name in CLOCK_READERS:
                yield f"line {node.lineno}: time.{name}"
            case ast.ImportFrom("time", aliases):
                taken = {alias.name for alias in aliases} & {*CLOCK_READERS, "sleep"}
                yield from (f"line {node.lineno}: time.{name}" for name in taken)
            case ast.Import([ast.alias("time", str())]):
                yield f"line {node.lineno}: time under another name"


def packs(module: Module) -> Iterator[str]:
    if module.name == "codec":
        return
    for name, line in module.imports():
        if name.partition(".")[0] == "msgpack":
            yield f"line {line}: msgpack"


def too_long(module: Module) -> Iterator[str]:
    count = len(module.source.splitlines())
    if count > LONGEST_MODULE:
        yield f"{count} lines"
    for name, node in module.functions():
        if lines_of(node) > LONGEST_FUNCTION:
            yield f"{name}: {lines_of(node)} lines"


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def catches_everything(module: Module) -> Iterator[str]:
    """`except:`, `except Exception`, `suppress(Exception)` and the like outside a boundary."""
    for place, node in places(module.tree, ""):
        if f"{module.name}:{place}" in BOUNDARIES:
            continue
        match node:
            case ast.ExceptHandler(caught) if is_broad(caught) and not raises_again(node):
                yield f"line {node.lineno}: {place} catches everything"
            case ast.Call(called, arguments) if ast.unparse(called).rpartition(".")[2] == "suppress":
                if any(map(is_broad, arguments)):
                    yield f"line {node.lineno}: {place} suppresses everything"


def places(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node with the qualified name of the innermost function around it."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        inside = f"{prefix}.{child.name}".lstrip(".") if named else prefix  # type: ignore[attr-defined]
        yield inside, child
        yield from places(child, inside)


def is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(ast.unparse(name).rpartition(".")[2] in {"Exception", "BaseException"} for name in names)


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def acts_on_import(module: Module) -> Iterator[str]:
    """Importing a module only defines; and nothing changes a module's names later."""
    for node in module.tree.body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Assign() | ast.AnnAssign() | ast.ClassDef():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Expr(value=ast.Constant()):
                pass
            case ast.If(test=test) if ast.unparse(test) in {"TYPE_CHECKING", "__name__ == '__main__'"}:
                pass
            case _:
                yield f"line {node.lineno}: {ast.unparse(node)[:40]}"
    for inner in ast.walk(module.tree):
        if isinstance(inner, ast.Global):
            yield f"line {inner.lineno}: global {', '.join(inner.names)}"


def untested(module: Module, *, root: Path = ROOT) -> Iterator[str]:
    """A module has a test file of its name, or stands in TESTED_ELSEWHERE."""
    *folders, name = module.name.split(".")
    there = root.joinpath("tests", *folders, f"test_{name}.py").is_file()
    if there == (module.name in TESTED_ELSEWHERE):
        yield "has a test file and stands in TESTED_ELSEWHERE" if there else "has no test file"


def silences_without_reason(module: Module) -> Iterator[str]:
    """A linter is silenced only with the reason behind it."""
    for number, line in enumerate(module.source.splitlines(), 1):
        if re.search(r"# (noqa|type: ignore)[^#(]*$", line):
            yield f"line {number}: silences a linter without a reason"


RULES: list[Callable[[Module], Iterator[str]]] = [
    imports_from_above,
    impure,
    reads_the_clock,
    packs,
    too_long,
    catches_everything,
    acts_on_import,
    silences_without_reason,
]


# --- the house ---


@cache
def modules() -> list[Module]:
    """All of them, read and parsed once for all rules."""
    return [module_of(path) for path in sorted((ROOT / PACKAGE).rglob("*.py"))]


def module_of(path: Path) -> Module:
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return Module(".".join(part for part in parts if part != "__init__"), path.read_text())


def is_package(module: Module) -> bool:
    return ROOT.joinpath(PACKAGE, *module.name.split("."), "__init__.py").is_file()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    wrong = [f"{module.name or PACKAGE}: {what}" for module in modules() for what in rule(module)]
    assert not wrong


def test_every_module_has_tests_of_its_own_name():
    wrong = [
        f"{module.name}: {what}"
        for module in modules()
        if not is_package(module)
        for what in untested(module)
    ]
    assert not wrong


def test_functions_are_short():
    lengths = [lines_of(node) for module in modules() for _, node in module.functions()]
    assert statistics.median(lengths) < MEDIAN_FUNCTION


def test_the_tables_name_nothing_that_is_gone():
    names = {module.name for module in modules()}
    functions = {f"{module.name}:{name}" for module in modules() for name, _ in module.functions()}
    assert [name for name in LAYERS if name not in names] == []
    assert [name for name in TESTED_ELSEWHERE if name not in names] == []
    assert [name for name in BOUNDARIES if name not in functions] == []


# --- each rule can fail ---

WRONG = [
    (silences_without_reason, "engine", "x = 1  # noqa: E501", "line 1: silences a linter"),
    (imports_from_above, "nowhere", "import re", "nowhere has no layer"),
    (
        imports_from_above,
        "model",
        "from multigrey.codec import x",
        "layer 0 imports multigrey.codec of layer 1",
    ),
    (imports_from_above, "decision", "import multigrey.stores.lmdb", "of layer 2"),
    (
        imports_from_above,
        "config.load",
        "from multigrey import engine",
        "imports multigrey.engine of layer 3",
    ),
    (imports_from_above, "rules", "def f():\n    from multigrey.daemon import x", "line 2: layer 3 imports"),
    (imports_from_above, "stores.lmdb", "from multigrey.elsewhere import x", "of layer None"),
    (imports_from_above, "engine", "from . import daemon", "relative import"),
    (impure, "decision", "import os.path", "layer 1 imports os.path"),
    (impure, "protocols.exim", "from time import perf_counter", "layer 1 imports time"),
    (impure, "origin", "import logging", "layer 1 imports logging"),
    (impure, "model", "import re", "layer 0 imports re"),
    (impure, "errors", "import time", "layer 0 imports time"),
    (impure, "logline", "datetime.now(UTC)", "reads the clock"),
    (impure, "logline", "x = datetime.date.today()", "reads the clock"),
    (impure, "keys", "open('/etc/hostname')", "opens a file"),
    (impure, "keys", "from pathlib import Path", "layer 1 imports pathlib"),
    (impure, "protocols.wire", "from importlib import import_module", "layer 1 imports importlib"),
    (impure, "codec", "x = __import__('os')", "__import__ goes round"),
    (reads_the_clock, "engine", "import time\ntime.time()", "line 2: time.time"),
    (reads_the_clock, "engine", "f(key=time.monotonic)", "time.monotonic"),
    (reads_the_clock, "engine", "from time import monotonic_ns", "time.monotonic_ns"),
    (reads_the_clock, "engine", "from time import sleep", "time.sleep"),
    (reads_the_clock, "engine", "import time as t", "another name"),
    (packs, "stores.lmdb", "import msgpack", "msgpack"),
    (packs, "engine", "from msgpack.exceptions import UnpackException", "msgpack"),
    (too_long, "engine", "x = 1\n" * 451, "451 lines"),
    (too_long, "engine", "class A:\n    def f():\n" + "        x = 1\n" * 60, "A.f: 61 lines"),
    (catches_everything, "engine", "try: f()\nexcept: pass", "catches everything"),
    (
        catches_everything,
        "engine",
        "def g():\n  try: f()\n  except Exception: h()",
        "line 3: g catches everything",
    ),
    (catches_everything, "engine", "try: f()\nexcept (OSError, BaseException): pass", "catches everything"),
    (catches_everything, "engine", "try: f()\nexcept* Exception: pass", "catches everything"),
    (catches_everything, "engine", "try: f()\nexcept Exception as e: raise X from e", "catches everything"),
    (
        catches_everything,
        "engine",
        "with contextlib.suppress(KeyError, Exception): f()",
        "suppresses everything",
    ),
    (catches_everything, "supervise", "def other():\n  try: f()\n  except Exception: pass", "other catches"),
    (acts_on_import, "engine", "import os\nos.umask(0)", "os.umask(0)"),
    (acts_on_import, "engine", "for x in y: pass", "for x in y"),
    (acts_on_import, "engine", "def f():\n    global x\n    x = 1", "global x"),
    (untested, "no_such_module", "", "has no test file"),
    (untested, "whitelists.no_such_module", "", "has no test file"),
]

RIGHT = [
    (imports_from_above, "decision", "import re, multigrey\nfrom multigrey.codec import x"),
    (imports_from_above, "__main__", "from multigrey import __version__, daemon"),
    (imports_from_above, "stores.lmdb", "from multigrey.stores.rows import x"),
    (impure, "contracts", "if TYPE_CHECKING:\n    from trio import TaskStatus"),
    (impure, "clock", "import time"),
    (impure, "logline", "datetime.fromtimestamp(second, UTC)\nself.clock.now()"),
    (impure, "engine", "import os, time, trio"),
    (reads_the_clock, "clock", "import time\ntime.time()"),
    (
        reads_the_clock,
        "engine",
        "import time\ntime.localtime()\nself.time.time()\nfrom time import perf_counter",
    ),
    (packs, "codec", "import msgpack"),
    (too_long, "engine", "x = 1\n" * 450),
    (too_long, "engine", "def f():\n" + "    x = 1\n" * 59),
    (catches_everything, "engine", "try: f()\nexcept OSError: pass"),
    (catches_everything, "engine", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    (catches_everything, "supervise", "async def supervise():\n  try: f()\n  except Exception: pass"),
    (
        acts_on_import,
        "engine",
        '"""Text."""\nX = f()\nY: int = 1\n"""Meaning."""\nif TYPE_CHECKING:\n    import x',
    ),
    (untested, "keys", ""),
    (untested, "whitelists.matchers", ""),
    (untested, "contracts", ""),
]


@pytest.mark.parametrize(("rule", "name", "source", "found"), WRONG)
def test_a_breach_is_found(rule, name, source, found):
    (what,) = rule(Module(name, source))
    assert found in what


@pytest.mark.parametrize(("rule", "name", "source"), RIGHT)
def test_what_is_allowed_is_left_alone(rule, name, source):
    assert list(rule(Module(name, source))) == []


def test_every_rule_is_shown_to_fail():
    assert {rule for rule, *_ in WRONG} == {*RULES, untested}


def test_an_entry_of_a_module_that_has_its_own_tests_is_found(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_contracts.py").touch()
    (what,) = untested(Module("contracts", ""), root=tmp_path)
    assert "stands in TESTED_ELSEWHERE" in what
