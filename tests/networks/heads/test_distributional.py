"""Distributions of returns: by numbers worked out by hand, by NumPy in float64, behind ends, under masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from memorax.networks import heads

REPRESENTATIONS = {
    "c51": heads.C51(7, -3.0, 3.0),
    "quantiles": heads.Quantiles(7),
    "hl_gauss": heads.HLGauss(7, -3.0, 3.0),
}
ATOMS = heads.C51(5, -2.0, 2.0)


def normal(seed: int, *shape: int):
    return jax.random.normal(jax.random.key(seed), shape)


def numpy_projection(probabilities, returns, atoms):
    """Algorithm 1 of Bellemare et al. (2017), atom by atom; mass that lies on an atom goes there whole."""
    projected = np.zeros(len(atoms))
    for probability, value in zip(probabilities, np.clip(returns, atoms[0], atoms[-1]), strict=True):
        position = (value - atoms[0]) / (atoms[1] - atoms[0])
        lower, upper = int(np.floor(position)), int(np.ceil(position))
        if lower == upper:
            projected[lower] += probability
        else:
            projected[lower] += probability * (upper - position)
            projected[upper] += probability * (position - lower)
    return projected


def numpy_log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("probabilities", "reward", "discount", "expected"),
    [
        ([0.2, 0.2, 0.2, 0.2, 0.2], 0.0, 0.5, [0.0, 0.3, 0.4, 0.3, 0.0]),
        ([0.2, 0.2, 0.2, 0.2, 0.2], 5.0, 0.5, [0.0, 0.0, 0.0, 0.0, 1.0]),
        ([0.0, 0.0, 0.5, 0.0, 0.5], 0.3, 0.9, [0.0, 0.0, 0.35, 0.15, 0.5]),
        ([np.nan] * 5, 0.25, 0.0, [0.0, 0.0, 0.75, 0.25, 0.0]),
    ],
)
def test_the_projection_onto_atoms(probabilities, reward, discount, expected):
    """Read off the gradient of the loss: at equal logits it is the atoms' share less the projected probability."""
    following = jnp.log(jnp.asarray(probabilities))

    def loss(logits):
        return ATOMS.td_loss(logits, following, jnp.asarray(reward), jnp.asarray(discount))

    np.testing.assert_allclose(0.2 - jax.grad(loss)(jnp.zeros(5)), expected, atol=1e-6)


def test_projections_are_distributions_with_the_mean_that_was_asked_for():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(5), 1_000)
    reward, discount = generator.uniform(-3, 3, (1_000, 1)), generator.uniform(0, 1, (1_000, 1))
    returns = reward + discount * ATOMS.atoms
    actual = np.asarray(ATOMS.project(jnp.asarray(probabilities, jnp.float32), jnp.asarray(returns, jnp.float32)))
    expected = [numpy_projection(*pair, ATOMS.atoms) for pair in zip(probabilities, returns, strict=True)]
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    np.testing.assert_allclose(actual.sum(-1), 1.0, atol=1e-5)
    inside = (np.abs(returns) <= 2).all(axis=-1)
    assert inside.sum() > 50
    mean = (probabilities * returns).sum(-1)
    np.testing.assert_allclose((actual @ ATOMS.atoms)[inside], mean[inside], atol=1e-5)


def test_c51_against_numpy():
    output, following = normal(0, 2, 3, 5), normal(1, 2, 3, 5)
    reward, discount = 1.5 * normal(2, 2, 3), jnp.array([[0.9, 0.81, 0.0], [0.5, 1.0, 0.9]])
    probabilities = np.exp(numpy_log_softmax(following))
    np.testing.assert_allclose(ATOMS.value(following), probabilities @ ATOMS.atoms, atol=1e-5)
    td, direct = ATOMS.td_loss(output, following, reward, discount), ATOMS.loss(output, reward)
    for index in np.ndindex(2, 3):
        log_probabilities = numpy_log_softmax(output[index])
        returns = float(reward[index]) + float(discount[index]) * ATOMS.atoms
        projected = numpy_projection(probabilities[index], returns, ATOMS.atoms)
        np.testing.assert_allclose(td[index], -projected @ log_probabilities, rtol=1e-5)
        projected = numpy_projection([1.0], [float(reward[index])], ATOMS.atoms)
        np.testing.assert_allclose(direct[index], -projected @ log_probabilities, rtol=1e-5)


def test_quantiles_against_numpy():
    """Equations 9 and 10 of Dabney et al. (2018), pair by pair."""
    representation = heads.Quantiles(4, huber=0.5)
    output, following = 2 * normal(0, 2, 3, 4), 2 * normal(1, 2, 3, 4)
    reward, discount = normal(2, 2, 3), jnp.array([[0.9, 0.81, 0.0], [0.5, 1.0, 0.9]])

    def expected(quantiles, targets):
        total = 0.0
        for i, quantile in enumerate(np.asarray(quantiles, np.float64)):
            for target in targets:
                error = float(target) - quantile
                huber = 0.5 * error**2 if abs(error) <= 0.5 else 0.5 * (abs(error) - 0.25)
                total += abs((i + 0.5) / 4 - (error < 0)) * huber / len(targets)
        return total

    np.testing.assert_allclose(representation.value(output), output.mean(-1), rtol=1e-6)
    td, direct = representation.td_loss(output, following, reward, discount), representation.loss(output, reward)
    for index in np.ndindex(2, 3):
        targets = reward[index] + discount[index] * following[index]
        np.testing.assert_allclose(td[index], expected(output[index], targets), rtol=1e-5)
        np.testing.assert_allclose(direct[index], expected(output[index], [reward[index]]), rtol=1e-5)


def test_the_quantile_loss_is_least_at_the_quantiles():
    """Of the values 0, 1, ..., 99, which a gradient descent finds within the width of the Huber loss."""
    representation = heads.Quantiles(4, huber=0.1)
    values = jnp.arange(100.0)

    def step(output, _):
        gradient = jax.grad(lambda output: representation.loss(jnp.broadcast_to(output, (100, 4)), values).mean())
        return output - 100.0 * gradient(output), None

    output, _ = jax.lax.scan(step, jnp.zeros(4), None, 400)
    np.testing.assert_allclose(output, [12.0, 37.0, 62.0, 87.0], atol=1.0)


def test_hl_gauss_against_numpy():
    representation = REPRESENTATIONS["hl_gauss"]
    target, output = jnp.array([-1.234, 0.0, 2.5]), normal(0, 3, 7)
    edges, deviation = np.linspace(-3, 3, 8), 0.75 * 6 / 7
    for i, value in enumerate(np.asarray(target, np.float64)):
        below = scipy.stats.norm(value, deviation).cdf(edges)
        histogram = np.diff(below) / (below[-1] - below[0])
        np.testing.assert_allclose(representation.histogram(target)[i], histogram, atol=1e-6)
        expected = -histogram @ numpy_log_softmax(output[i])
        np.testing.assert_allclose(representation.loss(output, target)[i], expected, rtol=1e-5)
    expected = np.exp(numpy_log_softmax(output)) @ (0.5 * (edges[1:] + edges[:-1]))
    np.testing.assert_allclose(representation.value(output), expected, atol=1e-5)


@pytest.mark.parametrize("target", [-10.0, -3.0, -2.9, 0.1, 3.0, 10.0])
def test_a_histogram_is_a_distribution_at_and_beyond_both_ends(target):
    representation = REPRESENTATIONS["hl_gauss"]
    histogram = np.asarray(representation.histogram(jnp.asarray([target])))[0]
    np.testing.assert_allclose(histogram.sum(), 1.0, atol=1e-6)
    assert abs(histogram @ representation.centers - np.clip(target, -3, 3)) < 6 / 7


@pytest.mark.parametrize("name", ["c51", "hl_gauss"])
def test_the_mean_of_what_is_learned_is_the_target(name):
    """The best logits are the logarithms of the projected target."""
    representation = {"c51": heads.C51(51, -10, 10), "hl_gauss": heads.HLGauss(51, -10, 10)}[name]
    target = jnp.array([-9.9, -1.234, 0.0, 7.7])
    gradient = jax.grad(lambda logits: representation.loss(logits, target).sum())(jnp.zeros((4, 51)))
    best = jnp.log(jnp.maximum(1 / 51 - gradient, 1e-12))
    np.testing.assert_allclose(representation.value(best), target, atol=1e-3 if name == "c51" else 0.4)
    np.testing.assert_allclose(representation.value(best)[1:], target[1:], atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_successor_behind_an_end_is_not_read(name, value):
    representation = REPRESENTATIONS[name]
    output, reward = normal(0, 2, 7), jnp.array([1.0, 1.0])

    @jax.jit
    def losses_and_gradients(output, following):
        def loss(output, following):
            td = representation.td_loss(output, following, reward, jnp.array([0.0, 0.9]))
            return td.sum(), td

        gradients, td = jax.grad(loss, (0, 1), has_aux=True)(output, following)
        return td, representation.loss(output, reward), *gradients

    following = np.array(normal(1, 2, 7))
    following[0] = value
    td, direct, by_output, by_following = losses_and_gradients(output, following)
    following[0] = 0.0
    np.testing.assert_array_equal(td, losses_and_gradients(output, following)[0])
    np.testing.assert_allclose(td[0], direct[0], rtol=1e-6)
    assert np.isfinite(by_output).all()
    assert np.abs(by_output).max() > 0.0
    np.testing.assert_array_equal(by_following, np.zeros((2, 7)))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_illegal_action_is_worth_minus_infinity(name):
    head = heads.DiscreteQNetwork(3, REPRESENTATIONS[name])
    output, legal = normal(0, 1, 2, 3, 7), jnp.array([[[True, True, False], [False, True, True]]])
    action, target = jnp.array([[1, 2]]), jnp.array([[1.0, -1.0]])

    def loss(output):
        masked = head.mask(output, legal)
        greedy = jnp.where(legal, head.value(masked), 0.0).sum()
        return head.loss(head.select(masked, action), target).sum() + greedy

    @jax.jit
    def all_of(output):
        masked = head.mask(output, legal)
        by_masked = jax.grad(lambda masked: jnp.where(legal, head.value(masked), 0.0).sum())(masked)
        of_masked, of_output = ((head.value(x), head.select(x, action)) for x in (masked, output))
        return jax.grad(loss)(output), by_masked, of_masked, of_output

    # Of the masked output and of the output itself, values and what is selected.
    gradient, by_masked, (value, chosen), (unmasked_value, unmasked_chosen) = jax.device_get(all_of(output))
    legal = np.asarray(legal)
    np.testing.assert_array_equal(np.isneginf(value), ~legal)
    np.testing.assert_array_equal(value[legal], unmasked_value[legal])
    assert np.isfinite(gradient).all()
    assert (gradient[~legal] == 0.0).all()
    np.testing.assert_array_equal(chosen, unmasked_chosen)
    assert np.isfinite(by_masked).all()


@pytest.mark.parametrize(
    "representation",
    [heads.Scalar(), heads.Scalar(1.0), heads.C51(17, -4.0, 4.0), heads.Quantiles(5), heads.HLGauss(16, -4.0, 4.0)],
    ids=lambda representation: type(representation).__name__,
)
def test_temporal_differences_lead_to_the_values_of_a_chain(representation):
    """Reward 1, then -2 and the end, at a discount of 1/2: the values are 0 and -2."""
    optimizer, reward, discount = optax.adam(0.1), jnp.array([1.0, -2.0]), jnp.array([0.5, 0.0])

    def step(carry, _):
        output, state = carry
        following = jnp.roll(output, -1, axis=0)
        gradient = jax.grad(lambda output: representation.td_loss(output, following, reward, discount).sum())(output)
        updates, state = optimizer.update(gradient, state)
        return (output + updates, state), None

    output = normal(0, 2, *representation.shape)
    (output, _), _ = jax.lax.scan(step, (output, optimizer.init(output)), None, 600)
    np.testing.assert_allclose(representation.value(output), [0.0, -2.0], atol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: heads.C51(1), r"num_atoms \(1\) must be at least 2"),
        (lambda: heads.C51(low=1.0, high=1.0), r"low \(1.0\) must be less than high \(1.0\)"),
        (lambda: heads.HLGauss(1), r"num_bins \(1\) must be at least 2"),
        (lambda: heads.HLGauss(sigma=0.0), r"sigma \(0.0\) must be positive"),
        (lambda: heads.Quantiles(0), r"num_quantiles \(0\) must be at least 1"),
        (lambda: heads.Quantiles(huber=-1.0), r"huber \(-1.0\) must be positive"),
    ],
)
def test_a_representation_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
