"""What an exported policy says of itself, in `manifest.json` of its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST_FILE = "manifest.json"
PARAMS_FILE = "params.safetensors"
CARRY_FILE = "carry.safetensors"
PROGRAM_FILES = {"greedy": "greedy.stablehlo", "sampling": "sampling.stablehlo"}
ONNX_FILE = "greedy.onnx"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a manifest."""
    plain = _without_infinities({"format": FORMAT, **content})
    (folder / MANIFEST_FILE).write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n")


def _without_infinities(value: Any) -> Any:
    """A value whose numbers that are not finite are text: JSON has no such numbers, and others read this file too."""
    if isinstance(value, Mapping):
        return {name: _without_infinities(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(member) for member in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        ValueError: if there is none, or it is of another format.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {MANIFEST_FILE}: name the folder of an exported policy")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): export the policy again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} must have the format {FORMAT}: export the policy again, or use the memorax it names")
    return content
