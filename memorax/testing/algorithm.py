"""The check of algorithms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from memorax.algorithms.algorithm import Algorithm
from memorax.learning.optimization import Learner
from memorax.networks.network import Network, initialize, takes_action, unroll, unroll_step
from memorax.testing.assertions import close, data, equal, hold, is_float, require, same_shapes
from memorax.testing.bench import Bench
from memorax.testing.learning import check_learning_on
from memorax.testing.policies import check_policies
from memorax.types import Array, PyTree, Timestep, Transition


def check_algorithm(agent: Algorithm, seed: int = 0, tolerance: float = 1e-5, exempt: Sequence[str] = ()) -> None:
    """Check that an algorithm acts as it learns, learns as it should, counts its steps and repeats itself bit for bit.

    What it learns from is changed in ways that must, or must not, change what is learned (`check_learning`).

    Args:
        agent: the agent; it is trained for some iterations. Make it small, with a replay buffer that is soon learned
            from.
        seed: random seed of the check.
        tolerance: largest difference allowed between acting and learning in float32, as a fraction of an array's
            largest magnitude (`check_close`).
        exempt: truths that need not hold, each by the words that its error begins with (`check_learning`).

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
    bench, compare = Bench(agent, seed), _comparison(agent)
    hold(
        exempt,
        # Before it has learned anything, and after: until then a target network is the network that acts.
        lambda: _require_acting_equals_learning(agent, *compare(key, bench.first), tolerance),
        lambda: _require_acting_equals_learning(agent, *compare(key, bench.ready), tolerance),
        lambda: check_policies(agent, key, bench.first, bench.ready),
    )
    check_learning_on(bench, exempt=exempt)

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
    """Check that an agent's networks give the same step by step, as it acts, as over a whole rollout, as it learns.

    They do so over the rollout as it was, and over one in which episodes start at random, however long they are.

    Args:
        agent: the agent.
        seed: random seed of the check.
        tolerance: largest difference of outputs, carries and log-probabilities allowed in float32, as a fraction of an
            array's largest magnitude (`check_close`).

    Raises:
        AssertionError: naming the truth that does not hold.
    """
    _require_acting_equals_learning(agent, *_comparison(agent)(*agent.init(jax.random.key(seed))), tolerance)


Comparison = tuple[dict[str, PyTree], dict[str, PyTree], list[PyTree]]
"""What was recorded while acting, the same as it is learned with, and each network's outputs both ways."""


def _comparison(agent: Algorithm) -> Callable[[Array, PyTree], Comparison]:
    """Given a key and a state, what acting and learning give from there."""
    acting, *others = agent.networks.values()
    batch_size = agent.cfg.num_envs * agent.env.num_agents

    @jax.jit
    def compare(key: Array, state: PyTree) -> Comparison:
        # Two rollouts, so that the second starts from a carry with a history; in a loop, so that one is compiled.
        def act(state: PyTree, key: Array) -> tuple[PyTree, PyTree]:
            after, trajectory = agent.act(key, state)
            return after, (state.worker.carry, trajectory)

        after, rollouts = jax.lax.scan(act, state, jax.random.split(key))
        carry_before, trajectory = jax.tree.map(lambda x: x[1], rollouts)
        # The rollout, and once more with other starts of episodes and other observations, as those of the rollout may
        # be zeros that leave no trace: as more rows, so that one program runs both. They are moved by the same at each
        # step, as they may say which agent observes.
        observation = jax.tree.map(
            lambda x: x + jax.random.normal(key, (len(x), 1, *x.shape[2:]), x.dtype) if is_float(x) else x,
            trajectory.timesteps.observation,
        )
        done = jax.random.bernoulli(key, 0.3, trajectory.reward.shape)
        timesteps = _twice(trajectory.timesteps, trajectory.timesteps.replace(observation=observation, done=done))
        runs = []
        for network in (acting, *others):
            if network is acting:
                params, carry = agent.acting_params(state), carry_before
            else:
                params, carry = _variables(state, network, key)
            head_inputs = (_twice(trajectory.action, trajectory.action),) if takes_action(network.head) else ()
            runs.append(_run_both_ways(network, params, timesteps, _twice(carry, carry), head_inputs))
        (carry, output), _ = runs[0]
        acted = {"carry": after.worker.carry}
        learned = {"carry": jax.tree.map(lambda x: x[:batch_size], carry)}
        if "log_prob" in trajectory.extras:
            acted["log_prob"] = trajectory.extras["log_prob"]
            learned["log_prob"] = output.log_prob(_twice(trajectory.action, trajectory.action))[:batch_size]
        return acted, learned, [((c, jax.tree.leaves(o)), (d, steps)) for (c, o), (d, steps) in runs]

    compared: Callable[[Array, PyTree], Comparison] = compare
    return compared


def _require_acting_equals_learning(
    agent: Algorithm, acted: dict[str, PyTree], learned: dict[str, PyTree], runs: list[PyTree], tolerance: float
) -> None:
    batch_size = agent.cfg.num_envs * agent.env.num_agents
    for name, ((carry, outputs), (step_carry, steps)) in zip(agent.networks, runs, strict=True):
        close(
            "the outputs while acting are those while learning",
            *_in_step(name, 2 * batch_size, steps, outputs),
            tolerance,
        )
        close("the carry after acting is the carry after learning", step_carry, carry, tolerance)
    close("the carry after acting is the carry after learning", acted.pop("carry"), learned.pop("carry"), tolerance)
    close("probability ratios are 1 before the first update", acted, learned, tolerance)


def _run_both_ways(
    network: Network, params: PyTree, timesteps: Timestep, carry: PyTree, head_inputs: tuple[PyTree, ...]
) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, list[Array]]]:
    """`(carry, output)` over a whole sequence, and over its single steps, whose output leaves lead with the time."""

    def one_step(carry: PyTree, inputs: tuple[Timestep, tuple[PyTree, ...]]) -> tuple[PyTree, PyTree]:
        return unroll_step(network, params, inputs[0], carry, inputs[1])

    time_first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (timesteps, head_inputs))
    step_carry, steps = jax.lax.scan(one_step, carry, time_first)
    return unroll(network, params, timesteps, carry, head_inputs=head_inputs), (step_carry, jax.tree.leaves(steps))


def _in_step(
    name: str, batch_size: int, steps: list[Array], outputs: list[Array]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs of single steps, leaves `[T, B, 1, ...]`, and of the whole sequence, `[B, T, ...]`, side by side."""
    pairs = []
    for step, output in zip(map(np.asarray, steps), map(np.asarray, outputs), strict=True):
        has_time = step.shape[1:3] == (batch_size, 1)
        # A distribution's parameters that do not depend on its inputs have no time: they are the same at each step.
        along = np.moveaxis(step[:, :, 0], 0, 1) if has_time else step
        output = output if has_time else np.broadcast_to(output, (len(step), *output.shape))
        require(
            along.shape == output.shape,
            f"outputs over a sequence are those of its steps: {name} gives {list(output.shape)} over a sequence of "
            f"{len(step)} steps, and {list(step.shape[1:])} at each of them",
        )
        pairs.append((along, output))
    return [x for x, _ in pairs], [y for _, y in pairs]


def _variables(state: PyTree, network: Network, key: Array) -> tuple[PyTree, PyTree]:
    """Variables of a network, those of the state where it has such, and its carry at the start of an episode."""
    timestep = state.worker.timestep
    shapes = jax.eval_shape(lambda: initialize(network, key, timestep)[0])
    for learner in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Learner)):
        if isinstance(learner, Learner) and _described(learner.variables) == _described(shapes):
            return learner.variables, network.initialize_carry(key, timestep)
    return initialize(network, key, timestep)


def _described(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: f"{x.dtype}{x.shape}", dict(tree))


def _twice(tree: PyTree, other: PyTree) -> PyTree:
    """The rows of a tree, then those of another."""
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), tree, other)
