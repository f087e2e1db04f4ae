"""Pictures of cards on a table."""

from __future__ import annotations

import numpy as np

from memorax.environments.drawing import BLACK, BLUE, FELT, PAPER, RED, SILVER, Canvas, Color
from memorax.environments.popgym.deck import NUM_RANKS

SUIT_COLORS: tuple[Color, ...] = (BLACK, RED, BLACK, RED)  # spades, diamonds, clubs, hearts
HEIGHT, WIDTH = 160, 240


def table(cards_left: float) -> Canvas:
    """An empty table, with a bar for the share of the deck that is `cards_left`, from 0 to 1."""
    canvas = Canvas(HEIGHT, WIDTH, FELT)
    canvas.rectangle(10, HEIGHT - 10, WIDTH - 20, 4, BLACK)
    canvas.rectangle(10, HEIGHT - 10, (WIDTH - 20) * float(np.clip(cards_left, 0, 1)), 4, SILVER)
    return canvas


def blank_card(canvas: Canvas, x: float, y: float, height: float, color: Color = PAPER) -> None:
    """A card around `(x, y)` with nothing on it."""
    width = 0.7 * height
    canvas.rectangle(x - width / 2 - 1, y - height / 2 - 1, width + 2, height + 2, BLACK)
    canvas.rectangle(x - width / 2, y - height / 2, width, height, color)


def card_back(canvas: Canvas, x: float, y: float, height: float) -> None:
    """A card around `(x, y)` that lies face down."""
    blank_card(canvas, x, y, height, BLUE)
    canvas.rectangle(x - 0.2 * height, y - 0.35 * height, 0.4 * height, 0.7 * height, SILVER)
    canvas.rectangle(x - 0.16 * height, y - 0.31 * height, 0.32 * height, 0.62 * height, BLUE)


def color_card(canvas: Canvas, x: float, y: float, height: float, color: int) -> None:
    """A card around `(x, y)` of which only its color shows: 0 black, 1 red."""
    blank_card(canvas, x, y, height)
    canvas.disc(x, y, height / 5, SUIT_COLORS[int(color)])


def suit_card(canvas: Canvas, x: float, y: float, height: float, suit: int) -> None:
    """A card around `(x, y)` of which only its suit shows."""
    blank_card(canvas, x, y, height)
    _suit(canvas, x, y, height / 4, int(suit))


def rank_card(canvas: Canvas, x: float, y: float, height: float, rank: int) -> None:
    """A card around `(x, y)` of which only its rank shows: 1 for the ace (rank 0) to 13 for the king."""
    blank_card(canvas, x, y, height)
    digits = height / 3
    width = digits * (0.5 if rank < 9 else 1.3)
    canvas.number(int(rank) + 1, x - width / 2, y - digits / 2, digits, BLACK)


CARDS = {"colors": color_card, "suits": suit_card, "ranks": rank_card}
"""How a card looks, by what tells cards apart."""


def rank_counts(canvas: Canvas, left: float, bottom: float, counts: np.ndarray, most: int) -> None:
    """Thirteen bars that stand on `bottom`, as high as `counts` is large; `most` is as high as 60 pixels."""
    for rank in range(NUM_RANKS):
        height = 60 * float(counts[rank]) / most
        canvas.rectangle(left + 8 * rank, bottom - height, 6, height, SILVER)
        canvas.rectangle(left + 8 * rank, bottom, 6, 2, BLACK)


def _suit(canvas: Canvas, x: float, y: float, size: float, suit: int) -> None:
    """A suit that reaches `size` from `(x, y)`."""
    color = SUIT_COLORS[suit]
    if suit == 1:
        canvas.polygon([(x, y - size), (x + 0.7 * size, y), (x, y + size), (x - 0.7 * size, y)], color)
        return
    if suit == 2:
        for dx, dy in ((0, -0.5), (-0.48, 0.15), (0.48, 0.15)):
            canvas.disc(x + dx * size, y + dy * size, 0.42 * size, color)
    else:
        up = -1 if suit == 0 else 1  # a spade is a heart upside down, on a foot
        for dx in (-0.42, 0.42):
            canvas.disc(x + dx * size, y - up * 0.3 * size, 0.46 * size, color)
        corners = [(x - 0.82 * size, y - up * 0.08 * size), (x + 0.82 * size, y - up * 0.08 * size)]
        canvas.polygon([*corners, (x, y + up * 0.95 * size)], color)
    if suit in (0, 2):
        canvas.polygon([(x, y), (x + 0.35 * size, y + size), (x - 0.35 * size, y + size)], color)
