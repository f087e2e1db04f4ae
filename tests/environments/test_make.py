"""Making environments by name, and the one line that says what is wrong with a name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest

from memorax.environments import Environment, make, registered
from memorax.environments.make import SUITES
from memorax.environments.popgym.repeat_previous import RepeatPrevious
from memorax.environments.wrappers import WRAPPERS, MaskObservation
from memorax.installation import install_command
from tests.probes import CueRecall


def test_make_returns_the_environment_and_its_parameters() -> None:
    env, params = make("popgym::RepeatPreviousEasy", num_decks=2)
    assert isinstance(env, Environment)
    assert params == env.default_params
    assert params.num_decks == 2


@pytest.mark.parametrize(
    ("id", "message"),
    [
        (
            "popgym::RepeatPreviosEasy",
            "unknown environment 'popgym::RepeatPreviosEasy': did you mean 'popgym::RepeatPreviousEasy'",
        ),
        (
            "popgym::repeatfirsthard",
            "unknown environment 'popgym::repeatfirsthard': did you mean 'popgym::RepeatFirstHard'",
        ),
        ("popgym::", "unknown environment 'popgym::' (valid: popgym::AutoencodeEasy, "),
        (
            "popgim::RepeatFirstEasy",
            f"unknown suite 'popgim' in 'popgim::RepeatFirstEasy' (valid: {', '.join(SUITES)}): did you mean 'popgym'?",
        ),
        (
            "popgym::RepeatFirst",
            "unknown environment 'popgym::RepeatFirst': did you mean "
            "'popgym::RepeatFirstEasy' or 'popgym::RepeatFirstMedium' or 'popgym::RepeatFirstHard'?",
        ),
        ("gymnax::CartPole", "unknown environment 'gymnax::CartPole': did you mean 'gymnax::CartPole-v1'?"),
        (
            "CartPole-v1",
            "environment 'CartPole-v1' names no suite (valid: 'suite::Id'): did you mean 'gymnasium::CartPole-v1'",
        ),
        (
            "RepeatFirstEasy",
            "environment 'RepeatFirstEasy' names no suite (valid: 'suite::Id'): did you mean 'popgym::RepeatFirstEasy'",
        ),
        ("zzzz", "environment 'zzzz' names no suite (valid: 'suite::Id')"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(id: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        make(id)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("id", "settings", "message"),
    [
        (
            "popgym::RepeatPreviousEasy",
            {"num_deck": 2},
            "popgym::RepeatPreviousEasy has no option 'num_deck': did you mean 'num_decks'? "
            "(valid: k, num_decks; for any environment: ",
        ),
        (
            "gymnax::Pendulum-v1",
            {"max_steps": 3},
            "gymnax::Pendulum-v1 has no option 'max_steps': did you mean 'max_steps_in_episode'? "
            "(valid: dt, g, l, m, max_speed, max_steps_in_episode, max_torque; for any environment: ",
        ),
    ],
)
def test_an_unknown_option_is_answered_with_the_valid_ones(id: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        make(id, **settings)
    assert str(raised.value) == message + ", ".join(sorted(WRAPPERS)) + ")"


def test_an_environment_of_ones_own_says_which_options_it_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(**options: Any) -> Any:
        return RepeatPrevious(**options)

    monkeypatch.setitem(sys.modules, "own_environments", SimpleNamespace(made=made))
    with pytest.raises(ValueError) as raised:
        make("own_environments:made", dealy=3)
    assert str(raised.value).startswith("environment 'own_environments:made' cannot be made with the options dealy: ")
    assert "\n" not in str(raised.value)


def test_an_environment_of_ones_own_says_which_options_it_lacks() -> None:
    with pytest.raises(ValueError) as raised:
        make("json:loads")
    message = "environment 'json:loads' cannot be made with no options: loads() missing 1 required positional argument"
    assert str(raised.value).startswith(message)


def test_options_of_an_environment_of_ones_own_are_of_the_kind_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Python would make of them."""

    def made(delay: int, scale: float = 1.0, other: Any = None) -> Any:
        return CueRecall(delay=delay)

    monkeypatch.setitem(sys.modules, "own_environments", SimpleNamespace(made=made, CueRecall=CueRecall))
    assert make("own_environments:made", delay=3, scale=2, other="x")[0].delay == 3
    for name in ("made", "CueRecall"):
        for value in ("four", 4.5, True):
            message = rf"^environment 'own_environments:{name}': option delay \({value!r}\) must be of type int$"
            with pytest.raises(ValueError, match=message):
                make(f"own_environments:{name}", delay=value)


def test_registered_lists_every_suite() -> None:
    listing = registered()
    assert set(listing) == set(SUITES)
    assert "RepeatPreviousEasy" in listing["popgym"]
    assert "CartPole-v1" in listing["gymnax"]


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let `package` look as if it were not installed."""
    monkeypatch.delitem(sys.modules, "memorax.environments.gymnax", raising=False)
    monkeypatch.setitem(sys.modules, package, None)


def test_a_missing_extra_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "gymnax")
    hint = f"the gymnax environments need the package 'gymnax': {install_command('gymnax')}"
    with pytest.raises(ImportError) as raised:
        make("gymnax::CartPole-v1")
    assert str(raised.value) == hint
    assert registered()["gymnax"] == hint
    assert isinstance(registered()["popgym"], list)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import json; json.no_such_function",
            "the broken environments could not be imported (AttributeError: module 'json' has no attribute "
            "'no_such_function'): their packages do not fit together, pip install --upgrade -e ",
        ),
        (
            "from json import no_such_name",
            "the broken environments could not be imported (ImportError: cannot import name 'no_such_name' from 'json'",
        ),
        ("raise ImportError('build it from source')", "build it from source"),
    ],
    ids=["incompatible", "another version", "its own word"],
)
def test_packages_that_do_not_fit_are_one_line(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_suite.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SUITES, "broken", "broken_suite")  # type: ignore[arg-type]
    with pytest.raises(ImportError) as raised:
        make("broken::Id")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_wrapper_is_applied_by_keyword() -> None:
    env, params = make("gymnax::CartPole-v1", mask_observation=(0, 2), max_steps_in_episode=7)
    assert isinstance(env, MaskObservation)
    assert env.observation_space(params).shape == (2,)
    assert env.name == "CartPole-v1"
    assert params.max_steps_in_episode == 7
    assert env.default_params == params


def test_an_environment_itself_is_taken_with_its_wrappers() -> None:
    env, params = make(CueRecall(delay=3), time_limit=2)
    assert (env.env, env.keyword, params) == (CueRecall(delay=3), ("time_limit", 2), None)
    with pytest.raises(ValueError, match=r"^environment CueRecall is made already: delay goes to what makes it"):
        make(CueRecall(), delay=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (gymnasium.Env(), "environment Env is one of gymnasium's: register it there"),
        (CueRecall, "environment CueRecall is a class: make one, as in memorax.make(CueRecall(...))"),
        (3, "environment int must be or return an Environment"),
    ],
    ids=["gymnasium", "class", "number"],
)
def test_what_is_no_environment_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        make(wrong)
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)


def test_importing_environments_imports_no_suite() -> None:
    code = "import sys, memorax.environments; print(sorted({'gymnax', 'gymnasium', 'popgym'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_a_module_of_ones_own_has_one_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_to_make.py").write_text("")
    with pytest.raises(ValueError, match=r"did you mean 'mine_to_make:Maze', of the module mine_to_make\?$"):
        make("mine_to_make::Maze")
