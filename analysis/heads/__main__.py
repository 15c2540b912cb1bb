"""What each attention head does: how far and how widely it looks, how like the others, and what is lost without it.

  python -m analysis.heads --workdir=runs/x --images=256 --split=test

prints a table by layer and head and the accuracy as heads are removed, and writes heads.csv and pruning.csv in the
run's folder. Of a sweep's folder it prints the means of each arm by layer, over seeds and heads, and draws the pruning
curves; heads.csv there has every head of every run. analysis/heads/metrics.py says what each number is.
"""

from pathlib import Path

from absl import flags

from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run or of a sweep.', required=True)
SPLIT = flags.DEFINE_enum('split', 'test', ['train', 'validation', 'test'], 'Examples to look at.')
IMAGES = flags.DEFINE_integer('images', 256, 'How many of them, drawn at random, the same every time.', lower_bound=1)

flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> None:
    from analysis.heads import report
    from training.compiling.program_cache import use_cache

    use_cache()
    report.report(Path(WORKDIR.value), SPLIT.value, IMAGES.value)


if __name__ == '__main__':
    command.run(main)
