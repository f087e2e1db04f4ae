"""An environment, a memory and an algorithm of your own, each written the short way, trained together.

A symbol is shown at each of 16 steps and the action names the one before: 15 is best, 3.75 is chance. It had 15.00
after 100,000 steps, in 23 seconds of one core. The page docs/parts_of_your_own.md writes parts from the ground up.
`python examples/parts_of_your_own.py --total-steps 100000`
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import tyro

from memorax import testing
from memorax.algorithms.actor_critic import ActorCritic, ActorCriticState
from memorax.environments.environment import Environment
from memorax.environments.spaces import Discrete
from memorax.evaluation import mean_return
from memorax.learning.bootstrap import advantages_along
from memorax.networks import RNN, FeatureExtractor, Network, SpaceEncoder
from memorax.networks.network import unroll


class Echo(Environment):
    """The state is the symbol shown now, the one before, and the time."""

    def reset(self, key, params):
        symbol, zero = jax.random.randint(key, (), 0, 4), jnp.zeros((), jnp.int32)
        return symbol, (symbol, zero, zero)

    def step_env(self, key, env_state, action, params):
        shown, before, time = env_state
        symbol = jax.random.randint(key, (), 0, 4)
        reward = (action == before) & (time > 0)
        return symbol, (symbol, shown, time + 1), reward, time == 15, jnp.asarray(False), {}

    def observation_space(self, params):
        return Discrete(4)

    action_space = observation_space  # the same four symbols


class LeakyCell(nn.RNNCellBase):
    """h' = a h + (1 - a) tanh(W x + U h), with a learned between 0 and 1 for each unit."""

    features: int

    @nn.compact
    def __call__(self, carry, inputs):
        keep = nn.sigmoid(self.param("keep", nn.initializers.zeros, (1, self.features)))
        new = nn.tanh(nn.Dense(self.features)(inputs) + nn.Dense(self.features, use_bias=False)(carry))
        carry = keep * carry + (1 - keep) * new
        return carry, carry

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], self.features))

    num_feature_axes = 1


@dataclass(frozen=True)
class A2CConfig:
    num_envs: int = 16  # environments side by side
    num_steps: int = 16  # steps in each between two updates
    gamma: float = 0.5  # discount


class A2C(ActorCritic[A2CConfig, ActorCriticState]):
    """Advantage actor-critic (Mnih et al., 2016): one step of each network after each rollout."""

    def _learn(self, key, state, trajectory):
        critic, cfg = self.critic_network, self.cfg
        carry, _, values, advantages = advantages_along(
            critic, state.critic_params, trajectory, state.critic_carry, cfg.num_steps, cfg.gamma, lambda_=0.95
        )

        def actor_loss(variables):
            before = jax.tree.map(lambda x: x[:, 0], trajectory.carry)  # the memory before the first step
            _, policy = unroll(self.actor_network, variables, trajectory.timesteps, before)
            gain = advantages * policy.log_prob(trajectory.action) + 0.01 * policy.entropy()  # (B, T)
            return -gain.mean(), ({}, None)

        def critic_loss(variables):
            _, output = unroll(critic, variables, trajectory.timesteps, state.critic_carry)
            return critic.head.loss(output, values + advantages).mean(), ({}, None)

        state, metrics = self._gradient_steps(state, actor_loss, critic_loss, self.steps_before(state))
        return state.replace(critic_carry=carry), metrics


def main(total_steps: int = 100_000, features: int = 32) -> float:
    """Check the parts, train, and return the mean return of the greedy policy."""
    testing.check_environment(Echo(), None, num_steps=20)
    extractor = FeatureExtractor(SpaceEncoder(Discrete(4)))

    def make_network(head):
        return Network(extractor, RNN(LeakyCell(features)), head)

    agent = A2C.build(A2CConfig(), Echo(), None, make_network, optax.adam(3e-3))
    key, state = agent.init(jax.random.key(0))
    key, state, _ = agent.train(key, state, total_steps, keep=lambda transition, metrics: ())
    return float(mean_return(agent.evaluate(key, state, 16 * 64)[1]))


if __name__ == "__main__":
    print(f"mean return of the greedy policy {tyro.cli(main):.2f}")
