"""Tests a trained run again, on any split; or a run, or a whole sweep, on images of other sizes.

  python eval.py --workdir=runs/x --split=test
  python eval.py --workdir=runs/demo --resolutions=8,12,16 --coordinates=extend,rescale

A larger image has more patches of the trained size. Where they are is one choice or the other: 'extend', beyond the
trained range; 'rescale', closer within it. Both are tabulated apart, and drawn, in the folder: extrapolation.*.
"""

from pathlib import Path

from absl import flags

from configs.errors import ConfigError
from experiment import command

WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder of a run; with --resolutions, of a run or of a sweep.', required=True
)
RESOLUTIONS = flags.DEFINE_list('resolutions', None, 'Sides of square images in pixels, with commas between them.')
COORDINATES = flags.DEFINE_list('coordinates', None, 'With --resolutions: extend, rescale, or both (the default).')
SPLIT = flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to evaluate on.')

flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> None:
    from training.compiling.program_cache import use_cache

    use_cache()
    if RESOLUTIONS.value is not None:
        from analysis.extrapolation import report

        report.report(WORKDIR.value, RESOLUTIONS.value, COORDINATES.value, SPLIT.value)
    elif COORDINATES.value is not None:
        raise ConfigError(f'--coordinates={",".join(COORDINATES.value)} says nothing without --resolutions; give both')
    else:
        from analysis import evaluation

        print(evaluation.to_text(evaluation.evaluate_run(Path(WORKDIR.value), SPLIT.value)))


if __name__ == '__main__':
    command.run(main)
