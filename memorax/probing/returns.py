"""Returns of an agent: as it is, without its memory, and where more or less must be remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.environments import host
from memorax.evaluation.episodes import EvaluatedEpisodes, evaluated_episodes
from memorax.networks.network import Network
from memorax.rollout import Policy, rollout
from memorax.types import Carry, Key, PyTree, Timestep, Trajectory

FACTORS = (0.25, 0.5, 0.75, 1, 1.5, 2, 4)
"""How long must be remembered where agents are tried, in units of what it was in training."""


@dataclass(frozen=True)
class Returns:
    """Returns of agents that act greedily in fresh environments.

    Attributes:
        by_seed: mean return of each agent, `[S]`.
        longest: length of the longest episode that counted, in steps.
        unfinished: how many of the episodes had not ended when the evaluation did.
    """

    by_seed: np.ndarray
    longest: int
    unfinished: int


@dataclass(frozen=True)
class ReturnsByLength:
    """Returns where more or less must be remembered than in training.

    Attributes:
        option: the option of the environment that says how much.
        trained: its value in training.
        values: its values here, ascending, `[L]`.
        returns: mean return of each agent, `[L, S]`.
    """

    option: str
    trained: int
    values: np.ndarray
    returns: np.ndarray


def wiped(network: Network, policy: Policy) -> Policy:
    """The same policy with its carry as at the start of an episode before every step.

    Args:
        network: the network the policy acts by.
        policy: what is to forget.
    """

    def act(key: Key, timestep: Timestep, carry: Carry) -> tuple[Carry, PyTree, PyTree]:
        return policy(key, timestep, network.initialize_carry(jax.random.key(0), timestep))

    return act


def play(agent: Agent, key: Key, state: PyTree, num_envs: int, num_steps: int, wipe: bool = False) -> Trajectory:
    """Let an agent act greedily in fresh environments, without learning.

    Args:
        agent: the agent.
        key: random key.
        state: its state, of one seed.
        num_envs: environments side by side.
        num_steps: steps in each.
        wipe: whether its carry is wiped before every step.
    """
    enter_key, rollout_key = jax.random.split(key)
    environments = agent.env.vectorize(num_envs)
    worker = agent.enter(enter_key, state, environments)
    policy = agent.policy(state)
    policy = wiped(acting_network(agent), policy) if wipe else policy
    frozen = environments.frozen(state.worker.env_state)
    worker, trajectory = rollout(frozen, agent.env_params, policy, worker, rollout_key, num_steps)
    host.close(worker.env_state)
    return trajectory


def acting_network(agent: Agent) -> Network:
    """The network whose outputs an agent acts by."""
    return next(iter(agent.networks.values()))


def evaluated_returns(
    agent: Agent, key: Key, states: PyTree, num_envs: int, num_steps: int, wipe: bool = False
) -> Returns:
    """Mean returns of agents side by side.

    Args:
        agent: the agent.
        key: random key, the same for all agents.
        states: states of the agents, leaves `[S, ...]`.
        num_envs: environments of each.
        num_steps: steps in each environment.
        wipe: whether carries are wiped before every step.
    """

    def evaluate(state: PyTree) -> EvaluatedEpisodes:
        return evaluated_episodes(play(agent, key, state, num_envs, num_steps, wipe).transition)

    with host.own_errors():
        episodes = jax.device_get(jax.jit(jax.vmap(evaluate))(states))  # (S, B, T)
    means = [returns[counted].mean() for returns, counted in zip(episodes.returns, episodes.counted, strict=True)]
    return Returns(
        by_seed=np.array(means),
        longest=int(episodes.lengths[episodes.counted].max()),
        unfinished=int(episodes.unfinished.sum()),
    )


def returns_by_length(
    make_agent: Callable[[int], Agent],
    option: str,
    trained: int,
    key: Key,
    states: PyTree,
    num_envs: int,
    num_steps: int,
) -> ReturnsByLength:
    """Mean returns of agents where the task must be remembered for shorter and longer.

    Values that the environment refuses are left out.

    Args:
        make_agent: the agent in the environment with a value of the option.
        option: name of the option.
        trained: its value in training; those that are tried lie between a quarter and four times of it.
        key: random key.
        states: states of the agents, leaves `[S, ...]`.
        num_envs: environments of each.
        num_steps: steps in each environment.
    """
    values, returns = [], []
    for value in lengths_around(trained):
        try:
            agent = make_agent(value)
        except ValueError:
            continue
        values.append(value)
        returns.append(evaluated_returns(agent, key, states, num_envs, num_steps).by_seed)
    return ReturnsByLength(option, trained, np.array(values), np.array(returns))


def lengths_around(trained: int) -> list[int]:
    """Lengths from a quarter of one to four times of it, ascending, each once."""
    return sorted({max(1, round(trained * factor)) for factor in FACTORS})
