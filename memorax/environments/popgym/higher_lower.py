"""HigherLower: guess whether the next card is higher or lower."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym import card_pictures
from memorax.environments.popgym.deck import (
    DECK_SIZE,
    NUM_RANKS,
    NUM_SUITS,
    check_num_decks,
    draw_card,
    full_deck,
    remove_card,
)
from memorax.environments.spaces import Discrete
from memorax.types import Array, Key

HIGHER = 0


@struct.dataclass
class HigherLowerParams:
    """The number of decks, which sets the length of an episode."""

    num_decks: Array | int


@struct.dataclass
class HigherLowerState:
    """The ranks left in the deck, `[13]`, and the rank of the card on the table."""

    deck: Array
    rank: Array


class HigherLower(Environment):
    """A card lies on the table; the action says whether the next one is higher (0) or lower (1).

    The observation is the rank on the table, from the ace (0) to the king (12). An episode lasts `52 * num_decks - 1`
    steps and ends (terminated) with the last card. A right guess gives `1 / (52 * num_decks)`, a wrong one as much
    less, and two cards of one rank nothing, so returns lie in (-1, 1); who counts cards guesses better.

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
    def default_params(self) -> HigherLowerParams:
        return HigherLowerParams(num_decks=self.num_decks)

    def reset(self, key: Key, params: HigherLowerParams) -> tuple[Array, HigherLowerState]:
        return self.deal_first(draw_card(key, full_deck(params.num_decks, NUM_RANKS)), params)

    def step_env(self, key: Key, env_state: HigherLowerState, action: Array, params: HigherLowerParams) -> StepResult:
        return self.deal_next(draw_card(key, env_state.deck), env_state, action, params)

    def deal_first(self, rank: Array, params: HigherLowerParams) -> tuple[Array, HigherLowerState]:
        """`reset`, given the rank that is drawn."""
        return rank, HigherLowerState(deck=remove_card(full_deck(params.num_decks, NUM_RANKS), rank), rank=rank)

    def deal_next(
        self, rank: Array, env_state: HigherLowerState, action: Array, params: HigherLowerParams
    ) -> StepResult:
        """`step_env`, given the rank that is drawn."""
        scale = jnp.asarray(1.0 / (DECK_SIZE * params.num_decks), jnp.float32)
        right = (rank > env_state.rank) == (action == HIGHER)
        reward = jnp.where(right, scale, -scale)
        reward = jnp.where(rank == env_state.rank, jnp.zeros_like(reward), reward)
        state = HigherLowerState(deck=remove_card(env_state.deck, rank), rank=rank)
        terminated = jnp.sum(state.deck) == 0
        return rank, state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: HigherLowerParams) -> Discrete:
        return Discrete(NUM_RANKS)

    def action_space(self, params: HigherLowerParams) -> Discrete:
        return Discrete(2)

    def render(self, env_state: HigherLowerState, params: HigherLowerParams) -> np.ndarray:
        """The card on the table, and a bar for each rank that says how many are left."""
        deck, num_decks = np.asarray(env_state.deck), int(params.num_decks)
        canvas = card_pictures.table(float(deck.sum()) / (DECK_SIZE * num_decks))
        card_pictures.rank_card(canvas, 60, 70, 100, int(env_state.rank))
        card_pictures.rank_counts(canvas, 122, 110, deck, NUM_SUITS * num_decks)
        return canvas.pixels
