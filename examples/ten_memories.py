"""Ten memories learn the same task with the same PPO, and differ in how many steps they need.

The first card of a deck must be named all along: -0.5 is chance, 1 is best. With these settings and one seed, 0.95 was
reached after 20,480 steps (deltanet, attention), 40,960 (rnn, linear_attention), 61,440 (gru), 102,400 (lstm) and
163,840 (lru, mamba), and never by mlp (-0.40) and frame_stack (-0.21), which forget it. The file reads as a notebook
(`# %%` begins a cell). `python examples/ten_memories.py --total-steps 163840`
"""

# %% [markdown]
# # Ten memories compared
# A torso is a word. `memorax list torsos` shows all of them, and docs/sequence_models.md what each learned.

# %%
import argparse
from collections.abc import Iterator

import jax

from memorax.algorithms import PPOConfig
from memorax.evaluation import mean_return
from memorax.training import TrainConfig, build_agent

TORSOS = ["mlp", "frame_stack", "rnn", "gru", "lstm", "lru", "mamba", "linear_attention", "deltanet", "attention"]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--total-steps", type=int, default=163_840, help="environment steps of each, at most")
parser.add_argument("--torsos", nargs="+", default=TORSOS, help="names of torsos")
parser.add_argument("--features", type=int, default=64, help="width of the networks")
settings, _ = parser.parse_known_args()

# %% [markdown]
# ## One of them
# `build_agent` makes an agent of settings, as the command line does. An action changes nothing but its own reward in
# this task, so that the discount may be 0; a linear recurrence has to see where an episode starts.


# %%
def config_of(torso: str) -> TrainConfig:
    """The settings, the same for all memories."""
    return TrainConfig(
        environment="popgym::RepeatFirstEasy",
        hyperparameters=PPOConfig(num_envs=16, num_steps=128, gamma=0.0),
        torso=torso,
        features=settings.features,
        episode_start=True,
        learning_rate=3e-3,
    )


def learn(torso: str) -> Iterator[tuple[int, float]]:
    """The steps taken and the mean return of the greedy policy, after each 20,480 steps."""
    agent = build_agent(config_of(torso))
    key, state = agent.init(jax.random.key(0))
    for step in range(20_480, settings.total_steps + 20_480, 20_480):
        key, state, _ = agent.train(key, state, min(20_480, settings.total_steps), keep=keep_nothing)
        _, transitions = agent.evaluate(jax.random.key(step), state, 16 * 256)
        yield int(state.step), float(mean_return(transitions))


def keep_nothing(transition: object, metrics: object) -> tuple[()]:
    """What `train` keeps of an iteration."""
    return ()


# %% [markdown]
# ## All of them
# Each trains until it has 0.95, or until its steps are spent.

# %%
results = {}
for torso in settings.torsos:
    for step, result in learn(torso):
        results[torso] = step, result
        if result >= 0.95:
            break
    print(f"{torso:17} mean return {result:5.2f} after {step:>9,} steps", flush=True)
