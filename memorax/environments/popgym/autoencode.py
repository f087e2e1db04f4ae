"""Autoencode: watch a deck being dealt, then name its suits in reverse."""

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
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

PLAY, WATCH = 0, 1


@struct.dataclass
class AutoencodeState:
    """The suits left in the deck, `[4]`, those dealt, `[52 * num_decks]`, and how many of them are in the hand."""

    deck: Array
    hand: Array
    hand_size: Array


class Autoencode(Environment):
    """Cards are dealt until the deck is empty; then the actions must name their suits, the last card first.

    The observation is a mode and a suit. While cards are dealt the mode is 1, actions are without effect and rewards 0;
    it turns 0 with the last card. After that the suit reads 0, and each step gives `1 / (52 * num_decks)` for the suit
    of the last card in the hand and as much less for a wrong one; either way the card leaves the hand. The episode ends
    (terminated) with the last of them, after `2 * 52 * num_decks - 1` steps; returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7.

    Args:
        num_decks: number of decks shuffled together.

    Raises:
        ValueError: if `num_decks` is not a positive integer.
    """

    def __init__(self, num_decks: int = 1) -> None:
        check_num_decks(num_decks)
        self.num_decks = num_decks
        self.num_cards = DECK_SIZE * num_decks

    def reset(self, key: Key, params: None) -> tuple[Array, AutoencodeState]:
        return self.deal_first(draw_card(key, full_deck(self.num_decks)), params)

    def step_env(self, key: Key, env_state: AutoencodeState, action: Array, params: None) -> StepResult:
        return self.deal_next(draw_card(key, env_state.deck), env_state, action, params)

    def deal_first(self, suit: Array, params: None) -> tuple[Array, AutoencodeState]:
        """`reset`, given the suit that is drawn."""
        state = AutoencodeState(
            deck=remove_card(full_deck(self.num_decks), suit),
            hand=jnp.zeros((self.num_cards,), jnp.int32).at[0].set(suit),
            hand_size=jnp.ones((), jnp.int32),
        )
        return jnp.stack([jnp.full_like(suit, WATCH), suit]), state

    def deal_next(self, suit: Array, env_state: AutoencodeState, action: Array, params: None) -> StepResult:
        """`step_env`, given the suit that is drawn (any, where the deck is empty)."""
        watching = jnp.sum(env_state.deck) > 0
        suit = jnp.where(watching, suit, 0)
        deck = jnp.where(watching, remove_card(env_state.deck, suit), env_state.deck)
        free = jnp.arange(self.num_cards) == env_state.hand_size
        state = AutoencodeState(
            deck=deck,
            hand=jnp.where(watching & free, suit, env_state.hand),
            hand_size=env_state.hand_size + jnp.where(watching, 1, -1),
        )
        scale = jnp.asarray(1.0 / self.num_cards, jnp.float32)
        reward = jnp.where(action == env_state.hand[env_state.hand_size - 1], scale, -scale)
        reward = jnp.where(watching, jnp.zeros_like(reward), reward)
        observation = jnp.stack([jnp.where(jnp.sum(deck) > 0, WATCH, PLAY), suit])
        terminated = state.hand_size == 0
        return observation, state, reward, terminated, jnp.zeros_like(terminated), {}

    def observation_space(self, params: None) -> MultiDiscrete:
        return MultiDiscrete((2, NUM_SUITS))

    def action_space(self, params: None) -> Discrete:
        return Discrete(NUM_SUITS)

    def render(self, env_state: AutoencodeState, params: None) -> np.ndarray:
        """The cards in the hand, the last one largest and, where it is to be named, with a mark below it."""
        cards_left, hand_size = int(np.sum(env_state.deck)), int(env_state.hand_size)
        canvas = card_pictures.table(cards_left / self.num_cards)
        hand = np.asarray(env_state.hand)[:hand_size]
        for place, suit in enumerate(hand[-5:-1][::-1]):
            card_pictures.suit_card(canvas, 140 - 32 * place, 70, 44, suit)
        if hand_size:
            card_pictures.suit_card(canvas, 195, 70, 90, hand[-1])
            if cards_left == 0:
                canvas.rectangle(165, 125, 60, 5, card_pictures.SILVER)
        return canvas.pixels
