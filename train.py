"""Trains one model and tests it.

  python train.py --config=configs/digits.py --workdir=runs/x --config.model.num_heads=8

The workdir becomes the run's folder: config.json, metrics.jsonl, TensorBoard events, checkpoints/ and, at the end,
result.json. The same command goes on where an interrupted run stopped.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiment import command

CONFIG = config_flags.DEFINE_config_file('config', None, 'The experiment, and after a colon its variant.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.')
flags.mark_flags_as_required(['config', 'workdir'])
flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> int:
    from experiment.display import Display
    from experiment.run import execute

    workdir = Path(WORKDIR.value)
    with Display() as display:
        display.begin('')
        result = execute(CONFIG.value, workdir, display.row)
    if result['status'] == 'diverged':
        print(f'diverged: the loss was not finite at step {result["diverged_step"]:,}; result in {workdir}')
        return 1
    test = result['test']
    print(f'test accuracy {test["accuracy"]:.2%}, loss {test["loss"]:.4f} ({test["examples"]:,} images)')
    print(
        f'{result["params"]:,} params, {result["forward_flops"]:,} forward FLOPs an image; compiled in '
        f'{result["compile_seconds"]:.1f} s, trained {result["steps"]:,} steps in {result["train_seconds"]:.1f} s '
        f'({result["images_per_second"]:,.0f} images/s); result in {workdir}'
    )
    return 0


if __name__ == '__main__':
    command.run(main)
