"""What all algorithms share, beyond `memorax.testing.check_algorithm`."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import memorax
from memorax.algorithms import ALGORITHMS, PPO, PPOConfig
from memorax.environments.wrappers import WRAPPERS
from memorax.networks import MLP, TORSOS, FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.pickling import pack
from memorax.validation import LARGEST_COUNT
from tests.catalogue import CONFIGS, FEATURES, make_agent
from tests.probes import CueRecall, EndlessReward, MaskedActions


def equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Every equation, those of inner functions included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr)):
            if isinstance(value, ClosedJaxpr | Jaxpr):
                yield from equations(value.jaxpr if isinstance(value, ClosedJaxpr) else value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_initialising_many_seeds_batches_no_matrix_decomposition(algorithm: str) -> None:
    """Batched QR decompositions side by side hang on two cores."""
    agent = make_agent(algorithm, CueRecall(), None, TORSOS["lstm"](FEATURES))
    traced = jax.make_jaxpr(jax.vmap(agent.init))(jax.random.split(jax.random.key(0), 3))
    decompositions = [e for e in equations(traced.jaxpr) if e.primitive.name in ("geqrf", "householder_product", "qr")]
    assert decompositions
    assert all(variable.aval.ndim <= 2 for equation in decompositions for variable in equation.invars)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_loop_of_no_steps_is_an_error(algorithm: str) -> None:
    agent = make_agent(algorithm, CueRecall(), None, TORSOS["mlp"](FEATURES))
    key, state = jax.eval_shape(agent.init, jax.random.key(0))  # nothing is compiled before the error
    for call, num_steps in itertools.product((agent.train, agent.warmup, agent.evaluate), (0, -5)):
        with pytest.raises(ValueError) as error:
            call(key, state, num_steps)
        assert str(error.value) == f"num_steps ({num_steps}) must be at least 1: it counts steps over all environments"


def test_warmup_returns_its_arguments_where_nothing_is_replayed() -> None:
    agent = make_agent("ppo", CueRecall(), None, TORSOS["gru"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    assert agent.warmup(key, state, 1000) == (key, state)


def test_a_head_that_does_not_fit_the_action_space_is_an_error() -> None:
    def network(head: nn.Module) -> Network:
        return Network(FeatureExtractor(MLP(FEATURES)), SequenceModelWrapper(MLP(FEATURES)), head)

    optimizer = optax.adam(1e-3)
    arguments = (PPOConfig(), CueRecall(), None)
    with pytest.raises(ValueError, match=r"Categorical\(action_dim=5\) does not fit the action space Discrete\(2\)"):
        PPO(*arguments, network(heads.Categorical(5)), network(heads.VNetwork()), optimizer, optimizer)
    with pytest.raises(ValueError, match=r"Gaussian is for Box action spaces.*Discrete\(2\)"):
        PPO(*arguments, network(heads.Gaussian(1)), network(heads.VNetwork()), optimizer, optimizer)


class Growing(nn.Module):
    """A torso whose carry grows."""

    def initialize_carry(self, key: jax.Array, input_shape: tuple[int, ...]) -> jax.Array:
        return jnp.zeros((input_shape[0], 1))

    def __call__(self, inputs: jax.Array, done: jax.Array, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.concatenate([carry, carry], axis=-1), inputs


def test_a_torso_that_changes_the_shape_of_its_carry_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the torso of actor_network must keep .* float32\[1, 1\] .* float32\[1, 2\]"):
        make_agent("ppo", CueRecall(), None, Growing())


def test_keep_reduces_each_iteration() -> None:
    agent = make_agent("ppo", CueRecall(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    _, _, transitions = agent.train(key, state, 96)
    _, _, kept = agent.train(key, state, 96, keep=lambda transition, metrics: (transition.reward.sum(), metrics))
    np.testing.assert_allclose(kept[0], transitions.reward.reshape(4, 3, 8).sum((0, 2)))
    assert kept[1]["policy_loss"].shape == (3,)


FACTOR = 2.0


def test_a_lambda_in_a_loop_is_compiled_once_and_never_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))

    def rewards() -> float:
        kept = agent.train(key, state, 1, keep=lambda transition, metrics: FACTOR * transition.reward.mean())[2]
        return float(kept[0])

    assert [rewards() for _ in range(3)] == [2.0] * 3
    assert agent.compilations == 1
    # What the same code names means something else now: it is compiled again, with a word.
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    with pytest.warns(UserWarning, match="define keep once, outside of the loop"):
        assert rewards() == 3.0


def test_functions_of_packages_are_known_to_stay_as_they_are() -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            agent.train(
                key,
                state,
                1,
                keep=lambda t, metrics: (
                    jax.nn.gelu(jnp.where(t.done, np.pi, jnp.add(t.reward, 1.0))).mean(),
                    jax.tree.map(lambda x: x[:, -1], t.action),
                    memorax.evaluation.mean_return(t),
                ),
            )
    assert agent.compilations == 1


def test_functions_that_hold_variables_are_told_to_be_made_once() -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))

    def scaled(factor: float) -> float:
        return float(
            agent.train(key, state, 1, keep=lambda transition, metrics: factor * transition.reward.mean())[2][0]
        )

    assert scaled(1.0) == 1.0
    with pytest.warns(UserWarning, match="define keep once, outside of the loop"):
        assert scaled(5.0) == 5.0


SCALE = {"factor": 1.0}


def scaled_by_a_global() -> float:
    return SCALE["factor"]


class Scaled:
    """A function that is an object."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, transition: Any, metrics: Any) -> Any:
        return self.factor * transition.reward.mean()

    def method(self, transition: Any, metrics: Any) -> Any:
        return self.factor * transition.reward.mean()


def times(factor: float, transition: Any, metrics: Any) -> Any:
    return factor * transition.reward.mean()


SCALED = Scaled(1.0)


def set_factor(factor: float) -> None:
    SCALE["factor"] = SCALED.factor = factor


@pytest.mark.parametrize(
    "make",
    [
        lambda factor: lambda transition, metrics: transition.reward.mean() * SCALE["factor"],
        lambda factor: lambda transition, metrics: transition.reward.mean() * scaled_by_a_global(),
        lambda factor: lambda transition, metrics: transition.reward.mean() * SCALED.factor,
        lambda factor: functools.partial(times, factor),
        lambda factor: Scaled(factor),
        lambda factor: Scaled(factor).method,
    ],
    ids=["dictionary", "function that reads one", "attribute", "partial", "object", "method"],
)
def test_what_is_kept_is_never_out_of_date(make: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have changed: it is compiled again, with a word."""
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    set_factor(1.0)
    assert float(agent.train(key, state, 1, keep=make(1.0))[2][0]) == 1.0
    set_factor(5.0)
    with pytest.warns(UserWarning, match="define keep once, outside of the loop"):
        assert float(agent.train(key, state, 1, keep=make(5.0))[2][0]) == 5.0


def test_functions_that_are_used_again_are_not_warned_of() -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    one, other = functools.partial(times, 1.0), functools.partial(times, 2.0)
    assert float(agent.train(key, state, 1, keep=one)[2][0]) == 1.0
    with pytest.warns(UserWarning):
        agent.train(key, state, 1, keep=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [float(agent.train(key, state, 1, keep=keep)[2][0]) for keep in (one, other, one)] == [1.0, 2.0, 1.0]
    assert agent.compilations == 2


def test_the_count_of_steps_stays_at_its_largest_and_learning_goes_on() -> None:
    """An int32 would go on at -2^31, where DQN would wait for its first update and explore anew."""
    agent = make_agent("dqn", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    state = state.replace(step=jnp.asarray(LARGEST_COUNT - 24, jnp.int32))
    key, state, metrics = agent.train(key, state, 64, keep=lambda transition, metrics: metrics)
    assert int(state.step) == LARGEST_COUNT
    assert np.isfinite(metrics["q_loss"][-1])
    assert float(agent.epsilon_schedule(state.step)) == pytest.approx(agent.cfg.epsilon_end)


@pytest.mark.parametrize(
    ("algorithm", "field"),
    [("dqn", "exploration_steps"), ("dqn", "learning_starts"), ("dqn", "buffer_size"), ("ppo", "ent_coef_steps")],
)
def test_what_is_more_than_can_be_counted_is_refused(algorithm: str, field: str) -> None:
    cfg = dataclasses.replace(CONFIGS[algorithm], **{field: 3e9})
    with pytest.raises(
        ValueError, match=rf"^{field} \(3000000000\) must not exceed 2147483647: it is counted in 32 bits$"
    ):
        make_agent(algorithm, EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)


@pytest.mark.parametrize(("keyword", "value"), [("normalize_reward", 0.99), ("normalize_observation", True)])
@pytest.mark.parametrize("algorithm", [name for name, (kind, _) in ALGORITHMS.items() if kind.replays])
def test_nothing_is_replayed_at_the_scale_of_another_day(algorithm: str, keyword: str, value: Any) -> None:
    """What a buffer kept would have the scale of the moment it was stored, also below another wrapper."""
    env = WRAPPERS["flatten_observation"](WRAPPERS[keyword](CueRecall(), value), True)
    with pytest.raises(ValueError, match=r"^\w+ cannot learn from .* running statistics: .* Use scale_reward"):
        make_agent(algorithm, env, None, TORSOS["mlp"](FEATURES))
    make_agent("ppo", env, None, TORSOS["mlp"](FEATURES))


def test_settings_of_an_agent_cannot_be_changed() -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    with pytest.raises(AttributeError, match=r"cfg of PPO cannot be set: .* Make another agent"):
        agent.cfg = PPOConfig(ent_coef=1000.0)
    with pytest.raises(TypeError, match="does not support item assignment"):
        agent.networks["actor_network"] = agent.networks["critic_network"]
    object.__setattr__(agent.cfg, "gamma", 0.5)  # as of a config that is not frozen
    with pytest.raises(ValueError, match=r"^cfg.gamma was 0.99 when the agent was built and is now 0.5: "):
        agent.init(jax.random.key(0))


@dataclasses.dataclass
class Length:
    """Parameters of a class that JAX does not know, which can be changed."""

    num_steps: int


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        ({"length": 3}, lambda params: params.update(length=4), r"^env_params\['length'\] was 3 when .* is now 4: "),
        (Length(3), lambda params: setattr(params, "num_steps", 4), r"^env_params.num_steps was 3 when .* is now 4: "),
        (
            [np.ones(2)],
            lambda params: params[0].fill(2.0),
            r"^env_params\[0\] \(float64\[2\]\) holds other values than when the agent was built: ",
        ),
        ([jax.random.key(0)], lambda params: params.insert(0, jax.random.key(1)), r"^env_params\[0\] \(key"),
    ],
)
def test_parameters_of_the_environment_cannot_be_changed(params: Any, change: Any, message: str) -> None:
    agent = make_agent("ppo", CueRecall(), params, TORSOS["mlp"](FEATURES))
    agent.init(jax.random.key(0))
    change(params)
    with pytest.raises(ValueError, match=message):
        agent.init(jax.random.key(0))


def test_the_environment_of_an_agent_cannot_be_changed() -> None:
    """What was compiled would go on with what it was, without a word."""
    limited = WRAPPERS["time_limit"](CueRecall(), 5)
    agent = make_agent("ppo", WRAPPERS["flatten_observation"](limited, True), None, TORSOS["mlp"](FEATURES))
    agent.init(jax.random.key(0))
    limited.num_steps = 6  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"^num_steps of .* was 5 when the agent was built and is now 6: "):
        agent.init(jax.random.key(0))
    make_agent("ppo", limited, None, TORSOS["mlp"](FEATURES)).init(jax.random.key(0))


class CountsItsCompilations(CueRecall):
    """A number of its own that changes whenever it is compiled is no setting."""

    compilations = 0

    def step_env(self, *arguments: Any) -> Any:
        object.__setattr__(self, "compilations", self.compilations + 1)
        return super().step_env(*arguments)


def test_what_an_environment_counts_while_it_is_compiled_may_change() -> None:
    env = CountsItsCompilations()
    made = make_agent("ppo", env, None, TORSOS["mlp"](FEATURES))
    for agent in (made, copy.copy(made)):
        before = env.compilations
        key, state = agent.init(jax.random.key(0))
        for _ in range(2):
            key, state, _ = agent.train(key, state, 1)
        assert env.compilations == before + 1


def test_an_agent_is_pickled_with_all_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_agent("ppo", CueRecall(), None, TORSOS["mlp"](FEATURES))
    _, state = agent.init(jax.random.key(0))  # what it has compiled stays behind
    _, other = pickle.loads(pickle.dumps(agent)).init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, other.actor.params, state.actor.params)
    assert copy.copy(agent).networks == agent.networks
    with pytest.raises(TypeError, match=r"PPO cannot be pickled because of its env \(TypeError: cannot pickle .*lock"):
        pack("PPO", {"cfg": PPOConfig(), "env": threading.Lock()})
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ImportError, match=r"PPO holds functions made within functions, .* pip install cloudpickle"):
        pickle.dumps(agent)


def test_evaluation_is_greedy_unless_asked_otherwise() -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    key, state = agent.init(jax.random.key(0))
    keys = (key, jax.random.key(1))
    # The environment leaves nothing to chance: only the policy could.
    greedy = [np.asarray(agent.evaluate(k, state, 4 * 200)[1].action) for k in keys]
    sampled = [np.asarray(agent.evaluate(k, state, 4 * 200, deterministic=False)[1].action) for k in keys]
    np.testing.assert_array_equal(*greedy)
    assert all(0.4 < actions.mean() < 0.6 for actions in sampled)
    assert (sampled[0] != sampled[1]).any()


def test_hyperparameters_can_be_mapped_over() -> None:
    """An agent made inside `vmap` learns with the values it was given."""

    def critic_loss(gamma: jax.Array) -> jax.Array:
        cfg = PPOConfig(num_envs=4, num_steps=8, num_minibatches=1, update_epochs=1, gamma=gamma)
        agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES), cfg)
        _, _, losses = agent.train(*agent.init(jax.random.key(0)), 1, keep=lambda _, metrics: metrics["critic_loss"])
        return losses[0]

    losses = jax.vmap(critic_loss)(jnp.asarray([0.0, 0.9]))
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[0], critic_loss(0.0), rtol=1e-5)


class WithConstants(nn.Module):
    """A layer after a fixed random projection, numbered by a fixed integer."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        shape = (inputs.shape[-1], FEATURES)
        weights = self.variable("constants", "weights", lambda: jax.random.normal(jax.random.key(7), shape))
        number = self.variable("constants", "number", lambda: jnp.asarray(3, jnp.int32))
        return nn.tanh(nn.Dense(FEATURES)(nn.tanh(inputs @ weights.value) * number.value))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_masks_constants_and_keys_of_the_old_style(algorithm: str) -> None:
    """Illegal actions are never taken and never in the way, only parameters are trained, and any key will do.

    Which actions are legal changes at every step; an illegal one would pay -1.
    """
    agent = make_agent(algorithm, MaskedActions(), None, SequenceModelWrapper(WithConstants()))
    key, state = agent.init(jax.random.PRNGKey(0))
    before = jax.device_get(agent.acting_params(state))
    key, state, (rewards, metrics) = agent.train(key, state, 256, keep=lambda t, metrics: (t.reward, metrics))
    assert rewards.min() == 0
    assert rewards.max() == 1, "several actions are legal at a time"
    assert agent.evaluate(key, state, 64)[1].reward.min() >= 0
    assert key.dtype == jnp.uint32
    skipped = [x for name, x in metrics.items() if name.endswith("skipped_updates")]
    assert skipped
    assert all(np.nanmax(x) == 0 for x in skipped)
    after = jax.device_get(agent.acting_params(state))
    jax.tree.map(np.testing.assert_array_equal, before["constants"], after["constants"])
    changed = jax.tree.map(lambda x, y: (x != y).any(), before["params"], after["params"])
    assert any(jax.tree.leaves(changed))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
