"""The compiler's flags under which tests run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys


def xla_flags() -> str:
    """The value of `XLA_FLAGS`: what the caller has set, or else flags under which tests compile fast.

    Most tests compile much and compute little. The older emitters compile twice as fast, but there a fusion decides
    whether a product and its sum are rounded once or twice: without the instruction for once, the same arithmetic in
    another program gives the same bits. To split a program for several threads costs more than it gives where the
    cores are busy with other tests.
    """
    if "XLA_FLAGS" in os.environ:
        return os.environ["XLA_FLAGS"]
    flags = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("--xla_cpu_max_isa=AVX")
        for emitters in OLDER_EMITTERS:
            if accepted([*flags, emitters]):
                return " ".join([*flags, emitters])
    return " ".join(flag for flag in flags if accepted([flag]))


OLDER_EMITTERS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
)
"""How the older emitters are asked for: by a flag up to jaxlib 0.10, by an option later."""


def accepted(flags: list[str]) -> bool:
    """Whether this version of XLA has all of the flags: one that it lacks ends a process as it starts to use XLA."""
    command = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.make_cpu_client()"]
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags)}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0
