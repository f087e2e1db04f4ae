"""Decks of cards, dealt one card at a time.

The package shuffles a deck and deals from it. Here a card is drawn when it is dealt, from the counts of what is
left: that is the same distribution, and a fresh deck costs no sort.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.types import Array, Key

DECK_SIZE = 52
NUM_SUITS = 4


def full_deck(num_decks: Array | int) -> Array:
    """How many cards of each suit `num_decks` decks hold: int32, `[4]`."""
    return jnp.full((NUM_SUITS,), DECK_SIZE // NUM_SUITS * num_decks, jnp.int32)


def draw_card(key: Key, deck: Array) -> Array:
    """Draw the suit of the next card (an int32 scalar) from what is left, `deck` `[4]`.

    Each card left is equally likely up to one part in `2**32` per card (the remainder of 32 random bits); an empty
    deck gives suit 0.
    """
    num_cards = jnp.maximum(jnp.sum(deck), 1).astype(jnp.uint32)
    index = (jax.random.bits(key, (), jnp.uint32) % num_cards).astype(jnp.int32)
    # The suits lie one after the other: count those that end at or before the card.
    return jnp.sum(index >= jnp.cumsum(deck)[:-1], dtype=jnp.int32)


def remove_card(deck: Array, suit: Array) -> Array:
    """The counts `[4]` after a card of `suit` has left the deck."""
    return deck - (jnp.arange(NUM_SUITS) == suit).astype(deck.dtype)


def check_num_decks(num_decks: int) -> None:
    """Raise a ValueError unless `num_decks` is a positive integer."""
    if not isinstance(num_decks, int | np.integer) or num_decks < 1:
        raise ValueError(f"num_decks ({num_decks!r}) must be a positive integer")
