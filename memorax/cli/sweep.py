"""`memorax sweep`."""

from __future__ import annotations

from pathlib import Path

import tyro

from memorax.cli.arguments import call_command
from memorax.laboratory.sweep import REPORT_FILE, Sweep, import_optuna, report
from memorax.laboratory.sweep_workers import run_sweep
from memorax.training.config import read_config_file
from memorax.training.options import Switch


def main(arguments: list[str]) -> int:
    """Search for hyperparameters."""

    def command(
        config: tyro.conf.Positional[Path],
        search: tuple[str, ...] = (),
        trials: int = 30,
        workers: int | None = None,
        folder: Path | None = None,
        storage: str | None = None,
        no_pruning: Switch = False,
    ) -> None:
        """Search for the hyperparameters with the best evaluation return, with Optuna.

        Each trial is a run with all the seeds of the settings. The same command goes on after Ctrl-C or a crash, and
        with more --trials. It ends with a table of the best trials and the command line of the best.

        Args:
            config: YAML file of settings, or config.json of a run: what all trials share.
            search: What to search, each as NAME=LOW..HIGH, NAME=log:LOW..HIGH, NAME=VALUE,VALUE or NAME alone, for the
                values around its default. Default: learning_rate, ent_coef, gamma, gae_lambda and td_lambda, those that
                the algorithm has.
            trials: Number of trials.
            workers: Number of trials side by side. Default: one for each core.
            folder: Folder of the study and of the runs. Default: sweeps/ and the name of the file.
            storage: URL of a database for the study, such as postgresql://host/name, which workers on other machines
                can share. Default: a journal file in the folder.
            no_pruning: Train every trial to its end. Otherwise one ends early whose evaluation is worse than the median
                of those before it at the same step.
        """
        import_optuna()
        chosen = Path("sweeps") / config.stem if folder is None else folder
        sweep = Sweep(chosen, read_config_file(config), search, trials, storage, not no_pruning)
        study = run_sweep(sweep, workers, print)
        print(f"\n{report(sweep, study)}\neverything is in {chosen}, this report in {chosen / REPORT_FILE}")

    return call_command(command, "sweep", arguments)
