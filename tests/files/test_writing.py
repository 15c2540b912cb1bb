import errno
import os

import pytest

from files.reading import read_json_if_whole
from files.writing import PARTIAL, StorageError, clear_partials, open_own, write_bytes, write_json, writing


def test_json_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / 'a.json', {'good': 1})
    with pytest.raises(ValueError, match='not JSON compliant'):
        write_json(tmp_path / 'a.json', {'bad': float('nan')})
    assert read_json_if_whole(tmp_path / 'a.json') == {'good': 1}


def test_processes_of_one_number_on_two_machines_write_files_of_their_own(tmp_path, monkeypatch):
    """Two containers number their processes alike, and may write the same file of a shared folder at the same time."""
    names = []

    def noted(descriptor):
        names.extend(path.name for path in tmp_path.glob(f'.*{PARTIAL}'))

    monkeypatch.setattr(os, 'fsync', noted)
    for _ in range(2):
        write_bytes(tmp_path / 'a', b'')
    assert len(set(names)) == len(names) == 2


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / 'a'
    write_bytes(path, b'old')

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_bytes(path, b'new')
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b'old'
    with pytest.raises(StorageError, match=r'a could not be written \(No space left on device\)') as raised:
        write_json(path, {})
    assert raised.value.everywhere


def test_an_interrupt_leaves_nothing_and_what_a_kill_leaves_is_cleared(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / 'a', b'new')
    assert not [*tmp_path.iterdir()]
    (tmp_path / f'.a.1{PARTIAL}').write_text('of a killed process')
    write_bytes(tmp_path / 'a', b'new')
    foreign = tmp_path / f'.b.1{PARTIAL}'
    foreign.write_text('of something else')
    clear_partials(tmp_path, ['a'])
    assert {*tmp_path.iterdir()} == {tmp_path / 'a', foreign}


@pytest.mark.parametrize(
    ('error', 'words', 'everywhere'),
    [
        (OSError(errno.EFBIG, 'x'), 'File too large', False),
        (ValueError('of a library:\n  [Errno 30] Read-only file system'), 'Read-only file system', True),
        (ValueError('two\nlines'), 'ValueError: two lines', False),
    ],
)
def test_why_a_file_could_not_be_written_is_one_line(tmp_path, error, words, everywhere):
    with pytest.raises(StorageError) as raised, writing(tmp_path, Exception):
        raise error
    assert f'({words});' in str(raised.value)
    assert '\n' not in str(raised.value)
    assert raised.value.everywhere == everywhere


def test_a_file_of_our_own_is_written_at_its_end(tmp_path):
    for text in (b'one', b'two'):
        with os.fdopen(open_own(tmp_path / 'log'), 'ab') as file:
            file.write(text)
    assert (tmp_path / 'log').read_bytes() == b'onetwo'


@pytest.mark.parametrize('kind', ['a FIFO', 'a link', 'a dangling link'])
def test_what_stands_where_our_own_file_should_is_neither_waited_for_nor_written_through(tmp_path, kind):
    victim, own = tmp_path / 'victim', tmp_path / 'own'
    if kind == 'a FIFO':
        os.mkfifo(own)
    else:
        own.symlink_to(victim)
    with pytest.raises(OSError, match=r'regular file|symbolic links'):
        open_own(own)
    assert not victim.exists()
