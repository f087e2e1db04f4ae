"""Draws the episodes of an agent and writes them as an animation."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.algorithms.algorithm import Agent
from memorax.environments import host
from memorax.environments.environment import CANNOT_BE_DRAWN
from memorax.types import Key, PyTree

ANIMATIONS = (".gif", ".mp4")
LEAST_SIDE = 240
CAPTION_HEIGHT = 42
HELD_SECONDS = 0.7


@dataclass(frozen=True)
class Frame:
    """A picture of the environment before a step; the last one is shown again after the step that ends the episode.

    Attributes:
        picture: uint8 `[H, W, 3]`.
        episode: number of the episode, from 1.
        step: number of steps taken in the episode so far.
        episode_return: sum of their rewards.
        ended: whether the episode has ended.
        action: action of the last of these steps; None before the first.
        reward: reward of the last of these steps; None before the first.
    """

    picture: np.ndarray
    episode: int
    step: int
    episode_return: float
    ended: bool
    action: np.ndarray | None = None
    reward: float | None = None


def render_episodes(
    agent: Agent,
    key: Key,
    state: PyTree,
    num_episodes: int = 1,
    num_steps: int = 1000,
    deterministic: bool = True,
) -> Iterator[Frame]:
    """Draw an agent while it acts in a fresh environment, as in `evaluate`: it keeps its memory until an episode ends.

    Args:
        agent: the agent.
        key: random key.
        state: state of the agent, of one seed.
        num_episodes: number of episodes.
        num_steps: steps after which to stop, whether they have ended or not.
        deterministic: act greedily; otherwise explore as in training.

    Yields:
        A frame before every step, and one at the end of every episode.

    Raises:
        ValueError: if the environment cannot be drawn, or a number is not positive.
    """
    if not agent.env.renders:
        raise ValueError(CANNOT_BE_DRAWN.format(agent.env.name))
    for name, number in (("num_episodes", num_episodes), ("num_steps", num_steps)):
        if number < 1:
            raise ValueError(f"{name} ({number}) must be at least 1")
    return _frames(agent, key, state, num_episodes, num_steps, deterministic)


def _frames(
    agent: Agent, key: Key, state: PyTree, num_episodes: int, num_steps: int, deterministic: bool
) -> Iterator[Frame]:
    # An environment on the host can only be drawn in its present state, so it is stepped one step at a time.
    environments = agent.env.vectorize(1)
    step = jax.jit(lambda key, state, worker: agent.play(key, state, environments, worker, 1, deterministic))
    key, start_key = jax.random.split(key)
    worker = jax.jit(lambda key, state: agent.enter(key, state, environments))(start_key, state)
    episode = 1
    last: dict[str, Any] = {}  # action and reward of the step before, in this episode
    for index in range(num_steps):
        picture = agent.env.render(jax.tree.map(lambda x: x[0], worker.env_state), agent.env_params)
        length, total = int(worker.episode_length[0]), float(worker.episode_return[0])
        yield Frame(picture, episode, length, total, ended=False, **last)
        worker, trajectory = step(jax.random.fold_in(key, index), state, worker)
        reward = trajectory.info.get("raw_reward", trajectory.reward)  # (1, 1)
        last = {"action": np.asarray(trajectory.action[0, 0]), "reward": float(reward[0, 0])}
        if bool(trajectory.done[0, 0]):
            total = float(worker.returned_episode_return[0])
            yield Frame(picture, episode, length + 1, total, ended=True, **last)
            episode += 1
            last = {}
            if episode > num_episodes:
                break
    host.close(worker.env_state)


def check_animation(output: str | Path) -> Path:
    """The path of an animation, if one of its kind can be written here.

    Raises:
        ValueError: if its ending is not known, or what writes it is missing.
    """
    path = Path(output)
    if path.suffix not in ANIMATIONS:
        raise ValueError(f"output ({output}) must end in one of {', '.join(ANIMATIONS)}")
    if path.suffix == ".mp4" and _find_ffmpeg() is None:
        raise ValueError(f"output ({output}) needs ffmpeg: pip install imageio-ffmpeg, or write a .gif")
    return path


def write_animation(frames: Sequence[Frame], output: str | Path, frames_per_second: float = 10.0) -> Path:
    """Write frames as a GIF or an MP4, each over its caption.

    Args:
        frames: frames of `render_episodes`.
        output: the file to write; its ending says of what kind.
        frames_per_second: frames shown in a second; a GIF plays at most 50. The end of an episode is held for a while.

    Returns:
        The path of the file.

    Raises:
        ValueError: if there are no frames, the speed is not positive (or more than a GIF can play), the ending is not
            known, or what writes it is missing.
    """
    path = check_animation(output)
    if not frames:
        raise ValueError("frames (none) must hold at least one")
    fastest = 50.0 if path.suffix == ".gif" else 240.0
    if not 0 < frames_per_second <= fastest:
        raise ValueError(f"frames_per_second ({frames_per_second}) must be positive and at most {fastest:g}")
    held = max(1, round(HELD_SECONDS * frames_per_second))
    pictures = [captioned(frame) for frame in frames]
    repeats = [held if frame.ended else 1 for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    write = _write_gif if path.suffix == ".gif" else _write_mp4
    write(pictures, repeats, path, frames_per_second)
    return path


def captioned(frame: Frame) -> np.ndarray:
    """The picture over two lines of text: where it stands, and what the last action was and gave.

    A small picture is enlarged. Returns uint8 `[H, W, 3]` with even sides, as videos need.
    """
    # Imported here, since those who only read statistics do not need it.
    from PIL import Image, ImageDraw, ImageFont

    picture = np.asarray(frame.picture)
    factor = max(1, -(-LEAST_SIDE // picture.shape[1]))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = picture.shape[0] + CAPTION_HEIGHT, picture.shape[1]
    image = Image.new("RGB", (width + width % 2, height + height % 2), "white")
    image.paste(Image.fromarray(picture), (0, 0))
    end = ", end" if frame.ended else ""
    lines = [f"episode {frame.episode}  step {frame.step}{end}  return {frame.episode_return:.4g}"]
    if frame.action is not None and frame.reward is not None:
        lines.append(f"action {_action_text(frame.action)}  reward {frame.reward:.3g}")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for index, line in enumerate(lines):
        draw.text((6, picture.shape[0] + 4 + 18 * index), line, fill="black", font=font)
    return np.asarray(image)


def _action_text(action: np.ndarray) -> str:
    """A number, or up to four of several."""
    numbers = [f"{number:.2g}" for number in action.ravel()[:4]]
    return numbers[0] if action.ndim == 0 else f"[{' '.join(numbers)}{' ...' if action.size > 4 else ''}]"


def _write_gif(pictures: Sequence[np.ndarray], repeats: Sequence[int], path: Path, frames_per_second: float) -> None:
    from PIL import Image

    first, *rest = (Image.fromarray(picture) for picture in pictures)
    durations = [round(1000 * repeat / frames_per_second) for repeat in repeats]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)


def _write_mp4(pictures: Sequence[np.ndarray], repeats: Sequence[int], path: Path, frames_per_second: float) -> None:
    ffmpeg = _find_ffmpeg()
    assert ffmpeg is not None
    height, width, _ = pictures[0].shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    command = [ffmpeg, "-y", "-loglevel", "error", *raw, "-pix_fmt", "yuv420p", str(path)]
    stream = b"".join(picture.tobytes() * repeat for picture, repeat in zip(pictures, repeats, strict=True))
    done = subprocess.run(command, input=stream, capture_output=True)
    if done.returncode != 0:
        raise ValueError(f"output ({path}) was refused by ffmpeg: {done.stderr.decode(errors='replace')}")


def _find_ffmpeg() -> str | None:
    """The program on the path, or the one of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is None and importlib.util.find_spec("imageio_ffmpeg") is not None:
        found = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    return found
