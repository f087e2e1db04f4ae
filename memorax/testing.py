"""Checks for new parts: that acting equals learning, that nothing leaks, that protocols are kept.

Each check raises an `AssertionError` that says which truth does not hold; it returns nothing.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.environments.environment import Environment
from memorax.networks.network import unroll, unroll_step
from memorax.types import Array, PyTree, Timestep, Transition

Shapes = Any


def check_sequence_model(
    model: nn.Module,
    features: int,
    batch_size: int = 3,
    num_steps: int = 24,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> None:
    """Check that a sequence model acts as it learns and never leaks.

    Args:
        model: `model(inputs [B, T, F], done [B, T], carry) -> (carry, outputs [B, T, D])` with
            `initialize_carry(key, (B, F))`.
        features: F.
        batch_size: B of the check.
        num_steps: T of the check.
        seed: random seed of the inputs and of `done`.
        tolerance: largest difference allowed in float32, as a fraction of an array's largest magnitude (`check_close`).

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    keys = jax.random.split(jax.random.key(seed), 5)
    inputs = jax.random.normal(keys[0], (batch_size, num_steps, features))
    done = jax.random.bernoulli(keys[1], 0.15, (batch_size, num_steps))
    first = model.initialize_carry(keys[2], (batch_size, features))
    params = jax.jit(model.init)(keys[3], inputs[:, :1], done[:, :1], first)

    @jax.jit
    def run(inputs: Array, done: Array, carry: PyTree) -> tuple[PyTree, Any]:
        return model.apply(params, inputs, done, carry)

    # A carry with a history, as between two rollouts.
    history, _ = run(inputs[:, ::-1], jnp.zeros_like(done), first)
    _same_shapes("a torso keeps the shapes and types of its carry", first, history)
    carry, outputs = run(inputs, done, history)
    _require(outputs.shape[:2] == (batch_size, num_steps), f"outputs are [B, T, D], not {outputs.shape}")
    _all_finite("outputs are finite", outputs)

    for chunk in (1, num_steps // 3, num_steps - 1):
        chunk_carry, pieces = history, []
        for begin in range(0, num_steps, chunk):
            piece = slice(begin, begin + chunk)
            chunk_carry, output = run(inputs[:, piece], done[:, piece], chunk_carry)
            pieces.append(output)
        name = f"chunks of {chunk} steps equal the whole sequence"
        _close(f"{name} (outputs)", jnp.concatenate(pieces, axis=1), outputs, tolerance)
        _close(f"{name} (final carry)", chunk_carry, carry, tolerance)

    middle = num_steps // 2
    reset = done.at[:, middle].set(True)
    _, clean = run(inputs, reset, history)
    poison = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan) if _is_float(x) else x, history)
    _, after_poison = run(inputs.at[:, :middle].set(jnp.nan), reset, poison)
    _close("nothing before a done changes what follows, be it NaN", after_poison[:, middle:], clean[:, middle:], 1e-6)
    infinite = jax.tree.map(lambda x: jnp.full_like(x, jnp.inf) if _is_float(x) else x, history)
    _, fresh = run(inputs, done.at[:, 0].set(True), first)
    _, revived = run(inputs, done.at[:, 0].set(True), infinite)
    _close("an infinite carry does not survive a reset", revived, fresh, 1e-6)
    _, changed = run(inputs.at[:, middle:].add(1.0), done, history)
    _close("nothing later changes anything earlier", changed[:, :middle], outputs[:, :middle], 1e-6)

    def late_output(inputs: Array) -> Array:
        return jnp.sum(run(inputs, reset, first)[1][:, middle:] ** 2)

    gradient = jax.jit(jax.grad(late_output))(inputs)
    _all_finite("gradients are finite", gradient)
    _close("no gradient flows across a done", gradient[:, :middle], jnp.zeros_like(gradient[:, :middle]), 0.0)


def check_environment(env: Environment, env_params: PyTree, num_steps: int = 200, num_envs: int = 4) -> None:
    """Check that an environment keeps the protocol, under random play.

    Args:
        env: the environment.
        env_params: parameters of the environment.
        num_steps: steps in each environment.
        num_envs: environments stepped side by side.

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    environments = env.vectorize(num_envs)
    batch_size = environments.batch_size
    observation_space, action_space = env.observation_space(env_params), env.action_space(env_params)
    contains = jax.vmap(observation_space.contains)

    def step(state: PyTree, key: Array) -> tuple[PyTree, PyTree]:
        action_key, step_key = jax.random.split(key)
        action = jax.vmap(action_space.sample)(jax.random.split(action_key, batch_size))
        observation, state, reward, terminated, truncated, info = environments.step(step_key, state, action, env_params)
        final = info["final_observation"]
        unchanged = jax.tree.map(
            lambda a, b: jnp.all((a == b) | ((a != a) & (b != b)), axis=tuple(range(1, a.ndim))), observation, final
        )
        same = jnp.all(jnp.stack(jax.tree.leaves(unchanged)), axis=0)
        return state, (observation, reward, terminated, truncated, contains(observation), contains(final), same)

    @jax.jit
    def play(key: Array) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        reset_key, step_key = jax.random.split(key)
        observation, state = environments.reset(reset_key, env_params)
        after, steps = jax.lax.scan(step, state, jax.random.split(step_key, num_steps))
        return observation, state, after, steps

    first, state, after, steps = play(jax.random.key(0))
    observation, reward, terminated, truncated, inside, final_inside, same = steps
    _same_shapes("a step keeps the shapes and types of the state", state, after)
    _same_shapes("reset and step observe alike", first, jax.tree.map(lambda x: x[0], observation))
    sample = jax.vmap(observation_space.sample)(jax.random.split(jax.random.key(0), batch_size))
    _same_shapes("observations have the space's shape and type", sample, first)
    _require(bool(contains(first).all() & inside.all()), "observations lie in the observation space")
    _require(bool(final_inside.all()), "final observations lie in the observation space")
    _require(reward.shape == (num_steps, batch_size) and bool(jnp.isfinite(reward).all()), "rewards are finite scalars")
    _require(not bool((terminated & truncated).any()), "no step is both terminated and truncated")
    going_on = ~(terminated | truncated)
    _require(
        bool(jnp.where(going_on, same, True).all()), "the final observation is the next one while an episode goes on"
    )
    _equal("the same key gives the same play", steps, play(jax.random.key(0))[3])


def check_algorithm(agent: Algorithm, seed: int = 0, tolerance: float = 1e-5) -> None:
    """Check that an algorithm acts as it learns, counts its steps, repeats itself bit for bit and compiles once.

    Args:
        agent: the agent; it is trained for a few iterations.
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
    _equal("the same key initialises alike", (key, state), agent.init(jax.random.key(seed)))
    check_acting_equals_learning(agent, seed, tolerance)

    def train(num_steps: int, times: int) -> tuple[PyTree, PyTree]:
        key, state = agent.init(jax.random.key(seed))
        for _ in range(times):
            key, state, transitions = agent.train(key, state, num_steps)
        return (key, state), transitions

    once, transitions = train(1, 1)
    _require(int(once[1].step) == steps, f"num_steps is rounded up to one iteration of {steps} steps")
    batch_size = agent.cfg.num_envs * agent.env.num_agents
    lead = (batch_size, steps // agent.cfg.num_envs)
    _require(isinstance(transitions, Transition), "train returns transitions")
    _require(
        all(x.shape[:2] == lead for x in jax.tree.leaves(transitions)), f"transitions are [batch, time, ...], {lead}"
    )
    key, state = agent.init(jax.random.key(seed))
    _same_shapes("training keeps the shapes and types of the state", state, once[1])
    compiled = agent.compilations
    twice, _ = train(1, 2)
    _require(agent.compilations == compiled, "a second call of train with the same sizes does not compile")
    _equal("the same key trains alike, and N + N steps equal 2N", twice, train(2 * steps, 1)[0])

    before = jax.tree.map(np.asarray, jax.tree.map(_data, twice[1]))
    _, evaluated = agent.evaluate(twice[0], twice[1], agent.cfg.num_envs * 3)
    _equal("evaluate does not change the state", before, twice[1])
    _require(evaluated.reward.shape == (batch_size, 3), "evaluate counts steps over all environments")

    keys = jax.random.split(jax.random.key(seed), 2)
    keys, states = jax.vmap(agent.init)(keys)
    _, states, _ = jax.vmap(lambda key, state: agent.train(key, state, 1))(keys, states)
    alone = agent.train(*agent.init(jax.random.split(jax.random.key(seed), 2)[0]), 1)[1]
    _require(bool((states.step == alone.step).all()), "training maps over seeds")
    _same_shapes("mapped and single training agree on shapes", jax.tree.map(lambda x: x[0], states), alone)


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
    _close("the outputs while acting are those while learning", stepped, output, tolerance)
    _close("the carry after acting is the carry after learning", acted.pop("carry"), learned.pop("carry"), tolerance)
    _close("probability ratios are 1 before the first update", acted, learned, tolerance)


def check_close(
    actual: PyTree,
    expected: PyTree,
    tolerance: float = 1e-5,
    floor: float = 0.1,
    truth: str = "arrays are close",
) -> None:
    """Check that two trees of arrays differ by rounding alone: each leaf by little of its own largest magnitude.

    An entry of a sum is rounded as coarsely as the terms it was summed from, so that the small entries of an array are
    as inexact as its large ones, and how inexact those are depends on the processor. Entries that are infinite, and
    integers, must be equal; NaN is close to nothing.

    Args:
        actual: the tree to check.
        expected: what it should be; its leaves have the same shapes.
        tolerance: largest difference allowed, as a fraction of the largest magnitude in the expected leaf.
        floor: a leaf whose largest magnitude is smaller is compared as if it reached this: terms of this size may have
            cancelled in it.
        truth: what does not hold otherwise, for the error.

    Raises:
        AssertionError: naming the truth, the leaf and its largest difference.
    """
    actual_leaves, expected_leaves = (jax.tree_util.tree_leaves_with_path(tree) for tree in (actual, expected))
    _require(
        [path for path, _ in actual_leaves] == [path for path, _ in expected_leaves], f"{truth}: trees are built alike"
    )
    for (path, x), (_, y) in zip(actual_leaves, expected_leaves, strict=True):
        leaf = f"{truth} {jax.tree_util.keystr(path)}".rstrip()
        x, y = np.asarray(x), np.asarray(y)
        _require(x.shape == y.shape, f"{leaf}: shapes are {x.shape} and {y.shape}")
        if y.dtype == jax.dtypes.float0 or not y.size:
            continue
        if not _is_float(y):
            _require(np.array_equal(x, y), f"{leaf}: integers are equal")
            continue
        x, y = (z.astype(np.complex128 if np.iscomplexobj(z) else np.float64) for z in (x, y))
        with np.errstate(invalid="ignore"):
            difference = np.where(x == y, 0.0, np.abs(x - y))
        bound = tolerance * max(float(np.max(np.abs(y), where=np.isfinite(y), initial=0.0)), floor)
        error = float(difference.max())
        _require(error <= bound, f"{leaf}: largest difference {error:.2e} > {bound:.1e}")


def _require(holds: bool, truth: str) -> None:
    if not holds:
        raise AssertionError(f"does not hold: {truth}")


def _is_float(x: Array | np.ndarray) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _data(x: Array) -> Array:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def _all_finite(truth: str, tree: PyTree) -> None:
    _require(all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(tree) if _is_float(x)), truth)


def _shapes(tree: PyTree) -> Shapes:
    return jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)


def _same_shapes(truth: str, a: PyTree, b: PyTree) -> None:
    # Compared leaf by leaf: the states of some environments compare themselves in a way of their own.
    leaves = [jax.tree_util.tree_leaves_with_path(_shapes(tree)) for tree in (a, b)]
    same = leaves[0] == leaves[1]
    _require(same, f"{truth}: {_shapes(a)} and {_shapes(b)}")


def _close(truth: str, a: PyTree, b: PyTree, tolerance: float) -> None:
    _same_shapes(truth, a, b)
    check_close(a, b, tolerance, truth=truth)


def _equal(truth: str, a: PyTree, b: PyTree) -> None:
    a, b = jax.tree.map(_data, a), jax.tree.map(_data, b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        _require(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=_is_float(y)), truth)
