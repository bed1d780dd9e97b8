"""The rules the house stands on, checked in the source itself.

Each rule is a function from a module to what is wrong with it, so that a small wrong module shows that
the rule can fail.  A new module needs a layer below, and a test of its own name.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "multigrey"


@dataclass(frozen=True)
class Row:
    """A folder or module of the package, the layer it lies in, and what it may import beside itself."""

    layer: int
    imports: tuple[str, ...] = ()


OPEN = ("model", "errors", "contracts")
"""Open to all from layer 1 up."""
SMALL = ("clock", "throttle", "histogram", "codec", "text", "threads")
"""Small tools, open to layer 3 and up."""

ROWS: dict[str, Row] = {
    # 0 values
    "model": Row(0),
    "errors": Row(0, ("model",)),
    "contracts": Row(0, ("model", "errors")),
    "clock": Row(0, OPEN),
    # 1 pure: bytes and values in, values out
    "codec": Row(1, ("identity",)),
    "text": Row(1),
    "throttle": Row(1),
    "histogram": Row(1),
    "identity": Row(1),
    "greylist": Row(1, ("identity", "codec")),
    "protocols": Row(1, ("identity",)),
    "matching": Row(1, ("identity", "text")),
    "events": Row(1, ("identity", "text")),
    "analysis": Row(1, ("identity", "text")),
    # 2 edges: files, configuration, stores
    "threads": Row(2),
    "stores": Row(2, ("codec", "identity", "text", "threads")),
    "config": Row(2, ("identity", "matching", "protocols", "codec", "text")),
    "whitelists": Row(2, ("identity", "matching", "config", "codec", "text")),
    # 3 engine: what a decision needs around it
    "rules": Row(3, ("identity", "matching", "config", "text")),
    "plugins": Row(3, ("identity", "protocols", "stores", "config", "whitelists", *SMALL)),
    "evidence": Row(3, ("identity", "greylist", "stores", *SMALL)),
    "engine": Row(3, ("identity", "greylist", "protocols", "matching", "rules", "evidence", *SMALL)),
    "overrides": Row(3, ("engine", "identity", "greylist", "stores", *SMALL)),
    "background": Row(3, ("identity", "greylist", "analysis", "stores", "config", "whitelists", *SMALL)),
    "history": Row(3, ("identity", "events", "stores", "config", *SMALL)),
    "archive": Row(3, ("stores", "history")),
    "log": Row(3, ("events", *SMALL)),
    "core": Row(3, ("engine", "evidence", "greylist", "overrides", "config", "plugins", "clock")),
    "api": Row(3, ("plugins", "identity", "config", "threads")),
    # 4 shell: sockets, and what is asked over them
    "listeners": Row(4, ("engine", "overrides", "greylist", "config", *SMALL)),
    "control": Row(4, ("0-3", "listeners")),
    "metrics": Row(4, ("0-3", "listeners")),
    # 5 wiring
    "daemon": Row(5, ("0-4",)),
    "cli": Row(5, ("0-5",)),
    "__main__": Row(5, ("0-5",)),
}
"""Every folder and module directly below the package.  "0-3": everything of these layers."""

SAME_NOUN = frozenset(
    [
        *[
            "attempt_options",
            "backup",
            "client",
            "confinement",
            "explain",
            "export",
            "flow",
            "growth",
            "history",
            "hours",
            "mode",
            "offline",
            "origin",
        ],
        *[
            "origins",
            "records",
            "report",
            "round",
            "rule",
            "server",
            "status",
            "store",
            "watch",
            "where",
            "whitelist",
        ],
    ]
)
"""Basenames of modules that two folders may have, because one noun goes through several floors."""

NO_NOUNS: dict[str, str] = {"waiting": "the operation of this name tells what waits; it is on the wire"}
"""Names that end in -ing and are nouns of the field all the same, and why."""

MANY_FILES = frozenset({"cli", "control.operations", "config.tables"})
"""Folders with a file for each command or table."""

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
    **dict.fromkeys(
        [
            *["plugins.guards:GuardedComponent.text", "plugins.guards:GuardedTrait.holds"],
            *["plugins.guards:GuardedSlowSource.ask", "plugins.guards:guarded_match.guarded"],
            "plugins.isolation:IsolatedTask._run",
            "plugins.registry:_checked_maker.checked",
        ],
        "a plugin that fails while mail is judged has no vote, and nothing else happens",
    ),
    **dict.fromkeys(
        ["plugins.loader:_register", "plugins.loader:_info_of", "plugins.loader:_Loader.take"],
        "a plugin that cannot be loaded is named, and left out",
    ),
    "plugins.guards:describe": "an exception whose text cannot be made is described without it",
    "daemon.daemon:Daemon._reload_by_signal": "a reload that fails by a bug leaves everything as it was",
    "engine.round:each": "what one attempt meets is the answer to that attempt, and to no other",
    "engine.engine:Engine.begin_all": "what one attempt meets is the answer to that attempt, and to no other",
    "engine.engine:Engine.report": "a subscriber that fails harms no answer and no other subscriber",
    "listeners.server:Server.welcome": "a protocol that cannot make a dialogue costs that connection",
    "listeners.faults:Faults._protocol_error": "the same boundary, for a dialogue's last words",
    "listeners.server:Server._connection": "one connection's trouble never reaches another's",
    "listeners.round:RoundRunner._begin": "the same, for a bug that a whole round met",
    "listeners.round:RoundRunner.all": "the same boundary, for what happens without a task",
    "control.server:ControlServer._connection": "one connection's trouble never reaches another's",
    "control.server:_Connection._answer": "a bug in an operation is an answer, and ends nothing",
    "metrics.http:_attend": "one connection's trouble never reaches another's",
    "background.supervise:supervise": "background work is restarted, whatever ended it",
    "stores.lmdb.batches:attempt": "a batch that fails by a bug must not stop all later ones",
    "stores.work_thread:_Job.do": "carried from the thread to the task that waits, which raises it",
    "cli.restore:_be_the_child": "a fork ends here, whatever it meets, and its parent is told",
    "stores.lmdb.damage.child:_be_the_child": "a fork ends here, whatever it meets, and its parent is told",
    "log.diagnostics:DiagnosticsHandler.emit": "the contract of logging: a wrong call hurts nobody",
}
"""Functions that may catch everything, and why.  Catching it to clean up and raise it again is free."""

MOST_FILES = 12
LONGEST_MODULE = 450
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 10

TESTED_ELSEWHERE: dict[str, str] = {
    "core": "tests/daemon, tests/cli/test_explain.py and tests/cli/test_rehearse.py open it",
    "engine.progress": "plain data of tests/engine/test_round.py and tests/engine/test_slow.py",
    "engine.shared": "tests/engine/test_engine.py",
    "overrides.blocks": "tests/listeners/test_commands.py",
    "cli.report_tables": "tests/cli/test_report.py and tests/cli/test_report_page.py show them",
    "cli.store": "tests/cli/test_mode.py",
    "identity.components": "tests/identity/test_keys.py makes keys of them",
    "identity.envelope": "tests/identity/test_keys.py",
    "stores.lmdb.damage.child": "tests/stores/lmdb/damage/test_rescue.py walks and saves with it",
    "stores.lmdb.offline": "tests/background/test_hits.py, tests/cli/test_rehearse.py",
    "config.tables.confinement": "tests/daemon/test_confinement.py, tests/badconfig/confinement",
    "config.tables.control": "tables of settings: tests/config/test_settings.py",
    "config.tables.greylist": "tables of settings: tests/config/test_settings.py",
    "config.tables.limits": "tables of settings: tests/config/test_settings.py",
    "config.tables.listen": "tables of settings: tests/config/test_settings.py",
    "config.tables.log": "tables of settings: tests/config/test_settings.py",
    "config.tables.origin": "tables of settings: tests/config/test_settings.py",
    "config.tables.plugins": "tables of settings: tests/config/test_settings.py",
    "config.tables.store": "tables of settings: tests/config/test_settings.py",
    "config.tables.whitelist": "tables of settings: tests/config/test_settings.py",
    "identity.host_names.name_doubt": "tests/identity/host_names/test_name_evidence.py asks what follows",
    "api": "tests/test_project.py, and every plugin imports it",
    "__main__": "tests/cli runs it",
    "daemon.assembly": "tests/cli/test_config.py and tests/daemon/test_daemon.py assemble all of it",
    "cli.serve": "tests/daemon/test_daemon.py and tests/mta start it",
    "config.values.kind": "what types.py is made of: tests/config/values/test_types.py",
    "config.tables.table": "what settings.py is made of: tests/config/test_settings.py",
    "contracts": "typing protocols without code",
    "errors": "exceptions without code",
    "listeners.accept": "tests/listeners/test_server.py connects through it",
    "listeners.faults": "what tests/listeners/test_server.py reads in the log",
    "listeners.connection": "plain data of tests/listeners/test_server.py",
    "daemon.status": "tests/cli/test_status.py and tests/cli/test_mode.py",
    "control.operations.context": "plain data",
    "cli.offline": "tests/cli/test_client.py",
    "history.reader": "tests/history/test_recorder.py searches with it",
    "archive.names": "tests/archive/test_tar.py has its hostile names",
    "cli.history": "tests/cli/test_records.py",
    "control.record_selection": "tests/control/operations/test_records.py",
    "stores.walk": "tests/control/operations/test_records.py",
    "cli.attempt_options": "tests/cli/test_explain.py describes attempts with it",
    "cli.expect": "tests/cli/test_explain.py",
    "cli.rule": "tests/cli/test_explain.py",
    "engine.explain_memory": "tests/engine/test_explain.py",
    "plugins.hookspecs": "two empty functions; tests/plugins/test_loader.py calls them",
    "stores.entries": "tests/contract and tests/stores/test_machine.py run it in every store",
    "stores.lmdb.environment": "tests/stores/lmdb/test_store.py opens, grows, copies and replaces it",
    "stores.memory": "tests/contract/test_store.py",
    "stores.site_key": "tests/stores/lmdb/test_state_files.py",
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
    def unit(self) -> str:
        """The folder or module directly below the package that it belongs to."""
        return self.name.partition(".")[0]

    @property
    def layer(self) -> int | None:
        """None: there is no such row; the package itself lies at the bottom."""
        if not self.unit:
            return 0
        return ROWS[self.unit].layer if self.unit in ROWS else None

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
                    yield from ((f"{base}.{name}" if name in ROWS else base, node.lineno) for name in names)
                else:
                    yield base, node.lineno

    def functions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        """Qualified names and nodes of every function and method, nested ones too."""
        yield from named_functions(self.tree, "")


def allowed(unit: str) -> frozenset[str]:
    """What a row may import, its own files included."""
    row = ROWS[unit]
    found = {unit, *(OPEN if row.layer else ())}
    for word in row.imports:
        if word.startswith("0-"):
            found |= {name for name, other in ROWS.items() if other.layer <= int(word[2:])}
        else:
            found.add(word)
    return frozenset(found)


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


def imports_outside_its_row(module: Module) -> Iterator[str]:
    if module.layer is None:
        yield f"{module.unit} has no row"
        return
    if not module.unit:
        return
    for name, line in module.imports():
        if name.startswith("."):
            yield f"line {line}: relative import"
        elif name.partition(".")[0] == PACKAGE:
            theirs = name.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]
            if theirs and theirs not in allowed(module.unit):
                yield f"line {line}: {module.unit} imports {theirs}"


def is_named_by_a_verb(module: Module) -> Iterator[str]:
    """A module is a noun; a folder is named in a row, by hand."""
    name = module.name.rpartition(".")[2]
    if "." in module.name and name.endswith("ing") and name not in NO_NOUNS and not is_package(module):
        yield f"{name} is no noun"


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
    broad = {"Exception", "BaseException"} | broad_aliases()
    return any(ast.unparse(name).rpartition(".")[2] in broad for name in names)


@cache
def broad_aliases() -> frozenset[str]:
    """Constants that stand for everything, like `FAILURES = (Exception, SystemExit)`."""
    found = set()
    for module in modules():
        for node in module.tree.body:
            match node:
                case ast.Assign([ast.Name(alias)], ast.Tuple(names)):
                    if {"Exception", "BaseException"} & {ast.unparse(name) for name in names}:
                        found.add(alias)
                case _:
                    pass
    return frozenset(found)


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


ONE_MAKER = {"Engine": "core"}
"""Classes that are made in one module only."""


def made_elsewhere(module: Module) -> Iterator[str]:
    """What everything depends on is wired once, so that no two can differ."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)) if name in ONE_MAKER:
                if module.name != ONE_MAKER[name]:
                    yield f"line {node.lineno}: {name} is made in {ONE_MAKER[name]}"


NAMED_ONLY_IN = {"Table.META": frozenset({"stores.meta", "stores.lmdb.store"})}
"""What stands in these modules only."""


def named_elsewhere(module: Module) -> Iterator[str]:
    """Rows of META are declared, and found, in one place."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and module.name not in NAMED_ONLY_IN.get(
            ast.unparse(node), {module.name}
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def silences_without_reason(module: Module) -> Iterator[str]:
    """A linter is silenced only with the reason behind it."""
    for number, line in enumerate(module.source.splitlines(), 1):
        if re.search(r"# (noqa|type: ignore)[^#(]*$", line):
            yield f"line {number}: silences a linter without a reason"


# --- rules of the house as a whole ---


def loops(house: Sequence[Module]) -> list[list[str]]:
    """Rings of imports, of modules and of what lies directly below the package."""
    names = {module.name for module in house}
    below: dict[str, set[str]] = {module.name: set() for module in house}
    for module in house:
        for name, _ in module.imports(typing_only=False):
            inner = name.removeprefix(f"{PACKAGE}.")
            if inner in names and inner != module.name:
                below[module.name].add(inner)
    units: dict[str, set[str]] = {module.unit: set() for module in house}
    for name, others in below.items():
        units[name.partition(".")[0]] |= {other.partition(".")[0] for other in others}
    for unit, others in units.items():
        others.discard(unit)
    return [*rings(below), *rings(units)]


def rings(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """What is left of a graph when all that nobody is needed for is taken away, again and again."""
    left = {name: set(others) & graph.keys() for name, others in graph.items()}
    while True:
        ends = {name for name, others in left.items() if not others}
        if not ends:
            return [sorted(left)] if left else []
        left = {name: others - ends for name, others in left.items() if name not in ends}


def repeated(house: Sequence[Module]) -> list[str]:
    """Basenames of modules and names of public classes that stand in two places."""
    modules_by_name: dict[str, list[str]] = {}
    classes: dict[str, list[str]] = {}
    for module in house:
        if not is_package(module):
            modules_by_name.setdefault(module.name.rpartition(".")[2], []).append(module.name)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes.setdefault(node.name, []).append(module.name)
    wrong = [
        f"module {name}: {', '.join(places)}"
        for name, places in modules_by_name.items()
        if len(places) > 1 and name not in SAME_NOUN
    ]
    return [*wrong, *(f"class {name}: {', '.join(at)}" for name, at in classes.items() if len(at) > 1)]


def crowded(house: Sequence[Module]) -> list[str]:
    """Folders with more files than one can take in at a glance."""
    counts = Counter(module.name.rpartition(".")[0] for module in house if not is_package(module))
    return [
        f"{folder}: {count} files"
        for folder, count in counts.items()
        if count > MOST_FILES and folder not in MANY_FILES
    ]


RULES: list[Callable[[Module], Iterator[str]]] = [
    imports_outside_its_row,
    is_named_by_a_verb,
    impure,
    reads_the_clock,
    packs,
    too_long,
    catches_everything,
    acts_on_import,
    made_elsewhere,
    named_elsewhere,
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
    assert [name for name in ROWS if name not in names] == []
    assert [name for name in TESTED_ELSEWHERE if name not in names] == []
    assert [name for name in BOUNDARIES if name not in functions] == []


def test_there_is_no_loop():
    assert loops(modules()) == []


def test_names_are_there_once():
    assert repeated(modules()) == []


def test_folders_are_small():
    assert crowded(modules()) == []


def test_every_row_is_as_small_as_it_can_be():
    used: dict[str, set[str]] = {}
    for module in modules():
        found = used.setdefault(module.unit, set())
        found |= {name.split(".")[1] for name, _ in module.imports() if name.startswith(f"{PACKAGE}.")}
    named = {unit: set(row.imports) - set(SMALL) - {*OPEN} for unit, row in ROWS.items() if row.imports}
    spare = {
        unit: names - used[unit] for unit, names in named.items() if not any("-" in name for name in names)
    }
    assert {unit: names for unit, names in spare.items() if names} == {}


# --- each rule can fail ---

WRONG = [
    (silences_without_reason, "engine", "x = 1  # noqa: E501", "line 1: silences a linter"),
    (imports_outside_its_row, "nowhere", "import re", "nowhere has no row"),
    (imports_outside_its_row, "elsewhere.thing", "import re", "elsewhere has no row"),
    (imports_outside_its_row, "model", "from multigrey.codec import x", "model imports codec"),
    (
        imports_outside_its_row,
        "greylist.decision",
        "import multigrey.stores.lmdb.store",
        "greylist imports stores",
    ),
    (
        imports_outside_its_row,
        "identity.keys",
        "from multigrey.greylist.policy import x",
        "identity imports greylist",
    ),
    (imports_outside_its_row, "config.load", "from multigrey import engine", "config imports engine"),
    (
        imports_outside_its_row,
        "rules.rules",
        "def f():\n    from multigrey.daemon.daemon import x",
        "line 2: rules",
    ),
    (imports_outside_its_row, "stores.walk", "from multigrey.elsewhere import x", "stores imports elsewhere"),
    (imports_outside_its_row, "engine.engine", "from . import daemon", "relative import"),
    (is_named_by_a_verb, "engine.judging", "", "judging is no noun"),
    (impure, "greylist.decision", "import os.path", "layer 1 imports os.path"),
    (impure, "protocols.exim", "from time import perf_counter", "layer 1 imports time"),
    (impure, "identity.origin", "import logging", "layer 1 imports logging"),
    (impure, "model", "import re", "layer 0 imports re"),
    (impure, "errors", "import time", "layer 0 imports time"),
    (impure, "events.line", "datetime.now(UTC)", "reads the clock"),
    (impure, "events.line", "x = datetime.date.today()", "reads the clock"),
    (impure, "identity.keys", "open('/etc/hostname')", "opens a file"),
    (impure, "identity.keys", "from pathlib import Path", "layer 1 imports pathlib"),
    (impure, "protocols.wire", "from importlib import import_module", "layer 1 imports importlib"),
    (impure, "codec", "x = __import__('os')", "__import__ goes round"),
    (reads_the_clock, "engine.engine", "import time\ntime.time()", "line 2: time.time"),
    (reads_the_clock, "engine.engine", "f(key=time.monotonic)", "time.monotonic"),
    (reads_the_clock, "engine.engine", "from time import monotonic_ns", "time.monotonic_ns"),
    (reads_the_clock, "engine.engine", "from time import sleep", "time.sleep"),
    (reads_the_clock, "engine.engine", "import time as t", "another name"),
    (packs, "stores.lmdb", "import msgpack", "msgpack"),
    (packs, "engine.engine", "from msgpack.exceptions import UnpackException", "msgpack"),
    (too_long, "engine", "x = 1\n" * 451, "451 lines"),
    (too_long, "engine", "class A:\n    def f():\n" + "        x = 1\n" * 60, "A.f: 61 lines"),
    (catches_everything, "engine", "try: f()\nexcept: pass", "catches everything"),
    (catches_everything, "engine", "try: f()\nexcept FAILURES: pass", "catches everything"),
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
    (
        catches_everything,
        "background.supervise",
        "def other():\n  try: f()\n  except Exception: pass",
        "other catches",
    ),
    (acts_on_import, "engine", "import os\nos.umask(0)", "os.umask(0)"),
    (acts_on_import, "engine", "for x in y: pass", "for x in y"),
    (acts_on_import, "engine", "def f():\n    global x\n    x = 1", "global x"),
    (made_elsewhere, "cli.offline", "x = Engine(store=1)", "line 1: Engine is made in core"),
    (named_elsewhere, "overrides.blocks", "x = Table.META", "line 1: Table.META"),
    (untested, "no_such_module", "", "has no test file"),
    (untested, "whitelists.no_such_module", "", "has no test file"),
]

RIGHT = [
    (named_elsewhere, "stores.meta", "x = Table.META\ny = Table.MARK"),
    (made_elsewhere, "core", "x = Engine(store=1)"),
    (imports_outside_its_row, "greylist.decision", "import re, multigrey\nfrom multigrey.codec import x"),
    (imports_outside_its_row, "__main__", "from multigrey import __version__, daemon"),
    (imports_outside_its_row, "stores.lmdb.store", "from multigrey.stores.lmdb.rows import x"),
    (imports_outside_its_row, "control.server", "from multigrey.history.file import x"),
    (is_named_by_a_verb, "matching", ""),
    (is_named_by_a_verb, "engine.setup", ""),
    (impure, "contracts", "if TYPE_CHECKING:\n    from trio import TaskStatus"),
    (impure, "clock", "import time"),
    (impure, "events.line", "datetime.fromtimestamp(second, UTC)\nself.clock.now()"),
    (impure, "engine.engine", "import os, time, trio"),
    (reads_the_clock, "clock", "import time\ntime.time()"),
    (
        reads_the_clock,
        "engine",
        "import time\ntime.localtime()\nself.time.time()\nfrom time import perf_counter",
    ),
    (packs, "codec", "import msgpack"),
    (too_long, "engine", "x = 1\n" * 450),
    (too_long, "engine", "def f():\n" + "    x = 1\n" * 59),
    (catches_everything, "engine.engine", "try: f()\nexcept OSError: pass"),
    (catches_everything, "engine.engine", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    (
        catches_everything,
        "background.supervise",
        "async def supervise():\n  try: f()\n  except Exception: pass",
    ),
    (
        acts_on_import,
        "engine",
        '"""Text."""\nX = f()\nY: int = 1\n"""Meaning."""\nif TYPE_CHECKING:\n    import x',
    ),
    (untested, "identity.keys", ""),
    (untested, "matching.matchers", ""),
    (untested, "contracts", ""),
]


@pytest.mark.parametrize(("rule", "name", "source", "found"), WRONG)
def test_a_breach_is_found(rule, name, source, found):
    (what,) = rule(Module(name, source))
    assert found in what


@pytest.mark.parametrize(("rule", "name", "source"), RIGHT)
def test_what_is_allowed_is_left_alone(rule, name, source):
    assert list(rule(Module(name, source))) == []


HOUSES = [
    # modules, what finds it, what is found
    (
        {"a.x": "from multigrey.b.y import z", "b.y": "from multigrey.a.x import z"},
        loops,
        [["a.x", "b.y"], ["a", "b"]],
    ),
    (
        {"a.x": "from multigrey.b.y import z", "b.y": "", "b.z": "from multigrey.a.x import z"},
        loops,
        [["a", "b"]],
    ),
    ({"a.x": "from multigrey.a.y import z", "a.y": "from multigrey.b.z import z", "b.z": ""}, loops, []),
    ({"a.x": "", "b.x": ""}, repeated, ["module x: a.x, b.x"]),
    (
        {"a.x": "class A: pass", "b.y": "class A: pass\nclass _B: pass", "b.z": "class _B: pass"},
        repeated,
        ["class A: a.x, b.y"],
    ),
    ({"a.report": "", "b.report": ""}, repeated, []),
    ({f"a.x{number}": "" for number in range(13)}, crowded, ["a: 13 files"]),
    ({f"cli.x{number}": "" for number in range(13)}, crowded, []),
]


@pytest.mark.parametrize(("house", "rule", "found"), HOUSES)
def test_what_is_wrong_with_a_house_is_found(house, rule, found):
    assert rule([Module(name, source) for name, source in house.items()]) == found


def test_every_rule_is_shown_to_fail():
    assert {rule for rule, *_ in WRONG} == {*RULES, untested}


def test_an_entry_of_a_module_that_has_its_own_tests_is_found(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_contracts.py").touch()
    (what,) = untested(Module("contracts", ""), root=tmp_path)
    assert "stands in TESTED_ELSEWHERE" in what
