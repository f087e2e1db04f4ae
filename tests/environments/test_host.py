"""Environments on the host: exact ends, a batch of its own for every reset, and one line for what cannot work."""

from __future__ import annotations

import gc
import traceback
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memorax
from memorax.algorithms.algorithm import Algorithm, AlgorithmState
from memorax.environments import host
from memorax.networks import MLP, FeatureExtractor, Network, SequenceModelWrapper
from memorax.networks.heads import policy_head
from memorax.testing import check_algorithm
from memorax.training import loop
from tests.environments import countdown
from tests.environments.countdown import Broken

COUNTDOWN = "gymnasium::memorax/Countdown-v0"
WAIT, STOP = 0, 2
MODEL = SequenceModelWrapper(MLP(4))


@pytest.fixture(autouse=True)
def none_open() -> Any:
    """Every test starts, and must end, without environments that its objects alone keep open."""
    countdown.opened.clear()
    yield
    gc.collect()
    assert all(env.closed for env in countdown.opened)


def environments(num_envs: int = 2, **options: Any) -> host.HostVectorEnvironment:
    return memorax.make(COUNTDOWN, **options)[0].vectorize(num_envs)


def still_open() -> int:
    return sum(not env.closed for env in countdown.opened)


def play(batch: Any, actions: Any, seed: int = 0) -> Any:
    """The first observation, and the steps `[T, B, ...]` that actions `[T, B]` lead to."""

    def step(state: Any, action: Any) -> Any:
        observation, state, *ends, info = batch.step(jax.random.key(0), state, action, None)
        return state, (observation, *ends, info["final_observation"])

    observation, state = batch.reset(jax.random.key(seed), None)
    return observation, jax.lax.scan(step, state, jnp.asarray(actions))[1]


def test_an_end_a_time_limit_and_what_follows_are_passed_on_exactly() -> None:
    batch = environments(num_envs=3, length=4, max_episode_steps=3)
    actions = [[WAIT, WAIT, STOP], [WAIT, STOP, WAIT], [WAIT, WAIT, WAIT], [WAIT, WAIT, WAIT]]
    first, (observation, reward, terminated, truncated, final) = jax.jit(lambda: play(batch, actions))()
    np.testing.assert_array_equal(first[:, 0], [4, 4, 4])
    np.testing.assert_array_equal(terminated, [[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(truncated, [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(final[..., 0], [[3, 3, 3], [2, 2, 3], [1, 3, 2], [3, 2, 1]])
    np.testing.assert_array_equal(observation[..., 0], [[3, 3, 4], [2, 4, 3], [4, 3, 2], [3, 2, 4]])
    assert observation.dtype == jnp.float32 and reward.dtype == jnp.float32
    np.testing.assert_array_equal(reward, 1.0)


def test_an_end_at_the_time_limit_is_an_end() -> None:
    batch = environments(num_envs=1, length=2, max_episode_steps=2)
    _, (_, _, terminated, truncated, _) = jax.jit(lambda: play(batch, [[WAIT], [WAIT]]))()
    assert terminated.tolist() == [[False], [True]]
    assert not truncated.any()


def test_the_same_key_gives_the_same_environments_and_another_key_others() -> None:
    batch = environments(num_envs=3)
    reset = jax.jit(lambda key: batch.reset(key, None)[0])
    once, again, other = (reset(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert len({float(seed) for seed in jnp.concatenate([once, other])[:, 1]}) == 6


def test_every_reset_makes_environments_of_its_own() -> None:
    batch = environments(num_envs=1)
    reset = jax.jit(lambda: batch.reset(jax.random.key(0), None))
    step = jax.jit(lambda state: batch.step(jax.random.key(0), state, jnp.asarray([WAIT]), None))
    (_, training), (_, evaluation) = reset(), reset()
    observation, training, *_ = step(training)
    observation, training, *_ = step(training)
    other, evaluation, *_ = step(evaluation)
    assert (float(observation[0, 0]), float(other[0, 0])) == (1.0, 2.0)
    jax.jit(host.close)({"wrapped": evaluation})
    assert float(step(training)[0][0, 0]) == 3.0
    assert still_open() == 1


def test_batches_that_rest_are_closed() -> None:
    batch = environments(num_envs=1)
    reset = jax.jit(lambda: batch.reset(jax.random.key(0), None)[1])
    step = jax.jit(lambda state: batch.step(jax.random.key(0), state, jnp.asarray([WAIT]), None)[1])
    used = reset()
    for _ in range(2 * host.OPEN_BATCHES):
        used = step(used)
        rested = reset()
    assert still_open() == host.OPEN_BATCHES
    jax.block_until_ready((step(used), step(rested)))


def test_a_state_is_stepped_once() -> None:
    batch = environments()
    step = jax.jit(lambda state: batch.step(jax.random.key(0), state, jnp.asarray([WAIT, WAIT]), None)[1])
    _, state = jax.jit(lambda: batch.reset(jax.random.key(0), None))()
    after = step(state)
    with (
        pytest.raises(ValueError, match="was stepped already: environments on the host cannot be cloned"),
        host.own_errors(),
    ):
        jax.block_until_ready(step(state))
    jax.jit(host.close)(after)
    closed = "environments of this state of gymnasium::memorax/Countdown-v0 are closed"
    with pytest.raises(ValueError, match=closed), host.own_errors():
        jax.block_until_ready(step(after))


def test_one_environment_alone_is_refused_in_one_line() -> None:
    env, params = memorax.make(COUNTDOWN)
    with pytest.raises(ValueError, match="runs on the host in batches: it is reset by `vectorize"):
        env.reset(jax.random.key(0), params)


def test_a_picture_is_that_of_the_environment_as_it_stands() -> None:
    env, params = memorax.make(COUNTDOWN)
    batch = env.vectorize(2)
    _, state = jax.jit(lambda: batch.reset(jax.random.key(0), None))()
    _, after, *_ = jax.jit(lambda: batch.step(jax.random.key(0), state, jnp.asarray([WAIT, STOP]), None))()
    assert env.renders
    pictures = [env.render(jax.tree.map(lambda x, i=i: x[i], after), params) for i in range(2)]
    assert [picture[0, 0, 0] for picture in pictures] == [2, 3]
    assert pictures[0].shape == (4, 5, 3) and pictures[0].dtype == np.uint8
    with pytest.raises(ValueError, match="stepped already"):
        env.render(jax.tree.map(lambda x: x[0], state), params)


# Agents -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdleConfig:
    num_envs: int = 4
    num_steps: int = 8


class Idle(Algorithm[IdleConfig, AlgorithmState]):
    """Acts at random and learns nothing: what is left of an algorithm is how it meets its environments."""

    @classmethod
    def build(cls, cfg: Any, env: Any, env_params: Any, make_network: Any, optimizer: Any) -> Any:
        return cls(cfg, env, env_params, {"network": make_network(policy_head(env.action_space(env_params)))})

    def _init(self, key: Any, worker: Any) -> AlgorithmState:
        return AlgorithmState(step=jnp.zeros((), jnp.int32), worker=worker)

    def acting_params(self, state: AlgorithmState) -> Any:
        return ()

    def _policy(self, state: AlgorithmState, explore: bool) -> Any:
        return lambda key, timestep, carry: (carry, jax.random.randint(key, timestep.done.shape, 0, 3), {})

    def _learn(self, key: Any, state: AlgorithmState, trajectory: Any) -> Any:
        return state, {"reward": trajectory.reward.mean()}


def agent(**options: Any) -> Any:
    env, params = memorax.make(COUNTDOWN, **options)
    return Idle.build(IdleConfig(), env, params, lambda head: Network(FeatureExtractor(MLP(4)), MODEL, head), None)


def test_making_an_agent_starts_no_environments() -> None:
    agent()
    assert still_open() == 0


def test_evaluation_leaves_training_alone_and_closes_its_environments() -> None:
    learner = agent(length=5)

    def train(evaluate: bool) -> Any:
        key, state = learner.init(jax.random.key(0))
        played = []
        for _ in range(3):
            key, state, transitions = learner.train(key, state, 32)
            played.append(transitions)
            if evaluate:
                open_before = still_open()
                learner.evaluate(jax.random.key(1), state, 16)
                assert still_open() == open_before
        return state.step, state.worker.timestep, played

    jax.tree.map(np.testing.assert_array_equal, train(False), train(True))


def test_an_exception_reaches_the_user_with_its_own_traceback(caplog: pytest.LogCaptureFixture) -> None:
    learner = agent(length=9, broken_at=4)
    key, state = learner.init(jax.random.key(0))
    with pytest.raises(Broken, match=r"^the countdown broke$") as raised:
        learner.train(key, state, 64)
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "step"
    assert raised.value.__cause__ is None and raised.value.__suppress_context__
    assert not caplog.records
    assert still_open() == 0


def test_mapping_over_seeds_is_refused_before_anything_starts(tmp_path: Any) -> None:
    learner = agent()
    with pytest.raises(ValueError, match=r"Countdown-v0 runs on the host, where `vmap` cannot map it over 2 seeds"):
        jax.vmap(learner.init)(jax.random.split(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"^num_seeds \(2\) must be 1: gymnasium::memorax/Countdown-v0 runs on"):
        loop.train(learner, 32, num_seeds=2, folder=tmp_path / "run")
    assert not countdown.opened[1:] and not (tmp_path / "run").exists()


def test_the_check_of_algorithms_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^check_algorithm needs an environment in compiled code: "):
        check_algorithm(agent())
    assert not countdown.opened[1:]


def test_a_run_is_trained_evaluated_and_resumed(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings: dict[str, Any] = {"folder": tmp_path / "run", "evaluation_steps": 32, "loggers": []}
    learner = agent()
    loop.train(learner, 64, evaluation_interval=32, **settings)
    assert still_open() == 4 and not caplog.records
    result = loop.train(learner, 128, resume=True, **settings)
    assert [record.getMessage() for record in caplog.records] == [
        "environments of gymnasium::memorax/Countdown-v0 cannot be saved: the run goes on with new episodes, and not "
        "bit for bit as if it had never stopped"
    ]
    assert result.step == 128 and still_open() == 4


def test_an_exception_in_a_run_reaches_the_user_as_it_is(tmp_path: Any) -> None:
    with pytest.raises(Broken, match=r"^the countdown broke$"):
        loop.train(agent(length=9, broken_at=4), 64, folder=tmp_path / "run", loggers=[])


def test_environments_are_closed_when_an_agent_that_was_trained_and_evaluated_is_gone() -> None:
    learner = agent(length=5)
    loop.train(learner, total_steps=32, evaluation_steps=16, loggers=[])
    del learner
    gc.collect()
    assert countdown.opened and still_open() == 0
