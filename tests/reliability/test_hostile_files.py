"""Files that somebody made to do harm are refused, named, and never run, waited for or swallowed whole."""

import ast
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from analysis.reading import runs
from configs import base
from configs.errors import ConfigError
from data import cache, tfds_source
from experiment import folder
from experiment.environment import ROOT
from experiment.run import execute
from experiment.sweeping import sweeps
from experiment.sweeping.manifest import open_sweep
from files import reading
from files.writing import StorageError
from tests.analysis.conftest import Workdir
from training.recording.log import read_rows


def write(content):
    return lambda path: path.write_bytes(content)


def enlarge(path):
    with path.open('wb') as file:
        file.write(b'{')
        file.truncate(reading.LARGEST_FILE + 1)


def listen(path):
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f'{short}/socket')  # the name may be no longer than 107 bytes
        shutil.move(f'{short}/socket', path)


HOSTILE = {
    'deep': (write(b'[' * 1_000_000), 'nested too deeply'),
    'deep objects': (write(b'{"a":' * 1_000_000), 'nested too deeply'),
    'deep but whole': (write(b'{"a":' * 40 + b'1' + b'}' * 40), 'nested too deeply'),
    'huge': (enlarge, 'too large'),
    'a huge number': (write(b'{"seed": ' + b'9' * 5000 + b'}'), 'torn or not JSON'),
    'no UTF-8': (write(b'{"seed": "\xff\xfe"}'), 'torn or not JSON'),
    'half a surrogate in UTF-8': (write(b'{"seed": "\xed\xa0\x80"}'), 'torn or not JSON'),
    'torn': (write(b'{"config": {"se'), 'torn or not JSON'),
    'a pickle': (write(b'\x80\x04K\x01.'), 'torn or not JSON'),
    'a list': (write(b'[{"run": "x"}]'), 'not a JSON object'),
    'a FIFO': (os.mkfifo, 'not a regular file'),
    'a folder': (os.mkdir, 'not a regular file'),
    'a device': (lambda path: path.symlink_to('/dev/zero'), 'not a regular file'),
    'a socket': (listen, 'cannot be read'),
}


@pytest.fixture(params=HOSTILE)
def hostile(request):
    """hostile(path) puts a file there that should not be read; hostile.named is what is said of it."""
    make, named = HOSTILE[request.param]

    def place(path):
        path.unlink(missing_ok=True)
        make(path)

    place.named = named
    return place


def test_the_reader_refuses_it_and_says_why(hostile, tmp_path):
    hostile(tmp_path / 'x.json')
    with pytest.raises(reading.Damaged, match=hostile.named):
        reading.read_json(tmp_path / 'x.json')
    assert reading.read_json_if_whole(tmp_path / 'x.json') is None


def test_a_config_that_is_hostile_is_one_line(hostile, tmp_path):
    hostile(tmp_path / 'config.json')
    for read in (folder.read_config, lambda there: folder.refuse_others(there, base.get_config())):
        with pytest.raises(ConfigError, match=r'config\.json is (missing or )?damaged|holds something else'):
            read(tmp_path)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (lambda tree: tree.update({'data.name': tree['data'].pop('name')}), 'not in their groups'),
        (lambda tree: tree.update(model=3), 'another version'),
        (lambda tree: tree.update(seed={}), 'another version'),
        (lambda tree: tree['model'].update({'\x1b[2J': 1}), r'differs in model\.\[2J'),
    ],
)
def test_a_config_of_another_shape_is_one_line(tmp_path, change, named):
    tree = base.get_config().to_dict()
    change(tree)
    (tmp_path / 'config.json').write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match=named):
        folder.read_config(tmp_path)


def test_a_table_counts_a_hostile_result_as_damaged(hostile, tmp_path):
    workdir = Workdir(tmp_path / 'sweep')
    workdir.add('arm', 0)
    hostile(workdir.add('arm', 1) / 'result.json')
    sweep = runs.read(workdir.write())
    assert [run.status for run in sweep.arms[0].runs] == ['finished', 'damaged']
    assert hostile.named in sweep.warnings[0]


def test_a_hostile_list_of_runs_is_named_and_written_anew(hostile, tmp_path, caplog):
    config = base.get_config()
    config.model.patch_size = 2
    planned = sweeps.plan(config, [{'seed': 0}, {'seed': 1}])
    hostile(tmp_path / 'sweep.json')
    if (tmp_path / 'sweep.json').is_dir():
        with pytest.raises(StorageError, match=r'sweep\.json could not be written .*directory'):
            open_sweep(tmp_path, 'mine.py', planned)
        return
    open_sweep(tmp_path, 'mine.py', planned)
    assert hostile.named in caplog.text
    assert len(json.loads((tmp_path / 'sweep.json').read_text())['runs']) == 2


@pytest.mark.parametrize(
    'manifest',
    [{}, {'config': 3, 'runs': []}, {'config': 'x\0', 'runs': []}, {'config': 'x', 'runs': [{'run': []}, 7]}],
)
def test_a_list_of_runs_of_another_kind_is_named_and_written_anew(tmp_path, caplog, manifest):
    (tmp_path / 'sweep.json').write_text(json.dumps(manifest))
    config = base.get_config()
    config.model.patch_size = 2
    open_sweep(tmp_path, 'mine.py', sweeps.plan(config, [{}]))
    assert 'is no list of runs; it is written anew' in caplog.text


def test_a_log_of_metrics_gives_its_rows_up_to_what_is_hostile(hostile, tmp_path):
    path = tmp_path / 'metrics.jsonl'
    hostile(path)
    assert read_rows(path) == []
    if path.is_file():
        row = b'{"step": 1, "train_loss": 0.5}\n'
        path.write_bytes(row + path.read_bytes())
        assert read_rows(path) == [{'step': 1, 'train_loss': 0.5}]


@pytest.mark.parametrize(
    'row', [{'step': 10**400}, {'step': 1, 'loss': '<b>'}, {'step': 1, 'loss': [1]}, [1], {'x': 1}]
)
def test_what_is_no_row_of_metrics_is_left_out(tmp_path, row):
    path = tmp_path / 'metrics.jsonl'
    path.write_text(f'{{"step": 1}}\n{json.dumps(row)}\n{{"step": 3}}\n')
    assert read_rows(path) == [{'step': 1}, {'step': 3}]


LABELS = np.arange(50, dtype=np.int32)
LAYOUT = {'labels': ((50,), np.int32)}


def build(allocate):
    allocate('labels', (50,), np.int32)[:] = LABELS


@pytest.fixture
def cached(tmp_path):
    """A cache, beside an array that is no part of it."""
    np.save(tmp_path / 'secret.npy', LABELS)
    cache.load_or_build(tmp_path / 'cache', {}, build, LAYOUT)
    return tmp_path / 'cache'


def assert_mended(cached, caplog, named):
    arrays = cache.load_or_build(cached, {}, build, LAYOUT)
    assert list(arrays) == ['labels']
    np.testing.assert_array_equal(arrays['labels'], LABELS)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert named in warning
    assert 'anew' in warning
    assert warning.isprintable()
    caplog.clear()
    cache.load_or_build(cached, {}, build, LAYOUT)
    assert caplog.records == []


def test_a_hostile_manifest_is_named_and_its_cache_built_anew(hostile, cached, caplog):
    manifest = cached / 'manifest.json'
    hostile(manifest)
    if manifest.is_dir():
        np.testing.assert_array_equal(cache.load_or_build(cached, {}, build, LAYOUT)['labels'], LABELS)
        assert 'going on from memory' in caplog.text
    else:
        assert_mended(cached, caplog, hostile.named)


def edited(path, **changes):
    manifest = json.loads(path.read_text())
    manifest['arrays']['labels'] |= changes
    path.write_text(json.dumps(manifest))
    return manifest


@pytest.mark.parametrize(
    'name', ['../secret', '/tmp/secret', 'a/../../secret', '', '.', 'la bels', '\x1b[2J', '\u202e']
)
def test_a_name_that_leads_out_of_the_cache_is_not_opened(cached, caplog, name):
    manifest = edited(cached / 'manifest.json')
    manifest['arrays'][name] = manifest['arrays']['labels']
    (cached / 'manifest.json').write_text(json.dumps(manifest))
    assert_mended(cached, caplog, 'an array is called')


@pytest.mark.parametrize(
    'changes',
    [
        {'shape': [2**62, 2**62]},
        {'shape': [-1]},
        {'shape': 'x' * 10**6},
        {'shape': {}},
        {'dtype': '|O'},
        {'dtype': 'i4,' * 10**5},
        {'dtype': [['a', 'O']]},
        {'sha256': None},
    ],
)
def test_a_manifest_that_asks_for_something_else_is_refused(cached, caplog, changes):
    edited(cached / 'manifest.json', **changes)
    assert_mended(cached, caplog, 'damaged')


def header(shape, dtype="'<i4'"):
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text


@pytest.mark.parametrize(
    'content',
    [
        header('(4611686018427387904, 4611686018427387904)'),
        header('(9223372036854775807,)'),
        header('(1000000000000,)'),
        header('(-1,)'),
        header('(' * 900 + ')' * 900),
        header('__import__("os").abort()'),
        header('(50,)', "'|O'") + b'\x80\x04K\x01.',
        header('(50,)', "[('a', '|O')]"),
        b'\x80\x04K\x01.',
        b'PK\x05\x06' + bytes(18),
    ],
    ids=['overflow', 'largest', 'terabytes', 'negative', 'deep', 'code', 'objects', 'record', 'a pickle', 'a zip'],
)
def test_a_hostile_array_is_not_loaded(cached, caplog, content):
    (cached / 'labels.npy').write_bytes(content)
    assert_mended(cached, caplog, 'labels.npy is damaged')


@pytest.mark.parametrize('make', [os.mkfifo, lambda path: path.symlink_to('/dev/zero')], ids=['a FIFO', 'a device'])
def test_an_array_that_is_no_file_is_not_waited_for(cached, caplog, make):
    (cached / 'labels.npy').unlink()
    make(cached / 'labels.npy')
    assert_mended(cached, caplog, 'not a regular file')


def test_arrays_of_another_kind_are_refused_though_their_sums_are_right(cached, caplog):
    def other(allocate):
        allocate('labels', (50,), np.float64)[:] = 1e30

    cache.load_or_build(cached, {'other': 1}, other)
    manifest = json.loads((cached / 'manifest.json').read_text()) | {'fingerprint': {}}
    (cached / 'manifest.json').write_text(json.dumps(manifest))
    caplog.clear()
    assert_mended(cached, caplog, 'not those of its source')


@pytest.mark.parametrize('kind', ['a FIFO', 'a link'])
def test_the_lock_neither_waits_nor_empties_what_it_leads_to(tmp_path, caplog, kind):
    victim, lock = tmp_path / 'victim', tmp_path / 'cache' / 'lock'
    victim.write_text('precious')
    lock.parent.mkdir()
    if kind == 'a FIFO':
        os.mkfifo(lock)
    else:
        lock.symlink_to(victim)
    np.testing.assert_array_equal(cache.load_or_build(lock.parent, {}, build)['labels'], LABELS)
    assert victim.read_text() == 'precious'
    assert 'going on from memory' in caplog.text


FEATURES = tfds.features.FeaturesDict(
    {'image': tfds.features.Image(shape=(8, 8, 1)), 'label': tfds.features.ClassLabel(num_classes=10)}
)


@pytest.fixture
def prepared(tmp_path):
    """The metadata of a prepared dataset, and the config.data that names it."""
    version = tmp_path / 'squares' / '1.0.0'
    version.mkdir(parents=True)
    FEATURES.save_config(str(version))
    (version / 'dataset_info.json').write_text('{"name": "squares", "version": "1.0.0", "fileFormat": "array_record"}')
    data = base.get_config().data
    data.name, data.dir = 'squares', str(tmp_path)
    return version, data


def test_a_dataset_cannot_have_modules_imported(prepared, tmp_path, monkeypatch):
    version, data = prepared
    ran = tmp_path / 'ran'
    (tmp_path / 'evil_module.py').write_text(f'open({str(ran)!r}, "w")')
    monkeypatch.syspath_prepend(tmp_path)
    content = json.loads((version / 'features.json').read_text())
    nested = json.dumps({'feature': {'type': 'evil_module.Feature', 'content': {}}})
    image = content['featuresDict']['features']['image']
    for field, value in (
        ('pythonClassName', 'evil_module.Feature'),
        ('python_class_name', 'evil_module.Feature'),
        ('type', 'evil_module.Feature'),
        ('jsonFeature', {'json': nested}),
    ):
        features = content['featuresDict']['features'] | {'image': image | {field: value}}
        changed = content | {'featuresDict': {'features': features}}
        (version / 'features.json').write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match='names a class that is not of TFDS'):
            tfds_source.spec(data)
    assert not ran.exists()


@pytest.mark.parametrize('file', ['features.json', 'dataset_info.json'])
def test_hostile_metadata_of_a_dataset_is_one_line(hostile, prepared, file):
    version, data = prepared
    hostile(version / file)
    with pytest.raises(ConfigError, match=rf'data\.name=squares: .* cannot be read .*{hostile.named}'):
        tfds_source.spec(data)


@pytest.mark.parametrize(
    'name', ['../squares', '/squares', 'squares/../squares', '..', '', 'squares:../1.0.0', '\0', '*']
)
def test_a_dataset_s_name_leads_nowhere_but_to_a_dataset(prepared, name):
    _, data = prepared
    data.name = name
    with pytest.raises(ConfigError, match='is not a dataset of TFDS'):
        tfds_source.spec(data)


@pytest.mark.parametrize('name', ['checkpoints', 'checkpoints_set_aside', 'profile'])
def test_no_link_leads_a_run_to_what_is_another_s(train, config, tmp_path, name):
    """It would set aside the other's checkpoints, as of another model, and save its own in their place."""
    victim, run = tmp_path / 'victim', tmp_path / 'run'
    train(config, victim, until=20)
    (victim / 'checkpoints').rename(victim / name)
    before = sorted(victim.rglob('*'))
    run.mkdir()
    (run / name).symlink_to(victim / name)
    config.model.embed_dim = 32
    with pytest.raises(ConfigError, match=rf'--workdir=.*run: its {name} is a link; a folder of its own would do'):
        execute(config, run, lambda row, steps: None)
    assert sorted(victim.rglob('*')) == before
    assert [path.name for path in run.iterdir()] == [name]


def sources():
    listed = subprocess.run(['git', 'ls-files', '*.py'], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split() if not name.startswith('tests/')]


def test_nothing_on_disk_is_a_pickle():
    """No module that could read or write one is imported, and every array is loaded without."""
    assert len(sources()) > 80
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split('.')[0] for alias in node.names} | {str(getattr(node, 'module', ''))}
                assert not names & {'pickle', 'cloudpickle', 'dill', 'joblib', 'shelve', 'marshal', '_pickle'}, path
            if isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in ('load', 'fromfile', 'memmap'):
                allowed = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                of_numpy = ast.unparse(node.func).startswith(('np.', 'numpy.'))
                assert not of_numpy or allowed.get('allow_pickle') == 'False', f'{path}:{node.lineno}'
            if isinstance(node, ast.Attribute):
                assert node.attr not in ('read_pickle', 'to_pickle'), f'{path}:{node.lineno}'


def test_a_config_from_a_folder_is_checked_like_any_other(tmp_path):
    from experiment.checking.validate import validate

    tree = base.get_config().to_dict()
    tree['model']['embed_dim'] = [64]
    (tmp_path / 'config.json').write_text(json.dumps(tree))
    config = folder.read_config(tmp_path)
    assert isinstance(config, ConfigDict)
    with pytest.raises(ConfigError, match=r'model\.embed_dim=.* is of type'):
        validate(config)
