"""The protocols of mail servers, one module each: take bytes, give attempts, write answers.

A dialogue (see `contracts.Dialogue`) serves one connection and does no I/O.  One listener loop drives them
all.  Each module states its grammar, limits and dangers.
"""

from __future__ import annotations

from multigrey.protocols.exim import EximDialogue
from multigrey.protocols.greylistd import GreylistdDialogue
from multigrey.protocols.postfix import PostfixDialogue

__all__ = ["EximDialogue", "GreylistdDialogue", "PostfixDialogue"]
