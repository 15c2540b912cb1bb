"""What is damaged on disk is noticed, named, and never becomes a number."""

import errno
import json
import logging
import shutil
from pathlib import Path

import pytest

from configs.errors import ConfigError
from data import spec
from experiment import folder
from experiment.run import execute
from files.checksums import SEAL, check, seal
from files.reading import Damaged
from files.writing import StorageError
from tests.reliability.runs import timeless
from training.recording.log import read_rows
from training.saving import checkpoints
from training.saving.restore import restore_selected
from training.saving.resume import resume


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


def empty(path):
    """As a machine that lost its power may leave it."""
    path.write_bytes(b'')


@pytest.fixture
def cut(config, train, tmp_path):
    """A run that was cut off after its checkpoint at step 18; what is kept is of 15, 18 and the best."""
    train(config, tmp_path / 'cut', until=20)
    assert checkpoints.steps(tmp_path / 'cut')[-2:] == [15, 18]
    return tmp_path / 'cut'


def resumed_step(workdir):
    return resume(workdir, 'best')[0]


def test_any_damage_to_any_file_of_a_checkpoint_is_noticed_and_the_one_before_is_used(cut, tmp_path, caplog):
    assert resumed_step(cut) == 18
    there = cut / 'checkpoints' / '18'
    files = [path.relative_to(there) for path in there.rglob('*') if path.is_file()]
    assert len(files) > 10
    for damage in (truncate, flip, remove, empty):
        for name in files:
            copy = tmp_path / 'copy'
            shutil.copytree(cut, copy)
            path = copy / 'checkpoints' / '18' / name
            damage(path)
            with pytest.raises(Damaged):
                check(path.parents[len(name.parts) - 1])
            caplog.clear()
            # A checkpoint goes on with the one selected by then, unless that made room for the one that is damaged now.
            whole = best(copy, until=15) in checkpoints.steps(cut)
            assert resumed_step(copy) == (15 if whole else 0), (damage.__name__, name)
            # A flip in the list of checksums may hit the name or the sum of any file.
            assert path.name in caplog.text or SEAL in (path.name, *caplog.text.split()) or path.name == SEAL
            shutil.rmtree(copy)


def best(workdir, until=20):
    """The best step so far, by the rows."""
    rows = [row for row in read_rows(workdir / 'metrics.jsonl') if 'validation_loss' in row and row['step'] <= until]
    return max(rows, key=lambda row: (row['validation_accuracy'], -row['validation_loss'], -row['step']))['step']


@pytest.mark.parametrize('what', ['newest', 'best', 'all', 'rows', 'torn row', 'unsealed', 'another file', 'a link'])
def test_a_damaged_run_comes_to_the_same_end(config, train, cut, tmp_path, caplog, what):
    whole = train(config, tmp_path / 'whole')
    steps, rows = checkpoints.steps(cut), cut / 'metrics.jsonl'
    array = {step: next((cut / 'checkpoints' / str(step) / 'state' / 'd').iterdir()) for step in steps}
    named = {
        'newest': lambda: flip(array[18]) or array[18].name,
        'best': lambda: flip(array[best(cut)]) or array[best(cut)].name,
        'all': lambda: [truncate(path) for path in array.values()] and array[18].name,
        'rows': lambda: rows.write_text(rows.read_text().replace('"step": 4', '"step": 5', 1)) and 'metrics.jsonl',
        'torn row': lambda: rows.open('a').write('{"step": 19, "train_lo') and 'torn row',
        'unsealed': lambda: (cut / 'checkpoints' / '18' / SEAL).unlink() or 'was not written to its end',
        'another file': lambda: (cut / 'checkpoints' / '18' / 'more').write_text('x') and 'is not in its SHA256SUMS',
        'a link': lambda: (cut / 'checkpoints' / '18' / 'link').symlink_to('/etc') or 'neither a file nor a folder',
    }[what]()
    with caplog.at_level(logging.WARNING):
        again = train(config, cut)
    assert named in caplog.text
    assert timeless(again) == timeless(whole)
    assert [timeless(row) for row in read_rows(rows)] == [
        timeless(row) for row in read_rows(tmp_path / 'whole' / 'metrics.jsonl')
    ]
    assert checkpoints.steps(cut) == checkpoints.steps(tmp_path / 'whole')


def test_rows_that_cannot_be_read_just_now_are_not_called_damaged(config, train, cut, tmp_path, monkeypatch):
    real = Path.open

    def busy(path, *arguments, **options):
        if path == cut / 'metrics.jsonl':
            raise OSError(errno.EACCES, 'Permission denied', str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'open', busy)
        with pytest.raises(StorageError, match=r'metrics\.jsonl could not be read .*it was left as it is'):
            train(config, cut)
    assert checkpoints.steps(cut)[-1] == 18
    assert timeless(train(config, cut)) == timeless(train(config, tmp_path / 'whole'))


def test_a_checkpoint_under_another_step_s_name_is_not_believed(config, train, cut, tmp_path, caplog):
    whole = train(config, tmp_path / 'whole')
    (cut / 'checkpoints' / '18').rename(cut / 'checkpoints' / '21')
    with pytest.raises(ConfigError, match=r'21 is of step 18'):
        restore_selected(config, spec(config.data), cut)
    again = train(config, cut)
    assert f'{cut}/checkpoints/21 is of step 18; it is set aside' in caplog.text
    assert timeless(again) == timeless(whole)


def test_a_sealed_checkpoint_that_this_code_cannot_read_stops_a_run_once(config, train, cut, tmp_path):
    """As other code may have left it: nothing tells before the state is read."""
    there, other = cut / 'checkpoints' / '18', tmp_path / 'other'
    config.model.embed_dim = 32
    train(config, other, until=20)
    config.model.embed_dim = 16
    shutil.rmtree(there / 'state')
    shutil.copytree(other / 'checkpoints' / '18' / 'state', there / 'state')
    seal(there)
    with pytest.raises(StorageError, match=r'is of another model: .*; the same command resumes from an earlier one'):
        train(config, cut)
    assert timeless(train(config, cut)) == timeless(train(config, tmp_path / 'whole'))


def test_a_sealed_checkpoint_of_another_shape_or_type_is_refused_before_it_is_read(config, cut):
    """Whoever can write a folder can seal it: shapes and types must be this model's."""
    restore_selected(config, spec(config.data), cut)
    config.model.embed_dim = 32
    with pytest.raises(ConfigError, match=r'is of another model: params.*float32'):
        restore_selected(config, spec(config.data), cut)


def test_a_result_that_is_damaged_anywhere_is_no_result(tmp_path, caplog):
    result = {'status': 'finished', 'seed': 3, 'test': {'accuracy': 0.971, 'loss': 0.1}, 'versions': {'jax': '0.10'}}
    written = folder.write_result(tmp_path, result)
    assert folder.read_result(tmp_path) == written
    path = tmp_path / 'result.json'
    content = path.read_bytes()
    values = json.loads(content)
    for place in range(1, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            harmless = json.loads(damaged) == values  # a space for a line's end, say
        except ValueError:
            harmless = False
        assert (folder.read_result(tmp_path) is not None) == harmless, damaged
        path.write_bytes(content[: place - 1])  # the last byte ends a line that is whole without it
        caplog.clear()
        assert folder.read_result(tmp_path) is None
        assert str(path) in caplog.text


def test_a_run_whose_result_is_damaged_comes_to_it_again(config, tmp_path, caplog):
    first = execute(config, tmp_path, lambda row, steps: None)
    truncate(tmp_path / 'result.json')
    again = execute(config, tmp_path, lambda row, steps: None)
    assert 'result.json is damaged' in caplog.text
    assert timeless(again) == timeless(first)
