"""How well a memory of one layer can tell what came an exact number of steps ago: `python -m benchmarks.exact_lag`.

Where nothing that is seen says how late it is, a layer whose state is a sum of decaying (and turning) inputs can look
for a step by its distance alone. What it reads is `sum_d k(d) x_{t-d}`, where `k(d) = Re sum_m c_m lambda_m^d` is a sum
of its modes. Here the `k` is computed that stands out most at the distance, and how often it names the right one of
four equally frequent symbols. Nothing is trained.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

EPISODE = 104
"""Steps of an episode, as in `popgym::RepeatPreviousMedium`."""

LAG = 31
"""How many steps ago the symbol was seen, as there."""

SYMBOLS = 4
SMALLEST_SINGULAR_VALUE = 1e-5
"""Part of the largest one below which a combination of modes is lost in float32."""


def best_kernel(modes: np.ndarray, lag: int = LAG, length: int = EPISODE) -> tuple[np.ndarray, float]:
    """The combination of modes that stands out most at a lag.

    Args:
        modes: `lambda`, complex `[M]`.
        lag: the number of steps.
        length: steps of an episode, `T`.

    Returns:
        The kernel `k`, `[T]`, which maximises `k(lag)^2 / sum_d k(d)^2`, and this share.
    """
    powers = modes[:, None] ** np.arange(length)
    _, sizes, rows = np.linalg.svd(np.concatenate([powers.real, powers.imag]), full_matrices=False)
    basis = rows[sizes > SMALLEST_SINGULAR_VALUE * sizes[0]]  # (R, T), orthonormal
    # The projection of the kernel that is 1 at the lag and 0 elsewhere.
    return basis[:, lag] @ basis, float(basis[:, lag] @ basis[:, lag])


def best_decays(number: int, seed: int = 0) -> np.ndarray:
    """The real decays `[number]` whose best kernel has the largest share at the lag."""

    def decays(logits: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-logits)) + 0j

    rng = np.random.default_rng(seed)
    starts = rng.normal(3.0, 1.5, (6, number))
    found = [minimize(lambda x: -best_kernel(decays(x))[1], start, method="Nelder-Mead") for start in starts]
    return decays(min(found, key=lambda result: result.fun).x)


def accuracy(kernel: np.ndarray, lag: int = LAG, episodes: int = 20_000, seed: int = 0) -> float:
    """How often the symbol with the largest sum is the one seen `lag` steps ago, at the end of an episode."""
    symbols = np.random.default_rng(seed).integers(0, SYMBOLS, (episodes, len(kernel)))  # by distance from the end
    sums = np.stack([(symbols == symbol) @ kernel for symbol in range(SYMBOLS)], axis=1)
    return float((sums.argmax(axis=1) == symbols[:, lag]).mean())


def lru_modes(number: int, seed: int = 0) -> np.ndarray:
    """Modes of an LRU at initialization: uniform on the unit disk."""
    rng = np.random.default_rng(seed)
    return np.sqrt(rng.random(number)) * np.exp(2j * np.pi * rng.random(number))


def retnet_modes(num_heads: int, head_dim: int) -> np.ndarray:
    """Modes of RetNet: a decay for each head, and the angles by which keys are turned."""
    decays = 1 - 2.0 ** (-5 - np.arange(num_heads))
    angles = 10_000.0 ** -np.linspace(0, 1, head_dim // 2, endpoint=False)
    return (decays[:, None] * np.exp(1j * angles)).ravel()


def main() -> None:
    """Print the table."""
    layers = {f"{number} decays, the best ones": best_decays(number) for number in (1, 2, 4, 8)}
    layers |= {"RetNet, 2 heads of 64": retnet_modes(2, 64)}
    layers |= {f"LRU of {number}, at initialization": lru_modes(number) for number in (64, 128)}
    print("| modes | share of the kernel at the lag | accuracy |\n|---|---:|---:|")
    for name, modes in layers.items():
        kernel, share = best_kernel(modes)
        print(f"| {name} | {share:.2f} | {accuracy(kernel):.2f} |")


if __name__ == "__main__":
    main()
