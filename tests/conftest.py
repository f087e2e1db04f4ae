"""Settings every test runs under."""

import os
import platform
from pathlib import Path

# The fast tests compile much and compute little. `make test-slow` sets it otherwise.
# The older emitters compile twice as fast, but there a fusion decides whether a product and its sum are rounded once or
# twice: without the instruction for once, the same arithmetic in another program gives the same bits.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX" * (platform.machine() in ("x86_64", "AMD64")),
)

# Commands that tests call leave the user's own cache alone.
os.environ["MEMORAX_COMPILATION_CACHE"] = "off"

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
