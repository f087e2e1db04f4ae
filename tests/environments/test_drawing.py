"""What is painted where."""

from __future__ import annotations

import numpy as np
import pytest

from memorax.environments.drawing import BLACK, RED, WHITE, Canvas


def painted(canvas: Canvas, color: tuple[int, int, int] = RED) -> np.ndarray:
    """The pixels that have exactly this colour, `[height, width]`."""
    return (canvas.pixels == np.asarray(color)).all(-1)


def test_a_canvas_is_an_image_of_its_background() -> None:
    canvas = Canvas(3, 5, RED)
    assert canvas.pixels.shape == (3, 5, 3) and canvas.pixels.dtype == np.uint8
    assert painted(canvas).all()


def test_a_rectangle_covers_its_pixels_and_no_other() -> None:
    canvas = Canvas(6, 8, WHITE)
    canvas.rectangle(2, 1, 4, 3, RED)
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(painted(canvas), expected)
    np.testing.assert_array_equal(painted(canvas, WHITE), ~expected)


def test_half_a_pixel_is_painted_half() -> None:
    canvas = Canvas(1, 2, (0, 0, 0))
    canvas.rectangle(-1, -1, 1.5, 3, (200, 100, 0))
    assert canvas.pixels.tolist() == [[[100, 50, 0], [0, 0, 0]]]


def test_a_disc_has_its_area() -> None:
    canvas = Canvas(41, 41, (0, 0, 0))
    canvas.disc(20.5, 20.5, 15, (255, 255, 255))
    assert canvas.pixels[20, 20, 0] == 255 and canvas.pixels[0, 0, 0] == 0
    assert canvas.pixels[..., 0].sum() / 255 == pytest.approx(np.pi * 15**2, rel=0.01)


def test_a_line_has_its_length_and_width() -> None:
    canvas = Canvas(60, 60, (0, 0, 0))
    canvas.line((10, 10), (40, 50), 6, (255, 255, 255))
    assert canvas.pixels[30, 25, 0] == 255  # its middle
    assert canvas.pixels[..., 0].sum() / 255 == pytest.approx(50 * 6 + np.pi * 3**2, rel=0.02)


def test_a_line_without_length_is_a_dot() -> None:
    canvas = Canvas(21, 21, (0, 0, 0))
    canvas.line((10, 10), (10, 10), 8, (255, 255, 255))
    assert canvas.pixels[..., 0].sum() / 255 == pytest.approx(np.pi * 4**2, rel=0.05)


@pytest.mark.parametrize("order", [1, -1], ids=["clockwise", "anticlockwise"])
def test_a_polygon_is_filled_either_way_round(order: int) -> None:
    canvas = Canvas(60, 60, (0, 0, 0))
    canvas.polygon([(10, 10), (50, 10), (30, 50)][::order], (255, 255, 255))
    assert canvas.pixels[25, 30, 0] == 255 and canvas.pixels[45, 12, 0] == 0
    assert canvas.pixels[..., 0].sum() / 255 == pytest.approx(40 * 40 / 2, rel=0.02)


def test_digits_differ_and_stand_side_by_side() -> None:
    pictures = []
    for digit in range(10):
        canvas = Canvas(40, 30, WHITE)
        canvas.number(digit, 5, 5, 30, BLACK)
        pictures.append(canvas.pixels)
    assert len({picture.tobytes() for picture in pictures}) == 10
    canvas = Canvas(40, 54, WHITE)
    canvas.number(37, 5, 5, 30, BLACK)
    np.testing.assert_array_equal(canvas.pixels[:, :24], pictures[3][:, :24])
    np.testing.assert_array_equal(canvas.pixels[:, 24:], pictures[7])
