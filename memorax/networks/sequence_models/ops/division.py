"""Division that rounds alike in every program."""

from __future__ import annotations

from memorax.types import Array


def divide_by_shared(x: Array, divisor: Array) -> Array:
    """`x / divisor` where several entries of `x` share each entry of the divisor, such as a sum over an axis.

    The divisor is inverted once. Left to itself, XLA does so in some programs and not in others, so that the same
    agent trained on one device and on several, or alone and among others, would be rounded differently.

    Args:
        x: numerators.
        divisor: of a shape that broadcasts to that of `x`, between 1e-37 and 1e37 in magnitude.

    Returns:
        Quotients, of the shape of `x`.
    """
    return x * (1.0 / divisor)
