"""Pictures of tasks that show symbols."""

from __future__ import annotations

from memorax.environments.drawing import BLACK, BLUE, GRAY, GREEN, ORANGE, RED, SILVER, WHITE, Canvas, Color

HEIGHT, WIDTH = 160, 240
COLORS: tuple[Color, ...] = (RED, BLUE, GREEN, ORANGE)


def stage(progress: float) -> Canvas:
    """An empty stage under a bar that fills as the episode goes on, `progress` from 0 to 1."""
    canvas = Canvas(HEIGHT, WIDTH)
    canvas.rectangle(0, 0, WIDTH, 8, SILVER)
    canvas.rectangle(0, 0, WIDTH * min(max(progress, 0.0), 1.0), 8, GRAY)
    return canvas


def tile(canvas: Canvas, x: float, y: float, size: float, symbol: int | None) -> None:
    """A tile around `(x, y)` that shows a symbol by its number and color, or nothing."""
    left, top = x - size / 2, y - size / 2
    canvas.rectangle(left, top, size, size, BLACK)
    color = WHITE if symbol is None else COLORS[symbol % len(COLORS)]
    canvas.rectangle(left + 2, top + 2, size - 4, size - 4, color)
    if symbol is not None:
        number(canvas, x, y, size / 2, symbol, WHITE)


def number(canvas: Canvas, x: float, y: float, height: float, value: int, color: Color = BLACK) -> None:
    """A number around `(x, y)`."""
    width = 0.7 * height * len(str(value)) - 0.2 * height
    canvas.number(value, x - width / 2, y - height / 2, height, color)


def question_mark(canvas: Canvas, x: float, y: float, height: float) -> None:
    """A question mark around `(x, y)`."""
    top, half = y - height / 2, height / 4
    points = [
        (x - half, top + half),
        (x - half, top),
        (x + half, top),
        (x + half, top + 1.6 * half),
        (x, top + 1.6 * half),
    ]
    for start, end in zip(points, [*points[1:], (x, top + 2.6 * half)], strict=True):
        canvas.line(start, end, height / 7, BLACK)
    canvas.disc(x, y + height / 2 - height / 14, height / 10, BLACK)
