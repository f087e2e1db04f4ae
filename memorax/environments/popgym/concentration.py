"""Concentration: turn over pairs of cards that match."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from flax import struct

from memorax.environments.drawing import FELT, GREEN, Canvas
from memorax.environments.environment import Environment, StepResult
from memorax.environments.popgym import card_pictures
from memorax.environments.popgym.deck import (
    DECK_SIZE,
    NUM_KINDS,
    NUM_RANKS,
    check_deck_type,
    check_num_decks,
    draw_card,
    full_deck,
    remove_card,
)
from memorax.environments.spaces import Discrete, MultiDiscrete
from memorax.types import Array, Key

NONE = -1


@struct.dataclass
class ConcentrationState:
    """What lies where.

    Attributes:
        deck: how many cards of each kind have never been turned over, `[num_kinds]`.
        kinds: the kind of the card at each place, -1 where it has never been turned over, `[cards]`.
        solved: which cards have been matched and stay face up, bool, `[cards]`.
        shown: which cards the last observation showed, bool, `[cards]`.
        first: the place of the card that waits for its match, -1 where none does.
        time: steps taken in the episode.
    """

    deck: Array
    kinds: Array
    solved: Array
    shown: Array
    first: Array
    time: Array


class Concentration(Environment):
    """All cards lie face down; each action turns one over, and two in a row that match stay face up.

    The observation is the kind of every card, one more than the last kind where it lies face down; it shows the card
    just turned over, the one that waited for its match, and all that have been matched. With `n = 52 * num_decks` cards
    and a time limit of `T = ceil(2 n - n / (2 n - 1))` steps, a match gives `2 / n` and a pair that does not match (the
    same card twice included) `-2 / T`. To turn over a card that has been matched gives `-1 / T` or, where a card waited
    for its match, `-2 / T`, and that one is turned back. The episode is terminated when all cards are matched and
    truncated after `T` steps; returns lie in [-1, 1].

    Source: POPGym (Morad et al., 2023), package `popgym` 1.0.7. Where the last match falls on the last step the package
    sets both flags; here `terminated` is set alone. The package shuffles the cards beforehand; here the kind of a card
    is drawn when it is first turned over, which is the same distribution.

    Args:
        num_decks: number of decks on the table.
        deck_type: what must match in a pair: `"colors"` or `"ranks"`.

    Raises:
        ValueError: if `num_decks` is not a positive integer or `deck_type` is neither of the two.
    """

    def __init__(self, num_decks: int = 1, deck_type: str = "ranks") -> None:
        check_num_decks(num_decks)
        check_deck_type(deck_type, ("colors", "ranks"))
        self.num_decks = num_decks
        self.deck_type = deck_type
        self.num_kinds = NUM_KINDS[deck_type]
        self.num_cards = DECK_SIZE * num_decks
        self.max_episode_length = math.ceil(2 * self.num_cards - self.num_cards / (2 * self.num_cards - 1))

    def reset(self, key: Key, params: None) -> tuple[Array, ConcentrationState]:
        return self.start(params)

    def step_env(self, key: Key, env_state: ConcentrationState, action: Array, params: None) -> StepResult:
        return self.turn(draw_card(key, env_state.deck), env_state, action, params)

    def start(self, params: None) -> tuple[Array, ConcentrationState]:
        """`reset`, which draws nothing."""
        nowhere = jnp.zeros((self.num_cards,), bool)
        state = ConcentrationState(
            deck=full_deck(self.num_decks, self.num_kinds),
            kinds=jnp.full((self.num_cards,), NONE, jnp.int32),
            solved=nowhere,
            shown=nowhere,
            first=jnp.full((), NONE, jnp.int32),
            time=jnp.zeros((), jnp.int32),
        )
        return self._observe(state), state

    def turn(self, kind: Array, env_state: ConcentrationState, action: Array, params: None) -> StepResult:
        """`step_env`, given the kind that is drawn for the card, which counts where it has never been turned over."""
        place = jnp.arange(self.num_cards)
        turned, waiting = place == action, place == env_state.first
        unseen = turned & (env_state.kinds == NONE)
        kinds = jnp.where(unseen, kind, env_state.kinds)
        deck = jnp.where(jnp.any(unseen), remove_card(env_state.deck, kind), env_state.deck)

        wasted = jnp.any(turned & env_state.solved)
        second = (env_state.first != NONE) & ~wasted
        alike = jnp.sum(jnp.where(turned, kinds, 0)) == jnp.sum(jnp.where(waiting, kinds, 0))
        match = second & alike & (action != env_state.first)
        state = ConcentrationState(
            deck=deck,
            kinds=kinds,
            solved=env_state.solved | (match & (turned | waiting)),
            shown=env_state.solved | turned | waiting,
            first=jnp.where(wasted | second, NONE, jnp.asarray(action, jnp.int32)),
            time=env_state.time + 1,
        )
        # Cards turned over in vain, the one that waited included.
        in_vain = jnp.where(match | ~(wasted | second), 0, 1 + (env_state.first != NONE))
        reward = match * jnp.float32(2 / self.num_cards) - in_vain * jnp.float32(1 / self.max_episode_length)
        terminated = jnp.all(state.solved)
        truncated = (state.time >= self.max_episode_length) & ~terminated
        return self._observe(state), state, reward, terminated, truncated, {}

    def _observe(self, state: ConcentrationState) -> Array:
        return jnp.where(state.shown, state.kinds, self.num_kinds)

    def observation_space(self, params: None) -> MultiDiscrete:
        return MultiDiscrete((self.num_kinds + 1,) * self.num_cards)

    def action_space(self, params: None) -> Discrete:
        return Discrete(self.num_cards)

    def render(self, env_state: ConcentrationState, params: None) -> np.ndarray:
        """The cards in rows of thirteen, those that have been matched above a green ground."""
        rows = self.num_cards // NUM_RANKS
        canvas = Canvas(44 * rows, 32 * NUM_RANKS, FELT)
        card = card_pictures.CARDS[self.deck_type]
        for place in range(self.num_cards):
            x, y = 16 + 32 * (place % NUM_RANKS), 22 + 44 * (place // NUM_RANKS)
            if env_state.solved[place]:
                canvas.rectangle(x - 16, y - 22, 32, 44, GREEN)
            if env_state.shown[place]:
                card(canvas, x, y, 36, int(env_state.kinds[place]))
            else:
                card_pictures.card_back(canvas, x, y, 36)
        return canvas.pixels
