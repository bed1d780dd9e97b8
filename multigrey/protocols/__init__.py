"""The protocols mail servers speak to us, one module each: bytes in, attempts out, answers back.

A dialogue (see `contracts.Dialogue`) knows one connection and does no I/O; one listener loop drives
them all.  Each module states its grammar, limits and dangers.
"""

from __future__ import annotations

from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue

__all__ = ["EximDialogue", "GreylistdDialogue", "PostfixDialogue"]
