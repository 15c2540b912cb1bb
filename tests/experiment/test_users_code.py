import pytest

from configs.errors import ConfigError
from experiment.sweeping.sweep_file import load_sweep
from experiment.users_code import lines_of_users


def test_a_line_of_a_config_file_is_a_user_s(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('\n1 / 0\n')
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(file.read_text(), str(file), 'exec'))
    line = lines_of_users([caught.value])[-1]
    assert (line.filename, line.lineno) == (str(file), 2)


def test_our_own_line_is_none_in_whatever_folder(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_sweep(str(tmp_path / 'not_there.py'))
    assert all(line.filename == __file__ for line in lines_of_users([caught.value]))
