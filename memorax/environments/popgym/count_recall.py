"""CountRecall: say how often a kind of card has been seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym import card_pictures
from memorax.environments.popgym.deck import (
    DECK_SIZE,
    NUM_KINDS,
    check_deck_type,
    check_num_decks,
    draw_card,
    full_deck,
    remove_card,
)
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key


@struct.dataclass
class CountRecallState:
    """What is left in the two decks, `[num_kinds]` each, and the card and the question on the table, `[2]`."""

    value_deck: Array
    query_deck: Array
    shown: Array


class CountRecall(Environment):
    """A card is dealt from each of two decks: one to be counted, one that asks how many of its kind were dealt so far.

    The observation is the kind of both, the action the number of cards of the kind asked for that the first deck has
    dealt, the one on the table included. An episode ends (terminated) with the last card, after `52 * num_decks - 1`
    steps, each of which gives `1 / (52 * num_decks - 1)` for the right number and as much less for a wrong one, so
    returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7. Its setting `error_clamp`, which is without effect, is
    left out.

    Args:
        num_decks: number of decks shuffled together, in each of the two piles.
        deck_type: what is counted: `"colors"`, `"suits"` or `"ranks"`.

    Raises:
        ValueError: if `num_decks` is not a positive integer or `deck_type` is none of the three.
    """

    def __init__(self, num_decks: int = 1, deck_type: str = "colors") -> None:
        check_num_decks(num_decks)
        check_deck_type(deck_type, tuple(NUM_KINDS))
        self.num_decks = num_decks
        self.deck_type = deck_type
        self.num_kinds = NUM_KINDS[deck_type]
        self.num_cards = DECK_SIZE * num_decks

    def reset(self, key: Key, params: None) -> tuple[Array, CountRecallState]:
        deck = full_deck(self.num_decks, self.num_kinds)
        return self.deal_first(draw_two(key, deck, deck), params)

    def step_env(self, key: Key, env_state: CountRecallState, action: Array, params: None) -> StepResult:
        return self.deal_next(draw_two(key, env_state.value_deck, env_state.query_deck), env_state, action, params)

    def deal_first(self, kinds: Array, params: None) -> tuple[Array, CountRecallState]:
        """`reset`, given the kinds `[2]` that are drawn, to be counted and to be asked for."""
        deck = full_deck(self.num_decks, self.num_kinds)
        state = CountRecallState(
            value_deck=remove_card(deck, kinds[0]), query_deck=remove_card(deck, kinds[1]), shown=kinds
        )
        return kinds, state

    def deal_next(self, kinds: Array, env_state: CountRecallState, action: Array, params: None) -> StepResult:
        """`step_env`, given the kinds `[2]` that are drawn."""
        dealt = full_deck(self.num_decks, self.num_kinds) - env_state.value_deck
        scale = jnp.asarray(1.0 / (self.num_cards - 1), jnp.float32)
        reward = jnp.where(action == dealt[env_state.shown[1]], scale, -scale)
        state = CountRecallState(
            value_deck=remove_card(env_state.value_deck, kinds[0]),
            query_deck=remove_card(env_state.query_deck, kinds[1]),
            shown=kinds,
        )
        terminated = jnp.sum(state.value_deck) == 0
        return kinds, state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: None) -> MultiDiscrete:
        return MultiDiscrete((self.num_kinds, self.num_kinds))

    def action_space(self, params: None) -> Discrete:
        return Discrete(self.num_cards // self.num_kinds + 1)

    def render(self, env_state: CountRecallState, params: None) -> np.ndarray:
        """The card on the table, the smaller one that asks, and beside it the number that is right."""
        left = np.asarray(env_state.value_deck)
        canvas = card_pictures.table(float(left.sum()) / self.num_cards)
        value, query = np.asarray(env_state.shown)
        card = card_pictures.CARDS[self.deck_type]
        card(canvas, 60, 70, 100, value)
        card(canvas, 140, 70, 60, query)
        canvas.number(self.num_cards // self.num_kinds - left[query], 185, 55, 30, card_pictures.PAPER)
        return canvas.pixels


def draw_two(key: Key, value_deck: Array, query_deck: Array) -> Array:
    """The kind of the next card of each deck: int32, `[2]`."""
    value_key, query_key = jax.random.split(key)
    return jnp.stack([draw_card(value_key, value_deck), draw_card(query_key, query_deck)])
