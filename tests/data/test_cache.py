"""A cache gives back what was built, notices every way of not being that, and never harms what it cannot mend."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from data import cache
from experiment.environment import ROOT
from files.writing import StorageError
from tests.data.caches import IMAGES, LABELS, SOURCE, Builder, assert_whole, overwrite, temporaries, warnings


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'version' / 'patchwise'


@pytest.fixture
def built(folder):
    cache.load_or_build(folder, SOURCE, Builder())
    return folder


def test_built_once_then_memory_mapped(folder, caplog):
    builder = Builder()
    for _ in range(3):
        arrays = cache.load_or_build(folder, SOURCE, builder)
        assert_whole(arrays)
        assert isinstance(arrays['images'], np.memmap)
    assert builder.calls == 1
    assert warnings(caplog) == []
    assert not temporaries(folder)


def flip_bit(position):
    def change(data):
        data[position] ^= 0x10
        return data

    return change


def edit_manifest(path, edit):
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def resave(array, **options):
    return lambda path: np.save(path, array, **options)


DAMAGES = {
    'bit flipped in the pixels': ('images.npy', lambda path: overwrite(path, flip_bit(-777))),
    'bit flipped in the header': ('images.npy', lambda path: overwrite(path, flip_bit(1))),
    'bit flipped in the labels': ('labels.npy', lambda path: overwrite(path, flip_bit(-1))),
    'truncated': ('images.npy', lambda path: overwrite(path, lambda data: data[:-1])),
    'cut in the header': ('images.npy', lambda path: overwrite(path, lambda data: data[:20])),
    'longer than it was': ('labels.npy', lambda path: overwrite(path, lambda data: data + b'\0')),
    'empty': ('images.npy', lambda path: path.write_bytes(b'')),
    'gone': ('labels.npy', lambda path: path.unlink()),
    'another dtype': ('labels.npy', resave(LABELS.astype(np.int64))),
    'another shape': ('images.npy', resave(IMAGES[:-1])),
    'a pickle': ('labels.npy', resave(np.array([{}], object), allow_pickle=True)),
    'a folder': ('images.npy', lambda path: (path.unlink(), path.mkdir())),
    'torn manifest': ('manifest.json', lambda path: overwrite(path, lambda data: data[: len(data) // 2])),
    'empty manifest': ('manifest.json', lambda path: path.write_bytes(b'')),
    'manifest of another kind': ('manifest.json', lambda path: path.write_text('[]')),
    'manifest not in UTF-8': ('manifest.json', lambda path: path.write_bytes(b'\xff\xfe{')),
    'manifest without sums': (
        'manifest.json',
        lambda path: edit_manifest(path, lambda manifest: manifest['arrays']['images'].pop('sha256')),
    ),
    'manifest of another format': (
        'manifest.json',
        lambda path: edit_manifest(path, lambda manifest: manifest.update(format=0)),
    ),
}


@pytest.mark.parametrize('name', [name for name in DAMAGES if name != 'a folder'])
def test_damage_is_noticed_named_and_mended(built, caplog, name):
    file, damage = DAMAGES[name]
    damage(built / file)
    builder = Builder()
    assert_whole(cache.load_or_build(built, SOURCE, builder))
    assert builder.calls == 1
    (warning,) = warnings(caplog)
    assert str(built / file) in warning
    assert 'building the cache anew' in warning
    caplog.clear()
    assert_whole(cache.load_or_build(built, SOURCE, builder))
    assert builder.calls == 1
    assert warnings(caplog) == []


def test_a_folder_in_the_place_of_an_array_cannot_be_mended_and_the_arrays_come_from_memory(built, caplog):
    file, damage = DAMAGES['a folder']
    damage(built / file)
    assert_whole(cache.load_or_build(built, SOURCE, Builder()))
    assert 'going on from memory' in warnings(caplog)[-1]


def test_stale_is_told_by_what_differs(built, caplog):
    builder = Builder()
    changed = {**SOURCE, 'shards': [['a', 1], ['b', 3]]}
    assert_whole(cache.load_or_build(built, changed, builder))
    assert builder.calls == 1
    (warning,) = warnings(caplog)
    assert 'stale' in warning
    assert 'shards' in warning
    assert 'image_size' not in warning
    cache.load_or_build(built, changed, builder)
    assert builder.calls == 1


def test_arrays_opened_before_a_rebuild_stay_as_they_were(built):
    before = cache.load_or_build(built, SOURCE, Builder())

    def build_other(allocate):
        allocate('images', IMAGES.shape, IMAGES.dtype)[:] = 255 - IMAGES

    after = cache.load_or_build(built, {'other': 1}, build_other)
    assert_whole(before)
    np.testing.assert_array_equal(after['images'], 255 - IMAGES)


def test_fingerprint_may_hold_tuples(folder):
    builder = Builder()
    for _ in range(2):
        cache.load_or_build(folder, {'shape': (28, 28), 'of': {'deep': (1, 2)}}, builder)
    assert builder.calls == 1


def test_failed_build_is_the_callers_and_leaves_the_old_cache(built):
    def fail(allocate):
        allocate('images', IMAGES.shape, IMAGES.dtype)
        raise OSError(errno.EIO, 'a shard cannot be read')

    with pytest.raises(OSError, match='a shard cannot be read'):
        cache.load_or_build(built, {'another': 'source'}, fail)
    assert not temporaries(built)
    builder = Builder()
    assert_whole(cache.load_or_build(built, SOURCE, builder))
    assert builder.calls == 0


def test_unwritable_folder_goes_on_from_memory(tmp_path, caplog):
    (tmp_path / 'version').write_text('a file where the folder should be')  # root writes through any permission
    builder = Builder()
    assert_whole(cache.load_or_build(tmp_path / 'version' / 'patchwise', SOURCE, builder))
    assert builder.calls == 1
    (warning,) = warnings(caplog)
    assert str(tmp_path / 'version' / 'patchwise') in warning
    assert 'going on from memory' in warning


def refuse_space(monkeypatch, number=errno.ENOSPC):
    def full(descriptor, offset, length):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'posix_fallocate', full)


def test_full_disk_goes_on_from_memory(folder, caplog, monkeypatch):
    refuse_space(monkeypatch)
    assert_whole(cache.load_or_build(folder, SOURCE, Builder()))
    assert 'No space left on device' in warnings(caplog)[0]
    assert not temporaries(folder)
    assert not (folder / 'manifest.json').exists()


LAYOUT = {'images': (IMAGES.shape, IMAGES.dtype), 'labels': (LABELS.shape, LABELS.dtype)}
BYTES = IMAGES.nbytes + LABELS.nbytes


def test_what_just_fits_in_memory_is_still_built_there(folder, caplog, monkeypatch):
    refuse_space(monkeypatch)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES)
    assert_whole(cache.load_or_build(folder, SOURCE, Builder(), LAYOUT))
    assert 'going on from memory' in warnings(caplog)[0]


@pytest.mark.parametrize('layout', [LAYOUT, None], ids=['layout', 'no layout'])
def test_a_full_disk_and_arrays_too_large_for_memory_are_an_error_that_says_how_much_is_needed(
    folder, monkeypatch, layout
):
    refuse_space(monkeypatch)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES - 1)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(9999, 8765, 1234))
    with pytest.raises(StorageError) as raised:
        cache.load_or_build(folder, SOURCE, Builder(), layout, ['another disk', 'fewer images'])
    assert str(raised.value) == (
        f'cannot keep decoded arrays of {BYTES:,} bytes in {folder} (No space left on device, 1,234 bytes are free '
        f'there), and more than {BYTES - 1:,} are not held in memory; free space there or another disk or fewer images '
        'would do'
    )
    assert raised.value.everywhere
    assert not temporaries(folder)


def test_a_full_disk_is_told_before_anything_large_is_built(folder, caplog, monkeypatch):
    refuse_space(monkeypatch)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES - 1)
    builder = Builder()
    with pytest.raises(StorageError):
        cache.load_or_build(folder, SOURCE, builder, LAYOUT)
    assert builder.calls == 1  # for the disk, which refused its first array; none for memory
    assert warnings(caplog) == []


@pytest.mark.parametrize(('number', 'everywhere'), [(errno.EROFS, True), (errno.EACCES, False)])
def test_a_folder_that_cannot_be_made_is_the_same_error_with_its_own_reason(folder, monkeypatch, number, everywhere):
    def refuse(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, 'mkdir', refuse)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES - 1)
    builder = Builder()
    with pytest.raises(StorageError) as raised:
        cache.load_or_build(folder, SOURCE, builder, LAYOUT)
    assert f'{folder} ({os.strerror(number)}), and' in str(raised.value)
    assert 'a folder there that can be written to would do' in str(raised.value)
    assert raised.value.everywhere == everywhere
    assert builder.calls == 0


def test_a_disk_too_full_for_the_folder_itself_says_what_is_free_above_it(folder, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'mkdir', refuse)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES - 1)
    with pytest.raises(StorageError, match=r'No space left on device, [\d,]+ bytes are free there'):
        cache.load_or_build(folder, SOURCE, Builder(), LAYOUT)


def test_a_whole_cache_is_read_where_nothing_could_be_written(built, monkeypatch):
    refuse_space(monkeypatch)
    monkeypatch.setattr(cache, 'IN_MEMORY_BYTES', BYTES - 1)
    assert_whole(cache.load_or_build(built, SOURCE, Builder(), LAYOUT))


PROCESS = """
    import logging, os, sys, time
    from pathlib import Path
    import numpy as np
    from data import cache, verified

    logging.basicConfig(level=logging.WARNING)
    folder, end = Path(sys.argv[1]), sys.argv[2]

    def build(allocate):
        with open(folder.parent / 'builds', 'a') as log:
            log.write('x')
        array = allocate('images', (1000,), np.uint8)
        time.sleep(0.5)
        array[:] = 7
        if end == 'killed':
            os._exit(9)

    assert cache.load_or_build(folder, {}, build)['images'].sum() == 7000
"""


def start(folder, end='whole'):
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-c', textwrap.dedent(PROCESS), str(folder), end]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_processes_that_want_the_same_cache_build_it_once(folder):
    for process in [start(folder) for _ in range(3)]:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, '')
    assert (folder.parent / 'builds').read_text() == 'x'


def test_killed_build_leaves_nothing_that_is_believed_or_in_the_way(folder):
    process = start(folder, 'killed')
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert temporaries(folder)
    (folder / '.manifest.json.1.partial').write_text('killed a moment later')
    process = start(folder)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')
    assert (folder.parent / 'builds').read_text() == 'xx'
    assert not temporaries(folder)


def test_a_cache_of_other_arrays_than_its_source_has_is_damaged(built, caplog):
    layout = {'images': (IMAGES.shape, np.uint8), 'labels': (LABELS.shape, np.int32)}
    builder = Builder()
    assert_whole(cache.load_or_build(built, SOURCE, builder, layout))
    assert builder.calls == 0
    edit_manifest(built / 'manifest.json', lambda manifest: manifest['arrays'].pop('labels'))
    assert_whole(cache.load_or_build(built, SOURCE, builder, layout))
    assert builder.calls == 1
    assert 'its arrays are not those of its source' in caplog.text


def test_an_array_outside_the_folder_is_never_opened(built, caplog):
    for file in ('images.npy', 'labels.npy'):
        shutil.copy(built / file, built.parent / file)

    def lead_out(manifest):
        manifest['arrays'] = {f'../{name}': entry for name, entry in manifest['arrays'].items()}

    edit_manifest(built / 'manifest.json', lead_out)
    builder = Builder()
    assert_whole(cache.load_or_build(built, SOURCE, builder))
    assert builder.calls == 1
    assert 'an array is called' in caplog.text
