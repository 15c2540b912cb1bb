"""Where a run's rows go beside metrics.jsonl: TensorBoard's event files, and Weights & Biases where it is asked for."""

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams, text

from configs.fields import flatten
from files.writing import StorageError, writing

Row = dict[str, float | int]

# By which TensorBoard's HParams table compares the runs of a sweep; the last three are known at a run's end.
COMPARED = (
    *('train_loss', 'validation_accuracy', 'validation_loss'),
    *('test_accuracy', 'test_loss', 'mean_images_per_second'),
)


FLUSHED = 10.0  # seconds after which TensorBoard can read what it was told; its page asks every 30


class TensorBoard:
    """Scalars by step, the config as text, and config and scores for the HParams table.

    Written at once: tensorboardX's SummaryWriter hands events to a thread of its own by a queue of ten, and where that
    thread could not write, whoever told it more would wait for ever.
    """

    def __init__(self, folder: Path, step: int, config: ConfigDict):
        self._folder = folder
        with writing(folder):
            # Absolute, since tensorboardX takes what stands before a colon for the name of a cloud.
            self._file, self._flushed = EventsWriter(str(folder.absolute() / 'events')), time.monotonic()
        # TensorBoard forgets the rows after `step`, which will come again.
        self._add(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        experiment, start, self._end = hparams(hyperparameters(config), dict.fromkeys(COMPARED, 0.0))
        # Into the run's own file: add_hparams would make a folder for each, which TensorBoard shows as another run.
        for summary in (experiment, start, text('config', f'```json\n{json.dumps(config.to_dict(), indent=2)}\n```')):
            self._add(Event(step=step, summary=summary))

    def write(self, row: Row) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != 'step']
        self._add(Event(step=row['step'], summary=Summary(value=values)))

    def finish(self, scores: Row) -> None:
        self.write(scores)
        self._add(Event(step=scores['step'], summary=self._end))

    def close(self) -> None:
        with writing(self._folder):
            self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        with writing(self._folder):
            self._file.write_event(event)
            if time.monotonic() - self._flushed > FLUSHED:
                self._file.flush()
                self._flushed = time.monotonic()


class WeightsAndBiases:
    """The same rows, config and scores in a project of Weights & Biases; a sweep's folder is a group there."""

    def __init__(self, folder: Path, config: ConfigDict):
        import wandb  # here, since it is no part of patchwise: experiment.checking.validate says so where it is missing

        try:
            self._run = self._begin(wandb, folder, config)
        except wandb.errors.Error as error:  # nobody is logged in, or the server is not there
            mend = '`wandb login`, or WANDB_MODE=offline, and the same command again would do'
            raise StorageError(f'log.wandb={config.log.wandb!r}: {str(error).rstrip(".")}; {mend}') from error
        # Rows after a checkpoint come again, and W&B's own count of steps only ever goes up.
        self._run.define_metric('*', step_metric='step')

    @staticmethod
    def _begin(wandb, folder: Path, config: ConfigDict):
        return wandb.init(
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

    def write(self, row: Row) -> None:
        self._run.log(row)

    def finish(self, scores: Row) -> None:
        self._run.log(scores)

    def close(self) -> None:
        self._run.finish()


def open_sinks(folder: Path, step: int, config: ConfigDict) -> list[TensorBoard | WeightsAndBiases]:
    """Those that `config.log` asks for.

    Raises:
      StorageError: nothing can be written there, or Weights & Biases does not take it.
    """
    with contextlib.ExitStack() as opened:
        sinks: list[TensorBoard | WeightsAndBiases] = []
        if config.log.tensorboard:
            sinks.append(TensorBoard(folder, step, config))
            opened.callback(sinks[-1].close)
        if config.log.wandb:
            sinks.append(WeightsAndBiases(folder, config))
        opened.pop_all()
    return sinks


def hyperparameters(config: ConfigDict) -> dict[str, Any]:
    """Every field by its dotted name; what is neither number, bool nor text as text."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flatten(config.to_dict()).items()
    }
