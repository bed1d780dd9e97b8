"""The parts of multigrey-plugins(7): what a plugin may import, from the code."""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from importlib import import_module
from types import ModuleType

from man.mdoc import docstring, item, literal, prose, tagged
from multigrey import api

__all__ = ["API_REGIONS"]


def names(module: str) -> list[str]:
    """Everything a module of the contract offers, each with the first sentence of its docstring."""
    source = import_module(module)
    return tagged((item("Li", name), prose(_first_sentence(source, name))) for name in source.__all__)


def _first_sentence(module: ModuleType, name: str) -> str:
    text = docstring_of(module, name).partition("\n\n")[0].partition(".  ")[0].rstrip(".")
    assert text, f"{module.__name__}.{name} has no docstring"
    return f"{text}."


def docstring_of(module: ModuleType, name: str) -> str:
    """The docstring of a name where it is defined: of an assigned name, the text that follows it."""
    tree = ast.parse(inspect.getsource(module))
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        match node:
            case ast.ImportFrom(module=str(source), names=aliases) if name in {one.name for one in aliases}:
                return docstring_of(import_module(source), name)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                return ast.get_docstring(node) or ""
            case ast.Assign(targets=[ast.Name(id)]) if id == name:
                return _text_of(after)
            case _:
                pass
    raise AssertionError(f"{module.__name__} does not define {name}")


def hooks() -> list[str]:
    """Every hook: how it is written, and its contract."""
    lines = []
    for name in api.__all__:
        if name.startswith("multigrey_"):
            hook = getattr(api, name)
            lines += [f".Ss {name}", *literal(_definition(name, hook)), *prose(docstring(hook))]
    return lines


def _definition(name: str, function: Callable[..., object]) -> list[str]:
    signature = inspect.signature(function)
    parameters = [str(parameter).replace("'", "") for parameter in signature.parameters.values()]
    returns = str(signature.return_annotation).replace("'", "")
    one_line = f"def {name}({', '.join(parameters)}) -> {returns}:"
    if len(one_line) <= 70:
        return ["@hookimpl", one_line]
    return ["@hookimpl", f"def {name}(", *(f"    {each}," for each in parameters), f") -> {returns}:"]


def classes(*names: str) -> list[str]:
    """Classes of `multigrey.api`: what they are for, their attributes and methods."""
    items = []
    for name in names:
        assert name in api.__all__, name
        value = getattr(api, name)
        items.append((item("Sy", name), [*prose(docstring(value)), *tagged(_members(value))]))
    return tagged(items)


def _members(value: type) -> Iterator[tuple[str, list[str]]]:
    """Attributes and methods in the order of the source; what has no docstring stands without text."""
    if issubclass(value, Enum):
        yield from ((item("Li", f"{one.name} = {one.value!r}"), []) for one in value)
        return
    (tree,) = ast.parse(inspect.getsource(value)).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign):
            yield item("Li", _without_default(node)), prose(_text_of(after))
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            yield item("Li", f"{value.__name__}({_arguments(node)})"), prose(ast.get_docstring(node) or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield item("Li", _signature(node)), prose(ast.get_docstring(node) or "")


def _without_default(node: ast.AnnAssign) -> str:
    text = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    return f"{text} = {ast.unparse(node.value)}" if isinstance(node.value, ast.Constant) else text


def _text_of(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if any(ast.unparse(decorator) == "property" for decorator in node.decorator_list):
        return f"{node.name}: {ast.unparse(node.returns) if node.returns else 'Any'}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{word} {node.name}({_arguments(node)}){returns}"


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.unparse(node.args).removeprefix("self").removeprefix(", ")


API_REGIONS: Mapping[str, Callable[..., Sequence[str]]] = {
    "classes": classes,
    "hooks": hooks,
    "names": names,
}
