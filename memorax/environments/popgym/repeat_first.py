"""RepeatFirst: name the suit of the first card for as long as the deck lasts."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym import card_pictures
from memorax.environments.popgym.deck import (
    DECK_SIZE,
    NUM_SUITS,
    check_num_decks,
    draw_card,
    full_deck,
    remove_card,
)
from memorax.environments.spaces import Discrete
from memorax.types import Array, Key


@struct.dataclass
class RepeatFirstParams:
    """The number of decks, which sets the length of an episode."""

    num_decks: Array | int


@struct.dataclass
class RepeatFirstState:
    """The suits left in the deck, `[4]`, the suit to be repeated, and that of the card on the table."""

    deck: Array
    first_suit: Array
    suit: Array


class RepeatFirst(Environment):
    """A card is dealt at every step; the action must name the suit of the first one.

    An episode lasts `52 * num_decks - 1` steps and ends (terminated) with the last card. Every step gives
    `1 / (52 * num_decks - 1)` for the right suit and as much less for a wrong one, so returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.

    Args:
        num_decks: number of decks shuffled together.

    Raises:
        ValueError: if `num_decks` is not a positive integer.
    """

    def __init__(self, num_decks: int = 1) -> None:
        check_num_decks(num_decks)
        self.num_decks = num_decks

    @property
    def default_params(self) -> RepeatFirstParams:
        return RepeatFirstParams(num_decks=self.num_decks)

    def reset(self, key: Key, params: RepeatFirstParams) -> tuple[Array, RepeatFirstState]:
        return self.deal_first(draw_card(key, full_deck(params.num_decks)), params)

    def step_env(self, key: Key, env_state: RepeatFirstState, action: Array, params: RepeatFirstParams) -> StepResult:
        return self.deal_next(draw_card(key, env_state.deck), env_state, action, params)

    def deal_first(self, suit: Array, params: RepeatFirstParams) -> tuple[Array, RepeatFirstState]:
        """`reset`, given the suit that is drawn."""
        deck = remove_card(full_deck(params.num_decks), suit)
        return suit, RepeatFirstState(deck=deck, first_suit=suit, suit=suit)

    def deal_next(
        self, suit: Array, env_state: RepeatFirstState, action: Array, params: RepeatFirstParams
    ) -> StepResult:
        """`step_env`, given the suit that is drawn."""
        scale = jnp.asarray(1.0 / (DECK_SIZE * params.num_decks - 1), jnp.float32)
        reward = jnp.where(action == env_state.first_suit, scale, -scale)
        state = RepeatFirstState(deck=remove_card(env_state.deck, suit), first_suit=env_state.first_suit, suit=suit)
        terminated = jnp.sum(state.deck) == 0
        return suit, state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: RepeatFirstParams) -> Discrete:
        return Discrete(NUM_SUITS)

    def action_space(self, params: RepeatFirstParams) -> Discrete:
        return Discrete(NUM_SUITS)

    def render(self, env_state: RepeatFirstState, params: RepeatFirstParams) -> np.ndarray:
        """The card on the table, and beside it the smaller one that is to be named."""
        canvas = card_pictures.table(np.sum(env_state.deck) / (DECK_SIZE * int(params.num_decks)))
        card_pictures.suit_card(canvas, 80, 70, 100, int(env_state.suit))
        card_pictures.suit_card(canvas, 180, 70, 60, int(env_state.first_suit))
        return canvas.pixels
