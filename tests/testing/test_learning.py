"""Algorithms with one mistake each: the check names the truth that does not hold."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from memorax import testing
from memorax.algorithms import ALGORITHMS, DQN, PPO, R2D2, SAC, Algorithm, DQNConfig
from memorax.environments.environment import Environment
from memorax.environments.spaces import Box
from memorax.learning import bootstrap
from memorax.networks import MLP, RNN, FeatureExtractor, Network, SequenceModelWrapper, heads
from memorax.networks.encoders import SpaceEncoder
from memorax.networks.sequence_models import SequenceModel
from memorax.types import Timestep, Trajectory, where
from tests.catalogue import CONFIGS, leaves_as_vector
from tests.probes import CueRecall, MaskedActions


def learning(edit: Any) -> type[PPO]:
    """PPO that learns from changed rollouts: `edit(state, trajectory) -> trajectory`."""

    class WrongPPO(PPO):
        def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
            return super()._learn(key, state, edit(state, trajectory))

    return WrongPPO


def storing(edit: Any, kind: Any = DQN) -> Any:
    """An algorithm, by default DQN, that stores changed rollouts."""

    class StoresOther(kind):
        def _store(self, state: Any, trajectory: Trajectory) -> Any:
            return super()._store(state, edit(state, trajectory))

    return StoresOther


def carry_after(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(carry=jax.tree.map(lambda x: x[:, None], state.worker.carry))


def zero_carry(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(carry=jax.tree.map(jnp.zeros_like, trajectory.carry))


def shifted_done(state: Any, trajectory: Trajectory) -> Trajectory:
    timesteps = trajectory.timesteps
    return trajectory.replace(timesteps=timesteps.replace(done=jnp.roll(timesteps.done, 1, axis=1)))


def limits_are_failures(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(terminated=trajectory.done, truncated=jnp.zeros_like(trajectory.done))


def next_episode_is_the_successor(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(truncated=jnp.zeros_like(trajectory.done))


def returns_cross_terminations(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(terminated=jnp.zeros_like(trajectory.done))


def no_ends(state: Any, trajectory: Trajectory) -> Trajectory:
    timesteps, following = trajectory.timesteps, trajectory.next_timestep
    return returns_cross_terminations(state, trajectory).replace(
        timesteps=timesteps.replace(done=jnp.zeros_like(timesteps.done)),
        next_timestep=following.replace(done=jnp.zeros_like(following.done)),
    )


def other_observations(shift: int, axis: int) -> Any:
    """Observations of another step (axis 1) or of another environment (0)."""

    def edit(state: Any, trajectory: Trajectory) -> Trajectory:
        timesteps = trajectory.timesteps
        observation = jax.tree.map(lambda x: jnp.roll(x, shift, axis=axis), timesteps.observation)
        return trajectory.replace(timesteps=timesteps.replace(observation=observation))

    return edit


def without_previous(name: str) -> Any:
    """The action or the reward before each step is zero."""

    def edit(state: Any, trajectory: Trajectory) -> Trajectory:
        zeros = jax.tree.map(jnp.zeros_like, getattr(trajectory.timesteps, name))
        return trajectory.replace(timesteps=trajectory.timesteps.replace(**{name: zeros}))

    return edit


def late_actions(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(action=jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), trajectory.action))


def late_rewards(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(reward=jnp.roll(trajectory.reward, 1, axis=1))


def ascent(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(reward=-trajectory.reward)


class StillCritic(PPO):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        after, metrics = super()._learn(key, state, trajectory)
        return after.replace(critic_carry=state.critic_carry), metrics


class CriticFromZeros(PPO):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, state.critic_carry)
        return super()._learn(key, state.replace(critic_carry=zeros), trajectory)


class OnlyTheActor(PPO):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        after, metrics = super()._learn(key, state, trajectory)
        return after.replace(critic=state.critic), metrics


class SkipsTheFirstStep(PPO):
    def _prepare(self, state: Any, trajectory: Trajectory) -> Any:
        after, batch = super()._prepare(state, trajectory)
        return after, batch.replace(active=jnp.ones_like(batch.timesteps.done).at[:, 0].set(False))


class LastRowIsForgotten(PPO):
    def _prepare(self, state: Any, trajectory: Trajectory) -> Any:
        after, batch = super()._prepare(state, trajectory)
        return after, batch.replace(active=jnp.ones_like(batch.timesteps.done).at[-1].set(False))


class ItsOwnDiscount(PPO):
    """Whatever its config says, the discount is that of the tests."""

    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        networks = self.actor_network, self.critic_network
        optimizers = self.actor_optimizer, self.critic_optimizer
        agent = PPO(CONFIGS["ppo"], self.env, self.env_params, *networks, *optimizers)
        return agent._learn(key, state, trajectory)


def with_still_target(kind: Any) -> Any:
    """An algorithm whose target network stays as it begins."""

    class StillTarget(kind):
        def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
            after, metrics = super()._learn(key, state, trajectory)
            return after.replace(target_params=state.target_params), metrics

    return StillTarget


class NothingIsLearned(DQN):
    def _learn(self, key: Any, state: Any, trajectory: Trajectory) -> Any:
        after, metrics = super()._learn(key, state, trajectory)
        return after.replace(learner=state.learner), metrics


def first_reward_is_lost(state: Any, trajectory: Trajectory) -> Trajectory:
    return trajectory.replace(reward=trajectory.reward.at[:, 0].set(0.0))


FROM_CARRIES = "learning goes on from the carry before each sequence: a NaN in the recorded carry changes nothing"
FROM_STARTS = "no carry is learned from where an episode starts: a NaN there in"
PAYS = "actions that pay are chosen"
ACTED_ON = "what is learned from is what was acted on"
WRONG = {
    "ppo_carry_after": (learning(carry_after), "gru", FROM_CARRIES),
    "ppo_zero_carry": (learning(zero_carry), "gru", FROM_CARRIES),
    "ppo_shifted_done": (learning(shifted_done), "gru", FROM_STARTS),
    "ppo_returns_cross": (learning(returns_cross_terminations), "mlp", "no return crosses an end"),
    "ppo_limits_are_failures": (learning(limits_are_failures), "mlp", "a time limit is not a failure"),
    "ppo_next_episode": (learning(next_episode_is_the_successor), "mlp", "the final observation is bootstrapped from"),
    "ppo_still_critic": (StillCritic, "gru", "critic_carry goes on with the rollout"),
    "ppo_critic_from_zeros": (CriticFromZeros, "gru", "a NaN in critic_carry changes nothing"),
    "ppo_skips_a_step": (SkipsTheFirstStep, "gru", "every step is learned from: .* the reward of step 0 of 8 in each"),
    "ppo_forgets_a_row": (LastRowIsForgotten, "gru", "every step is learned from: .* the reward of row 3 of 4 in each"),
    "ppo_its_own_discount": (ItsOwnDiscount, "mlp", "the discount counts"),
    "ppo_only_the_actor": (OnlyTheActor, "mlp", "learning changes the parameters of every network: .* .critic;"),
    "ppo_late_rewards": (learning(late_rewards), "gru", f"{ACTED_ON}: .* what was seen at step 0 of row 0"),
    "ppo_ascent": (learning(ascent), "mlp", PAYS),
    "dqn_carry_after": (storing(carry_after), "gru", FROM_CARRIES),
    "dqn_zero_carry": (storing(zero_carry), "gru", FROM_CARRIES),
    "dqn_shifted_done": (storing(shifted_done), "gru", FROM_STARTS),
    "dqn_returns_cross": (storing(no_ends), "mlp", "no return crosses an end"),
    "dqn_limits_are_failures": (storing(limits_are_failures), "mlp", "a time limit is not a failure"),
    "dqn_skips_a_step": (storing(first_reward_is_lost), "mlp", "every step is learned from: .* step 0 of 4 in each"),
    "dqn_nothing": (
        NothingIsLearned,
        "mlp",
        "within 1000 iterations it did not change",
    ),
    "dqn_still_target": (with_still_target(DQN), "mlp", "copy of parameters follows them: .* target_params did not"),
    "sac_still_target": (with_still_target(SAC), "mlp", "copy of parameters follows them: .* target_params did not"),
    "ppo_late_observations": (learning(other_observations(1, 1)), "mlp", f"{ACTED_ON}: .* step 6 of row 0 changes"),
    "ppo_next_observations": (learning(other_observations(-1, 1)), "gru", ACTED_ON),
    "ppo_observations_of_others": (learning(other_observations(1, 0)), "gru", f"{ACTED_ON}: .* step 7 of row"),
    "dqn_late_observations": (storing(other_observations(1, 1)), "gru", f"{ACTED_ON}: .* step 2 of row 0 changes"),
    "dqn_next_observations": (storing(other_observations(-1, 1)), "mlp", ACTED_ON),
    "r2d2_late_observations": (storing(other_observations(1, 1), R2D2), "gru", ACTED_ON),
    "sac_next_observations": (storing(other_observations(-1, 1), SAC), "gru", ACTED_ON),
    "ppo_late_actions": (learning(late_actions), "mlp", PAYS),
    "dqn_late_actions": (storing(late_actions), "gru", f"{PAYS}, where every step terminates"),
    "sac_late_actions": (storing(late_actions, SAC), "mlp", f"{PAYS}, where every step terminates"),
    "dqn_ascent": (storing(ascent), "mlp", PAYS),
    "dqn_late_rewards": (storing(late_rewards), "gru", ACTED_ON),
    "r2d2_late_rewards": (storing(late_rewards, R2D2), "gru", ACTED_ON),
    "sac_late_rewards": (storing(late_rewards, SAC), "gru", ACTED_ON),
}


SHIFTED = DQNConfig(num_envs=4, num_steps=4, buffer_size=512, batch_size=4, learning_starts=32)
"""Nothing that is learned from depends on whether the first step of a burn-in is the first of an episode."""


def small_agent(kind: Any, torso: str, cfg: Any, env: Environment) -> Algorithm:
    """An agent as small as can be."""
    torsos = {"gru": RNN(nn.GRUCell(4)), "mlp": SequenceModelWrapper(MLP(4))}

    def make_network(head: nn.Module) -> Network:
        return Network(FeatureExtractor(nn.Sequential([leaves_as_vector, MLP(4)])), torsos[torso], head)

    return kind.build(cfg, env, None, make_network, optax.adam(3e-3))


def wrong_agent(name: str) -> Algorithm:
    """The agent with the mistake."""
    kind, torso, _ = WRONG[name]
    cfg = SHIFTED if name == "dqn_shifted_done" else CONFIGS[name.split("_")[0]]
    return small_agent(kind, torso, cfg, CueRecall(delay=3))


SLOW = (
    "ppo_zero_carry",
    "ppo_late_rewards",
    "ppo_late_actions",
    "ppo_next_observations",
    "ppo_observations_of_others",
    "ppo_forgets_a_row",
    "ppo_critic_from_zeros",
    *(name for name in WRONG if name.startswith(("dqn", "r2d2", "sac"))),
)
"""Promises that other parts break too."""


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x in SLOW else x for x in WRONG])
def test_a_mistake_is_named(name: str) -> None:
    with pytest.raises(AssertionError, match=WRONG[name][2]):
        testing.check_learning(wrong_agent(name), num_iterations=300)


@pytest.mark.parametrize("name", ["action", pytest.param("reward", marks=pytest.mark.slow)])
def test_what_is_shown_of_the_step_before_is_learned_with(name: str) -> None:
    env = CueRecall(delay=3)
    shown = {"action": env.action_space(None), "reward": Box(-jnp.inf, jnp.inf, (1,))}
    extractor = FeatureExtractor(leaves_as_vector, **{f"{name}_extractor": SpaceEncoder(shown[name])})

    def make_network(head: nn.Module) -> Network:
        return Network(extractor, SequenceModelWrapper(MLP(4)), head)

    right, wrong = (
        kind.build(CONFIGS["ppo"], env, None, make_network, optax.adam(3e-3))
        for kind in (PPO, learning(without_previous(name)))
    )
    testing.check_learning(right)
    with pytest.raises(AssertionError, match=f"{ACTED_ON}: the acting network is shown its previous {name}, and"):
        testing.check_learning(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("ppo", learning(ascent)), ("dqn", storing(ascent))])
def test_a_mistake_among_legal_actions_is_named(name: str, kind: type[Algorithm]) -> None:
    right = small_agent(ALGORITHMS[name][0], "mlp", CONFIGS[name], MaskedActions())
    testing.check_learning(right)
    with pytest.raises(AssertionError, match=PAYS):
        testing.check_learning(small_agent(kind, "mlp", CONFIGS[name], MaskedActions()), num_iterations=300)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_nothing_is_wrong_where_the_future_does_not_count(name: str) -> None:
    cfg = dataclasses.replace(CONFIGS[name], gamma=0.0)
    testing.check_learning(small_agent(ALGORITHMS[name][0], "mlp", cfg, CueRecall(delay=3)))


@pytest.mark.slow
def test_nothing_is_wrong_where_a_step_is_seldom_replayed() -> None:
    """Of 64 steps some are not drawn within the iterations in which others are."""
    cfg = DQNConfig(num_envs=2, num_steps=64, buffer_size=2048, batch_size=2, learning_starts=128, num_updates=1)
    testing.check_learning(small_agent(DQN, "mlp", cfg, CueRecall(delay=3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r2d2", "sac"])
def test_carries_need_not_be_used_where_the_settings_say_so(name: str) -> None:
    cfg = dataclasses.replace(CONFIGS[name], carry="zeros")
    testing.check_learning(small_agent(ALGORITHMS[name][0], "gru", cfg, CueRecall(delay=3)))


def test_what_an_algorithm_learns_is_part_of_its_check() -> None:
    with pytest.raises(AssertionError, match=WRONG["ppo_limits_are_failures"][2]):
        testing.check_algorithm(wrong_agent("ppo_limits_are_failures"))


class AlwaysExplores(PPO):
    def _policy(self, state: Any, explore: bool) -> Any:
        return super()._policy(state, True)


class NeverExplores(PPO):
    def _policy(self, state: Any, explore: bool) -> Any:
        return super()._policy(state, False)


@pytest.mark.parametrize(
    ("kind", "truth"), [(AlwaysExplores, "evaluation is greedy"), (NeverExplores, "training expl")]
)
def test_a_mistake_of_the_policy_is_named(kind: type[PPO], truth: str) -> None:
    agent = small_agent(kind, "mlp", CONFIGS["ppo"], CueRecall(delay=3))
    with pytest.raises(AssertionError, match=truth):
        # The ratios of a policy that acts greedily are no more than a second mistake.
        testing.check_algorithm(agent, exempt=("probability ratios are 1",))


def test_what_is_exempt_hides_nothing_else() -> None:
    def wrong(state: Any, trajectory: Trajectory) -> Trajectory:
        return limits_are_failures(state, first_reward_is_lost(state, trajectory))

    agent = small_agent(learning(wrong), "mlp", CONFIGS["ppo"], CueRecall(delay=3))
    with pytest.raises(AssertionError, match="a time limit is not a failure"):
        testing.check_learning(agent)
    with pytest.raises(AssertionError, match="every step is learned from"):
        testing.check_learning(agent, exempt=("a time limit is not a failure",))


class Around(SequenceModel):
    """A sequence model as it is. Each below changes one thing."""

    model: SequenceModel

    @nn.nowrap
    def initialize_carry(self, key: Any, input_shape: tuple[int, ...]) -> Any:
        return self.model.initialize_carry(key, input_shape)

    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        return self.model(inputs, done, carry)


class StopsTheGradient(Around):
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        carry, outputs = self.model(inputs, done, carry)
        return carry, jax.lax.stop_gradient(outputs)


class ResetsBetweenCallsAlone(Around):
    def __call__(self, inputs: jax.Array, done: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
        return self.model(inputs, done.at[:, 1:].set(False), carry)


class LastStepAlone(heads.DiscreteQNetwork):
    """Its outputs have one step, however many there were."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return nn.Dense(self.action_dim)(features[:, -1:])


def of_networks(kind: Any, name: str, **torsos: nn.Module) -> Algorithm:
    """An agent whose networks, told apart by their heads, have torsos of their own."""

    def make_network(head: nn.Module) -> Network:
        torso = torsos.get(type(head).__name__, RNN(nn.GRUCell(4)))
        return Network(FeatureExtractor(nn.Sequential([leaves_as_vector, MLP(4)])), torso, head)

    return kind.build(CONFIGS[name], CueRecall(delay=1000), None, make_network, optax.adam(3e-3))


def test_a_torso_that_is_not_learned_is_named() -> None:
    torso = StopsTheGradient(RNN(nn.GRUCell(4)))
    agent = of_networks(PPO, "ppo", Categorical=torso, VNetwork=torso)
    with pytest.raises(AssertionError, match=r"learning changes every parameter of a network: .*feature_extractor"):
        testing.check_learning(agent)


@pytest.mark.parametrize("wrong", ["Categorical", "VNetwork"])
def test_whoever_does_not_reset_where_it_learns_is_named(wrong: str) -> None:
    agent = of_networks(PPO, "ppo", **{wrong: ResetsBetweenCallsAlone(RNN(nn.GRUCell(4)))})
    with pytest.raises(AssertionError, match="the outputs while acting are those while learning"):
        testing.check_acting_equals_learning(agent)


def test_outputs_of_another_number_of_steps_are_named() -> None:
    agent = of_networks(DQN, "dqn")
    network = agent.q_network
    wrong = DQN(CONFIGS["dqn"], agent.env, None, network.clone(head=LastStepAlone(2)), optax.adam(3e-3))
    with pytest.raises(AssertionError, match="outputs over a sequence are those of its steps"):
        testing.check_acting_equals_learning(wrong)


def test_returns_that_cross_a_time_limit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_terminations_alone(trajectory: Trajectory, gamma: Any) -> Any:
        return gamma * (1.0 - trajectory.ended), trajectory.ended

    monkeypatch.setattr(bootstrap, "ends_of_returns", at_terminations_alone)
    with pytest.raises(AssertionError, match="no return crosses a time limit"):
        testing.check_learning(small_agent(PPO, "gru", CONFIGS["ppo"], CueRecall(delay=3)))


def _with_carry(carry_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Final observations are valued with the carry that `carry_of` makes of the one before the rollout."""

    def at_limits(evaluate: Any, params: Any, trajectory: Trajectory, carry: Any, next_values: Any) -> Any:
        def value(final: Any) -> Any:
            return evaluate(params, jax.tree.map(lambda x: x[:, None], final), carry_of(carry))[1][:, 0]

        no_start = jnp.zeros_like(trajectory.truncated)
        finals = Timestep(trajectory.final_observation, trajectory.action, trajectory.reward, no_start)
        values = jax.vmap(value, in_axes=1, out_axes=1)(finals)
        return where(trajectory.truncated, values, next_values)

    monkeypatch.setattr(bootstrap, "_values_at_time_limits", at_limits)


CARRIES = {"fresh": lambda carry: jax.tree.map(jnp.zeros_like, carry), "of_the_rollout": lambda carry: carry}


@pytest.mark.parametrize(
    ("name", "carry"),
    [
        pytest.param(name, carry, marks=() if (name, carry) == ("ppo", "fresh") else pytest.mark.slow)
        for name, carry in itertools.product(("ppo", "shared_ppo", "gradient_ppo", "impala", "pqn"), CARRIES)
    ],
)
def test_a_final_observation_seen_with_another_carry_is_named(
    name: str, carry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_carry(CARRIES[carry], monkeypatch)
    agent = small_agent(ALGORITHMS[name][0], "gru", CONFIGS[name], CueRecall(delay=3))
    with pytest.raises(AssertionError, match="the final observation is seen with the carry before it"):
        testing.check_learning(agent)
