"""Trains every run of a config file's sweep(), and makes its table, and its figure where the file has FIGURE.

  python sweep.py --config=configs/demo.py --workdir=runs/demo

On a CPU as many runs train at a time as it has cores; on accelerators those that compile to one program train together,
or one on each device if they are convolutions.
Finished runs are skipped, an interrupted one resumes, and one that fails does not stop the others: it is named at the
end, and the exit status is 1.

Machines that see one folder divide a sweep by --share=1/4 to --share=4/4; whichever ends last makes the table.
"""

import concurrent.futures
import importlib
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiment import command

CONFIG = config_flags.DEFINE_config_file(
    'config',
    None,
    'A config file with sweep(), and after a colon its variant; --config.FIELD=VALUE sets a field for all runs.',
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the sweep; each run gets one below it.')
WORKERS = flags.DEFINE_integer(
    'workers',
    None,
    'Processes that train at the same time; left out: one a core on a CPU, as far as memory goes, else one.',
    lower_bound=1,
)
TOGETHER = flags.DEFINE_integer(
    'together',
    None,
    'Runs that train as one population; left out: as many as gain by it and fit in memory (training/strategy.py).',
    lower_bound=1,
)
SHARE = flags.DEFINE_string(
    'share', None, 'K/N: train the K-th of N shares, and leave the others to other machines; left out: all runs.'
)
flags.mark_flags_as_required(['config', 'workdir'])
flags.register_validator('workdir', bool, 'the name of a folder would do')


def main() -> int:
    from experiment import folder
    from experiment.lock import locked
    from experiment.sweeping import schedule, shares, sweeps
    from experiment.sweeping.manifest import open_sweep
    from experiment.sweeping.sweep_file import load_sweep
    from training.compiling.program_cache import use_cache

    share = None if SHARE.value is None else shares.parse(SHARE.value)
    use_cache()
    workdir = Path(WORKDIR.value)
    config_file = config_flags.get_config_filename(flags.FLAGS['config'])
    path, _, variant = config_file.partition(':')
    rows, figure = load_sweep(path, variant)
    runs = sweeps.plan(CONFIG.value, rows, figure)
    sweeps.refuse_overridden(config_flags.get_override_values(flags.FLAGS['config']), runs)
    mine = shares.runs_of(share, runs) if share else runs
    workers = schedule.processes(WORKERS.value)
    folder.make_folder(workdir)
    with locked(workdir, shared=bool(share)):
        open_sweep(workdir, config_file, runs, figure)
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            # What takes a second to import, and more from a cold disk, is there when the last run ends.
            beside.submit(importlib.import_module, 'analysis.figures')
            troubles = schedule.run_all(mine, workdir, workers=workers, at_most=TOGETHER.value)
    left = shares.left(mine, runs, workdir)
    if left:
        print(f'{left} of {len(runs)} runs are left to other shares: the one that ends last makes the table')
    else:
        _report(workdir)
    for name, trouble in troubles.items():
        print(f'{workdir / name}: {trouble}', file=sys.stderr)
    return 1 if troubles else 0


def _report(workdir: Path) -> None:
    from analysis import figures, formats
    from analysis.reading.runs import read

    sweep = read(workdir)
    formats.report(workdir, sweep)
    figures.report(workdir, sweep)


if __name__ == '__main__':
    command.run(main)
