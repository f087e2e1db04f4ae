"""Which head fits which action space, and the one line that says what would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np
import pytest

from memorax import testing
from memorax.algorithms.network_checks import check_networks
from memorax.environments.spaces import Box, Dict, Discrete, MultiDiscrete
from memorax.networks import MLP, TORSOS, heads
from memorax.networks.sequence_models import LRUCell
from tests.catalogue import FEATURES, make_agent
from tests.probes import EndlessReward


@pytest.mark.parametrize(
    ("head", "space", "message"),
    [
        (
            heads.Categorical(5),
            Discrete(4),
            "Categorical(action_dim=5) does not fit the action space Discrete(4): use action_dim=4",
        ),
        (
            heads.Gaussian(2),
            Discrete(4),
            "Gaussian is for Box action spaces with one axis, but the action space is Discrete(4): "
            "use Categorical(action_dim=4)",
        ),
        (
            heads.Categorical(4),
            MultiDiscrete((2, 2)),
            "Categorical is for Discrete action spaces, but the action space is MultiDiscrete((2, 2)): "
            "use MultiCategorical(action_dims=(2, 2))",
        ),
        (
            heads.MultiCategorical((2, 3)),
            MultiDiscrete((3, 2)),
            "MultiCategorical(action_dims=(2, 3)) does not fit the action space MultiDiscrete((3, 2)): "
            "use action_dims=(3, 2)",
        ),
        (
            heads.Gaussian(3),
            Box(-1.0, 1.0, (2,)),
            "Gaussian(action_dim=3) does not fit the action space Box(low=-1.0, high=1.0, shape=(2,)): "
            "use action_dim=2",
        ),
        (
            heads.SquashedGaussian(1),
            Box(-2.0, 2.0, (1,)),
            "SquashedGaussian(low=-1.0, high=1.0) does not fit the action space Box(low=-2.0, high=2.0, shape=(1,)): "
            "use low=-2.0, high=2.0",
        ),
        (
            heads.DiscreteQNetwork(3),
            Discrete(2),
            "DiscreteQNetwork(action_dim=3) does not fit the action space Discrete(2): use action_dim=2",
        ),
        (
            heads.DiscreteQNetwork(3),
            Box(-1.0, 1.0, (2,)),
            "DiscreteQNetwork is for Discrete action spaces, but the action space is "
            "Box(low=-1.0, high=1.0, shape=(2,)): use ContinuousQNetwork()",
        ),
        (
            heads.ContinuousQNetwork(),
            Discrete(2),
            "ContinuousQNetwork is for Box action spaces with one axis, but the action space is Discrete(2): "
            "use DiscreteQNetwork(action_dim=2)",
        ),
        (
            heads.Gaussian(4),
            Box(-1.0, 1.0, (2, 2)),
            "there is no policy head for the action space Box(low=-1.0, high=1.0, shape=(2, 2)): "
            "it must be Discrete, MultiDiscrete or Box with one axis, which flatten_action=True makes of it",
        ),
        (
            heads.DiscreteQNetwork(4),
            MultiDiscrete((2, 2)),
            "there is no action-value head for the action space MultiDiscrete((2, 2)): "
            "it must be Discrete or Box with one axis, which flatten_action=True makes of it",
        ),
    ],
)
def test_a_head_that_does_not_fit_says_what_would(head, space, message):
    with pytest.raises(ValueError) as error:
        head.check_action_space(space)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "choose",
    [
        heads.policy_head,
        heads.q_head,
        heads.bounded_policy_head,
        heads.twin_q_head,
        heads.Gaussian(0).check_action_space,
    ],
)
def test_an_action_without_elements_is_refused(choose: Callable[[Box], Any]) -> None:
    with pytest.raises(ValueError) as error:
        choose(Box(-1.0, 1.0, (0,)))
    assert str(error.value) == "the action space is a Box of shape (0,): it must have at least one element"


@pytest.mark.parametrize("default", [heads.policy_head, heads.q_head])
@pytest.mark.parametrize(
    "space", [Discrete(4), MultiDiscrete((2, 3)), Box(-2.0, 2.0, (3,)), Box(-np.inf, np.inf, (1,))]
)
def test_default_heads_fit(default, space):
    if default is heads.q_head and isinstance(space, MultiDiscrete):
        with pytest.raises(ValueError, match="no action-value head"):
            default(space)
        return
    head = default(space)
    assert isinstance(head, nn.Module)
    head.check_action_space(space)
    heads.VNetwork().check_action_space(space)


def test_an_unbounded_space_asks_for_no_bounds():
    heads.SquashedGaussian(2, -3.0, 3.0).check_action_space(Box(-np.inf, np.inf, (2,)))


def test_no_head_for_a_dictionary():
    with pytest.raises(ValueError, match="there is no policy head for the action space Dict"):
        heads.policy_head(Dict({"a": Discrete(2)}))


@pytest.mark.parametrize(
    ("make", "space", "expected"),
    [
        (heads.policy_head, Discrete(4), {"categorical": heads.Categorical(4)}),
        (heads.policy_head, MultiDiscrete((2, 3)), {"categorical": heads.MultiCategorical((2, 3))}),
        (
            heads.policy_head,
            Box(-2.0, 3.0, (3,)),
            {
                "gaussian": heads.Gaussian(3),
                "squashed_gaussian": heads.SquashedGaussian(3),
                "beta": heads.Beta(3),
            },
        ),
        (
            heads.q_head,
            Discrete(4),
            {
                "discrete": heads.DiscreteQNetwork(4),
                "dueling": heads.DuelingQNetwork(4),
                "c51": heads.C51QNetwork(4),
                "quantile": heads.QuantileQNetwork(4),
                "hl_gauss": heads.HLGaussQNetwork(4),
            },
        ),
        (
            heads.q_head,
            Box(-2.0, 3.0, (3,)),
            {
                "continuous": heads.ContinuousQNetwork(),
                "c51": heads.ContinuousQNetwork(heads.C51()),
                "quantile": heads.ContinuousQNetwork(heads.Quantiles()),
                "hl_gauss": heads.ContinuousQNetwork(heads.HLGauss()),
            },
        ),
    ],
)
def test_heads_by_name(make, space, expected):
    """Those that fit a space are the ones expected, the others say in a line what would."""
    for name in heads.POLICY_HEADS if make is heads.policy_head else heads.Q_HEADS:
        if name in expected:
            assert make(space, name) == expected[name]
        else:
            with pytest.raises(ValueError, match=r"is for \w+ action spaces.*, but the action space is .*: use \w+\("):
                make(space, name)


def test_state_values_by_name():
    expected = heads.VNetwork(), heads.C51VNetwork(), heads.QuantileVNetwork(), heads.HLGaussVNetwork()
    assert tuple(heads.v_head(name) for name in heads.V_HEADS) == expected
    assert heads.v_head() == heads.VNetwork()


def test_a_name_that_is_no_head_says_which_are():
    with pytest.raises(ValueError) as error:
        heads.policy_head(Discrete(2), "dueling")
    assert str(error.value) == (
        "there is no policy head 'dueling': choose one of categorical, gaussian, squashed_gaussian, beta"
    )
    with pytest.raises(ValueError, match="there is no action-value head 'beta': choose one of discrete, continuous, "):
        heads.q_head(Discrete(2), "beta")
    with pytest.raises(ValueError, match="there is no state-value head 'dueling': choose one of scalar, c51, "):
        heads.v_head("dueling")


def test_policies_keep_within_the_bounds_of_a_box_that_has_any() -> None:
    assert isinstance(heads.bounded_policy_head(Box(-1.0, 1.0, (2,))), heads.SquashedGaussian)
    assert isinstance(heads.bounded_policy_head(Box(-np.inf, np.inf, (2,))), heads.Gaussian)
    assert isinstance(heads.bounded_policy_head(Discrete(3)), heads.Categorical)


def test_twin_heads_follow_the_action_space() -> None:
    assert heads.twin_q_head(Box(-1.0, 1.0, (2,))).takes_action
    assert heads.twin_q_head(Discrete(3)).head.action_dim == 3


@pytest.mark.parametrize(
    ("algorithm", "name", "head", "message"),
    [
        (
            "dqn",
            "q_network",
            heads.Categorical(2),
            "q_network needs a head that returns the values of actions, such as DiscreteQNetwork: "
            "Categorical returns a policy",
        ),
        (
            "ppo",
            "critic_network",
            heads.Twin(heads.DiscreteQNetwork(2)),
            "critic_network needs a head that returns the value of a timestep, such as VNetwork: "
            "Twin returns the values of actions",
        ),
    ],
)
def test_a_head_that_returns_something_else_is_an_error(algorithm: str, name: str, head: Any, message: str) -> None:
    agent = make_agent(algorithm, EndlessReward(), None, TORSOS["mlp"](FEATURES))
    networks = {**agent.networks, name: agent.networks[name].clone(head=head)}
    with pytest.raises(ValueError) as error:
        check_networks(networks, agent.network_heads, agent.env, None)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("torso", "remedy"),
    [
        (nn.GRUCell(FEATURES), "is a cell, which takes one step: make it RNN(GRUCell(...))"),
        (LRUCell(FEATURES), "is a cell of a memoroid: make it Memoroid(LRUCell(...))"),
        (MLP(FEATURES), "has no carry: make it SequenceModelWrapper(MLP(...)) to do without memory"),
        (MLP, "must be a sequence model, a module, and is none: call what makes it"),
    ],
)
def test_what_is_no_torso_is_told_how_to_become_one(torso: Any, remedy: str) -> None:
    agent = make_agent("ppo", EndlessReward(), None, TORSOS["mlp"](FEATURES))
    networks = {**agent.networks, "actor_network": agent.networks["actor_network"].clone(torso=torso)}
    with pytest.raises(ValueError) as error:
        check_networks(networks, agent.network_heads, agent.env, None)
    assert str(error.value).startswith("the torso of actor_network (")
    assert str(error.value).endswith(remedy)
    with pytest.raises(ValueError, match=r"^model "):
        testing.check_sequence_model(torso, FEATURES)
