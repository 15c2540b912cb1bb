"""How far attention is from the convolution that it becomes as its heads get sharper.

  python -m analysis.convolution --kernel_size=3 --grid=7x7
  python -m analysis.convolution --workdir=runs/conv

prints it by the heads' sharpness: for random weights, or for the first layer of a trained run with model.mixer=conv.
analysis/convolution/__init__.py says why, analysis/convolution/measure.py what each number is.
"""

from absl import flags

from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run with model.mixer=conv; without it, weights are random.')
KERNEL_SIZE = flags.DEFINE_integer('kernel_size', None, 'Tokens; odd. Default: 3.', lower_bound=1)
GRID = flags.DEFINE_string('grid', None, 'Rows x columns of tokens. Default: 7x7, or that of the run.')


def main() -> None:
    from analysis.convolution import report
    from training.compiling.program_cache import use_cache

    use_cache()
    report.report(WORKDIR.value, KERNEL_SIZE.value, GRID.value)


if __name__ == '__main__':
    command.run(main)
