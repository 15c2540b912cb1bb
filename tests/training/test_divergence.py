"""The note that a run has diverged; test_population.py goes on with it."""

import errno
import hashlib
import json
import os

import pytest

from files import reading
from files.checksums import with_checksum
from files.writing import StorageError
from training.divergence import NOTE, forget, note, noted
from training.progress import Progress
from training.recording import log

MAKERS = [{'code': {'sha256': '0'}}, {'code': {'sha256': '1'}}]


@pytest.fixture
def progress(tmp_path):
    """Of a run in `tmp_path`, which has a row and its note."""
    (tmp_path / log.METRICS).write_bytes(b'{"step": 5}\n')
    mark = log.Mark(12, hashlib.sha256(b'{"step": 5}\n').hexdigest())
    made = Progress(0.0, rows=mark._asdict(), makers=MAKERS, diverged_step=7, first_bad_operation='exp, step.py:3')
    note(tmp_path, made)
    return made


def test_what_was_noted_is_read_until_it_is_forgotten(progress, tmp_path):
    assert noted(tmp_path) == progress
    forget(tmp_path)
    assert noted(tmp_path) is None


def test_a_note_that_is_damaged_anywhere_is_none(progress, tmp_path, caplog):
    path = tmp_path / NOTE
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            harmless = json.loads(damaged) == json.loads(content)  # a space for a line's end, say
        except ValueError:
            harmless = False
        caplog.clear()
        assert noted(tmp_path) == (progress if harmless else None), damaged
        assert harmless or f'{path} ' in caplog.text


def test_a_note_of_other_rows_is_none(progress, tmp_path, caplog):
    (tmp_path / log.METRICS).write_bytes(b'{"step": 6}\n')
    assert noted(tmp_path) is None
    assert 'is not of this run' in caplog.text


@pytest.mark.parametrize(
    'fields',
    [
        {'diverged_step': 0}, {'diverged_step': -1}, {'diverged_step': True}, {'diverged_step': 2.5},
        {'diverged_step': 10**30}, {'diverged_step': None}, {'first_bad_operation': 3}, {'makers': {}},
        {'makers': [3]}, {'makers': ['x']}, {'makers': [{'code': 'x'}]}, {'makers': 3}, {'rows': []}, {'rows': 'x'},
        {'rows': {'bytes': 'x', 'sha256': 'y'}}, {'rows': {'bytes': 10**30, 'sha256': 'y'}},
        {'rows': {'bytes': -1, 'sha256': 'y'}}, {'rows': {'bytes': 3}}, {'rows': {'more': 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_note_of_other_types_is_none_whoever_sealed_it(progress, tmp_path, caplog, fields):
    path = tmp_path / NOTE
    path.write_text(json.dumps(with_checksum(json.loads(path.read_text()) | fields)))
    assert noted(tmp_path) is None
    assert f'{path} ' in caplog.text


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: path.write_text('{}'), lambda path: path.touch()])
def test_what_is_no_note_is_none(tmp_path, caplog, make):
    make(tmp_path / NOTE)
    assert noted(tmp_path) is None
    assert NOTE in caplog.text


def test_a_note_that_cannot_be_read_just_now_is_not_called_damaged(progress, tmp_path, monkeypatch):
    def busy(path):
        raise OSError(errno.EMFILE, 'for now')

    with monkeypatch.context() as patch:
        patch.setattr(reading, '_open_regular', busy)
        with pytest.raises(StorageError, match='could not be read'):
            noted(tmp_path)
    assert noted(tmp_path) == progress
