"""Where a run's rows go beside metrics.jsonl: TensorBoard's event files, and Weights & Biases where it is asked for."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

Row = dict[str, float | int]

# By which TensorBoard's HParams table compares the runs of a sweep; the last three are known at a run's end.
COMPARED = (
    *('train_loss', 'validation_accuracy', 'validation_loss'),
    *('test_accuracy', 'test_loss', 'mean_images_per_second'),
)


class TensorBoard:
    """Scalars by step, the config as text, and config and scores for the HParams table."""

    def __init__(self, folder: Path, step: int, config: ConfigDict):
        # purge_step makes TensorBoard forget the rows that will come again.
        self._events = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=5)
        experiment, start, self._end = hparams(hyperparameters(config), dict.fromkeys(COMPARED, 0.0))
        # Into the run's own file: add_hparams would make a folder for each, which TensorBoard shows as another run.
        for summary in (experiment, start):
            self._events.file_writer.add_summary(summary)
        self._events.add_text('config', f'```json\n{json.dumps(config.to_dict(), indent=2)}\n```', step)

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != 'step':
                self._events.add_scalar(name, value, row['step'])

    def finish(self, scores: Row) -> None:
        self.write(scores)
        self._events.file_writer.add_summary(self._end)

    def close(self) -> None:
        self._events.close()


class WeightsAndBiases:
    """The same rows, config and scores in a project of Weights & Biases; a sweep's folder is a group there."""

    def __init__(self, folder: Path, config: ConfigDict):
        import wandb  # here, since it is no part of patchwise: experiment.validate says so where it is missing

        self._run = wandb.init(
            project=config.log.wandb,
            name=folder.name,
            group=folder.absolute().parent.name,
            # The same folder is the same run, so one that was interrupted goes on.
            id=hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16],
            resume='allow',
            dir=str(folder),
            config=config.to_dict(),
            reinit='create_new',  # members of a population log side by side
        )
        # Rows after a checkpoint come again, and W&B's own count of steps only ever goes up.
        self._run.define_metric('*', step_metric='step')

    def write(self, row: Row) -> None:
        self._run.log(row)

    def finish(self, scores: Row) -> None:
        self._run.log(scores)

    def close(self) -> None:
        self._run.finish()


def open_sinks(folder: Path, step: int, config: ConfigDict) -> list[TensorBoard | WeightsAndBiases]:
    """Those that `config.log` asks for."""
    sinks: list[TensorBoard | WeightsAndBiases] = [TensorBoard(folder, step, config)] if config.log.tensorboard else []
    return [*sinks, WeightsAndBiases(folder, config)] if config.log.wandb else sinks


def hyperparameters(config: ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name; what is neither number, bool nor text as text."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f'{name}.{inner}': field for inner, field in hyperparameters(value).items()}
        else:
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
