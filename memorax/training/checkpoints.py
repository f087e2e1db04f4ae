"""Checkpoints of a run: one pytree, written whole or not at all, and checked when it is read."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memorax.types import Array, PyTree

KEPT = 2
DISK_FULL = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        step: environment steps taken in each seed.
        seconds: how long the run had taken.
        tree: the pytree that was saved.
    """

    step: int
    seconds: float
    tree: PyTree


class Checkpoints:
    """The checkpoints in a folder, of which the last two are kept.

    Each is a folder named by its step. It is written under another name, flushed to the disk and then renamed, so that
    a process killed at any moment leaves no half of one. The checksum of every array is stored beside it.
    """

    def __init__(self, folder: Path) -> None:
        # Here rather than above: it takes a second to import, and nobody who only plots a run needs it.
        import orbax.checkpoint as orbax

        self.folder = folder
        self._orbax = orbax
        self._damaged: list[int] = []
        options = orbax.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        with _quiet():
            self._manager = orbax.CheckpointManager(folder.absolute(), options=options)

    @property
    def steps(self) -> list[int]:
        """The steps there is a complete checkpoint of, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, seconds: float, tree: PyTree) -> None:
        """Write a checkpoint; one of the same step is left as it is.

        Raises:
            OSError: if the disk is full; the checkpoints before stay as they are.
        """
        while self._damaged:
            self._manager.delete(self._damaged.pop())
        if step in self.steps:
            return
        arrays = to_arrays(tree)
        facts = {"step": step, "seconds": seconds, "arrays": _manifest(arrays)}
        # Orbax refuses arrays without elements; there is nothing in them to save.
        filled = {name: array for name, array in arrays.items() if array.size}
        args = self._orbax.args
        items = args.Composite(tree=args.StandardSave(filled), facts=args.JsonSave(facts))
        try:
            with _quiet():
                self._manager.save(step, args=items, force=True)
        except Exception as error:  # What is raised depends on the storage library below.
            self._remove_unfinished()
            if not _is_disk_full(error):
                raise
            raise OSError(
                errno.ENOSPC, "no space left on the disk for a checkpoint: free some and resume", str(self.folder)
            ) from error

    def restore(self, template: PyTree) -> Checkpoint | None:
        """Read the last checkpoint that is intact.

        Args:
            template: a pytree of arrays, or of their shapes, as it was saved.

        Returns:
            The checkpoint, or `None` where none was ever completed.

        Raises:
            ValueError: if there are checkpoints and none is intact, or if it holds another pytree than `template`.
        """
        damage = []
        for step in reversed(self.steps):
            try:
                with _quiet():
                    facts, arrays = self._read(step)
            except Exception as error:  # Damage surfaces as nearly any exception; all mean the same here.
                self._damaged.append(step)
                damage.append(f"{self.folder / str(step)} ({_first_line(error)})")
                continue
            return Checkpoint(facts["step"], facts["seconds"], from_arrays(template, arrays, self.folder / str(step)))
        if damage:
            raise ValueError(
                f"no intact checkpoint: {', '.join(damage)} cannot be read. "
                f"Remove {self.folder} to start the run from its beginning"
            )
        return None

    def close(self) -> None:
        """Release what orbax holds."""
        with _quiet():
            self._manager.close()

    def _read(self, step: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        args = self._orbax.args
        facts = self._manager.restore(step, args=args.Composite(facts=args.JsonRestore())).facts
        empty = {
            name: np.zeros(shape, dtype) for name, (shape, dtype, _) in facts["arrays"].items() if 0 in shape
        }
        filled = {
            name: np.empty(shape, np.dtype(dtype))
            for name, (shape, dtype, _) in facts["arrays"].items()
            if name not in empty
        }
        arrays = self._manager.restore(step, args=args.Composite(tree=args.StandardRestore(filled))).tree
        arrays = {name: np.asarray(array) for name, array in {**arrays, **empty}.items()}
        if _manifest(arrays) != facts["arrays"]:
            raise ValueError("its checksums do not match")
        return facts, arrays

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path, ignore_errors=True)


def to_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a pytree on the host, by their paths in it; of a random key, its data."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(_key_data(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def from_arrays(template: PyTree, arrays: dict[str, np.ndarray], path: Path) -> PyTree:
    """Put arrays back into a pytree; the inverse of `to_arrays`.

    Raises:
        ValueError: if names, shapes or types are not those of `template`; `path` is named.
    """
    expected = {
        jax.tree_util.keystr(keys, simple=True, separator="."): leaf
        for keys, leaf in jax.tree_util.tree_leaves_with_path(template)
    }
    for name in sorted(set(expected) | set(arrays)):
        wanted = _describe(jax.eval_shape(_key_data, expected[name])) if name in expected else "nothing"
        found = _describe(arrays[name]) if name in arrays else "nothing"
        if wanted != found:
            raise ValueError(
                f"{path} was saved by another agent: at {name} it has {found} where this one has {wanted}. "
                "Resume with the agent that started the run"
            )
    leaves = [_restore_leaf(leaf, arrays[name]) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _restore_leaf(template: Array, array: np.ndarray) -> Array:
    if jax.dtypes.issubdtype(template.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(template))
    return jax.numpy.array(array)


def _key_data(leaf: Array) -> Array:
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _describe(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _manifest(arrays: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """Shape, type and checksum of each array."""
    return {
        name: [list(array.shape), array.dtype.name, zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)]
        if array.size
        else [list(array.shape), array.dtype.name, 0]
        for name, array in arrays.items()
    }


def _is_disk_full(error: BaseException) -> bool:
    """Whether the disk being full is the cause; the storage library reports it in words."""
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) == errno.ENOSPC or any(words in str(seen).lower() for words in DISK_FULL):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's notes about its own workings off the terminal: what matters to a user is raised."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
