"""What an exported policy says of itself, in `manifest.json` of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memorax.validation import finite_json

FORMAT = 1
MANIFEST_FILE = "manifest.json"
PARAMS_FILE = "params.safetensors"
CARRY_FILE = "carry.safetensors"
PROGRAM_FILES = {"greedy": "greedy.stablehlo", "sampling": "sampling.stablehlo"}
ONNX_FILE = "greedy.onnx"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a manifest."""
    plain = finite_json({"format": FORMAT, **content})
    (folder / MANIFEST_FILE).write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n")


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported policy, or what is left of one."""
    return any((folder / name).is_file() for name in (MANIFEST_FILE, PARAMS_FILE, CARRY_FILE, *PROGRAM_FILES.values()))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        ValueError: if there is none, or it is damaged or of another format.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file() and is_exported(folder):
        raise ValueError(f"{path} is missing: export the policy again")
    if not path.is_file():
        raise ValueError(f"{folder} holds no {MANIFEST_FILE}: name the folder of an exported policy")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): export the policy again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} must have the format {FORMAT}: export the policy again, or use the memorax it names")
    return content
