"""The check of algorithms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.networks.network import unroll, unroll_step
from memorax.testing.assertions import close, data, equal, require, same_shapes
from memorax.testing.learning import check_learning
from memorax.types import Array, PyTree, Timestep, Transition


def check_algorithm(agent: Algorithm, seed: int = 0, tolerance: float = 1e-5) -> None:
    """Check that an algorithm acts as it learns, learns as it should, counts its steps and repeats itself bit for bit.

    What it learns from is changed in ways that must, or must not, change what is learned (`check_learning`).

    Args:
        agent: the agent; it is trained for some iterations. Make it small, with a replay buffer that is soon learned
            from.
        seed: random seed of the check.
        tolerance: largest difference allowed between acting and learning in float32, as a fraction of an array's
            largest magnitude (`check_close`).

    Raises:
        AssertionError: naming the truth that does not hold.
        ValueError: if its environment runs on the host.
    """
    if agent.env.on_host:
        raise ValueError(
            f"check_algorithm needs an environment in compiled code: {agent.env.name} runs on the host, where it can "
            "be neither started twice alike nor mapped over seeds"
        )
    steps = agent.steps_per_iteration
    key, state = agent.init(jax.random.key(seed))
    equal("the same key initialises alike", (key, state), agent.init(jax.random.key(seed)))
    check_acting_equals_learning(agent, seed, tolerance)
    check_learning(agent, seed)

    def train(num_steps: int, times: int) -> tuple[PyTree, PyTree]:
        key, state = agent.init(jax.random.key(seed))
        for _ in range(times):
            key, state, transitions = agent.train(key, state, num_steps)
        return (key, state), transitions

    once, transitions = train(1, 1)
    require(int(once[1].step) == steps, f"num_steps is rounded up to one iteration of {steps} steps")
    batch_size = agent.cfg.num_envs * agent.env.num_agents
    lead = (batch_size, steps // agent.cfg.num_envs)
    require(isinstance(transitions, Transition), "train returns transitions")
    require(
        all(x.shape[:2] == lead for x in jax.tree.leaves(transitions)), f"transitions are [batch, time, ...], {lead}"
    )
    key, state = agent.init(jax.random.key(seed))
    same_shapes("training keeps the shapes and types of the state", state, once[1])
    compiled = agent.compilations
    twice, _ = train(1, 2)
    require(agent.compilations == compiled, "a second call of train with the same sizes does not compile")
    equal("the same key trains alike, and N + N steps equal 2N", twice, train(2 * steps, 1)[0])

    before = jax.tree.map(np.asarray, jax.tree.map(data, twice[1]))
    _, evaluated = agent.evaluate(twice[0], twice[1], agent.cfg.num_envs * 3)
    equal("evaluate does not change the state", before, twice[1])
    require(evaluated.reward.shape == (batch_size, 3), "evaluate counts steps over all environments")

    # Traced alone, which says whether it maps: compiled, it would cost as much as all that was trained here.
    keys = jax.random.split(jax.random.key(seed), 2)
    mapped = jax.eval_shape(jax.vmap(lambda key: agent.train(*agent.init(key), 1)[1]), keys)
    one_of_them = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), mapped)
    same_shapes("training maps over seeds: mapped and single training agree on shapes", one_of_them, once[1])


def check_acting_equals_learning(agent: Algorithm, seed: int = 0, tolerance: float = 1e-5) -> None:
    """Check that an agent's network gives the same step by step, as it acts, as over a whole rollout, as it learns.

    Args:
        agent: the agent.
        seed: random seed of the check.
        tolerance: largest difference of outputs, carries and log-probabilities allowed in float32, as a fraction of an
            array's largest magnitude (`check_close`).

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    key, state = agent.init(jax.random.key(seed))
    network = next(iter(agent.networks.values()))
    params = agent.acting_params(state)

    def one_step(carry: PyTree, timestep: Timestep) -> tuple[PyTree, PyTree]:
        return unroll_step(network, params, timestep, carry)

    @jax.jit
    def compare(key: Array, state: PyTree) -> tuple[PyTree, PyTree]:
        # Two rollouts, so that the second starts from a carry with a history; in a loop, so that one is compiled.
        def act(state: PyTree, key: Array) -> tuple[PyTree, PyTree]:
            after, trajectory = agent.act(key, state)
            return after, (state.worker.carry, trajectory)

        after, rollouts = jax.lax.scan(act, state, jax.random.split(key))
        carry_before, trajectory = jax.tree.map(lambda x: x[1], rollouts)
        carry, output = unroll(network, params, trajectory.timesteps, carry_before)
        time_first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), trajectory.timesteps)
        _, stepped = jax.lax.scan(one_step, carry_before, time_first)
        stepped = jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), jax.tree.leaves(stepped))
        acted, learned = {"carry": after.worker.carry}, {"carry": carry}
        if "log_prob" in trajectory.extras:
            acted["log_prob"] = trajectory.extras["log_prob"]
            learned["log_prob"] = output.log_prob(trajectory.action)
        # A distribution's parameters that do not depend on its inputs have no time to compare along.
        pairs = [(x, y) for x, y in zip(stepped, jax.tree.leaves(output), strict=True) if x.shape == y.shape]
        return (acted, [x for x, _ in pairs]), (learned, [y for _, y in pairs])

    (acted, stepped), (learned, output) = compare(key, state)
    close("the outputs while acting are those while learning", stepped, output, tolerance)
    close("the carry after acting is the carry after learning", acted.pop("carry"), learned.pop("carry"), tolerance)
    close("probability ratios are 1 before the first update", acted, learned, tolerance)
