"""Settings every test runs under."""

import os
from pathlib import Path

from tests.xla_flags import xla_flags

# XLA reads them once, when JAX is first used. The processes that share the tests take them over.
os.environ["XLA_FLAGS"] = xla_flags()

# Commands that tests call leave the user's own cache alone.
os.environ["MEMORAX_COMPILATION_CACHE"] = "off"

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
