"""Random keys for purposes: what two parts of the library draw never coincides because they began from one key."""

from __future__ import annotations

import zlib

import jax

from memorax.types import Key


def key_for(key: Key, purpose: str) -> Key:
    """Derive the key of a purpose from a key that other purposes start from too.

    Args:
        key: random key.
        purpose: name of what is drawn, such as "evaluate". Its CRC-32 is folded in, which is the same in every process.
    """
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))
