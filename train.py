"""Trains one model and tests it.

  python train.py --config=configs/digits.py --workdir=runs/x --config.model.num_heads=8

The workdir becomes the run's folder: config.json, metrics.jsonl, TensorBoard events, checkpoints/ and, at the end,
result.json. The same command goes on where an interrupted run stopped.
"""

import time
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiment import command

CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, and after a colon its variant.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
PROFILE = flags.DEFINE_bool('profile', False, 'Trace a few steps, for TensorBoard or Perfetto, into its profile/.')
flags.mark_flags_as_required(['config', 'workdir'])
flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> int:
    from experiment import folder
    from experiment.display import Display
    from experiment.run import execute
    from experiment.unread import refuse_unread
    from training.program_cache import use_cache

    use_cache()
    refuse_unread(config_flags.get_override_values(flags.FLAGS['config']), [CONFIG.value], '--config.')
    workdir, began = Path(WORKDIR.value), time.time()
    with Display() as display:
        slot = display.of(0)
        slot.begin('')
        result = execute(CONFIG.value, workdir, slot.row, profiled=PROFILE.value)
    if result['status'] == 'diverged':
        print(f'diverged: the loss was not finite at step {result["diverged_step"]:,}; result in {workdir}')
        return 1
    if (workdir / folder.RESULT).stat().st_mtime < began:
        print('finished before, and not trained again:')
    validation, test = result['validation'], result['test']
    selected = f'step {result["selection"]["step"]:,}, validation accuracy {validation["accuracy"]:.2%}'
    print(f'test accuracy {test["accuracy"]:.2%}, loss {test["loss"]:.4f} ({test["examples"]:,} images; {selected})')
    print(
        f'{result["params"]:,} params, {result["forward_flops"]:,} forward FLOPs an image; compiled in '
        f'{result["compile_seconds"]:.1f} s, trained {result["steps"]:,} steps in {result["train_seconds"]:.1f} s '
        f'({result["images_per_second"]:,.0f} images/s); result in {workdir}'
    )
    print(start_line(result))
    return 0


def start_line(result: dict) -> str:
    """How soon the first step came, and what the cache had to do with it."""
    seconds, cache = result.get('first_step_seconds'), result.get('compilation_cache')
    first = 'no step was left to take' if seconds is None else f'the first step came after {seconds:.1f} s'
    if cache is None:
        return f'{first}; no cache of compiled programs is in use'
    return f'{first}; {cache["hits"]} programs came from the cache, {cache["misses"]} were compiled'


if __name__ == '__main__':
    command.run(main)
