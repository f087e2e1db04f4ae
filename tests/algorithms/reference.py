"""What updates should be, in NumPy and float64: networks of one hidden layer, and gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from memorax.algorithms import ALGORITHMS
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box, Space
from memorax.learning.optimization import Learner
from memorax.networks import MLP, FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.types import PyTree
from tests.catalogue import leaves_as_vector
from tests.probes import Probe

Params = dict[str, np.ndarray]
"""Parameters by their names."""


class Walk(Probe):
    """Time and cue are shown; episodes terminate after three steps or are cut off after five, as the cue has it."""

    def observe(self, time: Any, cue: Any, previous: Any) -> jax.Array:
        return jnp.stack([jnp.sin(2.0 * time), cue + 0.1 * time, jnp.ones(())])

    def outcome(self, time: Any, cue: Any, previous: Any, action: Any) -> tuple[Any, Any, Any]:
        return cue + action, (time == 2) & (cue > 0), (time == 4) & (cue < 0)

    def observation_space(self, params: Any) -> Space:
        return Box(-np.inf, np.inf, (3,))


class Identity(nn.Module):
    """The features as they are."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        return inputs


def small_agent(name: str, cfg: Any, env: Environment, optimizer: Any = None) -> Any:
    """An agent whose networks are `tanh` of three numbers and a layer behind it, as `output` has them."""

    def network(head: Any) -> Network:
        extractor = FeatureExtractor(nn.Sequential([leaves_as_vector, MLP(3, activation=jnp.tanh)]))
        return Network(extractor, SequenceModelWrapper(Identity()), _without_layers(head))

    return ALGORITHMS[name][0].build(cfg, env, None, network, optimizer or optax.sgd(0.5))


def _without_layers(head: Any) -> Any:
    if isinstance(head, heads.Twin):
        return heads.Twin(_without_layers(head.head))
    if isinstance(head, heads.DiscreteQNetwork):
        return head.clone(dueling=False, hidden_features=(), layer_norm=False)
    return head.clone(hidden_features=()) if isinstance(head, heads.ContinuousQNetwork) else head


def randomized(key: jax.Array, learner: Learner) -> Learner:
    """A learner with other, random parameters, none of them zero."""
    leaves, structure = jax.tree.flatten(learner.params)
    keys = jax.random.split(key, len(leaves))
    leaves = [0.7 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return learner.replace(params=jax.tree.unflatten(structure, leaves))


def named(variables: PyTree) -> Params:
    """The parameters of a network, in float64."""
    return {name: np.float64(value) for name, value in flatten_dict(variables["params"], sep="/").items()}


def layer(params: Params, part: str, inputs: np.ndarray) -> np.ndarray:
    """The only dense layer of a part of a network."""
    (kernel,), (bias,) = (
        [value for name, value in params.items() if name.startswith(part) and name.endswith(kind)]
        for kind in ("kernel", "bias")
    )
    return inputs @ kernel + bias


def output(params: Params, observation: PyTree, head: str = "head", action: np.ndarray | None = None) -> np.ndarray:
    """A head's output `[..., N]` for observations `[..., F]`, of which parts lie side by side."""
    observation = np.concatenate([np.float64(x) for x in jax.tree.leaves(observation)], axis=-1)
    hidden = np.tanh(layer(params, "feature_extractor", observation))
    return layer(params, head, hidden if action is None else np.concatenate([hidden, action], axis=-1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def of_action(values: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The entries `[...]` of values `[..., A]` that belong to the actions taken."""
    return np.take_along_axis(values, np.asarray(action)[..., None], axis=-1)[..., 0]


def gradient(function: Callable[[Params], float], params: Params, step: float = 1e-5) -> Params:
    """The gradient of a function of parameters, each by a central difference."""
    result = {}
    for name, value in params.items():
        result[name] = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            around = []
            for sign in (1, -1):
                moved = value.copy()
                moved[index] += sign * step
                around.append(function({**params, name: moved}))
            result[name][index] = (around[0] - around[1]) / (2 * step)
    return result


def descend(function: Callable[[Params], float], params: Params, rate: float = 0.5) -> Params:
    """The parameters after a step down a gradient."""
    slope = gradient(function, params)
    return {name: value - rate * slope[name] for name, value in params.items()}


def backwards(terms: np.ndarray, decays: np.ndarray) -> np.ndarray:
    """`sums[t] = terms[t] + decays[t] sums[t + 1]` of rows `[B, T]`."""
    sums = np.zeros_like(terms)
    later = np.zeros(len(terms))
    for t in reversed(range(terms.shape[1])):
        sums[:, t] = later = terms[:, t] + decays[:, t] * later
    return sums


def huber(error: np.ndarray) -> np.ndarray:
    """Half the square up to an error of 1, linear from there."""
    return np.where(np.abs(error) <= 1, 0.5 * error**2, np.abs(error) - 0.5)


def n_step_goals(
    steps: Any, bootstraps: np.ndarray, gamma: float, n: int, burn_in: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets of the replayed steps behind a burn-in, by a loop over every step of every window.

    Args:
        steps: windows of `ReplayedSteps` `[N, W, ...]`.
        bootstraps: the value of each timestep `[N, W]`.
        gamma: discount.
        n: most rewards in a target.
        burn_in: steps at the head of a window that are not learned from.

    Returns:
        `(reward part, bootstrapped part, known)`, each `[N, W - burn_in - 1]`; a goal is the sum of the two parts.
    """
    rows, window = steps.reward.shape
    shape = (rows, window - burn_in - 1)
    rewards, rest, known = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for row in range(rows):
        for t in range(burn_in, window - 1):
            i, discount = t, 1.0
            while i < min(t + n, window - 1):
                terminated = steps.terminated[row, i]
                if steps.timesteps.done[row, i + 1] and not terminated:
                    break  # cut off: what the step led to was not stored
                rewards[row, t - burn_in] += discount * steps.reward[row, i]
                i, discount = i + 1, 0.0 if terminated else discount * gamma
                if terminated:
                    break
            known[row, t - burn_in] = i > t
            rest[row, t - burn_in] = discount * bootstraps[row, i] if discount else 0.0
    return rewards, rest, known


def obgd_step(params: Params, trace: Params, td_error: float, kappa: float) -> Params:
    """A step of overshooting-bounded gradient descent at a rate of 1 (Elsayed et al., 2024, algorithm 3)."""
    norm = sum(np.abs(value).sum() for value in trace.values())
    rate = 1 / max(1, kappa * max(abs(td_error), 1) * norm)
    return {name: value + rate * td_error * trace[name] for name, value in params.items()}


def streamed(agent: Any, key: jax.Array, state: Any, num_steps: int) -> tuple[Any, Any, Any]:
    """A streaming agent after steps of one environment, the rollout of each step and the metrics of each update."""

    def step(state: Any, key: jax.Array) -> Any:
        acted, trajectory = agent.act(key, state)
        after, metrics = agent._learn(key, acted, trajectory)
        return after, (trajectory, metrics)

    after, (trajectories, metrics) = jax.lax.scan(step, state, jax.random.split(key, num_steps))
    return after, trajectories, metrics


def streamed_step(trajectories: Any, t: int) -> tuple[Any, ...]:
    """`(observation, final observation, action, reward, terminated, truncated)` of a step of `streamed`."""
    parts = (
        trajectories.timesteps.observation,
        trajectories.final_observation,
        trajectories.action,
        trajectories.reward,
        trajectories.terminated,
        trajectories.truncated,
    )
    return tuple(x[t, 0, 0] for x in parts)
