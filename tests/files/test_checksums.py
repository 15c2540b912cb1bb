import errno
import subprocess

import pytest

from files import checksums
from files.checksums import SEAL, check, seal
from files.reading import Damaged
from files.writing import PARTIAL, StorageError


def test_the_seal_is_what_sha256sum_reads(tmp_path):
    (tmp_path / 'a b').write_text('x')
    (tmp_path / 'c').mkdir()
    (tmp_path / 'c' / 'd').write_text('y')
    seal(tmp_path)
    (tmp_path / f'.{SEAL}.1{PARTIAL}').write_text('of a process that was killed')
    check(tmp_path)
    done = subprocess.run(['sha256sum', '--check', '--strict', SEAL], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'a b: OK\nc/d: OK\n')


@pytest.mark.parametrize('left', [0, 40, -2])
def test_a_seal_that_was_cut_is_damaged_itself(tmp_path, left):
    (tmp_path / 'xyz').write_text('y')
    seal(tmp_path)
    (tmp_path / SEAL).write_text((tmp_path / SEAL).read_text()[:left])
    with pytest.raises(Damaged, match=f'{SEAL} is damaged: it was cut'):
        check(tmp_path)


def test_a_file_that_was_not_sealed_is_named(tmp_path):
    (tmp_path / 'a').write_text('x')
    seal(tmp_path)
    (tmp_path / f'.{SEAL}.x').write_text('y')
    with pytest.raises(Damaged, match=rf'\.{SEAL}\.x is not in its'):
        check(tmp_path)


@pytest.mark.parametrize('code', [errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_what_cannot_be_read_just_now_is_not_called_damaged(tmp_path, monkeypatch, code):
    (tmp_path / 'a').write_text('x')
    seal(tmp_path)

    def busy(path):
        raise OSError(code, 'for now')

    with monkeypatch.context() as patch:
        patch.setattr(checksums, 'sha256', busy)
        with pytest.raises(StorageError, match=r'a could not be read .*it was left as it is'):
            check(tmp_path)
    check(tmp_path)


def test_what_the_disk_itself_cannot_read_is_damaged(tmp_path, monkeypatch):
    (tmp_path / 'a').write_text('x')
    seal(tmp_path)

    def broken(path):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(checksums, 'sha256', broken)
    with pytest.raises(Damaged, match='a cannot be read'):
        check(tmp_path)
