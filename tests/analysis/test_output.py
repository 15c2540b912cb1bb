"""What leaves the analysis is safe where it arrives."""

import pandas as pd
import pytest

from analysis import output
from configs.errors import ConfigError


def test_a_csv_label_is_no_formula():
    frame = pd.DataFrame({'arm': ['=1+1', 'a'], 'x': [-1.0, 2.0], 'curve': ['@sum', 'b=c']})
    assert output.to_csv(frame) == "arm,x,curve\n'=1+1,-1.0,'@sum\na,2.0,b=c\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'--workdir=.*missing: cannot write x\.csv \(No such file'):
        output.write(tmp_path / 'missing' / 'x.csv', b'')


def test_symbols_that_a_stream_cannot_write_have_stand_ins():
    assert output.printable('1 ± 2 †', 'ascii') == '1 +/- 2 +'
    assert output.printable('naïve', 'ascii') == 'na?ve'
    assert output.printable('1 ± 2 †', 'utf-8') == output.printable('1 ± 2 †', None) == '1 ± 2 †'
