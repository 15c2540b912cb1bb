"""What TensorBoard and Weights & Biases are told of a run."""

import itertools
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import data
from configs import base
from experiment.run import execute
from training import loop
from training.recording import sinks
from training.recording.log import read_rows
from training.track import Member


@pytest.fixture
def config():
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 60, 20
    config.model.embed_dim, config.model.depth = 16, 1
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 8, 8, 20
    config.log.every, config.checkpoint.count = 2, 2
    return config


def train(config, *folders):
    members = []
    for seed, folder in enumerate(folders):
        own = config.copy_and_resolve_references()
        own.seed = seed
        members.append(Member(own, folder, lambda row, steps: None))
    return loop.train(members, data.load(config.data))


def events(folder):
    """The events of a run's event file."""
    from tensorboardX.proto import event_pb2

    (path,) = folder.glob('events.*')
    raw = path.read_bytes()
    while raw:
        length = int.from_bytes(raw[:8], 'little')
        yield event_pb2.Event.FromString(raw[12 : 12 + length])
        raw = raw[12 + length + 4 :]


def summaries(folder):
    """Every summary of a run's event file, by tag."""
    return {value.tag: (event.step, value) for event in events(folder) for value in event.summary.value}


def test_the_hparams_table_gets_config_and_scores(config, tmp_path):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    folders = [tmp_path / 'a', tmp_path / 'b']
    results = train(config, *folders)
    for seed, (folder, result) in enumerate(zip(folders, results, strict=True)):
        found = summaries(folder)

        def plugin(name, found=found):
            data = found[f'_hparams_/{name}'][1].metadata.plugin_data
            assert data.plugin_name == 'hparams'
            return HParamsPluginData.FromString(data.content)

        fields = plugin('session_start_info').session_start_info.hparams
        assert fields['seed'].number_value == seed
        assert fields['model.embed_dim'].number_value == 16
        assert fields['model.positions.name'].string_value == 'learned_1d'
        assert fields['model.positions.content'].bool_value is True
        assert fields['model.window'].string_value == 'None'
        experiment = plugin('experiment').experiment
        assert {info.name for info in experiment.hparam_infos} == set(fields)
        compared = {info.name.tag for info in experiment.metric_infos}
        assert compared <= found.keys()  # each of them is a scalar of the run
        assert found['test_accuracy'][0] == 8
        assert found['test_accuracy'][1].simple_value == pytest.approx(result['test']['accuracy'])
        assert found['mean_images_per_second'][1].simple_value == pytest.approx(result['images_per_second'], rel=1e-5)
        assert plugin('session_end_info').HasField('session_end_info')
        assert 'test_accuracy' not in {name for row in read_rows(folder / 'metrics.jsonl') for name in row}


def test_every_field_is_a_hyperparameter(config):
    flat = sinks.hyperparameters(config)
    assert flat['data.synthetic.image_size'] == 8
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())


FULL = """
import pathlib, resource, sys
from configs.base import get_config
from files.writing import StorageError
from training.recording.sinks import TensorBoard
sink = TensorBoard(pathlib.Path(sys.argv[1]), 0, get_config())
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
for step in range(1000):
    try:
        sink.write({'step': step, 'train_loss': 1.0})
    except StorageError as error:
        print(error)
        break
try:
    sink.close()
except StorageError as error:
    print(error)
"""


def test_events_that_cannot_be_written_are_told_and_nobody_waits(tmp_path):
    done = subprocess.run([sys.executable, '-c', FULL, tmp_path], capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(line.startswith(f'{tmp_path} could not be written (File too large)') for line in lines)


def test_a_folder_with_a_colon_in_its_name_is_no_cloud(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('s3:x').mkdir()
    sinks.TensorBoard(Path('s3:x'), 0, config).close()
    assert 'config/text_summary' in summaries(tmp_path / 's3:x')


def test_a_run_can_be_watched_while_it_trains(config, tmp_path, monkeypatch):
    """What TensorBoard is told can be read some seconds later, not only at the end."""
    now = itertools.count(step=sinks.FLUSHED + 1)
    monkeypatch.setattr(sinks, 'time', types.SimpleNamespace(time=time.time, monotonic=lambda: next(now)))
    sink = sinks.TensorBoard(tmp_path, 0, config)
    sink.write({'step': 3, 'train_loss': 0.5})
    step, value = summaries(tmp_path)['train_loss']
    assert (step, value.simple_value) == (3, 0.5)
    sink.close()


def test_rows_after_a_checkpoint_come_again(config, tmp_path):
    """A run that goes on from it has TensorBoard forget what it drew of them."""
    from tensorboardX.proto import event_pb2

    sinks.TensorBoard(tmp_path, 40, config).close()
    starts = [event for event in events(tmp_path) if event.session_log.status == event_pb2.SessionLog.START]
    assert [event.step for event in starts] == [41]


WITHOUT = """
import sys
sys.modules['wandb'] = None  # Python's own way to say that there is no such module
from configs import digits
from configs.errors import ConfigError
from experiment.checking.validate import validate
config = digits.get_config()
validate(config)
config.log.wandb = 'a project'
validate(config, to_train=False)
try:
    validate(config)
except ConfigError as error:
    print(error)
"""


def test_wandb_that_is_not_installed_is_one_line():
    done = subprocess.run([sys.executable, '-c', WITHOUT], capture_output=True, text=True, timeout=120)
    assert done.stdout == (
        "log.wandb='a project': the package wandb is not installed; pip install wandb, or log.wandb='', would do\n"
    )


def test_patchwise_does_not_import_wandb_unless_asked():
    code = 'import sys, training.loop, experiment.checking.validate; print("wandb" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.stdout == 'False\n', done.stderr


NO_LOGIN = """
import json, sys
from pathlib import Path
from ml_collections import ConfigDict
from files.writing import StorageError
from experiment.run import execute
try:
    execute(ConfigDict(json.loads(sys.argv[1])), Path(sys.argv[2]), lambda row, steps: None)
except StorageError as error:
    print(error)
"""


def test_a_run_goes_on_once_wandb_has_a_login(config, tmp_path, monkeypatch):
    """That there is none is no setting that cannot work: the run's folder is there by then, and stays good."""
    config.log.wandb, config.log.tensorboard = 'patchwise', False
    monkeypatch.setenv('WANDB_SILENT', 'true')
    environment = os.environ | {'HOME': str(tmp_path), 'WANDB_MODE': 'online', 'WANDB_BASE_URL': 'http://127.0.0.1:9'}
    environment.pop('WANDB_API_KEY', None)
    command = [sys.executable, '-c', NO_LOGIN, config.to_json(), tmp_path / 'a']  # wandb remembers how it began
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.stdout.startswith("log.wandb='patchwise': "), done.stderr
    assert done.stdout.endswith('`wandb login`, or WANDB_MODE=offline, and the same command again would do\n')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    assert execute(config, tmp_path / 'a', lambda row, steps: None)['status'] == 'finished'


def sent(path):
    """The records of a .wandb file: LevelDB's log, in blocks of 32 KiB, behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    raw, place, part, block = path.read_bytes(), 7, b'', 1 << 15
    while place + 7 <= len(raw):
        left = block - place % block
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], 'little'), raw[place + 6]
        part += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece of several
            yield wandb_internal_pb2.Record.FromString(part)
            part = b''


def test_wandb_gets_every_row_config_and_scores(config, tmp_path, monkeypatch):
    """The real package, offline: it writes what it would send."""
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    config.log.wandb, config.log.tensorboard = 'patchwise', False
    folder = tmp_path / 'sweep' / 'a'
    (result,) = train(config, folder)
    (path,) = (folder / 'wandb').glob('offline-run-*/run-*.wandb')
    records = list(sent(path))
    (run,) = [record.run for record in records if record.WhichOneof('record_type') == 'run'][:1]
    assert (run.project, run.run_group, run.display_name) == ('patchwise', 'sweep', 'a')
    told = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert told['model']['embed_dim'] == 16
    history = [
        {'.'.join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof('record_type') == 'history'
    ]
    rows = [{name: value for name, value in row.items() if not name.startswith('_')} for row in history]
    assert rows[:-1] == read_rows(folder / 'metrics.jsonl')
    assert rows[-1]['test_accuracy'] == result['test']['accuracy']


def test_wandb_takes_runs_of_one_name_in_two_sweeps_for_two(config, tmp_path):
    """Runs are named by their config, so two sweeps may share one; the same folder goes on as the same run."""
    taken = []
    wandb = types.SimpleNamespace(init=lambda **options: taken.append(options))
    for folder in (tmp_path / 'one' / 'run', tmp_path / 'two' / 'run', tmp_path / 'one' / 'run'):
        sinks.WeightsAndBiases._begin(wandb, folder, config)
    first, second, again = (options['id'] for options in taken)
    assert first == again != second
    assert [options['group'] for options in taken] == ['one', 'two', 'one']


def test_wandb_draws_by_the_step_of_a_row_and_lets_runs_go_on_side_by_side(config, tmp_path, monkeypatch):
    """Its own count of steps would go on where a run that was cut off writes its last rows once more."""
    taken, axes = [], []
    run = types.SimpleNamespace(define_metric=lambda name, step_metric: axes.append((name, step_metric)))
    wandb = types.SimpleNamespace(init=lambda **options: taken.append(options) or run, errors=None)
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    sinks.WeightsAndBiases(tmp_path / 'run', config)
    assert axes == [('*', 'step')]
    assert (taken[0]['resume'], taken[0]['reinit']) == ('allow', 'create_new')
