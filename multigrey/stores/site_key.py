"""The site key: the secret under which stored keys are hashed.

It is made at the first start and kept in `STATE_DIR/site.key` (0600).  Without it a stolen store names no
sender, and a restored store recognises none.  So the store keeps a fingerprint of the key it was written
with, and a start with another key is refused: otherwise every sender would be forgotten silently.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from multigrey.contracts import Store
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Key
from multigrey.stores.meta import SITE_KEY

__all__ = ["FINGERPRINT", "NAME", "check_site_key", "fingerprint", "load_site_key"]

_SIZE = 32
NAME = "site.key"
FINGERPRINT: Key = SITE_KEY.key()
"""Under which a store keeps the fingerprint of the key it was written with."""


def load_site_key(state_dir: Path) -> bytes:
    """The site key, made if it is missing.  Raises StoreError, which names the file."""
    path = state_dir / NAME
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            return _make(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error


async def check_site_key(store: Store, site_key: bytes) -> None:
    """Refuse (StoreError) a store that was written with another key; write ours into a new store."""
    ours = fingerprint(site_key)

    def decide(values: Sequence[bytes | None]) -> Change[bytes]:
        (found,) = values
        if found is None:
            return Change(ours, {FINGERPRINT: Entry(ours, None)}, durable=True)
        return Change(found, {}, durable=False)

    if await store.apply((FINGERPRINT,), decide) != ours:
        raise StoreError(
            f"the store was written with another {NAME}: put that file back, "
            "or move the store away to start empty"
        )


def fingerprint(site_key: bytes) -> bytes:
    """What a store keeps of the key it was written with."""
    return blake2b(b"multigrey site key", key=site_key, digest_size=8).digest()


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != _SIZE:
        raise StoreError(f"{path}: {len(key)} bytes instead of {_SIZE}: not a site key")
    return key


def _make(path: Path) -> bytes:
    """Make a key that gets its name when it is complete: a crash leaves no key, or a whole one."""
    key = secrets.token_bytes(_SIZE)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())  # before the rename: the name must never stand for a part of the key
    draft.rename(path)
    # The name too must survive a power cut: the store is useless without this key.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key
