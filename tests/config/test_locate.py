"""The line of every key, in every notation TOML has."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.locate import key_text, line_of, locate, quoted

EVERYTHING = '''\
# comment = "no key"
top = 1
"quoted key" = 2 # why = not
'literal.key' = [1, # one
  2, "]", # ] no end
  ["a", 'b'],
]
dotted.deeper."last one" = true
empty = ""
date = 1979-05-27 07:32:00Z

[greylist] # here
text = """
first
delay = "not a key"
\\"""quotes\\""""
literal = \'\'\'
[no table]
it's\'\'\'\'
delay = "2m"

[ store . inner ]
x = { a = 1, "b" = { c = [ { d = 2 }, { d = 3 } ] } }

[[listen]]
address = "tcp:[::1]:10023" # = [[
[listen.extra]
k = "\\"#"

[[listen]]
address = \'unix:/run/"#[x]\'
[[listen.inner]]
y = 1
[[listen.inner]]
y = 2

[store]
late = 1
'''

LINES = {
    ("top",): 2,
    ("quoted key",): 3,
    ("literal.key",): 4,
    ("literal.key", 0): 4,
    ("literal.key", 1): 5,
    ("literal.key", 2): 5,
    ("literal.key", 3): 6,
    ("literal.key", 3, 1): 6,
    ("dotted",): 8,
    ("dotted", "deeper", "last one"): 8,
    ("empty",): 9,
    ("date",): 10,
    ("greylist",): 12,
    ("greylist", "text"): 13,
    ("greylist", "literal"): 17,
    ("greylist", "delay"): 20,
    ("store", "inner"): 22,
    ("store", "inner", "x", "b", "c", 1, "d"): 23,
    ("listen",): 25,
    ("listen", 0): 25,
    ("listen", 0, "address"): 26,
    ("listen", 0, "extra"): 27,
    ("listen", 0, "extra", "k"): 28,
    ("listen", 1): 30,
    ("listen", 1, "address"): 31,
    ("listen", 1, "inner", 0, "y"): 33,
    ("listen", 1, "inner", 1): 34,
    ("listen", 1, "inner", 1, "y"): 35,
    ("store",): 37,
    ("store", "late"): 38,
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_notation(end):
    text = EVERYTHING.replace("\n", end)
    lines = locate(text)
    assert {path: lines.get(path) for path in LINES} == LINES
    assert set(paths(tomllib.loads(text))) == set(lines)


def paths(value, path=()):
    """Every key path in what tomllib made."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from paths(part, (*path, index))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# only a comment",
        "a=1",
        "a=[]",
        "a={}",
        "a={ }",
        "[a]",
        "[[a]]",
        'a=""',
        "a=''''''",
        "'' = 1",
        "a = 1 # x",
    ],
)
def test_edges(text):
    assert set(locate(text)) == set(paths(tomllib.loads(text)))


class Writer:
    """Writes data as TOML, each time in another of the possible notations, and notes the lines."""

    def __init__(self, draw):
        self.text = ""
        self.lines = {}
        self._draw = draw

    def choose(self, *choices):
        return self._draw(st.sampled_from(choices))

    def put(self, text):
        self.text += text

    def note(self, path):
        self.lines[path] = self.text.count("\n") + 1

    def end_line(self):
        self.put(self.choose("\n", " # = [x]\n", "\n\n", "\n# \"'''\n", "\r\n"))

    def table(self, data, path):
        plain = {key: value for key, value in data.items() if not _can_have_header(value)}
        headed = {key: value for key, value in data.items() if key not in plain}
        for key in [*headed]:
            if self.choose(True, False):
                plain[key] = headed.pop(key)
        for key, value in plain.items():
            self.pair(path, key, value, dotted=True)
            self.end_line()
        for key, value in headed.items():
            if isinstance(value, dict):
                self.header("[", (*path, key))
                self.table(value, (*path, key))
            else:
                for index, part in enumerate(value):
                    if not index:
                        self.note((*path, key))
                    self.header("[[", (*path, key, index))
                    self.table(part, (*path, key, index))

    def header(self, bracket, path):
        self.note(path)
        names = [self.key(part) for part in path if isinstance(part, str)]
        space = self.choose("", " ", "\t")
        self.put(bracket + space + f"{space}.{space}".join(names) + space + bracket.replace("[", "]"))
        self.end_line()

    def key(self, key):
        bare = key.isascii() and key.replace("_", "a").isalnum()
        return self.choose(*([key] if bare else []), _basic(key), *([f"'{key}'"] if _literal(key) else []))

    def pair(self, path, key, value, *, dotted):
        self.note((*path, key))
        self.put(self.key(key))
        path = (*path, key)
        while dotted and isinstance(value, dict) and len(value) == 1 and self.choose(True, False):
            [(inner, value)] = value.items()
            path = (*path, inner)
            self.note(path)
            self.put(f"{self.choose('.', ' . ')}{self.key(inner)}")
        self.put(self.choose(" = ", "="))
        self.value(path, value)

    def value(self, path, value):
        if isinstance(value, dict):
            self.put("{")
            for index, (key, part) in enumerate(value.items()):
                self.put(", " if index else " ")
                self.pair(path, key, part, dotted=True)
            self.put(" }")
        elif isinstance(value, list):
            self.put("[")
            for index, part in enumerate(value):
                self.put(self.choose("", " ", "\n", "  # ]\n\t"))
                self.note((*path, index))
                self.value((*path, index), part)
                self.put("," if index < len(value) - 1 else self.choose("", ",", " ,", "\n"))
            self.put("]")
        elif isinstance(value, str):
            self.put(self.string(value))
        else:
            self.put(json.dumps(value))

    def string(self, text):
        choices = [_basic(text), '"""\n' + _basic(text)[1:-1] + '"""']
        raw_lines = text.replace("\\", "\\\\").replace('"""', '""\\"')
        if all(char.isprintable() or char == "\n" for char in text) and not raw_lines.endswith('"""'):
            choices.append(f'"""\n{raw_lines}"""')
        if _literal(text):
            choices.append(f"'{text}'")
        if _literal(text.replace("\n", "").replace("'", "")) and "'''" not in text:
            choices.append(f"'''\n{text}'''")
        return self.choose(*choices)


def _can_have_header(value):
    if isinstance(value, list):
        return bool(value) and all(isinstance(part, dict) for part in value)
    return isinstance(value, dict)


def _basic(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(text):
    return text.isprintable() and "'" not in text


TEXTS = st.text(st.sampled_from("ab \"'\\#=[]{},.\nä\t"), max_size=8)
KEYS = st.text(st.sampled_from("abc_ \"'.#]=ä"), max_size=4)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-99, 99), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.data())
def test_every_path_tomllib_finds_has_its_line(data, drawn):
    writer = Writer(drawn.draw)
    writer.table(data, ())
    assert tomllib.loads(writer.text) == data, "the test writes what it means to"
    lines = locate(writer.text)
    assert {path: lines.get(path) for path in paths(data)} == {
        path: writer.lines[path] for path in paths(data)
    }


def test_the_nearest_table_stands_in():
    lines = locate("[greylist]\ndelay = 1\n\n[[listen]]\n")
    assert line_of(lines, ("greylist", "delay")) == 2
    assert line_of(lines, ("greylist", "text")) == 1
    assert line_of(lines, ("listen", 0, "allow_from", 3)) == 4
    assert line_of(lines, ("store", "backend")) is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted_text_reads_back_and_can_be_printed(text):
    assert quoted(text).isprintable()
    assert tomllib.loads(f"key = {quoted(text)}") == {"key": text}
    assert locate(f"{quoted(text)} = 1") == {(text,): 1}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("state_dir",), "state_dir"),
        (("greylist", "key", 0), "greylist.key[1]"),
        (("listen", 1, "address"), "listen[2].address"),
        (("plugins", "a b", "x"), 'plugins."a b".x'),
        (("a\n",), '"a\\u000a"'),
    ],
)
def test_key_text(path, text):
    assert key_text(path) == text
