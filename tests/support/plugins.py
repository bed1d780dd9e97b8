"""Plugins made on the spot, and entry points that lead to them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint
from ipaddress import ip_address

from pydantic import BaseModel

from multigrey.model import Attempt, Findings, Match
from multigrey.plugins.hookspecs import hookimpl

__all__ = [
    "Dist",
    "Point",
    "Settings",
    "SlowSource",
    "Source",
    "Text",
    "Trait",
    "attempt",
    "broken_point",
    "plugin",
    "point",
]


class Settings(BaseModel):
    """A table nobody has to fill in."""

    word: str = "default"


class Dist(Distribution):
    """A distribution that is not installed anywhere."""

    def __init__(self, name: str, version: str = "1.0") -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename):
        return self._text if filename == "METADATA" else None

    def locate_file(self, path):
        raise NotImplementedError


@dataclass
class Point:
    """Stands in for an EntryPoint: `load()` gives the object, or raises it."""

    name: str
    target: object
    dist: Distribution | None = None
    value: str = "somewhere:plugin"
    group: str = "multigrey"

    def load(self) -> object:
        if isinstance(self.target, BaseException):
            raise self.target
        return self.target


def point(name: str, target: object, distribution: str | None = None) -> EntryPoint:
    return Point(name, target, Dist(distribution or f"multigrey-{name}"))  # type: ignore[return-value]


def broken_point(name: str, error: BaseException | None = None) -> EntryPoint:
    return point(name, error or ImportError("No module named 'gone'"))


def plugin(register=None, table: str = "", model: type[BaseModel] = Settings):
    """A plugin whose hooks are the functions given; without a function it has no such hook."""
    hooks = {}
    if register is not None:

        @hookimpl
        def multigrey_register(self, registry, settings):
            return register(registry, settings)

        hooks["multigrey_register"] = multigrey_register
    if table:

        @hookimpl
        def multigrey_settings(self):
            return table, model

        hooks["multigrey_settings"] = multigrey_settings
    return type("Plugin", (), hooks)()


def attempt(**changes) -> Attempt:
    fields = {
        "listener": "test",
        "client_address": ip_address("192.0.2.1"),
        "client_name": "mx.example.org",
        "helo": "mx.example.org",
        "sender": "sender@example.org",
        "recipient": "recipient@example.net",
    }
    return Attempt(**(fields | changes))


class _Answer:
    """Answers with a value, raises it if it is an exception, or calls it with the attempt."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked = 0

    def _give(self, attempt: Attempt):
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer(attempt) if callable(self.answer) else self.answer


class Text(_Answer):
    def text(self, attempt):
        return self._give(attempt)


class Source(_Answer):
    def __init__(self, answer: object = None) -> None:
        super().__init__(answer)
        self.count = 1
        self.warnings = ()

    def match(self, attempt):
        return self._give(attempt)


class Trait(_Answer):
    def holds(self, attempt):
        return self._give(attempt)


class SlowSource(_Answer):
    """Its answer may be an async function of the attempt."""

    def __init__(self, answer: object = None, traits=()) -> None:
        super().__init__(Findings() if answer is None else answer)
        self.traits = frozenset(traits)

    async def ask(self, attempt):
        answer = self._give(attempt)
        return await answer if hasattr(answer, "__await__") else answer


def matching(entry: str = "entry") -> Match:
    return Match("test", entry)
