import errno
import json
import os

import pytest

from configs.errors import ConfigError
from experiment import folder
from files.writing import StorageError


@pytest.mark.parametrize('name', ['a[b', 'a\\b', '..\\b'])
def test_a_path_that_checkpoints_would_take_for_another_is_refused(tmp_path, name):
    """Orbax takes one for a pattern, TensorStore the other for a folder in a folder."""
    with pytest.raises(ConfigError, match='checkpoints need a local folder'):
        folder.make_folder(tmp_path / name / 'run')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('target', ['nothing', 'link'])
@pytest.mark.parametrize('name', ['link', 'link/run'])
def test_a_link_that_leads_to_no_folder_is_named(config, tmp_path, name, target):
    (tmp_path / 'link').symlink_to(tmp_path / target)
    for make in (folder.make_folder, lambda path: folder.refuse_others(path, config)):
        with pytest.raises(ConfigError, match=f'{tmp_path}/link is a link to nothing, or to itself; one to a folder'):
            make(tmp_path / name)


@pytest.mark.parametrize('name', ['a b', 'a$b', 'é', '?#%*{};&\'"~@:,=+|<>^`!()]'])
def test_a_path_of_any_other_characters_is_made(tmp_path, name):
    folder.make_folder(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not list((tmp_path / name).iterdir())


def test_a_result_that_cannot_be_read_just_now_is_neither_damaged_nor_absent(tmp_path, monkeypatch):
    """The run would be trained again over it."""
    (tmp_path / folder.RESULT).write_text('{}')

    def busy(path, *flags):
        raise OSError(errno.EMFILE, 'Too many open files', str(path))

    monkeypatch.setattr(os, 'open', busy)
    with pytest.raises(StorageError, match=r'result\.json could not be read .*it was left as it is'):
        folder.read_result(tmp_path)


@pytest.mark.parametrize('code', [errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize('name', [folder.CONFIG, folder.POPULATION])
def test_what_cannot_be_read_just_now_is_neither_damaged_nor_absent(config, tmp_path, monkeypatch, name, code):
    """One would have the folder removed, the other train in another composition."""
    folder.open_run(tmp_path, config)
    folder.write_population([tmp_path, tmp_path.parent])

    def busy(path, *flags):
        raise OSError(code, 'for now', str(path))

    monkeypatch.setattr(os, 'open', busy)
    reads = {
        folder.CONFIG: (folder.read_config, lambda there: folder.refuse_others(there, config)),
        folder.POPULATION: (folder.read_population,),
    }
    for read in reads[name]:
        with pytest.raises(StorageError, match=rf'{name} could not be read .*it was left as it is'):
            read(tmp_path)


def test_a_folder_in_which_nothing_can_be_looked_up_is_named(config, tmp_path, monkeypatch):
    """Of mode 600; root looks things up in any, so this asks as the system would answer another user."""
    monkeypatch.setattr(os, 'access', lambda path, mode: not mode & os.X_OK)
    with pytest.raises(ConfigError, match=f'{tmp_path} is no folder that can be written; another would do'):
        folder.refuse_others(tmp_path, config)


def test_a_run_from_before_a_field_was_there_goes_on_where_it_is_none(config, tmp_path):
    tree = config.to_dict()
    del tree['model']['window']
    (tmp_path / folder.CONFIG).write_text(json.dumps(tree))
    folder.refuse_others(tmp_path, config)
    config.model.window = 3
    with pytest.raises(ConfigError, match=r'model\.window=None there, 3 here; another folder would do'):
        folder.refuse_others(tmp_path, config)


def test_a_run_that_goes_on_alone_is_no_longer_of_a_population(tmp_path):
    """Else the next process would train it together with the others again."""
    folders = [tmp_path / name for name in 'ab']
    for one in folders:
        one.mkdir()
    folder.write_population(folders)
    assert [folder.read_population(one) for one in folders] == [['a', 'b']] * 2
    folder.write_population(folders[:1])
    assert folder.read_population(folders[0]) == ['a']
