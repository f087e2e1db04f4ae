from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import gymnax
import pytest

import memorax.cli.train
from memorax.algorithms import DQNConfig, PPOConfig
from memorax.cli import COMMANDS, main
from memorax.cli.arguments import joined
from memorax.cli.compilation_cache import JAX_SETTING, KEPT_DAYS, SWITCH, cache_folder, use_compilation_cache
from memorax.cli.errors import one_line
from memorax.cli.train import Command, parse
from memorax.environments import registered
from memorax.environments.wrappers import WRAPPERS
from memorax.evaluation import read_metrics
from memorax.networks import TORSOS
from memorax.networks.torsos import DESCRIPTIONS
from memorax.training import Interrupted, TrainConfig
from memorax.training.config import config_to_json
from memorax.training.options import parse_options
from tests.training.small import CONFIG, STEPS

SMALL = [
    *("--environment", CONFIG.environment, "--torso", "mlp", "--features", "4"),
    *("--num-envs", "2", "--num-steps", "16", "--num-minibatches", "2", "--update-epochs", "1"),
    *("--total-steps", str(4 * STEPS), "--num-seeds", "2", "--evaluation-steps", "64", "--loggers", "file"),
]


def test_every_setting_is_a_flag() -> None:
    command = parse(
        [
            *("--environment", "gymnax::CartPole-v1", "--environment-options", "max_steps_in_episode=200"),
            *(
                "mask_observation=(0,2)",
                "--torso",
                "lstm",
                "--features",
                "32",
                "--num-envs",
                "16",
                "--target-kl",
                "0.02",
            ),
            *("--learning-rate", "1e-3", "--no-clip-vloss", "--previous-action", "--folder", "runs/mine", "--debug"),
        ]
    )
    assert command.folder == Path("runs/mine")
    assert command.debug
    assert command.config == TrainConfig(
        environment="gymnax::CartPole-v1",
        environment_options={"max_steps_in_episode": 200, "mask_observation": (0, 2)},
        hyperparameters=PPOConfig(num_envs=16, target_kl=0.02, clip_vloss=False),
        torso="lstm",
        features=32,
        learning_rate=1e-3,
        previous_action=True,
    )


def test_each_algorithm_has_its_own_flags() -> None:
    for arguments in (["--algorithm", "dqn", "--tau", "0.5"], ["--algorithm=dqn", "--tau", "0.5"]):
        assert parse(arguments) == Command(TrainConfig(algorithm="dqn", hyperparameters=DQNConfig(tau=0.5)))
    assert parse([]) == Command(TrainConfig())


def test_whole_numbers_may_be_written_with_an_exponent(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--algorithm", "dqn", "--buffer-size", "2e4", "--devices", "1e0", "--total-steps", "1e5"]
    hyperparameters = DQNConfig(buffer_size=20_000)
    expected = TrainConfig(algorithm="dqn", hyperparameters=hyperparameters, devices=1, total_steps=100_000)
    assert parse(words) == Command(expected)
    with pytest.raises(SystemExit):
        parse(["--num-seeds", "2.5"])
    assert "Error parsing --num-seeds: the value (2.5) must be a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gamma", "high"], "--gamma: the value (high) must be a number, such as 0.001 or 1e-3"),
        (["--learning-rate", "fast"], "--learning-rate: the value (fast) must be a number, such as 0.001 or 1e-3"),
        (["--evaluation-interval", "many"], "--evaluation-interval: steps (many) must be a whole number, such as"),
    ],
)
def test_what_is_no_number_is_told_in_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(words)
    told = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert f"Error parsing {message}" in told
    assert "no type matching" not in told


def test_none_is_a_value_of_options_that_may_be_without_one() -> None:
    assert parse(["--learning-rate", "None", "--evaluation-interval", "None"]) == Command(TrainConfig())


def test_trains_resumes_evaluates_plots_and_renders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    assert main(["train", *SMALL, "--folder", str(folder)]) == 0
    # Two seeds, two environments, 32 steps in each: an episode takes 51.
    too_short = (
        "4 of the 4 episodes of an evaluation had not ended when it did, and count with the return they had reached: "
        "make {} larger"
    )
    assert caplog.messages == [too_short.format("evaluation_steps (64)")]
    assert read_metrics(folder)["evaluation_unfinished"][-1] == 2
    assert capsys.readouterr().out.endswith(f"everything is in {folder}\n")
    assert read_metrics(folder)["step"][-1] == 4 * STEPS
    assert main(["resume", str(folder)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--num-steps", "256"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{folder} after {4 * STEPS} steps: mean return and its 95 % interval"
    assert [line.split(":")[0] for line in lines] == ["seed 0", "seed 1", "all"]
    assert main(["evaluate", str(folder), "--num-steps", "64"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == too_short.format("--num-steps (64)")
    assert main(["plot", str(folder), "--output", str(tmp_path / "curve.png")]) == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main(["render", str(folder), "--seed", "1", "--num-steps", "3"]) == 0
    assert (folder / "episode.gif").read_bytes().startswith(b"GIF89a")
    assert main(["render", str(folder), "--seed", "2"]) == 2
    assert "seed (2) must be one of the run's: 0, 1" in capsys.readouterr().err
    assert main(["train", *SMALL, "--folder", str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"error: folder ({folder}) holds another run: go on with it by `memorax resume {folder}`, "
        "or choose another folder\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean 'train'?"),
        (["train", "--algorithm", "r2d3"], "unknown algorithm 'r2d3': did you mean 'r2d2'?"),
        (["train", "--torso", "gruu"], "unknown torso 'gruu': did you mean 'gru'?"),
        (["train", "--environment", "popgym::RepeatPreviousEsay"], "did you mean 'popgym::RepeatPreviousEasy'"),
        (["train", "--environment", "nowhere::CartPole"], "unknown suite 'nowhere'"),
        (["train", "--environment", "memory:TMaze"], "must be 'suite::Id', with two colons: 'memory::TMaze'"),
        (["train", "lstm"], "unexpected word 'lstm': settings are options, such as --torso NAME"),
        (["help", "trian"], "unknown command 'trian': did you mean 'train'?"),
        (["train", "--total-steps", "-5"], "total_steps (-5) must be"),
        (["train", "--num-seeds", "0"], "num_seeds (0) must be"),
        (["train", "--num-envs", "6"], "num_envs (6) must be divisible by num_minibatches (4)"),
        (["train", "--evaluation-interval", "0"], "evaluation_interval (0) must be"),
        (["train", "--loggers", "paper"], "unknown logger 'paper'"),
        (["train", "--folder", "/dev/null"], "folder (/dev/null) is a file"),
        (["resume", "nowhere"], "nowhere does not exist: name the folder of a run"),
        (["evaluate", "nowhere"], "nowhere does not exist: name the folder of a run"),
        (["render", "nowhere"], "nowhere does not exist: name the folder of a run"),
        (["render", "nowhere", "--output", "a.avi"], "output (a.avi) must end in one of .gif, .mp4"),
        (["plot", "nowhere"], "nowhere holds no metrics.csv: name the folder of a run"),
        (["plot"], "no run to plot"),
        (["report"], "no run to report"),
        (["report", "nowhere"], "nowhere holds no metrics.csv: name the folder of a run"),
        (["report", "runs", "--normalize", "a"], "normalize (a) must be NAME=LOW,HIGH"),
        (["report", "runs", "--normalize", "0,500"], "normalize (0,500) must be NAME=LOW,HIGH"),
        (["train", "--lr", "1e-3"], "unknown option --lr of memorax train: did you mean --learning-rate?"),
        (
            ["train", "--learning_rat=1"],
            "unknown option --learning-rat of memorax train: did you mean --learning-rate?",
        ),
        (["train", "--xyz", "1"], "unknown option --xyz of memorax train: `memorax train --help` lists them all"),
        (
            ["train", "--normalize-observation", "yes"],
            "--normalize-observation takes no value ('yes'): write --normalize-observation or --no-",
        ),
        (["train", "--folder", ""], "--folder ('') must be a path, such as runs/mine"),
        (["train", "--tau", "0.1"], "--tau is an option of --algorithm dqn, not of ppo"),
        (["evaluate", "runs", "--steps", "5"], "unknown option --steps of memorax evaluate: did you mean --num-steps?"),
        (["plot", "runs", "--labels", "x"], "did you mean --label?"),
        (["list", "torso"], "unknown kind 'torso': did you mean 'torsos'?"),
        (["list", "torsos", "xyz"], "there are no torsos with 'xyz' in their name"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert message in output.err


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(arguments: list[str]) -> int:
        return int("not a number")

    monkeypatch.setattr(memorax.cli.train, "main", buggy)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["train"])


def test_who_raised_decides() -> None:
    def catch(function: object, *arguments: object) -> BaseException:
        with pytest.raises(Exception) as raised:
            function(*arguments)  # type: ignore[operator]
        return raised.value

    assert one_line(catch(PPOConfig, 0)) == "num_envs (0) must be greater than 0"
    assert one_line(catch(config_to_json, None)) is None
    assert one_line(catch(parse_options, ["length"])) == "option 'length' must be NAME=VALUE"
    assert (
        one_line(OSError(errno.ENOSPC, "no space left on the disk", "runs/x")) == "no space left on the disk (runs/x)"
    )


WITH_CUDA = any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin")))


@pytest.mark.parametrize(
    "platform", ["nowhere", pytest.param("cuda", marks=pytest.mark.skipif(WITH_CUDA, reason="JAX has CUDA here"))]
)
def test_a_device_that_is_not_there_is_one_line(platform: str) -> None:
    """JAX raises an AssertionError without a message where its package for CUDA is not installed."""
    command = [sys.executable, "-m", "memorax", "list", "torsos", "lru"]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert made.returncode == 2
    error = made.stderr.splitlines()[-1]
    assert error.startswith(f"error: JAX finds no device (JAX_PLATFORMS={platform}): ")
    assert "Traceback" not in made.stderr


def test_what_cannot_be_fetched_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(id: str) -> None:
        raise OSError("no route")

    monkeypatch.setattr(gymnax, "make", unreachable)
    assert main(["train", "--environment", "gymnax::CartPole-v1"]) == 2
    message = "gymnax::CartPole-v1 downloads its data when it is made, and could not: no route"
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise Interrupted(number, Path("runs/mine"), 1024)

    monkeypatch.setattr(memorax.cli.train, "main", interrupted)
    assert main(["train"]) == code
    assert capsys.readouterr().err == "stopped after 1024 steps: go on with `memorax resume runs/mine`\n"


def test_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    assert {"popgym", "memory::ActiveTMaze", "ppo", "dqn", "gru", "mlp", "mamba", "terminal"} <= set(words)
    assert main(["list", "environments", "memory"]) == 0
    assert capsys.readouterr().out.split() == [f"memory::{id}" for id in registered()["memory"]]
    assert main(["list", "environments", "repeatprevious"]) == 0
    # Another test may have imported popgym, which registers its tasks with Gymnasium: they are listed as well.
    ours = [id for id in capsys.readouterr().out.split() if not id.startswith("gymnasium::popgym-RepeatPrevious")]
    assert ours == [f"popgym::RepeatPrevious{level}" for level in ("Easy", "Medium", "Hard")]
    assert main(["list", "torsos", "gru"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        # Three gates, each of 64 x 64 weights for the input and for the state, and four vectors of biases.
        f"gru                  {6 * 64 * 64 + 4 * 64:,} parameters  gated recurrent unit (options: depth=1)",
        "mingru               12,800 parameters  minGRU: a GRU whose gates see only the input, after a convolution "
        "(options: kernel_size=4)",
    ]
    assert main(["list", "algorithms", "dqn"]) == 0
    assert capsys.readouterr().out.startswith("dqn   ")
    assert main(["list", "optimizers", "adamax"]) == 0
    assert capsys.readouterr().out.split() == ["adamax", "options:", "b1,", "b2,", "eps"]
    assert main(["list", "wrappers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(WRAPPERS)
    assert all(len(line.split()) > 3 for line in lines), "each is explained"


def test_every_torso_is_explained() -> None:
    assert list(DESCRIPTIONS) == list(TORSOS)


@pytest.mark.parametrize("algorithm", ["gradient_ppo", "r2d2", "q_lambda"])
def test_help_describes_hyperparameters_that_are_inherited(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--algorithm", algorithm, "--help"])
    assert "Discount of returns." in capsys.readouterr().out


def test_help_needs_nothing_heavy() -> None:
    """Prints every command, and starts at once."""
    program = (
        "import sys; from memorax.cli import main; code = main(['--help']); "
        "sys.exit(code or bool({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert all(f"  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_reads_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main([command, "--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert not [
        text for text in ("default: None", "{None}", "default: )", "Off (", "config's defaults") if text in shown
    ]
    assert "(default: False)" not in shown or "--no-" in shown, "a switch is off unless it is given"
    words = " ".join(shown.replace("│", " ").split())
    assert f"usage: memorax {command}" in words
    assert "Folder" in words or command == "list"
    if command in ("evaluate", "render"):
        assert "--step {last,best,STEP}" in words
    if command in ("resume", "evaluate", "render", "export"):
        assert f"usage: memorax {command} [-h] " in words and " RUN " in words.partition("╭")[0]


def test_descriptions_are_one_line_each() -> None:
    docstring = """What it does.

        Args:
            one: What it is, in
                `two` lines.
            two: Short.
        """
    assert joined(docstring).splitlines()[2:] == ["Args:", "    one: What it is, in `two` lines.", "    two: Short."]


def test_commands_keep_compiled_programs_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JAX_SETTING, raising=False)
    monkeypatch.setenv(SWITCH, "off")
    use_compilation_cache()
    assert JAX_SETTING not in os.environ
    monkeypatch.setenv(SWITCH, str(tmp_path))
    use_compilation_cache()
    folder = cache_folder(str(tmp_path))
    assert os.environ[JAX_SETTING] == str(folder) and folder.is_dir() and folder.parent == tmp_path
    monkeypatch.setenv(JAX_SETTING, "own")
    use_compilation_cache()
    assert os.environ[JAX_SETTING] == "own"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_folder().parent == tmp_path / "home" / "memorax"


def test_old_programs_are_removed_and_a_home_that_is_no_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(JAX_SETTING, raising=False)
    monkeypatch.setenv(SWITCH, str(tmp_path))
    folder = cache_folder(str(tmp_path))
    folder.mkdir()
    for name, days in (("old", KEPT_DAYS + 1), ("new", 0)):
        (folder / name).touch()
        then = time.time() - days * 24 * 3600
        os.utime(folder / name, (then, then))
    use_compilation_cache()
    assert [path.name for path in folder.iterdir()] == ["new"]
    monkeypatch.setattr("memorax.cli.compilation_cache.KEPT_BYTES", 250)
    for age, name in enumerate(("c", "b", "a")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (time.time() - age, time.time() - age))
    monkeypatch.delenv(JAX_SETTING)
    use_compilation_cache()
    assert {path.name for path in folder.iterdir()} == {"new", "b", "c"}, "the oldest goes where there are too many"
    monkeypatch.delenv(JAX_SETTING)
    monkeypatch.setenv(SWITCH, "/dev/null/cache")
    use_compilation_cache()
    assert JAX_SETTING not in os.environ
