"""Decks of cards, dealt one card at a time.

The package shuffles a deck and deals from it. Here a card is drawn when it is dealt, from the counts of what is
left: that is the same distribution, and a fresh deck costs no sort. Cards that look alike are one kind: a deck has two
colors, four suits or thirteen ranks, and as many cards of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Array, Key

DECK_SIZE = 52
NUM_COLORS = 2
NUM_SUITS = 4
NUM_RANKS = 13

NUM_KINDS: Mapping[str, int] = {"colors": NUM_COLORS, "suits": NUM_SUITS, "ranks": NUM_RANKS}
"""How many kinds of card there are, by what tells them apart."""


def full_deck(num_decks: Array | int, num_kinds: int = NUM_SUITS) -> Array:
    """How many cards of each kind `num_decks` decks hold: int32, `[num_kinds]`."""
    return jnp.full((num_kinds,), DECK_SIZE // num_kinds * num_decks, jnp.int32)


def draw_card(key: Key, deck: Array) -> Array:
    """Draw the kind of the next card (an int32 scalar) from what is left, `deck` `[num_kinds]`.

    Each card left is equally likely up to one part in `2**32` per card (the remainder of 32 random bits); an empty
    deck gives kind 0.
    """
    num_cards = jnp.maximum(jnp.sum(deck), 1).astype(jnp.uint32)
    index = (jax.random.bits(key, (), jnp.uint32) % num_cards).astype(jnp.int32)
    # The kinds lie one after the other: count those that end at or before the card.
    return jnp.sum(index >= jnp.cumsum(deck)[:-1], dtype=jnp.int32)


def remove_card(deck: Array, kind: Array) -> Array:
    """The counts `[num_kinds]` after a card of `kind` has left the deck."""
    return deck - (jnp.arange(deck.shape[0]) == kind).astype(deck.dtype)


def check_num_decks(num_decks: int) -> None:
    """Raise a ValueError unless `num_decks` is a positive integer."""
    if not isinstance(num_decks, int | np.integer) or num_decks < 1:
        raise ValueError(f"num_decks ({num_decks!r}) must be a positive integer")


def check_deck_type(deck_type: str, valid: tuple[str, ...]) -> None:
    """Raise a ValueError unless `deck_type` is one of `valid`."""
    if deck_type not in valid:
        raise ValueError(f"deck_type ({deck_type!r}) must be one of {', '.join(map(repr, valid))}")
