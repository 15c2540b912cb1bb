"""Prints the table of a sweep, a folder of runs or a run, and writes it there as table.md, table.tex and table.csv.

A sweep whose config file has FIGURE gets figure.svg, figure.png and figure.csv too.

python report.py --workdir=runs/demo
"""

from absl import flags

from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that sweep.py or train.py wrote.', required=True)


def main() -> None:
    from analysis import figures, tables  # pandas takes a second, which a wrong flag need not wait for

    tables.report(WORKDIR.value)
    figures.report(WORKDIR.value)


if __name__ == '__main__':
    command.run(main)
