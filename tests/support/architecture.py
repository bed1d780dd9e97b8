"""The table of layers in ARCHITECTURE.md, from the rows that tests/test_layout.py enforces.

`python -m tests.support.architecture` writes it again.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_layout import OPEN, ROWS, SMALL

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
REGION = re.compile(r"(?s)(<!-- generated: layers -->\n).*(<!-- end: layers -->)")


def first_line(unit: str) -> str:
    """The first line of a folder's or module's docstring."""
    path = ROOT / "multigrey" / unit
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text())) or ""
    return text.split("\n\n", maxsplit=1)[0].replace("\n", " ")


def may_import(unit: str) -> str:
    """What its row says, with one word for the small tools."""
    names = [name for name in ROWS[unit].imports if name not in OPEN]
    if set(SMALL) <= set(names):
        names = [*(name for name in names if name not in SMALL), "*small*"]
    return ", ".join(name if name[0] != "0" else f"layers {name}" for name in names) or "–"


def table() -> str:
    rows = [
        f"| {row.layer} | `{unit}` | {first_line(unit)} | {may_import(unit)} |"
        for unit, row in ROWS.items()
        if unit != "__main__"
    ]
    return "\n".join(["| layer | folder or module | what it is | may import |", "|---|---|---|---|", *rows])


def generate(text: str) -> str:
    return REGION.sub(lambda found: f"{found[1]}{table()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(generate(PAGE.read_text()))
