"""Ten memories learn the same task with the same PPO: how well, and how fast.

Each has to recall a symbol that was shown eight steps before; without memory the return is 0, 1 is best. The file reads
as a notebook (`# %%` begins a cell). `python examples/ten_memories.py --total-steps 100000`
"""

# %% [markdown]
# # Ten memories compared
# A torso is a word. `memorax list torsos` shows all of them.

# %%
import argparse
import time

import jax

from memorax.algorithms import PPOConfig
from memorax.evaluation import mean_return
from memorax.training import TrainConfig, build_agent

TORSOS = ["mlp", "frame_stack", "gru", "lstm", "lru", "mingru", "mamba", "linear_attention", "deltanet", "attention"]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--total-steps", type=int, default=100_000, help="environment steps of each")
parser.add_argument("--torsos", nargs="+", default=TORSOS, help="names of torsos")
parser.add_argument("--features", type=int, default=64, help="width of the networks")
parser.add_argument("--num-seeds", type=int, default=3, help="seeds side by side")
settings, _ = parser.parse_known_args()

# %% [markdown]
# ## One of them
# `build_agent` makes an agent of settings, as the command line does. Its seeds train in one program, mapped by `vmap`.


# %%
def learn(torso: str) -> tuple[list[float], float]:
    """The greedy return of each seed after training, and the seconds that the training took, with compilation."""
    config = TrainConfig(
        environment="memory::RecallHorizon-8",
        hyperparameters=PPOConfig(num_envs=16, num_steps=64),
        torso=torso,
        features=settings.features,
        learning_rate=1e-3,
    )
    agent = build_agent(config)
    keys, states = jax.vmap(agent.init)(jax.random.split(jax.random.key(0), settings.num_seeds))

    @jax.jit
    @jax.vmap
    def train(key, state):
        return agent.train(key, state, settings.total_steps, keep=lambda transition, metrics: ())

    began = time.perf_counter()
    keys, states, _ = jax.block_until_ready(train(keys, states))
    seconds = time.perf_counter() - began
    evaluate = jax.jit(jax.vmap(lambda key, state: mean_return(agent.evaluate(key, state, 16 * 90)[1])))
    return evaluate(keys, states).tolist(), seconds


# %% [markdown]
# ## All of them

# %%
results = {}
for torso in settings.torsos:
    results[torso], seconds = learn(torso)
    returns = "  ".join(f"{value:5.2f}" for value in results[torso])
    print(f"{torso:17} return of each seed {returns}   {seconds:5.1f} s", flush=True)
