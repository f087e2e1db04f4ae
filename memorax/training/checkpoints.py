"""Checkpoints of a run: one pytree, written whole or not at all, and checked when it is read."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.loggers import Row
from memorax.types import Array, PyTree

KEPT = 2
FACTS_FILE = "facts.json"
STATE_FOLDER = "state"
BLOCK = 1 << 20
DISK_FULL = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        step: environment steps taken in each seed.
        seconds: seconds that the run took so far.
        tree: the pytree that was saved.
        logged: the step up to which metrics were logged.
        rows: rows of metrics of `step`, where they are not logged yet, because they wait for an evaluation.
    """

    step: int
    seconds: float
    tree: PyTree
    logged: int
    rows: list[Row]


class Checkpoints:
    """The checkpoints in a folder, of which the last two are kept.

    Each is a folder named by its step. It is written under another name, flushed to the disk and then renamed, so that
    a process killed at any moment leaves no half of one. The checksums of its files lie in it and are compared before
    anything is read.
    """

    def __init__(self, folder: Path) -> None:
        # Here rather than above: it takes a second to import, and nobody who only plots a run needs it.
        import orbax.checkpoint as orbax

        self.folder = folder
        self._checkpointer = orbax.Checkpointer(orbax.StandardCheckpointHandler())
        self._reader = orbax.Checkpointer(orbax.PyTreeCheckpointHandler())
        self._args = orbax.args
        self._damaged: list[Path] = []

    @property
    def steps(self) -> list[int]:
        """The steps there is a complete checkpoint of, in order."""
        return sorted(
            int(path.parent.name) for path in self.folder.glob(f"*/{FACTS_FILE}") if path.parent.name.isdigit()
        )

    def save(
        self, step: int, seconds: float, tree: PyTree, logged: int | None = None, rows: Sequence[Row] = ()
    ) -> None:
        """Write a checkpoint; of one of the same step, only what was logged is written anew.

        Args:
            step: environment steps taken in each seed.
            seconds: seconds that the run took so far.
            tree: pytree of arrays.
            logged: the step up to which metrics were logged; by default all of them.
            rows: rows of metrics of `step`, where they are not logged yet.

        Raises:
            OSError: if the disk is full; the checkpoints before stay as they are.
        """
        while self._damaged:
            shutil.rmtree(self._damaged.pop())
        facts = {"step": step, "seconds": seconds, "logged": step if logged is None else logged, "rows": list(rows)}
        if step in self.steps:
            path = self.folder / str(step) / FACTS_FILE
            before = json.loads(path.read_text())
            if any(before[name] != facts[name] for name in ("logged", "rows")):
                _write_whole(path, {**before, **facts})
            return
        partial = self.folder / f"{step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        arrays = to_arrays(tree)
        try:
            partial.mkdir(parents=True)
            # The storage library is loud about a disk that fills while it writes, so look first.
            needed = sum(array.nbytes for array in arrays.values())
            if shutil.disk_usage(partial).free < needed:
                raise OSError(errno.ENOSPC, f"{needed:,} bytes needed")
            self._write(partial, facts, arrays)
            os.replace(partial, self.folder / str(step))
            _flush(self.folder)
        except Exception as error:  # What is raised depends on the storage library.
            shutil.rmtree(partial, ignore_errors=True)
            if not _is_disk_full(error):
                raise
            raise OSError(
                errno.ENOSPC, "no space left on the disk for a checkpoint: free some and resume", str(self.folder)
            ) from error
        for old in self.steps[:-KEPT]:
            shutil.rmtree(self.folder / str(old))

    def restore(self, template: PyTree) -> Checkpoint | None:
        """Read the last checkpoint that is intact.

        Args:
            template: a pytree of arrays, or of their shapes, as it was saved.

        Returns:
            The checkpoint, or `None` where none was ever completed.

        Raises:
            ValueError: if there are checkpoints and none is intact, or if it holds another pytree than `template`.
        """
        intact = self._last_intact()
        if intact is None:
            return None
        path, facts = intact
        tree = from_arrays(template, self._read(path, facts["arrays"]), path)
        step = facts["step"]
        return Checkpoint(step, facts["seconds"], tree, facts.get("logged", step), facts.get("rows", []))

    def read(self, choose: Callable[[Collection[str]], Iterable[str]]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Read some arrays of the last checkpoint that is intact.

        Args:
            choose: given the names of all arrays, which to read; see `to_arrays`.

        Returns:
            The environment steps taken in each seed, and the arrays by name; `None` where there is no checkpoint.

        Raises:
            ValueError: if there are checkpoints and none is intact.
        """
        intact = self._last_intact()
        if intact is None:
            return None
        path, facts = intact
        chosen = set(choose(facts["arrays"]))
        described = {name: description for name, description in facts["arrays"].items() if name in chosen}
        return facts["step"], self._read(path, described)

    def _last_intact(self) -> tuple[Path, dict[str, Any]] | None:
        """The last checkpoint that is intact and its facts; `None` where none was ever completed."""
        damage = []
        for step in reversed(self.steps):
            path = self.folder / str(step)
            damaged = find_damage(path)
            if damaged is None:
                return path, json.loads((path / FACTS_FILE).read_text())
            self._damaged.append(path)
            damage.append(str(damaged))
        if damage:
            raise ValueError(
                f"no intact checkpoint: {', '.join(damage)} damaged. "
                f"Remove {self.folder} to start the run from its beginning"
            )
        return None

    def _write(self, path: Path, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        # Orbax refuses arrays without elements; there is nothing in them to save.
        filled = {name: array for name, array in arrays.items() if array.size}
        with _quiet():
            self._checkpointer.save((path / STATE_FOLDER).absolute(), args=self._args.StandardSave(filled))
        facts["arrays"] = {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()}
        facts["files"] = _checksums(path)
        _write_whole(path / FACTS_FILE, facts)

    def _read(self, path: Path, described: Mapping[str, Any]) -> dict[str, np.ndarray]:
        arrays = {name: np.zeros(shape, np.dtype(dtype)) for name, (shape, dtype) in described.items()}
        filled = {name: array for name, array in arrays.items() if array.size}
        with _quiet():
            restored = self._reader.restore(
                (path / STATE_FOLDER).absolute(), args=self._args.PyTreeRestore(filled, partial_restore=True)
            )
        return {name: np.asarray(restored.get(name, array)) for name, array in arrays.items()}


def find_damage(path: Path) -> Path | None:
    """A file of a checkpoint that is missing or not as it was written, if there is one."""
    try:
        recorded = json.loads((path / FACTS_FILE).read_text())["files"]
    except (ValueError, KeyError, TypeError):
        return path / FACTS_FILE
    found = _checksums(path)
    damaged = [name for name, checksum in recorded.items() if found.get(name) != checksum]
    return path / damaged[0] if damaged else None


def to_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a pytree on the host, by their paths in it; of a random key, its data."""
    return {name: np.asarray(_key_data(leaf)) for name, leaf in named_leaves(tree)}


def from_arrays(template: PyTree, arrays: dict[str, np.ndarray], path: Path) -> PyTree:
    """Put arrays back into a pytree; the inverse of `to_arrays`.

    Raises:
        ValueError: if names, shapes or types are not those of `template`; `path` is named.
    """
    expected = dict(named_leaves(template))
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


def named_leaves(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list[tuple[str, Any]]:
    """The leaves of a pytree by their paths, `params.layers.0`.

    A dot within a key gets a backslash, so that no two names are alike.

    Args:
        tree: the pytree.
        is_leaf: what counts as a leaf besides.
    """

    def name(path: tuple[Any, ...]) -> str:
        keys = (jax.tree_util.keystr((key,), simple=True) for key in path)
        return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)

    return [(name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf)]


def _restore_leaf(template: Array, array: np.ndarray) -> Array:
    if jax.dtypes.issubdtype(template.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(jnp.empty((), template.dtype)))
    return jnp.array(array)


def _key_data(leaf: Array) -> Array:
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _describe(array: Any) -> str:
    return f"{np.dtype(array.dtype).name}{list(array.shape)}"


def _checksums(path: Path) -> dict[str, int]:
    """The checksum of every file of a checkpoint but the one they are written to."""
    files = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith(FACTS_FILE))
    return {str(file.relative_to(path)): _checksum(file) for file in files}


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all, and flush it to the disk."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with open(unfinished, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_disk_full(error: BaseException) -> bool:
    """Whether the disk being full is the cause; the storage library reports it in words."""
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) == errno.ENOSPC or any(words in str(seen).lower() for words in DISK_FULL):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


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
