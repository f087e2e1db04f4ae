"""What the README shows runs as written, and so does the public surface it stands on."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import flax.linen as nn
import jax
import optax
import pytest

import memorax
from memorax import testing
from memorax.algorithms import PPO, PPOConfig, PPOState
from memorax.networks import MLP, RNN, FeatureExtractor, MambaCell, Memoroid, Network, SequenceModelWrapper, heads

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    ROOT.glob("docs/[!_]*/**/*.md")
)
PAGES += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


def python_of(page: str) -> list[str]:
    """The snippets of a page in `docs`."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(
    "page", ["concepts.md", "time_limits.md", "reproducibility.md", "sharp_bits.md", "environments.md"]
)
def test_the_snippets_of_a_page_run(page: str) -> None:
    namespace: dict = {}
    for snippet in python_of(page):
        exec(snippet, namespace)
    assert namespace.keys() > {"__builtins__"}


def test_the_first_page_begins_as_the_readme_does() -> None:
    first, _ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert python_of("start_here.md") == [first]


def test_the_snippet_of_devices_says_what_train_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for devices, which JAX can give before its first computation only, and trains for long."""
    from memorax import training

    settings: dict = {}
    calls: list[inspect.BoundArguments] = []
    signature = inspect.signature(training.train)
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    monkeypatch.setattr(training, "train", lambda *given, **named: calls.append(signature.bind(*given, **named)))
    (snippet,) = python_of("scaling.md")
    exec(snippet, {"agent": None})
    assert settings == {"jax_num_cpu_devices": 4}
    assert [call.arguments.get("devices") for call in calls] == [None, 2]


def test_commands_that_train_can_be_read() -> None:
    from memorax.cli.train import parse

    pages = ("gallery.md", "scaling.md", "start_here.md")
    text = "".join((ROOT / "docs" / page).read_text() for page in pages).replace("\\\n", "")
    commands = re.findall(r"^(?:srun .*)?memorax train ((?!.*--help)[^#\n]*)", text, flags=re.MULTILINE)
    assert len(commands) > 10
    assert [parse(command.split()).config.total_steps > 0 for command in commands] == [True] * len(commands)


def test_a_logger_of_ones_own_writes_what_it_is_told(tmp_path: Path) -> None:
    from memorax.loggers import RunDescription

    namespace: dict = {}
    exec(python_of("parts_of_your_own.md")[-1], namespace)
    logger = namespace["Notes"](tmp_path)
    logger.start(RunDescription(id="1", name="mine", columns=(), step=0, total_steps=64, num_seeds=2))
    logger.log([{"seed": 0, "step": 32}, {"seed": 1, "step": 32}], 10.0)
    logger.log([{"seed": seed, "step": 64, "evaluation_return": float(seed)} for seed in (0, 1)], 10.0)
    logger.close("completed")
    assert (tmp_path / "notes.txt").read_text() == "mine: 2 seeds, 64 steps\nstep 64: 0.500\ncompleted\n"


def test_every_page_with_snippets_is_named_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    with_snippets = [path.name for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text()]
    assert len(with_snippets) > 15
    assert [name for name in with_snippets if f'"{name}"' not in tests] == []


def test_names_of_the_package_on_pages_exist() -> None:
    names = {
        name
        for page in PAGES
        for name in re.findall(r"(?<![\w/.-])memorax(?:\.(?!md\b)[A-Za-z_]\w*)+", page.read_text())
    }
    assert len(names) > 50
    assert [name for name in sorted(names) if not exists(name)] == []


def exists(name: str) -> bool:
    """Whether a dotted name is a module or something within one."""
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as repositories and the documentation site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_pages_that_the_site_includes_link_to_its_pages_only(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())
    assert targets
    assert [target for target in targets if not re.match(r"docs/\w+\.md|[a-z]+:", target)] == []


def load(path: Path) -> types.ModuleType:
    """A Python file outside of the package as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_check_of_the_site_finds_what_is_wrong(tmp_path: Path) -> None:
    check = load(ROOT / "docs" / "check_site.py")
    files = {
        "index.html": '<a href="hidden.html"></a><article><a href="a.html#x">a</a><a href="https://y.z">y</a></article>',
        "a.html": '<article id="x"><img src="b/missing.png"><a href="b/">b</a><a href="index.html#gone"></a></article>',
        "b/index.html": '<article><a href="../c.html">c</a> <a href="../a.html">a</a></article>',
        "c.html": "<article></article>",
        "hidden.html": '<article id="make"></article>',
        "api/x.html": '<dt id="memorax.testing.check_close"></dt>',
    }
    for name, html in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(html)
    pages = check.read_pages(tmp_path)
    assert check.dead_links(tmp_path, pages) == ["a.html: b/missing.png", "a.html: index.html#gone"]
    assert check.far_pages(pages) == ["api/x.html", "c.html", "hidden.html"]
    undescribed = check.undescribed_names(pages)
    assert "memorax.make" in undescribed and "memorax.testing.check_learning" in undescribed
    assert "memorax.testing.check_close" not in undescribed and "memorax.networks" not in undescribed


def test_the_site_shows_equations_as_they_are() -> None:
    lines = [
        "Sum.",
        "",
        "    y = |x|",
        "    z = y",
        "",
        "Then:",
        "",
        "* one",
        "",
        "  more",
        "",
        "Args:",
        "    x: a",
        "",
        "      b",
    ]
    load(ROOT / "docs" / "conf.py").show_indented_blocks_as_they_are(None, "function", "f", None, None, lines)
    assert lines[:6] == ["Sum.", "", "::", "", "    y = |x|", "    z = y"]
    assert lines[6:] == ["", "Then:", "", "* one", "", "  more", "", "Args:", "    x: a", "", "      b"]


def test_the_snippets_of_the_readme_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(snippets) == 2
    namespace: dict = {}
    for snippet in snippets:
        exec(snippet, namespace)
    transitions = namespace["transitions"]
    assert namespace["states"].step.tolist() == [1024] * 4
    assert transitions.info["returned_episode_returns"].shape == (4, 8, 125)
    assert memorax.evaluation.mean_return(transitions).shape == (4,)
    assert namespace["state"].step == 1024, "1000 steps are rounded up to one iteration"


def test_the_page_of_runs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memorax.cli.train import parse

    page = (ROOT / "docs" / "training.md").read_text()
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert (namespace["run"].step, namespace["result"].step) == (1024, 2048)
    commands = re.findall(r"^memorax train (?!--config)([^#\n]*)", page, flags=re.MULTILINE)
    assert [parse(command.split())[0].torso for command in commands] == ["attention", "gru", "gru", "gru", "lru"]


def test_the_page_of_wrappers_names_each_in_order_and_its_snippets_run() -> None:
    from memorax.cli.train import parse
    from memorax.environments.wrappers import WRAPPERS

    page = (ROOT / "docs" / "wrappers.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == list(WRAPPERS)
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    testing.check_environment(namespace["env"], namespace["env_params"], num_steps=20)
    (command,) = re.findall(r"```bash\nmemorax train (.*?)\n```", page, flags=re.DOTALL)
    options = parse(command.split())[0].environment_options
    assert options == {"mask_observation": (0, 2), "normalize_observation": True}


def test_the_page_of_heads_names_each_and_its_snippets_run() -> None:
    page = (ROOT / "docs" / "heads.md").read_text()
    kinds = [name for name in heads.__all__ if name[0].isupper() and not name.isupper()]
    abstract = {"Head", "ValueHead", "Representation", "Temperature"}
    assert [name for name in kinds if name not in abstract and f"`{name}" not in page] == []
    env, env_params = memorax.make("gymnax::CartPole-v1")
    output, action, target = jax.numpy.ones((1, 2, 4)), jax.numpy.ones((1, 2), int), jax.numpy.ones((1, 2))
    namespace = {"env": env, "env_params": env_params, "head": heads.DiscreteQNetwork(4), "output": output}
    namespace |= {"action": action, "target": target, "reward": target, "discount": target, "successor": target}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert namespace["loss"].shape == (1, 2)


def test_the_page_of_memory_tasks_says_what_the_tasks_say() -> None:
    from memorax.environments.memory import HORIZONS, ids

    page = (ROOT / "docs" / "memory_tasks.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \|.*\| ([\d.]+) \| ([\d.]+) \|$", page, flags=re.MULTILINE)
    names = {name: [f"{name[:-1]}{n}" for n in HORIZONS] if name.endswith("-N") else [name] for name, *_ in rows}
    assert sorted(name for group in names.values() for name in group) == sorted(ids())
    for name, options, best, memoryless in rows:
        env, _ = memorax.make(f"memory::{names[name][0]}")
        assert (env.best_return, env.best_memoryless_return) == (float(best), float(memoryless))
        for option, value in re.findall(r"`(\w+)=(\d+)`", options):
            assert getattr(env, option) == int(value)
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, {})


def test_the_page_of_sequence_models_names_each_and_its_snippets_run() -> None:
    from memorax import networks
    from memorax.networks import sequence_models

    page = (ROOT / "docs" / "sequence_models.md").read_text()
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    testing.check_sequence_model(namespace["torso"], 8)
    cells = [name for name in sequence_models.__all__ if name.endswith("Cell") and name != "MemoroidCell"]
    assert not [name for name in cells if f"`{name}`" not in page]
    assert all(hasattr(networks, name) for name in cells)


def test_the_page_of_replay_names_each_buffer_and_its_snippets_run() -> None:
    from memorax import buffers

    page = (ROOT / "docs" / "replay.md").read_text()
    kinds = [name for name in buffers.__all__ if name.endswith("Buffer") and name != "ReplayBuffer"]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == sorted(kinds)
    zeros = jax.numpy.zeros
    namespace = {"jax": jax, "key": jax.random.key(0), "params": zeros(()), "step": zeros((2,)), "carry": zeros((2, 3))}
    namespace |= {"steps": zeros((2, 16)), "carries": zeros((2, 4, 3))}
    namespace["learn"] = lambda params, batch, weights: (
        params + weights.sum(),
        batch.steps[:, 4:-1],
        batch.valid[:, 4:-1],
    )
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert namespace["params"] > 0
    assert (namespace["state"].priorities.table < 1).any()


def test_the_page_of_reports_runs() -> None:
    from memorax.cli.report import parse_bounds

    page = (ROOT / "docs" / "statistics.md").read_text()
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert namespace["low"] < namespace["value"] < namespace["high"] and namespace["better"].value > 0.5
    assert parse_bounds(re.findall(r"--normalize (\S+=\S+)", page)[:1]) == {"gymnax::CartPole-v1": (0, 500)}


def test_the_page_of_parts_of_your_own_runs() -> None:
    page = (ROOT / "docs" / "parts_of_your_own.md").read_text()
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    returns = memorax.evaluation.mean_return(namespace["transitions"])
    assert 0 <= returns <= 7, "of 8 steps, the first has nothing to name"


def test_the_commands_of_parts_of_your_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from memorax.cli import main

    page = (ROOT / "docs" / "parts_of_your_own.md").read_text()
    module, _ = page.split("## From Python\n")
    (tmp_path / "my_parts.py").write_text("".join(re.findall(r"```python\n(.*?)```", module, flags=re.DOTALL)))
    (commands,) = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    train, evaluate = (line.split()[1:] for line in commands.splitlines())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    train[train.index("--total-steps") + 1] = "512"
    assert main([*train, "--evaluation-steps", "128", "--loggers", "file"]) == 0
    assert main([*evaluate, "--num-steps", "128"]) == 0
    monkeypatch.delitem(sys.modules, "my_parts")
    assert "seed 0: " in capsys.readouterr().out


def test_the_page_of_the_laboratory_declares_grids(tmp_path: Path) -> None:
    from memorax.laboratory import read_grid

    page = (ROOT / "docs" / "laboratory.md").read_text()
    (declared,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "memories.yaml").write_text(declared)
    grid = read_grid(tmp_path / "memories.yaml")
    assert (grid.name, len(grid.settings)) == ("memories", 12)
    assert "r2d2-num_envs=8-burn_in=8-gru-learning_rate=0.001" in [setting.name for setting in grid.settings]
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    assert [setting.name for setting in namespace["grid"].settings] == ["mlp", "gru"]


def test_the_page_of_audits_runs() -> None:
    from memorax.laboratory.audit import AuditConfig, parse_tasks

    page = (ROOT / "docs" / "audit.md").read_text()
    namespace: dict = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(snippet, namespace)
    command = re.findall(r"^memorax audit (memory::.*)$", page, flags=re.MULTILINE)[0]
    assert [task.options for task in parse_tasks(command.split())] == [{"length": 5}, {}, {"mask_observation": (0, 2)}]
    assert f"{AuditConfig.evaluation_steps:,} steps" in page and f"`--margin {AuditConfig.margin}`" in page
    assert f"{AuditConfig.total_steps:,} steps each" in page


def test_the_readme_names_every_command() -> None:
    from memorax.cli import COMMANDS

    readme = (ROOT / "README.md").read_text()
    assert all(f"memorax {command}" in readme or f"make {command}" in readme for command in COMMANDS)


@pytest.mark.parametrize(
    "torso",
    [
        RNN(cell=nn.GRUCell(features=64)),
        Memoroid(cell=MambaCell(features=64)),
        SequenceModelWrapper(MLP(features=(64,))),
    ],
    ids=["rnn", "memoroid", "memoryless"],
)
def test_the_public_surface(torso: nn.Module) -> None:
    agent = agent_of_the_public_surface(torso)

    def train(key: jax.Array) -> Any:
        key, state = agent.init(key)
        assert isinstance(state, PPOState)
        return agent.train(key, state, num_steps=1000)

    # Traced: the README's snippets run it, of one seed and of four.
    _, _, transitions = jax.eval_shape(train, jax.random.key(0))
    for leaf in (transitions.observation, transitions.action, transitions.reward, transitions.terminated):
        assert leaf.shape[:2] == (8, 128)
    assert {"returned_episode", "returned_episode_returns", "returned_episode_lengths"} <= set(transitions.info)


def agent_of_the_public_surface(torso: nn.Module) -> PPO:
    env, env_params = memorax.make("gymnax::CartPole-v1")
    feature_extractor = FeatureExtractor(
        observation_extractor=MLP(features=(64, 64)), action_extractor=None, reward_extractor=None, done_extractor=None
    )
    actor = Network(feature_extractor, torso, heads.Categorical(action_dim=2))
    critic = Network(feature_extractor, torso, heads.VNetwork())
    optimizer = optax.adam(3e-4)
    cfg = PPOConfig(num_envs=8, gamma=0.99)
    return PPO(cfg, env, env_params, actor, critic, optimizer, optimizer)


def test_importing_is_light() -> None:
    """No optional or heavy package comes with `import memorax`."""
    code = "import memorax, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"gymnax", "gymnasium", "matplotlib", "orbax", "flashbax", "rich", "tyro", "pandas", "flax", "jax"}
    assert not heavy & set(result.stdout.split())


def test_the_example_of_a_memory_of_ones_own_is_short_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "examples" / "custom_sequence_model.py"
    cell = re.search(r"^class \w+Cell.*?(?=^def )", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert cell is not None
    assert len(cell[0].splitlines()) < 40
    spec = importlib.util.spec_from_file_location("custom_sequence_model", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, example)
    spec.loader.exec_module(example)
    assert -1.0 <= example.main(total_steps=2048) <= 1.0
