"""Prints the table of a sweep, a folder of runs or a run, and writes its report there: a page, figures and tables.

  python report.py --workdir=runs/demo

report.html is whole by itself: open it from the disk, or send it. Its figures are in figures/, as SVG and PNG; the
table is also table.md, table.tex and table.csv. A sweep whose config file has FIGURE gets figure.svg, figure.png and
figure.csv too.
"""

from absl import flags

from experiment import command

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder that sweep.py or train.py wrote.', required=True)
TABLE = flags.DEFINE_bool('table', True, 'Print the table and write it; --notable where sweep.py did just now.')

flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> None:
    from analysis.reading import runs

    workdir = WORKDIR.value
    sweep = runs.read(workdir)  # once: a sweep that is still training says the same in all that is made of it
    from analysis import figures, formats  # these take seconds, which a wrong folder need not wait for
    from analysis.page import write
    from training.compiling.program_cache import use_cache

    use_cache()
    if TABLE.value:
        formats.report(workdir, sweep)
        figures.report(workdir, sweep)
    *pictures, page = write.write(workdir, sweep)
    if pictures:
        print(f'{len(pictures)} files in {pictures[0].parent}')
    print(page)


if __name__ == '__main__':
    command.run(main)
