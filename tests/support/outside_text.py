"""Every way by which text from outside comes in, as a function of one hostile text.

`python -m tests.support.outside_text` measures all of them, and writes JSON: for each way the texts for which
its steps grow faster than the text, and the functions that were called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("dns", "spf", "web")
SHORT, LONG = 1200, 2400
"""Characters: beyond the bounds of addresses, names and patterns."""
FEW = 24
"""Steps for each character below which growth does not matter: a fixed cost shows as much."""
GROWTH = 2.6
"""How many times the steps a text of twice the length may take: 2, and room for what is done by halves."""

UNITS = (
    *(
        "a",
        "a.",
        "a@",
        '"',
        "\\",
        '\\"',
        '"\\',
        "@",
        ".",
        "-",
        "+",
        "=",
        "<",
        ">",
        "[",
        "(",
        " ",
        "\n",
        "\t",
        "\r\n",
    ),
    *(
        "0",
        "0.",
        "1.2.3.4.",
        "::",
        "%",
        "\u00e9",
        "\u0300\u0323",
        "a\u0300\u0323",
        "\u00df",
        "\udc80",
        '{"a":',
        "[[",
    ),
    *(
        "#",
        "|",
        ", ",
        "; ",
        "*",
        "?",
        "A-",
        "a1-",
        "srs0=",
        "prvs=",
        "btv1==",
        '"a"@',
        'a="b" ',
        "x\n",
        "a=b\n",
        "xn--a.",
    ),
    *(
        "H=a [1] F=<",
        "; from=<",
        "reject: RCPT from a[1]: ; from=<",
        "x <= a ",
        " action=pass reason=a id=",
        ": ABCDEF: from=<",
    ),
)
"""What hostile texts repeat."""
FRAMES = (("", ""), ("a@", ""), ('"', '"@example.org'), ("/", "/"))
"""What stands around it."""

Way = Callable[[str], object]


def quadratic(text: str) -> int:
    """A toy that takes quadratic time in the interpreter: the measurement must notice it."""
    return sum(a == b for a, b in combinations(text, 2))


def quadratic_slices(text: str) -> None:
    """The same by slices, in C."""
    while text:
        text = text[1:]


TOYS: Mapping[str, Way] = {"toy: loop": quadratic, "toy: slices": quadratic_slices}


def ways() -> Mapping[str, Way]:
    """All ways, by name.  Imports what it measures only now, after `instrument`."""
    from tests.support import outside_ways

    return outside_ways.WAYS


def hostile(length: int) -> Iterator[tuple[str, str]]:
    """A name and a text of this length."""
    for unit in UNITS:
        for before, after in FRAMES:
            yield f"{before}{unit!a}*{after}", before + (unit * (length // len(unit) + 1))[:length] + after


def grows(steps: Any, way: Way, most: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Of all texts, or of the first ones, those for which twice the length takes `GROWTH` times the steps."""
    for (name, short), (_, long) in islice(zip(hostile(SHORT), hostile(LONG), strict=True), most):
        after = steps.of(way, long)
        if after <= FEW * LONG:
            continue
        before = steps.of(way, short)
        if after > GROWTH * before or after >= steps.most:
            yield name, before, after


async def main() -> None:
    """Measure."""
    for plugin in PLUGINS:
        sys.path.insert(0, str(ROOT / "plugins" / f"multigrey-{plugin}"))
    from tests.support.steps import STEPS, instrument

    instrument()
    from tests.support.outside_ways import STORE

    async with trio.open_nursery() as nursery:
        await nursery.start(STORE.run)
        _measure(STEPS)
        nursery.cancel_scope.cancel()


def _measure(steps: Any) -> None:
    found = {name: list(grows(steps, way)) for name, way in ways().items()}
    found |= {name: list(grows(steps, way, 1)) for name, way in TOYS.items()}
    called = sorted({f"{_module(code.co_filename)}:{code.co_qualname}" for code in steps.called} - {"None"})
    json.dump({"grows": found, "called": called}, sys.stdout)


def _module(file: str) -> str | None:
    path = Path(file)
    return ".".join(path.relative_to(ROOT).with_suffix("").parts) if path.is_relative_to(ROOT) else None


if __name__ == "__main__":
    trio.run(main)
