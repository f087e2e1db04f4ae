from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

from memorax.algorithms import PPOConfig
from memorax.deployment import Policy, load_policy
from memorax.deployment.acting import program_of
from memorax.deployment.arguments import checked
from memorax.deployment.export import export_policy
from memorax.environments.make import wrapped
from memorax.environments.spaces import Box, Discrete, MultiDiscrete, Space
from memorax.networks import TORSOS
from memorax.training import TrainConfig, build_agent
from tests.catalogue import CONFIGS
from tests.deployment.replay import OnnxRunner, assert_acts_as, make_agent
from tests.probes import OthersCue

SPACES: dict[str, Space] = {
    "discrete": Discrete(5),
    "multi_discrete": MultiDiscrete((2, 3, 4)),
    "continuous": Box(np.asarray([-2.0, 0.0]), np.asarray([2.0, 10.0]), (2,)),
}


@pytest.mark.parametrize(("torso", "space"), [("gru", "discrete"), ("lru", "multi_discrete"), ("mlp", "continuous")])
def test_it_acts_as_the_agent_does(torso: str, space: str) -> None:
    agent = make_agent(SPACES[space], torso)
    assert_acts_as(agent, agent.init(jax.random.key(0))[1], 50)


EVERY_TORSO = [*zip(TORSOS, itertools.cycle(SPACES)), *(("gru", space) for space in SPACES)]
"""Every torso with one kind of actions, and one torso with every kind."""


@pytest.mark.slow
@pytest.mark.parametrize(("torso", "space"), dict.fromkeys(EVERY_TORSO))
def test_every_torso_acts_as_the_agent_does_for_1000_steps(torso: str, space: str, tmp_path: Path) -> None:
    agent = make_agent(SPACES[space], torso)
    _, state = agent.init(jax.random.key(0))
    policy = Policy(program_of(agent, state))
    export_policy(policy, tmp_path)
    assert_acts_as(agent, state, 1000, [policy, load_policy(tmp_path), OnnxRunner(tmp_path)])


def test_wrappers_are_applied_by_the_policy_itself() -> None:
    wrappers: dict[str, Any] = {
        "rescale_action": True,
        "scale_reward": 0.5,
        "normalize_reward": 0.9,
        "mask_observation": (0, 2),
        "normalize_observation": True,
        "frame_stack": 3,
        "previous_action_and_reward": True,
    }
    agent = make_agent(SPACES["continuous"], "gru", wrappers)
    state, _ = jax.jit(agent.act)(*agent.init(jax.random.key(0)))
    program = program_of(agent, state)
    assert np.ptp(program.params["observation_statistics.mean"]) > 0
    assert program.params["reward_statistics.variance"] > 0
    assert_acts_as(agent, state, 50)


def test_what_makes_the_world_harder_is_left_to_the_world() -> None:
    wrappers = {"flicker_observation": 0.5, "sticky_actions": 0.5, "flatten_action": True, "frame_stack": 2}
    agent = make_agent(SPACES["multi_discrete"], "mlp", wrappers)
    policy = Policy(program_of(agent, agent.init(jax.random.key(0))[1]))
    actions = [policy(np.float32([1.0, 2.0, 3.0]), done=True) for _ in range(10)]
    assert len({tuple(action) for action in actions}) == 1, "half of the observations would have been blank"
    assert actions[0].shape == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name in CONFIGS if name not in ("mappo", "ippo")])
def test_every_algorithm_acts_as_it_does_in_evaluation(algorithm: str, tmp_path: Path) -> None:
    kind = "discrete" if algorithm != "sac" else "continuous"
    agent = make_agent(SPACES[kind], "gru", algorithm=algorithm, hyperparameters=CONFIGS[algorithm])
    _, state = agent.init(jax.random.key(0))
    policy = Policy(program_of(agent, state))
    assert_acts_as(agent, state, 50, [policy, load_policy(export_policy(policy, tmp_path))])


def test_several_agents_are_rows_and_are_told_apart() -> None:
    env = wrapped(OthersCue(), {"global_state": True, "agent_id": True, "scale_reward": 0.5})
    config = TrainConfig(
        algorithm="mappo",
        hyperparameters=PPOConfig(num_envs=2, num_steps=8, num_minibatches=1),
        features=4,
        separate_parameters=True,
        previous_reward=True,
    )
    agent = build_agent(config, (env, None))
    _, state = agent.init(jax.random.key(0))
    _, played = agent.evaluate(jax.random.key(1), state, 16)
    policy = Policy(program_of(agent, state))
    batch = policy.batch(2)
    reward, done = np.zeros(4), np.ones(4, bool)
    for step in range(8):
        action = batch(played.observation["observation"][:, step], reward, done)
        np.testing.assert_array_equal(action, played.action[:, step])
        reward, done = played.info["raw_reward"][:, step], played.done[:, step]
    assert policy(np.zeros((2, 1))).shape == (2,)
    with pytest.raises(ValueError, match="run plays one environment with one agent"):
        policy.run(None)
    step, params, carry = policy.program.step, policy.params, policy.program.initial_carry(2)
    with pytest.raises(ValueError, match=r"^done \(bool\[3\]\) must have 2 rows, one per agent, for each environment$"):
        step(params, np.zeros((3, 1)), carry, np.ones(3, bool))
    with pytest.raises(ValueError, match=r"^observation \[2, 1\] must have the shape \[4, 1\]$"):
        step(params, np.zeros((2, 1)), carry, np.ones(4, bool))
    with pytest.raises(ValueError, match=r"^carry\[.*\] \(.*\[4.*\]\) must be .*\[2.*\]: give what initial_carry"):
        step(params, np.zeros((2, 1)), carry, np.ones(2, bool))
    with pytest.raises(ValueError, match=r"^reward \[4\] must be one value or have the shape \[2\]$"):
        policy(np.zeros((2, 1)), np.zeros(4))


@pytest.fixture(scope="module")
def policy() -> Policy:
    agent = make_agent(SPACES["discrete"], "gru")
    return Policy(program_of(agent, agent.init(jax.random.key(0))[1]))


OBSERVATIONS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def play(policy: Policy, observations: np.ndarray = OBSERVATIONS) -> list[int]:
    return [int(policy(observation, reward=1.0)) for observation in observations]


def test_reset_forgets_and_done_does_too(policy: Policy) -> None:
    policy.reset()
    actions = play(policy)
    assert len(set(actions)) > 1
    went_on = play(policy)
    assert went_on != actions, "the actions depend on what came before"
    policy.reset()
    assert play(policy) == actions
    assert int(policy(OBSERVATIONS[0], reward=1.0, done=True)) == actions[0]
    assert play(policy, OBSERVATIONS[1:]) == actions[1:]


def test_the_carry_is_read_and_set(policy: Policy) -> None:
    policy.reset()
    play(policy)
    carry = policy.carry
    went_on = play(policy)
    policy.carry = carry
    assert play(policy) == went_on
    with pytest.raises(ValueError, match=r"carry differs .* in previous_action: set one that it returned"):
        policy.carry = {**carry, "previous_action": np.zeros((2,), np.int32)}


def test_a_carry_from_before_the_first_step_starts_an_episode_anew() -> None:
    agent = make_agent(SPACES["discrete"], "gru")
    policy = Policy(program_of(agent, agent.init(jax.random.key(0))[1]))
    carry = policy.carry
    actions, after = play(policy), policy.carry
    policy.carry = carry
    assert play(policy) == actions
    # The reward of before the first observation is nobody's: had it been seen, the memory would differ.
    np.testing.assert_equal(jax.device_get(policy.carry), jax.device_get(after))


def test_the_stateless_form_takes_a_previous_action_of_ones_own(policy: Policy) -> None:
    program = policy.program
    step = program.initial_carry(2)
    done, reward = np.asarray([True, False]), np.ones(2, np.float32)
    observation = np.tile(OBSERVATIONS[:1], (2, 1))
    _, carry = program.step(policy.params, observation, step, done, previous_reward=reward)
    own = carry["previous_action"]
    for other in range(5):
        changed = program.step(policy.params, observation, carry, ~done, own * 0 + other, reward)[1]
        kept = program.step(policy.params, observation, carry, ~done, previous_reward=reward)[1]
        same = np.isclose(changed["network"], kept["network"], atol=1e-7).all(axis=1)
        assert same.tolist() == [other == own[0], True], "the second row starts an episode, and forgets it"


def wrong_steps(rows: int, sizes: int) -> list[tuple[str, Any, str]]:
    """An argument of the stateless step, what is wrong of it, and what is said then."""
    wrong_reward = rf"must be one number or an array \[{rows}\] of numbers$"
    wrong_done = r"must be bool \[rows\], whether each observation is the first of an episode$"
    return [
        ("observation", np.zeros((rows, 1), np.float32), rf"\[{rows}, 1\] must have the shape \[{rows}, 3\]$"),
        ("observation", np.zeros((1, 3), np.float32), rf"\[1, 3\] must have the shape \[{rows}, 3\]$"),
        ("observation", np.zeros(3, np.float32), rf"\[3\] must have the shape \[{rows}, 3\]$"),
        ("observation", "abc", r"\('abc'\) must be an array"),
        ("observation", [[0.0, 1.0, 2.0], [0.0]], r"\(list\) must be an array"),
        ("carry", {}, r"\['network.*'\] \(nothing\) must be .*: give what initial_carry or the step before returned$"),
        ("carry", 5, r"\(5\) must be a dictionary of arrays: give what initial_carry"),
        ("params", {}, r"\[.*\] \(nothing\) must be .*: give policy.params$"),
        ("done", True, r"\(bool\[\]\) " + wrong_done),
        ("done", np.zeros(rows), rf"\(float64\[{rows}\]\) " + wrong_done),
        ("done", np.zeros((rows, 1), bool), rf"\(bool\[{rows}, 1\]\) " + wrong_done),
        ("previous_reward", np.ones(1), r"\(float64\[1\]\) " + wrong_reward),
        ("previous_reward", np.ones((rows, 1)), rf"\(float64\[{rows}, 1\]\) " + wrong_reward),
        ("previous_reward", "x", r"\('x'\) " + wrong_reward),
        ("previous_action", np.asarray([1]), rf"\[1\] must have the shape \[{rows}\]$"),
        ("previous_action", np.full(rows, sizes), rf"\({sizes}\) must be an element of Discrete"),
        ("previous_action", np.full(rows, 0.9), "has values that int32 cannot hold"),
        ("key", 5, r"\(5\) must be one random key, such as jax.random.key\(0\)$"),
        ("key", jax.random.split(jax.random.key(0)), r"\(key<fry>\[2\]\) must be one random key"),
    ]


def right_step(policy: Policy, rows: int) -> dict[str, Any]:
    return {
        "params": policy.params,
        "observation": np.zeros((rows, 3), np.float32),
        "carry": policy.program.initial_carry(rows),
        "done": np.zeros(rows, bool),
        "previous_reward": np.ones(rows, np.float32),
    }


@pytest.fixture(scope="module")
def loaded(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(export_policy(policy, tmp_path_factory.mktemp("exported") / "policy"))


@pytest.mark.parametrize(("name", "value", "message"), wrong_steps(rows=2, sizes=5))
def test_the_stateless_form_checks_what_it_is_given(
    policy: Policy, loaded: Policy, name: str, value: Any, message: str
) -> None:
    for each in (policy, loaded):
        with pytest.raises(ValueError, match=f"^{name} ?{message}") as error:
            each.program.step(**{**right_step(each, 2), name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["observation", "carry", "done", "previous_reward", "previous_action"])
def test_shapes_and_kinds_are_checked_while_a_step_is_traced(policy: Policy, loaded: Policy, name: str) -> None:
    wrong = {
        "observation": np.zeros((2, 1), np.float32),
        "carry": policy.program.initial_carry(3),
        "done": np.zeros(2, np.float32),
        "previous_reward": np.ones((2, 1), np.float32),
        "previous_action": np.full(2, 0.9, np.float32),
    }
    for each in (policy, loaded):
        with pytest.raises(ValueError, match=f"^{name}"):
            jax.eval_shape(
                lambda given, step=each.program.step: step(**given), {**right_step(each, 2), name: wrong[name]}
            )
        carry = jax.jit(lambda given, step=each.program.step: step(**given)[1])(right_step(each, 2))
        expected = each.program.step(**right_step(each, 2))[1]
        np.testing.assert_allclose(carry["network"], expected["network"], rtol=1e-5, atol=1e-6)


def test_the_stateless_form_takes_lists_integers_and_one_reward(policy: Policy, loaded: Policy) -> None:
    for each in (policy, loaded):
        given = right_step(each, 2)
        expected = each.program.step(**given)[1]["network"]
        own = {"observation": [[0, 0, 0], [0, 0, 0]], "done": [False, False], "previous_reward": 1}
        np.testing.assert_array_equal(each.program.step(**{**given, **own})[1]["network"], expected)


def test_an_acting_policy_is_pickled_with_what_it_remembers(policy: Policy, loaded: Policy) -> None:
    for each in (policy, loaded):
        each.reset()
        play(each)
        again = pickle.loads(pickle.dumps(each))
        assert play(again) == play(each)


def test_a_batch_acts_as_its_rows_do(policy: Policy) -> None:
    policy.reset()
    actions = play(policy)
    batch = policy.batch(2)
    together = [batch(np.stack([x, x]), 1.0, np.asarray([False, step == 4])) for step, x in enumerate(OBSERVATIONS)]
    assert [int(action[0]) for action in together] == actions
    assert batch.carry["network"].shape[0] == 2


def test_sampling_is_repeated_by_its_seed_and_goes_on_after_a_reset(policy: Policy) -> None:
    sampling = Policy(policy.program, deterministic=False)
    actions = play(sampling)
    assert actions != play(policy)
    sampling.reset()
    assert play(sampling) != actions, "every episode draws anew"
    assert play(Policy(policy.program, deterministic=False)) == actions
    assert play(Policy(policy.program, deterministic=False, sampling_seed=1)) != actions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(2),), r"observation \[2\] must have the shape \[3\]"),
        ((np.zeros(3), np.zeros(2)), r"reward \[2\] must be one value"),
        ((np.zeros(3), 0.0, [True]), r"done \[1\] must be one value"),
        ((np.zeros(3), None), r"reward \(None\) must be a number"),
        ((np.zeros(3), 0.0, "yes"), r"done \('yes'\) must be True or False"),
        ((np.zeros(3), 0.0, 2), r"done \(2\) must be True or False"),
        (({"x": np.zeros(3)},), r"observation must be an array \[3\], and not a dictionary of x"),
        (("abc", 0, True), r"^observation \('abc'\) must be an array \[3\] of numbers$"),
        ((object(), 0, True), r"^observation \(object\) must be an array \[3\] of numbers$"),
        (([[1.0, 2.0], [3.0]], 0, True), r"^observation \(list\) must be an array \[3\] of numbers$"),
        (([1.0, None, 2.0], 0, True), r"^observation \(list\) must be an array \[3\] of numbers$"),
        ((np.zeros(3), [[1.0, 2.0], [3.0]]), r"^reward \(list\) must be a number$"),
    ],
)
def test_shapes_are_checked(policy: Policy, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(*arguments)


@pytest.mark.parametrize("value", [np.full((2, 2, 1), 0.5), np.full((2, 2, 1), 300), np.full((2, 2, 1), np.nan)])
def test_values_that_the_space_cannot_hold_are_refused(value: np.ndarray) -> None:
    pixels = Box(0, 255, (2, 2, 1), np.uint8)
    assert checked(pixels, np.full((2, 2, 1), 7.0), ())[0, 0, 0] == 7
    with pytest.raises(ValueError, match=r"^observation has values that uint8 cannot hold"):
        checked(pixels, value, ())


def test_symbols_outside_of_the_space_are_refused(policy: Policy) -> None:
    assert checked(Discrete(5), 4, ()) == 4
    for space, value in ((Discrete(5), 5), (Discrete(5), -1), (MultiDiscrete((2, 3)), [1, 3])):
        with pytest.raises(ValueError, match=r"^observation \(.*\) must be an element of "):
            checked(space, np.asarray(value), ())
    with pytest.raises(ValueError, match=r"deterministic \('no'\) must be True or False"):
        Policy(policy.program, deterministic="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("env", ["CartPole-v1", object(), gymnasium.Wrapper])
def test_a_policy_plays_environments_of_gymnasium_alone(policy: Policy, env: Any) -> None:
    with pytest.raises(ValueError, match=r"^env \(.*\) must be one of gymnasium's"):
        policy.run(env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, r"^episodes \(0\) must be at least 1$"),
        ({"episodes": "x"}, r"^episodes \(x\) must be a whole number"),
        ({"episodes": 1.5}, r"^episodes \(1.5\) must be a whole number"),
        ({"seed": "x"}, r"^seed \(x\) must be a whole number"),
        ({"seed": -1}, r"^seed \(-1\) must lie between 0 and"),
    ],
)
def test_what_is_to_be_played_is_checked(policy: Policy, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy.run(gymnasium.make("CartPole-v1"), **arguments)


def test_what_is_no_program_carry_or_number_of_environments_is_said(policy: Policy) -> None:
    with pytest.raises(ValueError, match=r"^program \('x'\) must be a program"):
        Policy("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^carry \(5\) must be arrays by name"):
        policy.carry = 5  # type: ignore[assignment]
    for wrong in (policy.batch, policy.program.initial_carry, lambda number: Policy(policy.program, num_envs=number)):
        for number in ("x", 1.5, 0):
            with pytest.raises(ValueError, match=rf"^num_envs \({number}\) must be"):
                wrong(number)
    for seed in (-1, 2**32):  # the random keys of which are those of another seed
        with pytest.raises(ValueError, match=rf"^sampling_seed \({seed}\) must lie between 0 and {2**31 - 1}$"):
            Policy(policy.program, sampling_seed=seed)
