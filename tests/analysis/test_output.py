"""What leaves the analysis is safe where it arrives."""

import errno
import os

import pandas as pd
import pytest

from analysis import output
from configs.errors import ConfigError
from files.writing import StorageError


def test_a_csv_label_is_no_formula():
    frame = pd.DataFrame({'arm': ['=1+1', 'a'], 'x': [-1.0, 2.0], 'curve': ['@sum', 'b=c']})
    assert output.to_csv(frame) == "arm,x,curve\n'=1+1,-1.0,'@sum\na,2.0,b=c\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'--workdir=.*missing: cannot write x\.csv \(No such file'):
        output.write(tmp_path / 'missing' / 'x.csv', b'')


def test_a_full_disk_is_none_of_the_folder(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output, 'write_bytes', full)
    with pytest.raises(StorageError, match=r'x\.csv could not be written \(No space left on device\)') as raised:
        output.write(tmp_path / 'x.csv', b'')
    assert raised.value.everywhere


def test_symbols_that_a_stream_cannot_write_have_stand_ins():
    assert output.printable('1 ± 2 †', 'ascii') == '1 +/- 2 +'
    assert output.printable('naïve', 'ascii') == 'na?ve'
    assert output.printable('1 ± 2 †', 'utf-8') == output.printable('1 ± 2 †', None) == '1 ± 2 †'
