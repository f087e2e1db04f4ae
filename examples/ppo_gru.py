"""PPO with a GRU learns to name the card that was shown three steps before.

Without memory the best return is about -0.5, with it 1. The file reads as a notebook (`# %%` begins a cell).
`python examples/ppo_gru.py --total-steps 200000`
"""

# %% [markdown]
# # A memory, trained
# Settings come from the command line; in a notebook these defaults hold.

# %%
import argparse

import flax.linen as nn
import jax
import optax

import memorax
from memorax.algorithms import PPO, PPOConfig
from memorax.evaluation import mean_return
from memorax.networks import RNN, FeatureExtractor, Network, heads, observation_encoder

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--total-steps", type=int, default=200_000, help="environment steps, over all environments")
parser.add_argument("--num-envs", type=int, default=16, help="environments side by side")
parser.add_argument("--features", type=int, default=64, help="width of the networks")
settings, _ = parser.parse_known_args()

# %% [markdown]
# ## The environment
# At each step a card is shown; the action names the suit of the card three steps earlier.

# %%
env, env_params = memorax.make("popgym::RepeatPreviousEasy")
num_suits = env.action_space(env_params).n

# %% [markdown]
# ## The agent
# Actor and critic have a GRU each. Put `nn.OptimizedLSTMCell(settings.features)` in its place, or
# `Memoroid(MambaCell(settings.features))` in that of `RNN(...)`, and nothing else changes.

# %%
extractor = FeatureExtractor(observation_encoder(env.observation_space(env_params), settings.features))
actor = Network(extractor, RNN(nn.GRUCell(settings.features)), heads.Categorical(num_suits))
critic = Network(extractor, RNN(nn.GRUCell(settings.features)), heads.VNetwork())
optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-3))
agent = PPO(PPOConfig(num_envs=settings.num_envs), env, env_params, actor, critic, optimizer, optimizer)

# %% [markdown]
# ## Training
# `train` returns the transitions, of which the return of every episode is read; a long run keeps less (`keep=...`).

# %%
key, state = agent.init(jax.random.key(0))
rounds = 5
for _ in range(rounds):
    key, state, transitions = agent.train(key, state, -(-settings.total_steps // rounds))
    ended = transitions.info["returned_episode"]
    returns = transitions.info["returned_episode_returns"][ended]
    print(f"{int(state.step):>9,} steps: mean return of {returns.size} training episodes {returns.mean():.2f}")

# %% [markdown]
# ## What it learned
# The greedy policy plays fresh episodes.

# %%
key, transitions = agent.evaluate(key, state, settings.num_envs * 104)
result = float(mean_return(transitions))
print(f"mean return of the greedy policy {result:.2f}; 1 is best")
