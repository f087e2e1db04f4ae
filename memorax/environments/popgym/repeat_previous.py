"""RepeatPrevious: name the suit of the k-th last card."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.environment import Environment, MemoryOption, StepResult
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
class RepeatPreviousParams:
    """The number of decks, which sets the length of an episode."""

    num_decks: Array | int


@struct.dataclass
class RepeatPreviousState:
    """The suits left in the deck, `[4]`, and those of the last `k` cards, oldest first, `[k]`."""

    deck: Array
    hand: Array


class RepeatPrevious(Environment):
    """A card is dealt at every step; the action must name the suit of the `k`-th last one.

    The card on the table counts as the last, so `k = 1` asks for the card just seen and `k = 4` for the one seen
    three steps earlier. An episode lasts `52 * num_decks - 1` steps and ends (terminated) with the last card. The
    first `k - 1` steps give nothing, every later one `1 / (52 * num_decks - k)` for the right suit and as much less
    for a wrong one, so returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.

    Args:
        num_decks: number of decks shuffled together.
        k: which card is asked for, counted backwards: 1 is the card on the table, 4 the one three steps before.

    Raises:
        ValueError: if `num_decks` is not a positive integer, or `k` is not one of 1 .. 52 * num_decks - 1.
    """

    def __init__(self, num_decks: int = 1, k: int = 4) -> None:
        check_num_decks(num_decks)
        if not isinstance(k, int | np.integer) or not 1 <= k < DECK_SIZE * num_decks:
            raise ValueError(f"k ({k!r}) must be an integer from 1 to 52 * num_decks - 1 ({DECK_SIZE * num_decks - 1})")
        self.num_decks = num_decks
        self.k = k

    @property
    def default_params(self) -> RepeatPreviousParams:
        return RepeatPreviousParams(num_decks=self.num_decks)

    def reset(self, key: Key, params: RepeatPreviousParams) -> tuple[Array, RepeatPreviousState]:
        return self.deal_first(draw_card(key, full_deck(params.num_decks)), params)

    def step_env(
        self, key: Key, env_state: RepeatPreviousState, action: Array, params: RepeatPreviousParams
    ) -> StepResult:
        return self.deal_next(draw_card(key, env_state.deck), env_state, action, params)

    def deal_first(self, suit: Array, params: RepeatPreviousParams) -> tuple[Array, RepeatPreviousState]:
        """`reset`, given the suit that is drawn."""
        deck = remove_card(full_deck(params.num_decks), suit)
        hand = jnp.zeros((self.k,), jnp.int32).at[-1].set(suit)
        return suit, RepeatPreviousState(deck=deck, hand=hand)

    def deal_next(
        self, suit: Array, env_state: RepeatPreviousState, action: Array, params: RepeatPreviousParams
    ) -> StepResult:
        """`step_env`, given the suit that is drawn."""
        num_cards = DECK_SIZE * params.num_decks
        scale = jnp.asarray(1.0 / (num_cards - self.k), jnp.float32)
        num_dealt = num_cards - jnp.sum(env_state.deck)
        reward = jnp.where(action == env_state.hand[0], scale, -scale)
        reward = jnp.where(num_dealt >= self.k, reward, jnp.zeros_like(reward))
        # Shifting moves k small integers; it needs no index into the hand, which is slower where it is batched.
        hand = jnp.concatenate([env_state.hand[1:], suit[None]])
        state = RepeatPreviousState(deck=remove_card(env_state.deck, suit), hand=hand)
        terminated = jnp.sum(state.deck) == 0
        return suit, state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: RepeatPreviousParams) -> Discrete:
        return Discrete(NUM_SUITS)

    def memory_option(self, params: RepeatPreviousParams) -> MemoryOption:
        return MemoryOption("k", int(self.k))

    def action_space(self, params: RepeatPreviousParams) -> Discrete:
        return Discrete(NUM_SUITS)

    def render(self, env_state: RepeatPreviousState, params: RepeatPreviousParams) -> np.ndarray:
        """The card on the table, and beside it, once there is one, the smaller one that is to be named."""
        num_cards, cards_left = DECK_SIZE * int(params.num_decks), int(np.sum(env_state.deck))
        canvas = card_pictures.table(cards_left / num_cards)
        card_pictures.suit_card(canvas, 80, 70, 100, int(env_state.hand[-1]))
        if num_cards - cards_left >= self.k:
            card_pictures.suit_card(canvas, 180, 70, 60, int(env_state.hand[0]))
        return canvas.pixels
