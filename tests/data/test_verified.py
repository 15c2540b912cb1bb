"""A large file of a cache is hashed when it is made or was touched, and not otherwise."""

import errno
import os
import shutil
import time

import numpy as np
import pytest

from data import cache, verified
from files.checksums import sha256
from tests.data.caches import IMAGES, LABELS, SOURCE, Builder, assert_whole, overwrite, temporaries, warnings


def for_sha256(monkeypatch, function):
    """Has `function` called wherever a file of a cache is hashed."""
    for module in (cache, verified):
        monkeypatch.setattr(module, 'sha256', function)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'version' / 'patchwise'


def test_a_large_array_is_hashed_again_only_when_it_was_touched(tmp_path, monkeypatch, caplog):
    hashed = []
    monkeypatch.setattr(verified, 'LARGE', 1)
    for_sha256(monkeypatch, lambda path: hashed.append(path.name) or sha256(path))
    first = cache.load_or_build(tmp_path, SOURCE, Builder())
    hashed.clear()
    again = cache.load_or_build(tmp_path, SOURCE, Builder())
    assert hashed == []
    assert all(np.array_equal(first[name], again[name]) for name in first)
    path = tmp_path / 'labels.npy'
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nobody had written it
    mended = cache.load_or_build(tmp_path, SOURCE, Builder())
    assert 'labels.npy is damaged (its SHA-256' in caplog.text
    np.testing.assert_array_equal(mended['labels'], LABELS)


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were hashed, all of which are LARGE."""
    names = []
    monkeypatch.setattr(verified, 'LARGE', 1)
    for_sha256(monkeypatch, lambda path: names.append(path.name) or sha256(path))
    return names


def computing(caplog):
    return [message for message in warnings(caplog) if message.startswith('computing the checksum of')]


def test_a_large_array_is_hashed_once_by_its_build_and_no_more_as_it_is_opened(folder, hashed, caplog):
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert hashed == ['images.npy.tmp', 'labels.npy.tmp']
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert len(hashed) == 2
    assert warnings(caplog) == []


def test_a_large_array_that_is_built_anew_is_hashed_once_too(folder, hashed, caplog):
    cache.load_or_build(folder, {'other': 1}, Builder())
    hashed.clear()
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert hashed == ['images.npy.tmp', 'labels.npy.tmp']
    assert computing(caplog) == []


def test_only_large_arrays_have_a_note(folder, monkeypatch):
    monkeypatch.setattr(verified, 'LARGE', IMAGES.nbytes)
    cache.load_or_build(folder, SOURCE, Builder())
    assert [path.name for path in temporaries(folder)] == ['images.verified.json']


def test_what_changes_between_its_checksum_and_its_place_is_not_noted_as_verified(folder, monkeypatch, caplog):
    def hash_then_damage(path):
        digest = sha256(path)
        if path.name == 'images.npy.tmp':
            time.sleep(0.05)  # longer than a tick of the clock by which files are stamped
            with path.open('r+b') as file:
                file.seek(-1, os.SEEK_END)
                file.write(bytes([IMAGES[-1, -1, -1, -1] ^ 1]))
        return digest

    monkeypatch.setattr(verified, 'LARGE', 1)
    for_sha256(monkeypatch, hash_then_damage)
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert not (folder / 'images.verified.json').exists()
    assert 'what was written does not read back' in warnings(caplog)[-1]


def test_a_torn_file_whose_build_left_a_note_is_noticed(folder, hashed, caplog):
    cache.load_or_build(folder, SOURCE, Builder())
    path = folder / 'images.npy'
    overwrite(path, lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert f'{path} is damaged (its SHA-256' in caplog.text


def test_before_a_large_array_is_hashed_a_warning_says_which_and_why(folder, hashed, monkeypatch, caplog):
    cache.load_or_build(folder, SOURCE, Builder())
    path = folder / 'images.npy'
    path.chmod(0o640)
    told = []
    for_sha256(monkeypatch, lambda path: told.extend(warnings(caplog)) or sha256(path))
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    (warning,) = told
    assert warning.startswith(f'computing the checksum of {path} (0.0 GiB), since it was touched')
    told.clear()
    caplog.clear()
    (folder / 'labels.verified.json').unlink()
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    (warning,) = told
    assert f'{folder / "labels.npy"} (0.0 GiB), since no note says that it ever was verified' in warning
    caplog.clear()
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert warnings(caplog) == []


def test_a_folder_that_takes_no_note_is_told_once_with_what_would_do(folder, hashed, monkeypatch, caplog):
    cache.load_or_build(folder, SOURCE, Builder())
    for note in folder.glob('*.verified.json'):
        note.unlink()

    def refuse(path, content):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(verified, 'write_bytes', refuse)
    for _ in range(2):
        hashed.clear()
        assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
        assert hashed == ['images.npy', 'labels.npy']
    (warning,) = [message for message in warnings(caplog) if message not in computing(caplog)]
    assert f'cannot note in {folder} that its files are verified (Read-only file system)' in warning
    assert 'every start computes their checksums again' in warning
    assert warning.endswith('would do')


def test_a_note_that_lies_is_believed_of_no_other_file(tmp_path, monkeypatch):
    monkeypatch.setattr(verified, 'LARGE', 1)
    cache.load_or_build(tmp_path, SOURCE, Builder())
    cache.load_or_build(tmp_path, SOURCE, Builder())
    copied = tmp_path.with_name('copied')
    shutil.copytree(tmp_path, copied)
    hashed = []
    for_sha256(monkeypatch, lambda path: hashed.append(path.name) or sha256(path))
    cache.load_or_build(copied, SOURCE, Builder())
    assert 'labels.npy' in hashed
