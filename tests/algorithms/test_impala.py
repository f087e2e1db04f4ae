"""What is IMPALA's own: V-trace by present parameters, exact at time limits, and the losses on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from memorax.algorithms import IMPALAConfig
from memorax.learning.batching import trajectory_sequences
from memorax.testing import check_close
from tests.algorithms import reference

CFG = IMPALAConfig(
    num_envs=4, num_steps=8, sequence_length=4, gamma=0.9, trace_lambda=0.8, rho_clip=1.1, c_clip=1.05, ent_coef=0.1
)


def test_targets_losses_and_an_update_are_those_of_the_paper() -> None:
    """Espeholt et al. (2018), section 4.1 and eq. 1, with a policy that has changed since it acted."""
    agent = reference.small_agent("impala", CFG, reference.Walk())

    @jax.jit
    def learn(key: Any) -> Any:
        key, state = agent.init(key)
        acted, trajectory = agent.act(key, state)
        learners = {name: reference.randomized(key, getattr(acted, name)) for name in ("actor", "critic")}
        changed = acted.replace(**learners)
        targets, _ = agent._targets(changed, trajectory_sequences(trajectory, 4), changed.critic_carry)
        return changed, trajectory, targets, *agent._learn(key, changed, trajectory)

    state, trajectory, targets, after, metrics = jax.device_get(learn(jax.random.key(0)))
    old = {name: reference.named(getattr(state, name).variables) for name in ("actor", "critic")}
    assert trajectory.terminated.any() and trajectory.truncated.any()
    # Rows are sequences of four steps.
    seen, final, action, reward, terminated, truncated, log_prob = (
        x.reshape(8, 4, *x.shape[2:])
        for x in (
            trajectory.timesteps.observation,
            trajectory.final_observation,
            trajectory.action,
            trajectory.reward,
            trajectory.terminated,
            trajectory.truncated,
            trajectory.extras["log_prob"],
        )
    )
    value, next_value = (reference.output(old["critic"], x)[..., 0] for x in (seen, final))
    log_probs = reference.log_softmax(reference.output(old["actor"], seen))
    ratio = np.exp(reference.of_action(log_probs, action) - log_prob)
    assert ratio.min() < 1 < 1.1 < ratio.max()
    rho, c = np.minimum(1.1, ratio), 0.8 * np.minimum(1.05, ratio)
    discount, going_on = 0.9 * ~terminated, ~(terminated | truncated)
    corrections = reference.backwards(rho * (reward + discount * next_value - value), discount * c * going_on)
    later = np.where(going_on, np.roll(corrections, -1, axis=1), 0)
    later[:, -1] = 0
    advantage = rho * (reward + discount * (next_value + later) - value)
    check_close(targets.targets, value + corrections)
    check_close(targets.advantages, advantage)

    def policy_loss(params: reference.Params) -> tuple[float, float]:
        log_probs = reference.log_softmax(reference.output(params, seen))
        entropy = -(np.exp(log_probs) * log_probs).sum(-1).mean()
        return -(advantage * reference.of_action(log_probs, action)).mean(), entropy

    def actor_loss(params: reference.Params) -> float:
        loss, entropy = policy_loss(params)
        return loss - 0.1 * entropy

    def critic_loss(params: reference.Params) -> float:
        return 0.5 * (0.5 * (value + corrections - reference.output(params, seen)[..., 0]) ** 2).mean()

    loss, entropy = policy_loss(old["actor"])
    for metric, expected in {
        "policy_loss": loss,
        "entropy": entropy,
        "critic_loss": critic_loss(old["critic"]),
        "importance_ratio": ratio.mean(),
    }.items():
        check_close(metrics[metric], expected, truth=metric)
    for name, function in (("actor", actor_loss), ("critic", critic_loss)):
        new = reference.named(getattr(after, name).variables)
        expected = reference.descend(function, old[name])
        check_close(*(jax.tree.map(np.subtract, params, old[name]) for params in (new, expected)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_steps": 12, "sequence_length": 5}, "sequence_length (5) must divide num_steps (12)"),
        ({"rho_clip": 0.0}, "rho_clip (0.0) must be greater than 0"),
    ],
)
def test_config_errors_name_field_value_and_remedy(fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        IMPALAConfig(**fields)
    assert str(error.value) == message


def test_sequences_that_cannot_be_dealt_out_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"sequences in a rollout \(8\) must be divisible by num_minibatches \(3\)"):
        reference.small_agent("impala", dataclasses.replace(CFG, num_minibatches=3), reference.Walk())
