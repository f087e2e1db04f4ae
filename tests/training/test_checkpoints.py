from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memorax.training.checkpoints import Checkpoints, from_arrays, read_facts


def make_tree(seed: int) -> dict[str, Any]:
    """Every kind of leaf a state may have."""
    key = jax.random.key(seed)
    return {
        "typed keys": jax.random.split(key, 3),
        "raw key": jax.random.PRNGKey(seed),
        "other key": jax.random.key(seed, impl="rbg"),
        "params": [jax.random.normal(key, (50, 60)), (jax.random.normal(key, (7,)).astype(jnp.bfloat16),)],
        "nan": jnp.array([jnp.nan, -0.0, jnp.inf]),
        "complex": jnp.array([1 + 2j]),
        "flags": jnp.array([True, False]),
        "bytes": jnp.arange(5, dtype=jnp.uint8),
        "count": jnp.asarray(seed, jnp.int32),
        "empty": jnp.zeros((3, 0)),
        "none": None,
        "dots": {"camera.left": jnp.zeros(3), "camera": {"left": jnp.ones(3)}, "camera\\": {"left": jnp.ones(2)}},
    }


def assert_identical(one: Any, other: Any) -> None:
    def bits(leaf: jax.Array) -> bytes:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()

    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), one) == jax.tree.map(lambda x: (x.shape, x.dtype), other)
    assert jax.tree.leaves(jax.tree.map(bits, one)) == jax.tree.leaves(jax.tree.map(bits, other))


def saved(folder: Path, steps: tuple[int, ...]) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, step / 2, make_tree(step))
    return checkpoints


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_what_is_restored_is_what_was_saved_and_the_last_two_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, (10, 20, 30))
    assert checkpoints.steps == [20, 30]
    checkpoint = Checkpoints(tmp_path).restore(jax.eval_shape(lambda: make_tree(0)))
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.seconds) == (30, 15.0)
    assert_identical(checkpoint.tree, make_tree(30))


def test_rows_that_wait_for_an_evaluation_are_kept_until_they_are_logged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    waiting = [{"seed": 0, "step": 10, "loss": 0.1}]
    checkpoints.save(10, 1.0, make_tree(1), logged=5, rows=waiting)
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert (checkpoint.logged, checkpoint.rows) == (5, waiting)
    checkpoints.save(10, 2.0, make_tree(1))
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert (checkpoint.logged, checkpoint.rows) == (10, [])
    assert_identical(checkpoint.tree, make_tree(1))


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).restore(make_tree(0)) is None


def test_a_flipped_bit_in_the_facts_is_found(tmp_path: Path) -> None:
    """Every tenth bit of the file beside the arrays: the checkpoint before takes over, or the flip changed nothing."""
    saved(tmp_path, (10, 20))
    facts = tmp_path / "20" / "facts.json"
    content = facts.read_bytes()
    before = read_facts(tmp_path / "20")
    for bit in range(0, 8 * len(content), 10):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        facts.write_bytes(flipped)
        assert read_facts(tmp_path / "20") in (None, before) or b'"checksum"' not in flipped
    assert read_facts(tmp_path / "20") is None
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert checkpoint.step == 10


def test_a_damaged_checkpoint_of_a_step_is_not_read(tmp_path: Path) -> None:
    saved(tmp_path, (10, 20))
    largest_file(tmp_path / "10").write_bytes(b"")
    with pytest.raises(ValueError, match=r"step \(10\): that checkpoint is damaged in .*: choose from last, best, 20$"):
        Checkpoints(tmp_path).restore(make_tree(0), 10)
    with pytest.raises(ValueError, match=r"step \(best\): that checkpoint does not exist"):
        Checkpoints(tmp_path).restore(make_tree(0), "best")


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_is_replaced(tmp_path: Path, damage: str) -> None:
    saved(tmp_path, (10, 20))
    path = largest_file(tmp_path / "20")
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0x55
        path.write_bytes(content if damage == "changed" else content[: len(content) // 2])
    checkpoints = Checkpoints(tmp_path)
    checkpoint = checkpoints.restore(make_tree(0))
    assert checkpoint is not None
    assert checkpoint.step == 10
    assert_identical(checkpoint.tree, make_tree(10))
    checkpoints.save(20, 10.0, make_tree(20))
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert_identical(checkpoint.tree, make_tree(20))


def emptied(checkpoint: Path) -> Path:
    (checkpoint / "facts.json").write_bytes(b"")
    return checkpoint / "facts.json"


def a_list(checkpoint: Path) -> Path:
    (checkpoint / "facts.json").write_text("[]")
    return checkpoint / "facts.json"


def without_facts(checkpoint: Path) -> Path:
    (checkpoint / "facts.json").unlink()
    return checkpoint / "facts.json"


def without_state(checkpoint: Path) -> Path:
    shutil.rmtree(checkpoint / "state")
    return checkpoint / "state" / "_CHECKPOINT_METADATA"


@pytest.mark.parametrize("damage", [emptied, a_list, without_facts, without_state])
def test_a_damaged_checkpoint_is_told_with_the_one_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Path]
) -> None:
    saved(tmp_path, (10, 20))
    file = damage(tmp_path / "20")
    checkpoints = Checkpoints(tmp_path)
    for _ in range(2):
        checkpoint = checkpoints.restore(make_tree(0))
        assert checkpoint is not None
        assert checkpoint.step == 10
    told = f"checkpoint damaged: {file}; that of step 10 is used, the last one that is intact"
    assert caplog.messages == [told]
    # Who asks for a step gets it, or an error.
    Checkpoints(tmp_path).restore(make_tree(0), 10)
    assert caplog.messages == [told]


@pytest.mark.parametrize(
    "changes",
    [
        {"arrays": None},
        {"arrays": {"count": 5}},
        {"seconds": None},
        {"seconds": "x"},
        {"best": "null"},
        {"best": {"colour": 1}},
        {"rows": "x"},
        {"files": []},
    ],
)
def test_facts_of_another_kind_are_damage_where_no_checksum_tells(tmp_path: Path, changes: dict[str, Any]) -> None:
    """None stands for what is missing."""
    saved(tmp_path, (10, 20))
    path = tmp_path / "20" / "facts.json"
    facts = json.loads(path.read_text())
    del facts["checksum"]
    path.write_text(json.dumps(facts))
    assert read_facts(path.parent) == facts
    facts = {name: value for name, value in {**facts, **changes}.items() if value is not None}
    path.write_text(json.dumps(facts).replace('"null"', "null"))
    assert read_facts(path.parent) is None
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert checkpoint.step == 10


@pytest.mark.parametrize(("saved_as", "here", "number"), [(np.float64, np.float32, 1), (np.int32, np.int64, 0)])
def test_numbers_of_another_width_are_told_with_the_remedy(saved_as: type, here: type, number: int) -> None:
    template = {"count": jax.ShapeDtypeStruct((2,), np.dtype(here))}
    message = (
        rf"^runs/10 was saved with numbers of another width: at count it has {np.dtype(saved_as).name}\[2\] where this "
        rf"process has {np.dtype(here).name}\[2\]. Set JAX_ENABLE_X64={number}, as when the run was started$"
    )
    with jax.enable_x64(not number):
        with pytest.raises(ValueError, match=message):
            from_arrays(template, {"count": np.zeros(2, saved_as)}, Path("runs/10"))
        for other in (np.zeros(3, saved_as), np.zeros(2, bool), np.zeros(2, np.int8)):
            with pytest.raises(ValueError, match="was saved by another agent"):
                from_arrays(template, {"count": other}, Path("runs/10"))


def test_no_intact_checkpoint_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    saved(tmp_path, (10,))
    path = largest_file(tmp_path / "10")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"no intact checkpoint: .*/10/.* damaged\. Remove .* to start") as raised:
        Checkpoints(tmp_path).restore(make_tree(0))
    assert "\n" not in str(raised.value)


def test_a_half_written_checkpoint_is_not_taken_for_one(tmp_path: Path) -> None:
    saved(tmp_path, (10,))
    shutil.copytree(tmp_path / "10", tmp_path / "20.partial")
    assert Checkpoints(tmp_path).steps == [10]
    saved(tmp_path, (20,))
    assert Checkpoints(tmp_path).steps == [10, 20]
    assert not (tmp_path / "20.partial").exists()


def test_the_state_of_another_agent_is_named(tmp_path: Path) -> None:
    saved(tmp_path, (10,))
    template = make_tree(0) | {"count": jnp.zeros((2,))}
    with pytest.raises(ValueError, match=r"another agent: at count it has int32\[\] where this one has float32\[2\]"):
        Checkpoints(tmp_path).restore(template)
    template = make_tree(0) | {"new": jnp.zeros(())}
    with pytest.raises(ValueError, match=r"at new it has nothing where this one has float32\[\]"):
        Checkpoints(tmp_path).restore(template)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, (10,))

    def full(path: Path, **arguments: Any) -> None:
        path.mkdir()
        raise ValueError("RESOURCE_EXHAUSTED: Error writing local file [OS error 28: No space left on device]")

    monkeypatch.setattr(checkpoints._checkpointer, "save", full)
    with pytest.raises(OSError, match="no space left on the disk for a checkpoint") as raised:
        checkpoints.save(20, 1.0, make_tree(20))
    assert raised.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["10"]
    checkpoint = Checkpoints(tmp_path).restore(make_tree(0))
    assert checkpoint is not None
    assert_identical(checkpoint.tree, make_tree(10))
