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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memorax.files import flush_names, write_whole
from memorax.loggers import Row
from memorax.training.best import Best
from memorax.types import Array, PyTree

Step = int | str
"""How a checkpoint is named: environment steps taken in each seed, "best" or "last"."""

KEPT = 2
"""How many of the last checkpoints are kept by default."""

FACTS_FILE = "facts.json"
FACTS: Mapping[str, Any] = {
    "step": int,
    "seconds": int | float,
    "arrays": dict,
    "files": dict,
    "logged": int,
    "rows": list,
    "best": dict,
    "stays": bool,
}
"""What a checkpoint says beside its arrays, and of what kind."""

REQUIRED_FACTS = {"step", "seconds", "arrays", "files"}
CHECKSUM = "checksum"
STATE_FOLDER = "state"
BLOCK = 1 << 20
DISK_FULL = ("no space left on device", "disk quota exceeded")


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        step: environment steps taken in each seed.
        seconds: seconds that the run took so far.
        tree: the pytree that was saved.
        logged: the step up to which metrics were logged.
        rows: rows of metrics of `step`, where they are not logged yet, because they wait for an evaluation.
        best: the best evaluation so far.
    """

    step: int
    seconds: float
    tree: PyTree
    logged: int
    rows: list[Row]
    best: Best


class Checkpoints:
    """The checkpoints in a folder: the last few, the best one, and those that are to stay.

    Each is a folder named by its step, which also says which one was the best then. It is written under another name,
    flushed to the disk and then renamed, so that a process killed at any moment leaves no half of one. The checksums of
    its files lie in it and are compared before anything is read.

    Args:
        folder: where they lie.
        kept: how many of the last ones are kept.
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        # Here rather than above: it takes a second to import, and nobody who only plots a run needs it.
        import orbax.checkpoint as orbax

        self.folder = folder
        self.kept = kept
        # Where several processes train a run, each reads for itself, and one writes.
        process = jax.process_index()
        alone = orbax.options.MultiprocessingOptions(process, {process}, barrier_sync_key_prefix=str(process))
        self._checkpointer = orbax.Checkpointer(
            orbax.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        )
        self._reader = orbax.Checkpointer(
            orbax.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        )
        self._args = orbax.args
        self._damaged: list[Path] = []
        self._warned = False

    @property
    def steps(self) -> list[int]:
        """The steps there is a complete checkpoint of, in order."""
        return sorted(
            int(path.parent.name) for path in self.folder.glob(f"*/{FACTS_FILE}") if path.parent.name.isdigit()
        )

    def save(
        self,
        step: int,
        seconds: float,
        tree: PyTree,
        logged: int | None = None,
        rows: Sequence[Row] = (),
        best: Best | None = None,
        stays: bool = False,
    ) -> None:
        """Write a checkpoint; of one of the same step, only the facts beside the arrays are written anew.

        Args:
            step: environment steps taken in each seed.
            seconds: seconds that the run took so far.
            tree: pytree of arrays.
            logged: the step up to which metrics were logged; by default all of them.
            rows: rows of metrics of `step`, where they are not logged yet.
            best: the best evaluation so far; by default none.
            stays: never remove it.

        Raises:
            OSError: if the disk is full; the checkpoints before stay as they are.
        """
        while self._damaged:
            shutil.rmtree(self._damaged.pop())
        facts: dict[str, Any] = {
            "step": step,
            "seconds": seconds,
            "logged": step if logged is None else logged,
            "rows": list(rows),
            "best": asdict(best or Best()),
            "stays": stays,
        }
        if step in self.steps:
            before = self._facts(self.folder / str(step))
            facts["stays"] = stays or before["stays"]
            if any(before[name] != facts[name] for name in ("logged", "rows", "best", "stays")):
                _write_facts(self.folder / str(step), {**before, **facts})
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
            # What is left of a damaged one without its facts would be in the way.
            shutil.rmtree(self.folder / str(step), ignore_errors=True)
            os.replace(partial, self.folder / str(step))
            flush_names(self.folder)
        except Exception as error:  # What is raised depends on the storage library.
            shutil.rmtree(partial, ignore_errors=True)
            if not _is_disk_full(error):
                raise
            raise OSError(
                errno.ENOSPC, "no space left on the disk for a checkpoint: free some and resume", str(self.folder)
            ) from error
        for old in self.steps[: -self.kept]:
            if old != facts["best"]["step"] and not self._facts(self.folder / str(old))["stays"]:
                shutil.rmtree(self.folder / str(old))

    def restore(self, template: PyTree, step: Step = "last") -> Checkpoint | None:
        """Read a checkpoint.

        Args:
            template: a pytree of arrays, or of their shapes, as it was saved.
            step: "last" for the last intact one, "best" for that of the best evaluation which the last intact one knows
                of, or environment steps taken in each seed.

        Returns:
            The checkpoint, or `None` where none was ever completed.

        Raises:
            ValueError: if there are checkpoints and none is intact, if that of `step` is not, or if it holds another
                pytree than `template`.
        """
        path = self._find(step)
        if path is None:
            return None
        facts = self._facts(path)
        tree = from_arrays(template, self._read(path, facts["arrays"]), path)
        return Checkpoint(facts["step"], facts["seconds"], tree, facts["logged"], facts["rows"], Best(**facts["best"]))

    def read(
        self, choose: Callable[[Collection[str]], Iterable[str]], step: Step = "last"
    ) -> tuple[int, dict[str, np.ndarray]] | None:
        """Read some arrays of a checkpoint.

        Args:
            choose: given the names of all arrays, which to read; see `to_arrays`.
            step: which checkpoint; see `restore`.

        Returns:
            The environment steps taken in each seed, and the arrays by name; `None` where there is no checkpoint.

        Raises:
            ValueError: if there are checkpoints and none is intact, or if that of `step` is not.
        """
        path = self._find(step)
        if path is None:
            return None
        facts = self._facts(path)
        chosen = set(choose(facts["arrays"]))
        described = {name: description for name, description in facts["arrays"].items() if name in chosen}
        return facts["step"], self._read(path, described)

    def _find(self, step: Step) -> Path | None:
        """The folder of an intact checkpoint; `None` where none was ever completed."""
        last = self._last_intact(warns=step in ("last", "best"))
        if step == "last" or last is None:
            return last
        found = self.folder / str(self._facts(last)["best"]["step"] if step == "best" else step)
        if not (found / FACTS_FILE).exists() or find_damage(found) is not None:
            intact = [str(other) for other in self.steps if find_damage(self.folder / str(other)) is None]
            what = "is damaged" if found.exists() else "does not exist"
            raise ValueError(
                f"step ({step}): that checkpoint {what} in {self.folder}: choose from last, best, {', '.join(intact)}"
            )
        return found

    def _last_intact(self, warns: bool) -> Path | None:
        damage: list[Path] = []
        for step in reversed(self.steps):
            path = self.folder / str(step)
            damaged = find_damage(path)
            if damaged is None:
                if warns:
                    self._warn_of_damage([*damage, *self._without_facts(after=step)], path)
                return path
            if path not in self._damaged:
                self._damaged.append(path)
            damage.append(damaged)
        if damage:
            raise ValueError(
                f"no intact checkpoint: {', '.join(map(str, damage))} damaged. "
                f"Remove {self.folder} to start the run from its beginning"
            )
        return None

    def _without_facts(self, after: int) -> list[Path]:
        """Where the facts of later checkpoints are missing: without them, a folder counts as none."""
        folders = [path for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit()]
        later = sorted((path for path in folders if int(path.name) > after), key=lambda path: int(path.name))
        return [path / FACTS_FILE for path in later if not (path / FACTS_FILE).exists()]

    def _warn_of_damage(self, damaged: Sequence[Path], used: Path) -> None:
        """Say once that later checkpoints are damaged: what is read is older than what was trained."""
        if damaged and not self._warned:
            self._warned = True
            _log.warning(
                "checkpoint damaged: %s; that of step %s is used, the last one that is intact",
                ", ".join(map(str, damaged)),
                used.name,
            )

    @staticmethod
    def _facts(path: Path) -> dict[str, Any]:
        """What a checkpoint says beside its arrays; what it does not say, or not intact, has its default."""
        unknown = {"logged": int(path.name), "rows": [], "best": asdict(Best()), "stays": False}
        return {**unknown, **(read_facts(path) or {})}

    def _write(self, path: Path, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        # Orbax refuses arrays without elements; there is nothing in them to save.
        filled = {name: array for name, array in arrays.items() if array.size}
        with _quiet():
            self._checkpointer.save((path / STATE_FOLDER).absolute(), args=self._args.StandardSave(filled))
        facts["arrays"] = {name: [list(array.shape), array.dtype.name] for name, array in arrays.items()}
        facts["files"] = _checksums(path)
        _write_facts(path, facts)

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
    facts = read_facts(path)
    if facts is None:
        return path / FACTS_FILE
    found = _checksums(path)
    damaged = [name for name, checksum in facts["files"].items() if found.get(name) != checksum]
    return path / damaged[0] if damaged else None


def read_facts(path: Path) -> dict[str, Any] | None:
    """What a checkpoint says beside its arrays; None where that is not as it was written."""
    try:
        facts = json.loads((path / FACTS_FILE).read_text())
        checksum = facts.pop(CHECKSUM, None)
    except (ValueError, TypeError, AttributeError):
        return None
    return facts if checksum in (None, _checksum_of(facts)) and _are_facts(facts) else None


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether facts are of the kinds that are written; those that came later may be missing, and have a default.

    A file of an earlier version has no checksum that would tell.
    """
    kinds = {name: kind for name, kind in FACTS.items() if name in facts}
    if not set(kinds) >= REQUIRED_FACTS or not all(isinstance(facts[name], kind) for name, kind in kinds.items()):
        return False
    described = facts["arrays"].values()
    best = {field.name for field in fields(Best)}
    return all(isinstance(pair, list) and len(pair) == 2 for pair in described) and set(facts.get("best", ())) <= best


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
            if name in expected and name in arrays and (remedy := _other_width(expected[name], arrays[name])):
                raise ValueError(
                    f"{path} was saved with numbers of another width: at {name} it has {found} where this process has "
                    f"{wanted}. {remedy}, as when the run was started"
                )
            raise ValueError(
                f"{path} was saved by another agent: at {name} it has {found} where this one has {wanted}. "
                "Use the agent that started the run, or none where its config.json describes it"
            )
    leaves = [_restore_leaf(leaf, arrays[name]) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _other_width(expected: Any, array: np.ndarray) -> str | None:
    """How a process has arrays like one that was saved, where they differ as by `JAX_ENABLE_X64` alone."""
    like = jax.eval_shape(_key_data, expected)
    here, saved = np.dtype(like.dtype), array.dtype
    sizes = {here.itemsize, saved.itemsize}
    if like.shape != array.shape or here.kind != saved.kind or sizes not in ({4, 8}, {8, 16}):
        return None
    return f"Set JAX_ENABLE_X64={int(saved.itemsize > here.itemsize)}"


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


def _checksum_of(facts: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write what a checkpoint says beside its arrays, whole or not at all, and flush it to the disk."""
    facts = json.loads(json.dumps(facts))  # as it will be read: tuples are lists
    write_whole(path / FACTS_FILE, json.dumps({**facts, CHECKSUM: _checksum_of(facts)}))


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
