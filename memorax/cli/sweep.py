"""`memorax sweep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from memorax.cli.arguments import call_command
from memorax.laboratory.population import POPULATION_FILE, draw_values, train_population, write_population
from memorax.laboratory.search_space import search_space
from memorax.laboratory.sweep import REPORT_FILE, Sweep, import_optuna, report
from memorax.laboratory.sweep_workers import run_sweep
from memorax.training import TrainConfig
from memorax.training.config import read_config_file
from memorax.training.options import Switch

TRIALS = 30
"""Trials of a search that does not say how many."""


def main(arguments: list[str]) -> int:
    """Search for hyperparameters."""

    def command(
        config: tyro.conf.Positional[Path],
        search: tuple[str, ...] = (),
        trials: int | None = None,
        workers: int | None = None,
        folder: Path | None = None,
        storage: str | None = None,
        no_pruning: Switch = False,
        population: int | None = None,
    ) -> None:
        """Search for the hyperparameters with the best evaluation return, with Optuna or in one program.

        Each trial is a run with all the seeds of the settings. The same command goes on after Ctrl-C or a crash, and
        with more --trials. It ends with a table of the best trials and the command line of the best.

        Args:
            config: YAML file of settings, or config.json of a run: what all trials share.
            search: What to search, each as NAME=LOW..HIGH, NAME=log:LOW..HIGH, NAME=VALUE,VALUE or NAME alone, for the
                values around its default. Default: learning_rate, ent_coef, gamma, gae_lambda and td_lambda, those that
                the algorithm has.
            trials: Number of trials. Default: 30.
            workers: Number of trials side by side. Default: one for each core.
            folder: Folder of the study and of the runs. Default: sweeps/ and the name of the file.
            storage: URL of a database for the study, such as postgresql://host/name, which workers on other machines
                can share. Default: a journal file in the folder.
            no_pruning: Train every trial to its end. Otherwise one ends early whose evaluation is worse than the median
                of those before it at the same step.
            population: Train so many settings side by side in one program that is compiled once, without Optuna and
                without run folders. Learning rates and numbers such as gamma can be searched so; their values are
                spread evenly.
        """
        chosen = Path("sweeps") / config.stem if folder is None else folder
        settings = read_config_file(config)
        if population is not None:
            _refuse(population, {"trials": trials, "workers": workers, "storage": storage, "no_pruning": no_pruning})
            _search_population(settings, search, population, chosen)
            return
        import_optuna()
        sweep = Sweep(chosen, settings, search, TRIALS if trials is None else trials, storage, not no_pruning)
        study = run_sweep(sweep, workers, print)
        print(f"\n{report(sweep, study)}\neverything is in {chosen}, this report in {chosen / REPORT_FILE}")

    return call_command(command, "sweep", arguments)


def _refuse(population: int, options: Mapping[str, Any]) -> None:
    """Refuse options of a search with trials, of which a population has none."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False)]
    if given:
        raise ValueError(f"population ({population}) is trained in one program: leave {', '.join(given)} out")


def _search_population(settings: TrainConfig, search: Sequence[str], number: int, folder: Path) -> None:
    """Train settings from the search space in one program, write what became of them and print the best."""
    values = draw_values(search_space(settings, search), number, settings.seed)
    print(f"training {number} settings with {settings.num_seeds} seeds each in one program: {', '.join(values)}")
    report = write_population(settings, train_population(settings, values, settings.evaluation_steps), folder)
    print(f"\n{report}\nall settings are in {folder / POPULATION_FILE}, this report in {folder / REPORT_FILE}")
