"""Plays an exported policy with NumPy and onnxruntime: `python examples/onnx_policy.py policies/NAME CartPole-v1`."""

import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import onnxruntime
from safetensors.numpy import load_file


class OnnxPolicy:
    """A policy of one environment whose observations are an array and whose actions are a number or an array."""

    def __init__(self, folder: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step of one environment is too small to be shared
        self.session = onnxruntime.InferenceSession(Path(folder) / "greedy.onnx", options)
        self.outputs = [each.name for each in self.session.get_outputs()]
        self.dtype = json.loads((Path(folder) / "manifest.json").read_text())["observation_space"]["dtype"]
        carry = load_file(Path(folder) / "carry.safetensors").items()
        # A complex array has a last axis of real and imaginary part.
        parts = {name: np.stack([x.real, x.imag], -1) if np.iscomplexobj(x) else x for name, x in carry}
        self.carry = {f"carry.{name}": array for name, array in parts.items()}

    def __call__(self, observation: np.ndarray, reward: float, done: bool) -> np.ndarray:
        """The action; `done` says whether the observation is the first of an episode."""
        arrived = {"observation": np.asarray(observation, self.dtype)[None], "done": np.asarray([done])}
        arrived |= {"previous_reward": np.asarray([reward], np.float32), **self.carry}
        after = dict(zip(self.outputs, self.session.run(self.outputs, arrived), strict=True))
        self.carry = {name: after[f"next.{name}"] for name in self.carry}
        return after["action"][0]


def main(folder: str, environment: str, episodes: int = 3, **options: int) -> list[float]:
    """Play episodes, and return their returns."""
    policy, env, returns = OnnxPolicy(folder), gymnasium.make(environment, **options), []
    for episode in range(episodes):
        observation, _ = env.reset(seed=5 if episode == 0 else None)
        total, reward, done, ended = 0.0, 0.0, True, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(policy(observation, reward, done))
            total, done, ended = total + reward, False, terminated or truncated
        returns.append(total)
    return returns


if __name__ == "__main__":
    print(*main(*sys.argv[1:3]))
