"""Settings every test runs under."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.xla_flags import xla_flags

# XLA reads them once, when JAX is first used. The processes that share the tests take them over.
os.environ["XLA_FLAGS"] = xla_flags()

# Matrices are small here: threads that wait for more of them would only keep a processor busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Several threads compile, and free what others have allocated: glibc is quicker with one heap for all. A process reads
# this as it starts, so that it holds for those that share the tests and for commands they call.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")

# Commands that tests call leave the user's own cache alone.
os.environ["MEMORAX_COMPILATION_CACHE"] = "off"

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
# The processes that share the tests share what they compile, down to the smallest programs.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Tracing makes many objects that live long: to look through all of them at every few hundred new ones is slow.
gc.set_threshold(50_000, 20, 50)


MAPPINGS = Path("/proc/self/maps")
"""A line for each piece of memory of this process, where the system is Linux."""


@pytest.fixture(autouse=True, scope="module")
def _not_too_many_compiled_programs() -> Iterator[None]:
    """Let compiled programs go in time: each has pieces of memory of its own, and Linux ends a process with 65 530."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what was imported out of every later collection of garbage."""
    gc.collect()
    gc.freeze()
