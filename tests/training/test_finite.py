"""What is not finite stops a run, is named, and is traced to the operation that made it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.algorithms.algorithm import Agent
from memorax.evaluation import read_metrics
from memorax.training import NotFinite, build_agent
from memorax.training.checkpoints import Checkpoints
from memorax.training.debugging import Origin, find_origins
from memorax.training.finite import Finding, Learned, describe, examine, find_not_finite
from memorax.training.run import resume_run, run_config
from tests.training.small import CONFIG, STEPS, run, small_agent

nan = float("nan")


OVERFLOWING = dataclasses.replace(CONFIG, learning_rate=1e38, max_grad_norm=1e38, total_steps=2 * STEPS)
"""Its learning rate lets parameters overflow in the first update of all."""

NETWORKS = ("actor", "critic")


@pytest.fixture(scope="module")
def agent() -> Agent:
    return build_agent(OVERFLOWING)


def learned(*finite: bool) -> Learned:
    return Learned({"actor": np.array(finite)}, np.zeros(len(finite), np.uint32))


def test_the_first_bad_loss_of_each_seed_is_found() -> None:
    metrics = {
        "entropy": np.array([[1.0, 1.0, nan], [1.0, 1.0, 1.0], [nan, nan, nan]]),
        "critic_loss": np.array([[1.0, nan, nan], [1.0, 1.0, 1.0], [1.0, 1.0, np.inf]]),
        "policy_loss": np.array([[1.0, 1.0, nan], [1.0, 1.0, 1.0], [1.0, 1.0, nan]]),
    }
    first, last = find_not_finite(metrics, learned(True, True, True))
    assert (first.index, first.iteration, list(first.quantities)) == (0, 1, ["critic_loss"])
    assert (last.index, last.iteration, list(last.quantities)) == (2, 2, ["critic_loss", "policy_loss", "entropy"])
    assert describe([last, first], [5, 6, 7], [10, 20, 30]) == (
        "seed 5 at step 20: critic_loss is nan; so it is in 2 of 3 seeds"
    )
    assert describe([last], [5, 6, 7], [10, 20, 30]) == (
        "seed 7 at step 30: critic_loss is inf, and with it policy_loss, entropy"
    )
    assert find_not_finite({"entropy": metrics["entropy"]}, learned(True, True, True)) == [], (
        "only losses must be finite"
    )
    (found,) = find_not_finite({"loss": np.ones((2, 3))}, learned(True, False))
    assert (found.index, found.iteration, list(found.quantities)) == (1, 2, ["parameters of actor"])
    assert describe([found], [0, 1], [1, 2, 3]) == "seed 1 at step 3: parameters of actor is not finite"


def test_what_does_not_exist_yet_is_not_bad() -> None:
    metrics = {"loss": np.array([[nan, nan, 1.0]]), "updates": np.array([[0, 0, 1]])}
    assert find_not_finite(metrics, learned(True)) == []
    metrics["updates"] = np.array([[0, 1, 1]])
    assert find_not_finite(metrics, learned(True)) == [Finding(0, 1, {"loss": pytest.approx(nan, nan_ok=True)})]


def test_a_run_stops_with_the_last_good_checkpoint_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the losses turns NaN in the third chunk, as far as the loop sees."""
    folder = tmp_path / "run"
    calls: list[Any] = []

    def find(metrics: Any, learned: Any) -> list[Finding]:
        calls.append(metrics)
        return [Finding(1, 0, {"critic_loss": nan, "policy_loss": nan})] if len(calls) == 3 else []

    monkeypatch.setattr("memorax.training.loop.find_not_finite", find)
    with pytest.raises(NotFinite) as raised:
        run(small_agent(), CONFIG, folder)
    assert str(raised.value) == (
        f"seed 4 at step {3 * STEPS}: critic_loss is nan, and with it policy_loss. The run stopped; the last good "
        f"checkpoint is that of step {2 * STEPS}: `memorax resume {folder} --debug` finds the operation"
    )
    assert (raised.value.step, raised.value.seed, raised.value.quantity) == (3 * STEPS, 4, "critic_loss")
    assert Checkpoints(folder / "checkpoints").steps == [STEPS, 2 * STEPS]
    assert read_metrics(folder)["step"][-1] == 3 * STEPS, "what was seen is there to look at"


def test_a_run_that_overflows_stops_or_continues(
    agent: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(
        NotFinite, match=r"actor_loss is nan, and .*; there was no checkpoint yet: `memorax resume"
    ) as raised:
        run(agent, OVERFLOWING, folder)
    assert (raised.value.step, raised.value.seed) == (STEPS, 3)
    assert Checkpoints(folder / "checkpoints").steps == []
    assert caplog.messages == []
    result = run(agent, dataclasses.replace(OVERFLOWING, on_nan="continue"), tmp_path / "other")
    assert result.step == 2 * STEPS
    assert [message.split(":")[0] for message in caplog.messages] == [f"seed {s} at step {STEPS}" for s in (3, 4)]
    assert ",nan" in (tmp_path / "other" / "metrics.csv").read_text()


def test_parameters_are_looked_at(agent: Agent) -> None:
    # Nothing but the shapes of all the rest is needed.
    state = jax.eval_shape(agent.init, jax.random.key(0))[1]
    filled = {
        name: jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), getattr(state, name)) for name in NETWORKS
    }
    state = state.replace(**filled)
    before = examine(agent, state)
    assert (set(before.finite), bool(before.finite["critic"])) == (set(NETWORKS), True)

    def changed(learner: Any, change: Callable[[Any], Any]) -> Any:
        leaves, tree = jax.tree.flatten(learner.params)
        return learner.replace(params=jax.tree.unflatten(tree, [*leaves[:-1], change(leaves[-1])]))

    after = examine(agent, state.replace(critic=changed(state.critic, lambda leaf: leaf.at[..., 0].set(jnp.inf))))
    assert (bool(after.finite["actor"]), bool(after.finite["critic"])) == (True, False)
    assert int(after.policy) == int(before.policy)
    after = examine(agent, state.replace(actor=changed(state.actor, lambda leaf: jnp.nextafter(leaf, 9.0))))
    assert int(after.policy) != int(before.policy)


@pytest.mark.slow
def test_a_run_names_the_operation_also_when_resumed(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"resume .* --debug` finds"):
        run_config(OVERFLOWING, tmp_path)
    with pytest.raises(NotFinite, match=r"the first (nan|inf) is made by `\w+` at /.*memorax/.*\.py:\d+ \(\w+\)"):
        resume_run(tmp_path, debug=True)


@jax.custom_vjp
def half(x: jax.Array) -> jax.Array:
    return x / 2


half.defvjp(lambda x: (half(x), x), lambda x, g: (g / (x - x),))


def scanned(x: jax.Array) -> jax.Array:
    """The logarithm of a negative number in the third of five steps."""

    def body(carry: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        masked = jnp.where(t > 9, jnp.log(-t - 1), carry)  # NaN everywhere, and nowhere selected
        carry = masked + jnp.where(t == 2, jnp.log(x - 2), 0.0)
        return carry, carry

    return jax.lax.scan(body, x, jnp.arange(5.0))[1].sum()


def looped(x: jax.Array) -> jax.Array:
    return jax.lax.while_loop(lambda pair: pair[0] < 3, lambda pair: (pair[0] + 1, jnp.sqrt(pair[1] - 1)), (0, x))[1]


def branched(x: jax.Array) -> jax.Array:
    return jax.lax.cond(x > 0, lambda x: jnp.arccos(x + 1), jnp.sin, x)


def divided(x: jax.Array) -> jax.Array:
    return (x / (x - x)) * 0.0


@pytest.mark.parametrize(
    ("function", "operation", "line", "cause"),
    [
        (scanned, "log", "jnp.log(x - 2)", None),
        (jax.jit(jax.vmap(looped)), "sqrt", "jnp.sqrt", None),
        (branched, "acos", "jnp.arccos", None),
        (divided, "mul", "* 0.0", "div"),
        (jax.grad(half), "div", "function(x)", None),  # what is made backwards has the line of the call
        (jax.checkpoint(lambda x: jnp.log(-x)), "log", "jnp.log(-x)", None),
    ],
)
def test_the_operation_is_found(
    function: Callable[[jax.Array], jax.Array], operation: str, line: str, cause: str | None
) -> None:
    x = jnp.ones((3,)) if isinstance(function, type(jax.jit(looped))) else jnp.ones(())
    origins = find_origins(lambda x: {"bad": function(x), "good": x}, x)
    assert list(origins) == ["['bad']"]
    origin = origins["['bad']"]
    assert origin.operation == operation
    file, number = origin.place.split(" ")[0].split(":")
    assert line in Path(file).read_text().splitlines()[int(number) - 1]
    assert (origin.cause and origin.cause.operation) == cause


def test_those_that_called_the_operation_are_told() -> None:
    def layer(x: jax.Array) -> jax.Array:
        return jnp.log(-x)

    def network(x: jax.Array) -> jax.Array:
        return layer(x) * 2

    place = find_origins(network, jnp.ones(()))[""].place
    assert [line.split(".")[-1] for line in place.split(", called from ")[:2]] == ["layer)", "network)"]


def test_an_origin_is_told_in_a_line() -> None:
    infinity = Origin("exp", "a.py:3 (f)", "", "inf")
    assert str(Origin("sub", "b.py:7 (g)", "Network/RNN", "nan", infinity)) == (
        "the first nan is made by `sub` at b.py:7 (g) within Network/RNN, from an infinity made by `exp` at a.py:3 (f)"
    )
