"""The page that describes a shared policy, written from its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CARD_FILE = "README.md"
CURVE_FILE = "learning_curve.png"


def model_card(manifest: Mapping[str, Any], source: str, curve: bool) -> str:
    """The page, in Markdown.

    Args:
        manifest: the manifest of the exported policy.
        source: how the policy is loaded, `hub:NAME`.
        curve: whether a picture of the learning curve lies beside it.
    """
    training = manifest["training"]
    config = training["config"]
    environment, algorithm, torso = (str(config.get(name, "")) for name in ("environment", "algorithm", "torso"))
    reached = [each for each in training["evaluations"] if each["step"] <= training["step"]]
    lines = [
        *_front_matter(environment, algorithm, reached),
        f"# {algorithm} with {torso} on {environment}",
        "",
        "A policy trained with Memorax.",
        "",
        "```python",
        "import memorax",
        "",
        f"policy = memorax.load_policy({json.dumps(source)})",
        "action = policy(observation, reward, done)  # done: the observation is the first of an episode",
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| environment | `{environment}` |",
        f"| observations | {_describe(manifest['observation_space'])} |",
        f"| actions | {_describe(manifest['action_space'])} |",
        f"| trained for | {training['step']:,} environment steps, seed {training['seed']} |",
        *([f"| mean return | {_return(reached[-1])} |"] if reached else []),
        f"| parameters | {sum(training['parameters'].values()):,} in all networks |",
        f"| normalised | {', '.join(manifest['normalisation']) or 'nothing'} |",
        f"| versions | {', '.join(f'{name} {version}' for name, version in manifest['versions'].items())} |",
        f"| ONNX | {manifest['programs']['onnx']['file'] or 'no: ' + manifest['programs']['onnx']['reason']} |",
        "",
        *([f"![Learning curve]({CURVE_FILE})", ""] if curve else []),
        "Settings, and those of the algorithm:",
        "",
        "```json",
        json.dumps({name: value for name, value in config.items() if value not in (None, {}, [], ())}, indent=2),
        "```",
        "",
    ]
    return "\n".join(lines)


def _front_matter(environment: str, algorithm: str, reached: list[Any]) -> list[str]:
    """What the Hub reads: JSON, which is YAML too."""
    facts: dict[str, Any] = {
        "library_name": "memorax",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "memorax", "jax", environment, algorithm],
    }
    if reached:
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"name": environment, "type": environment},
            "metrics": [{"type": "mean_reward", "value": _return(reached[-1]), "verified": False}],
        }
        facts["model-index"] = [{"name": algorithm, "results": [result]}]
    return ["---", *(f"{name}: {json.dumps(value)}" for name, value in facts.items()), "---", ""]


def _return(evaluation: Mapping[str, Any]) -> str:
    # A manifest holds numbers that are not finite as text.
    return f"{float(evaluation['return']):.4g} over {evaluation['episodes']} episodes"


def _describe(space: Mapping[str, Any]) -> str:
    match space["kind"]:
        case "discrete":
            return f"one of {space['n']}"
        case "multi_discrete":
            return f"{len(space['nvec'])} choices, of {', '.join(map(str, space['nvec']))}"
        case "dict":
            return "; ".join(f"`{name}`: {_describe(inner)}" for name, inner in space["spaces"].items())
    return f"{space['dtype']} {space['shape']}"
