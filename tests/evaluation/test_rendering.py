"""Episodes are drawn as an agent plays them, and written so that they can be watched."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from memorax.algorithms.algorithm import Algorithm
from memorax.environments.wrappers import NormalizeReward
from memorax.evaluation.rendering import Frame, _action_text, captioned, render_episodes, write_animation
from memorax.networks import TORSOS
from memorax.testing import check_close
from tests.catalogue import make_agent
from tests.environments.wrappers.track import Track
from tests.probes import CueRecall


@pytest.fixture(scope="module")
def agent() -> Algorithm:
    """One that remembers, behind wrappers with states of their own."""
    return make_agent("ppo", NormalizeReward(Track(), 0.9), None, TORSOS["gru"](8))


def frames_of(seconds: int) -> list[Frame]:
    pictures = np.random.default_rng(0).integers(0, 255, (seconds, 20, 31, 3), np.uint8)
    return [Frame(picture, 1, step, 0.5 * step, step == seconds - 1) for step, picture in enumerate(pictures)]


def test_frames_are_those_of_whole_episodes(agent: Algorithm) -> None:
    key, state = agent.init(jax.random.key(0))
    frames = list(render_episodes(agent, key, state, num_episodes=3))
    assert [frame.episode for frame in frames] == sorted(frame.episode for frame in frames)
    for episode in (1, 2, 3):
        of_one = [frame for frame in frames if frame.episode == episode]
        assert [frame.step for frame in of_one] == list(range(len(of_one)))
        assert [frame.ended for frame in of_one] == [False] * (len(of_one) - 1) + [True]
        # The picture is as bright as the steps taken; the rewards, which are not normalised here, are their numbers.
        assert [int(frame.picture[0, 0, 0]) for frame in of_one[:-1]] == list(range(len(of_one) - 1))
        rewards = np.diff([frame.episode_return for frame in of_one])
        np.testing.assert_array_equal(np.abs(rewards), np.arange(1, len(of_one)))
        # Each frame also has the action and the reward that led to it.
        assert of_one[0].action is of_one[0].reward is None
        np.testing.assert_array_equal([frame.reward for frame in of_one[1:]], rewards)
        assert all(frame.action is not None and frame.action.shape == () for frame in of_one[1:])
    again = list(render_episodes(agent, key, state, num_episodes=9, num_steps=4))
    assert sum(not frame.ended for frame in again) == 4
    for ours, theirs in zip(again, frames, strict=False):
        assert (ours.episode, ours.step, ours.episode_return) == (theirs.episode, theirs.step, theirs.episode_return)


def test_playing_step_by_step_is_the_whole_evaluation(agent: Algorithm) -> None:
    key, state = agent.init(jax.random.key(0))
    batch = agent.env.vectorize(2)
    worker = jax.jit(lambda key, state: agent.enter(key, state, batch))(key, state)
    _, whole = jax.jit(lambda key, state, worker: agent.play(key, state, batch, worker, 4))(key, state, worker)
    step = jax.jit(lambda key, state, worker: agent.play(key, state, batch, worker, 1))
    for t in range(4):  # nothing is drawn before the first end, so that the keys do not matter
        worker, piece = step(jax.random.key(t), state, worker)
        np.testing.assert_array_equal(piece.action[:, 0], whole.action[:, t])
        check_close(piece.reward[:, 0], whole.reward[:, t], 1e-6)


def test_what_cannot_be_drawn_says_so_at_once() -> None:
    agent = make_agent("ppo", CueRecall(), None, TORSOS["mlp"](4))
    with pytest.raises(ValueError, match=r"^CueRecall cannot be drawn: it has no method render\(env_state, params\)"):
        render_episodes(agent, jax.random.key(0), None)


@pytest.mark.parametrize("name", ["num_episodes", "num_steps"])
def test_numbers_must_be_positive(agent: Algorithm, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} \(0\) must be at least 1$"):
        render_episodes(agent, jax.random.key(0), None, **{name: 0})


def test_a_gif_plays_as_fast_as_asked_and_holds_the_end(tmp_path: Path) -> None:
    path = write_animation(frames_of(4), tmp_path / "new" / "episode.gif", frames_per_second=20)
    with Image.open(path) as animation:
        durations = []
        for index in range(animation.n_frames):
            animation.seek(index)
            durations.append(animation.info["duration"])
        assert animation.info["loop"] == 0
    assert durations == [50, 50, 50, 700]


def test_small_pictures_are_enlarged_and_sides_are_even() -> None:
    frame = frames_of(1)[0]
    picture = captioned(frame)
    assert picture.shape == (20 * 8 + 42, 31 * 8, 3)
    np.testing.assert_array_equal(picture[:160:8, ::8], frame.picture)
    assert (picture[160:180] < 128).any() and (picture[180:] == 255).all()  # one line of text
    large = Frame(np.zeros((241, 301, 3), np.uint8), 1, 0, 0.0, ended=False)
    assert captioned(large).shape == (284, 302, 3)


@pytest.mark.parametrize(
    ("action", "text"),
    [(np.array(2), "2"), (np.array([0.25, -1.0]), "[0.25 -1]"), (np.zeros(6), "[0 0 0 0 ...]")],
)
def test_captions_say_what_the_last_action_was(action: np.ndarray, text: str) -> None:
    before = frames_of(1)[0]
    after = dataclasses.replace(before, action=action, reward=-0.125)
    assert (captioned(after)[180:] < 128).any()  # a second line
    assert _action_text(action) == text


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    script = folder / "ffmpeg"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_an_mp4_is_given_to_ffmpeg_frame_by_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ffmpeg(tmp_path, monkeypatch, 'for last; do :; done; echo "$@" > "$last.words"; cat > "$last"')
    frames = frames_of(3)
    path = write_animation(frames, tmp_path / "episode.mp4", frames_per_second=5)
    pictures = [captioned(frame) for frame in frames]
    expected = b"".join(picture.tobytes() for picture in [*pictures[:2], *[pictures[2]] * 4])
    assert path.read_bytes() == expected
    assert "-s 248x202 -r 5" in (tmp_path / "episode.mp4.words").read_text()


def test_what_ffmpeg_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_ffmpeg(tmp_path, monkeypatch, "cat > /dev/null; echo no such codec >&2; exit 1")
    with pytest.raises(ValueError, match=r"episode.mp4\) was refused by ffmpeg: no such codec"):
        write_animation(frames_of(1), tmp_path / "episode.mp4")


def test_a_missing_ffmpeg_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError) as raised:
        write_animation(frames_of(1), "episode.mp4")
    assert str(raised.value) == "output (episode.mp4) needs ffmpeg: pip install imageio-ffmpeg, or write a .gif"


@pytest.mark.parametrize(
    ("output", "speed", "message"),
    [
        ("episode.avi", 10, "output (episode.avi) must end in one of .gif, .mp4"),
        ("episode.gif", 0, "frames_per_second (0) must be positive and at most 50"),
        ("episode.gif", 51, "frames_per_second (51) must be positive and at most 50"),
    ],
)
def test_other_animations_are_refused(output: str, speed: float, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        write_animation(frames_of(1), output, speed)
    assert str(raised.value) == message
