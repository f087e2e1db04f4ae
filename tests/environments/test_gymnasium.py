"""Environments of gymnasium: what they may be called, what they take, what they report, and who steps them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import memorax
from memorax.environments import host
from memorax.environments.spaces import Dict
from tests.environments.countdown import Countdown

WAIT, STOP = 0, 2

MODULE = """
import gymnasium
import numpy as np

class Broken(Exception):
    def __init__(self, where, when):
        super().__init__(f"{where} broke at {when}")

class Counter(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, length=3, broken_at=None, render_mode=None):
        self.length, self.broken_at, self.render_mode = length, broken_at, render_mode
        self.observation_space = gymnasium.spaces.Dict({0: gymnasium.spaces.Box(-np.inf, np.inf, (2,)),
                                                        "choice": gymnasium.spaces.Discrete(3)})
        self.action_space = gymnasium.spaces.Discrete(3)

    def observe(self, choice=0):
        return {0: np.asarray([self.time, self.luck], np.float32), "choice": choice}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.luck = 0, self.np_random.random()
        return self.observe(), {}

    def step(self, action):
        self.time += 1
        if self.time == self.broken_at:
            raise Broken("counter", self.time)
        ended = bool(self.time == self.length or action == 2)
        info = {"success": ended and bool(action == 2), "time": self.time}
        return self.observe(action), self.luck, ended, False, info

    def render(self):
        return np.full((2, 2, 3), self.time, np.uint8)

gymnasium.register("Counter-v0", Counter)
"""


@pytest.fixture(autouse=True, scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A module that registers an environment, where `import` finds it."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "games_of_my_own.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


COUNTER = "gymnasium::games_of_my_own:Counter-v0"


def play(actions: Any, seed: int = 0, **options: Any) -> Any:
    """The first observation, the steps `[T, B, ...]` that actions `[T, B]` lead to, and the last state."""
    batch = memorax.make(COUNTER, **options)[0].vectorize(len(actions[0]))

    def step(state: Any, action: Any) -> Any:
        observation, state, reward, terminated, _, info = batch.step(jax.random.key(0), state, action, None)
        return state, (observation, reward, terminated, info)

    @jax.jit
    def run() -> Any:
        first, state = batch.reset(jax.random.key(seed), None)
        return first, jax.lax.scan(step, state, jnp.asarray(actions))

    with host.own_errors():
        first, (state, steps) = jax.block_until_ready(run())
    return jax.device_get((first, steps)), state, batch


def test_an_id_may_name_the_module_that_registers_it() -> None:
    env, params = memorax.make(COUNTER, length=5)
    assert env.name == COUNTER
    space = env.observation_space(params)
    assert isinstance(space, Dict) and list(space.spaces) == ["0", "choice"]
    with pytest.raises(ImportError, match=r"names the module 'no_such_games', which cannot be imported: No module"):
        memorax.make("gymnasium::no_such_games:Counter-v0")
    with pytest.raises(ValueError, match=r"^unknown environment 'gymnasium::games_of_my_own:Counter-v9': did you mean"):
        memorax.make("gymnasium::games_of_my_own:Counter-v9")


def test_names_that_are_no_text_are_observed_as_text() -> None:
    (first, (observation, *_)), _, _ = play([[WAIT, STOP]])
    assert set(first) == {"0", "choice"}
    np.testing.assert_array_equal(observation["0"][0, :, 0], [1, 0])


def test_names_that_are_the_same_as_text_are_refused() -> None:
    class Twice(CartPoleEnv):
        def __init__(self) -> None:
            super().__init__()
            box = gymnasium.spaces.Box(0, 1)
            self.observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Tuple([box]), 1: box})
            self.observation_space.spaces["1"] = box

    gymnasium.register("Twice-v0", Twice)
    with pytest.raises(ValueError, match=r"^gymnasium::Twice-v0 has a space with names that are the same as text"):
        memorax.make("gymnasium::Twice-v0")


def test_what_is_reported_is_kept_on_request() -> None:
    (_, (_, _, terminated, info)), _, _ = play([[WAIT, STOP], [WAIT, WAIT], [WAIT, WAIT]], log_info=("success", "no"))
    np.testing.assert_array_equal(info["success"], [[0, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(terminated, [[0, 1], [0, 0], [1, 0]])
    assert np.isnan(info["no"]).all()
    assert "time" not in info


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, r"^num_workers \(-1\) of gymnasium::CartPole-v1 must be a number of processes"),
        ({"log_info": (3,)}, r"^log_info \(\(3,\)\) of gymnasium::CartPole-v1 must be names"),
    ],
)
def test_options_that_are_not_valid_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memorax.make("gymnasium::CartPole-v1", **options)


SEEN = np.zeros(2, np.float32)


class Answering(gymnasium.Env):
    """Its `reset` and `step` answer what they are told to."""

    def __init__(self, first: Any = None, then: Any = None) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = gymnasium.spaces.Discrete(2)
        self.first, self.then = (SEEN, {}) if first is None else first, then

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.first

    def step(self, action: Any) -> Any:
        return self.then


gymnasium.register("Answering-v0", Answering, order_enforce=False)


def step_once(**answers: Any) -> Any:
    batch = memorax.make("gymnasium::Answering-v0", **answers)[0].vectorize(2)
    key = jax.random.key(0)
    with host.own_errors():
        _, state = jax.block_until_ready(batch.reset(key, None))
        return jax.device_get(batch.step(key, state, jnp.zeros(2, int), None))


def test_numbers_may_come_in_arrays_of_one_element() -> None:
    _, _, reward, terminated, truncated, _ = step_once(
        then=(SEEN, np.array([2.5]), np.array([[True]]), np.array(False), {})
    )
    assert reward.tolist() == [2.5, 2.5] and terminated.tolist() == [True, True] and not truncated.any()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"first": SEEN}, r"^reset of gymnasium::Answering-v0 must return \(observation, info\), and not ndarray$"),
        ({"then": (SEEN, 1.0, False, {})}, r"^step of gymnasium::Answering-v0 must return .*, and not 4 values$"),
        ({"then": (SEEN, None, False, False, {})}, r"^step of .* must return one number as reward, not None$"),
        ({"then": (SEEN, [1.0, 2.0], False, False, {})}, r"must return one number as reward, not \[1.0, 2.0\]$"),
        ({"then": (SEEN, 1.0, False, None, {})}, r"must return one truth value as truncated, not None$"),
        (
            {"first": (np.zeros(3), {})},
            r"returned float32 \(2, 3\) where its spaces say float32 \(2, 2\), the batch fir",
        ),
    ],
)
def test_what_an_environment_answers_wrongly_is_one_line(answers: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step_once(**answers)


class InParts(Answering):
    """Observes a dictionary of two numbers."""

    def __init__(self, first: Any = None, then: Any = None) -> None:
        super().__init__(first, then)
        part = gymnasium.spaces.Box(0, 1, (1,))
        self.observation_space = gymnasium.spaces.Dict({"near": part, "far": gymnasium.spaces.Tuple([part])})


class Unseeded(Answering):
    """Its `reset` takes no seed, as before gymnasium 0.26."""

    def reset(self) -> Any:  # type: ignore[override]
        return self.first


class Unseen(gymnasium.Env):
    """Says nothing of what it observes."""


gymnasium.register("InParts-v0", InParts, order_enforce=False)
gymnasium.register("Unseeded-v0", Unseeded, order_enforce=False)
gymnasium.register("Unseen-v0", Unseen, order_enforce=False)
ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("id", "first", "message"),
    [
        (
            "InParts-v0",
            {"near": ONE},
            r"of its space: an element of a space lacks its part 'far': it holds \['near'\]$",
        ),
        ("InParts-v0", {"near": ONE, "far": ()}, r"lacks its part 0: it holds tuple$"),
        (
            "InParts-v0",
            ONE,
            r"^gymnasium::InParts-v0 returned an observation .* lacks its part 'far': it holds",
        ),
        ("Unseeded-v0", SEEN, r"^reset of gymnasium::Unseeded-v0 must take seed and options"),
        ("Unseen-v0", SEEN, r"^gymnasium::Unseen-v0 has no observation_space: set it"),
    ],
)
def test_what_an_environment_lacks_is_one_line(id: str, first: Any, message: str) -> None:
    options = {} if id == "Unseen-v0" else {"first": (first, {})}
    with pytest.raises(ValueError, match=message), host.own_errors():
        batch = memorax.make(f"gymnasium::{id}", **options)[0].vectorize(2)
        jax.block_until_ready(batch.reset(jax.random.key(0), None))


class Heavier(CartPoleEnv):
    """A subclass that inherits that it can be drawn, and cannot be asked to be."""

    def __init__(self) -> None:
        super().__init__()


class HandingOn(Heavier):
    """Takes anything, and hands it on to what does not."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Drawn(Countdown):
    """Takes anything, and hands it on to what takes it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


@pytest.mark.parametrize(("env", "renders"), [(Heavier, False), (HandingOn, False), (Drawn, True)])
def test_an_environment_is_made_whether_it_can_be_asked_for_pictures_or_not(env: Any, renders: bool) -> None:
    gymnasium.register(f"{env.__name__}-v0", env)
    made, params = memorax.make(f"gymnasium::{env.__name__}-v0")
    assert made.renders is renders
    made.vectorize(1).reset(jax.random.key(0), params)


def test_environments_in_workers_do_what_they_do_without() -> None:
    actions = np.random.default_rng(0).integers(0, 3, (9, 5))
    alone, *_ = play(actions, log_info="success")
    divided, state, batch = play(actions, log_info="success", num_workers=2)
    jax.tree.map(np.testing.assert_array_equal, alone, divided)
    assert alone[1][2].any()
    pictures = [batch.env.render(jax.tree.map(lambda x, i=i: x[i], state), None)[0, 0, 0] for i in range(5)]
    np.testing.assert_array_equal(pictures, alone[1][0]["0"][-1, :, 0])
    workers = host.environment.find(COUNTER, int(state.batch[0]), int(state.time[0])).batch.workers
    assert len(workers) == 2 and all(worker.process.poll() is None for worker in workers)
    jax.block_until_ready(jax.jit(host.close)(state))
    assert [worker.process.poll() for worker in workers] == [0, 0]


def test_what_an_environment_raises_in_a_worker_is_raised_here() -> None:
    games = importlib.import_module("games_of_my_own")
    with pytest.raises(RuntimeError, match="counter broke at 2"):  # its exception does not survive pickling
        play([[WAIT], [WAIT]], num_workers=1, broken_at=2)
    assert issubclass(games.Broken, Exception)


def test_a_worker_that_ends_by_itself_is_told() -> None:
    _, state, batch = play([[WAIT, WAIT]], num_workers=2)
    workers = host.environment.find(COUNTER, int(state.batch[0]), int(state.time[0])).batch.workers
    workers[1].process.kill()
    workers[1].process.wait()
    step = jax.jit(lambda: batch.step(jax.random.key(0), state, jnp.asarray([WAIT, WAIT]), None)[2])
    with pytest.raises(RuntimeError, match=r"a worker of .* ended by itself, with exit code -9"), host.own_errors():
        jax.block_until_ready(step())
    assert workers[0].process.poll() is not None


def test_an_environment_of_this_program_alone_cannot_be_stepped_by_others() -> None:
    class Local(CartPoleEnv):
        def __init__(self) -> None:
            super().__init__()

    gymnasium.register("Local-v0", Local)
    batch = memorax.make("gymnasium::Local-v0", num_workers=1)[0].vectorize(1)
    with pytest.raises(ValueError, match=r"^num_workers of gymnasium::Local-v0 needs an environment that other"):  # noqa: SIM117
        with host.own_errors():
            jax.block_until_ready(jax.jit(lambda: batch.reset(jax.random.key(0), None)[0])())
