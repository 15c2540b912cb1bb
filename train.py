"""Trains one model and tests it.

  python train.py --config=configs/digits.py --workdir=runs/x --config.model.num_heads=8

The workdir becomes the run's folder: config.json, metrics.jsonl, TensorBoard events, checkpoints/ and, at the end,
result.json. The same command goes on where an interrupted run stopped.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiment import command

CONFIG = config_flags.DEFINE_config_file(
    'config',
    None,
    'The experiment, and after a colon its variant; --config.FIELD=VALUE sets one of the fields in configs/base.py.',
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
PROFILE = flags.DEFINE_bool('profile', False, 'Trace a few steps, for TensorBoard or Perfetto, into its profile/.')
flags.mark_flags_as_required(['config', 'workdir'])
flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> int:
    from experiment import folder, outcome
    from experiment.checking.unread import refuse_unread
    from experiment.display import Display
    from experiment.run import execute
    from training.compiling.program_cache import use_cache

    use_cache()
    refuse_unread(config_flags.get_override_values(flags.FLAGS['config']), [CONFIG.value], '--config.')
    workdir = Path(WORKDIR.value)
    written = _when_written(workdir / folder.RESULT)
    with Display() as display:
        slot = display.of(0)
        slot.begin('')
        result = execute(CONFIG.value, workdir, slot.row, profiled=PROFILE.value)
    if written and written == _when_written(workdir / folder.RESULT):
        print('finished before, and not trained again:')
    print(outcome.to_text(result, workdir))
    return 1 if result['status'] == 'diverged' else 0


def _when_written(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it is not there; or its folder cannot be, and `execute` says why
        return None


if __name__ == '__main__':
    command.run(main)
