"""A memory of one's own: written, certified and trained. `python examples/custom_sequence_model.py`"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import memorax
from memorax.algorithms import PPO, PPOConfig
from memorax.evaluation import mean_return
from memorax.networks import FeatureExtractor, Memoroid, Network, heads, observation_encoder
from memorax.networks.sequence_models import MemoroidCell
from memorax.networks.sequence_models.ops.linear_recurrence import linear_recurrence
from memorax.testing import check_sequence_model
from memorax.types import Array, Key


class OscillatorCell(MemoroidCell):
    """Damped oscillators driven by the inputs, and a layer that reads them.

    h_t = exp(-softplus(damping) + i frequency) * h_{t-1} + W x_t,    y_t = tanh(V [Re h_t; Im h_t; x_t])
    """

    features: int

    @nn.compact
    def __call__(self, inputs: Array, done: Array, carry: Array) -> tuple[Array, Array]:
        """Run over a sequence `[B, T, F]`; the recurrence takes time first and resets where `done`."""
        damping = self.param("damping", lambda _: jnp.linspace(-4.0, -1.0, self.features))
        frequency = self.param("frequency", lambda key: jax.random.uniform(key, (self.features,), maxval=jnp.pi))
        decay = jnp.exp(jax.lax.complex(-nn.softplus(damping), frequency))
        driven = nn.Dense(self.features)(inputs).swapaxes(0, 1)
        carry, states = linear_recurrence(decay, driven, done.T, carry)
        states = states.swapaxes(0, 1)
        return carry, jnp.tanh(nn.Dense(self.features)(jnp.concatenate([states.real, states.imag, inputs], axis=-1)))

    @nn.nowrap
    def initialize_carry(self, key: Key, input_shape: tuple[int, ...]) -> Array:
        """The state at the start of an episode."""
        return jnp.zeros((input_shape[0], self.features), jnp.complex64)


def main(total_steps: int = 200_000) -> float:
    """Certify the memory, train it to name the card shown three steps before, and return its reward (1 is best)."""
    check_sequence_model(Memoroid(OscillatorCell(8)), features=6)
    env, env_params = memorax.make("popgym::RepeatPreviousEasy")
    extractor = FeatureExtractor(observation_encoder(env.observation_space(env_params), features=64))
    actor = Network(extractor, Memoroid(OscillatorCell(64)), heads.Categorical(action_dim=4))
    critic = Network(extractor, Memoroid(OscillatorCell(64)), heads.VNetwork())
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
    agent = PPO(PPOConfig(num_envs=16), env, env_params, actor, critic, optimizer, optimizer)
    key, state = agent.init(jax.random.key(0))
    key, state, _ = agent.train(key, state, total_steps, keep=lambda transition, metrics: ())
    _, transitions = agent.evaluate(key, state, 16 * 100)
    return float(mean_return(transitions))


if __name__ == "__main__":
    print(f"certified; mean return after training: {main():.2f}")
