"""How far a text of letters and digits is from what people and offices are called.

Names and words use some pairs of letters all the time and others never, and they don't change between
letters and digits in the middle; a random token uses all pairs alike and changes all the time.  `oddity`
adds up, pair by pair, how much likelier (in bits, rounded) a pair is in a random text than in a name, so
the longer a text is the surer the answer: of names and words, alone or two of them together, fewer than
one in a thousand is over 9; of 20 random letters, one in fifty is under it.

It says nothing about words of fewer than some eight letters, and nothing about letters beyond ASCII.
"""

from __future__ import annotations

import re
from string import ascii_lowercase

__all__ = ["oddity"]

_PAIRS = (
    # Second letter: abcdefghijklmnopqrstuvwxyz.  3 is as likely as by chance, 9 hardly ever there.
    "44334544343231548122446854",  # a
    "14660984147385299256289949",  # b
    "17471961163475188453389963",  # c
    "15750765166454169345256944",  # d
    "45334535343231658122546654",  # e
    "17861365157374199143289959",  # f
    "16751743255364289244266947",  # g
    "06651777255344189353256948",  # h
    "24232535543231357322547764",  # i
    "07641777294664179745167977",  # j
    "06661875253355179333256948",  # k
    "15631556144245269743358947",  # l
    "03561775186535239645287957",  # m
    "15321525144553278622357935",  # n
    "53335545443221439123324854",  # o
    "19671774276376139144389968",  # p
    "36876767477768588676047888",  # q
    "14431645164443268433357944",  # r
    "16361664152344238631356953",  # s
    "17781773165565289232256946",  # t
    "34333535343231449122556664",  # u
    "08760978177484279457479946",  # v
    "08561995086483279436499937",  # w
    "15371665166556217751366656",  # x
    "13332544343232359323445955",  # y
    "14531856164443259544345934",  # z
)
"""From the pairs in some 40,000 names of people and 100,000 words of 26 languages, without accents: the
binary logarithm of how much rarer than by chance the second letter is behind the first, plus 3."""


_ODDITY = {
    first + second: int(bits) - 3
    for first, row in zip(ascii_lowercase, _PAIRS, strict=True)
    for second, bits in zip(ascii_lowercase, row, strict=True)
}
_CHANGES = re.compile("(?<=[a-z])(?=[0-9])|(?<=[0-9])(?=[a-z])")
_CHANGE = 3
"""Bits of a change between letters and digits."""


def oddity(text: str) -> int:
    """Bits by which a text in lower case is more like a random token than like a name; below 0: less.

    Its first change between letters and digits is free: names have a number behind them.  Everything but
    a-z and 0-9 counts nothing.
    """
    bits = sum([_ODDITY.get(text[place : place + 2], 0) for place in range(len(text) - 1)])
    return bits + _CHANGE * max(len(_CHANGES.findall(text)) - 1, 0)
