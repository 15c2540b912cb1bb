import pytest

from configs.errors import ConfigError
from experiment import folder


@pytest.mark.parametrize('name', ['a[b', 'a\\b', '..\\b'])
def test_a_path_that_checkpoints_would_take_for_another_is_refused(tmp_path, name):
    """Orbax takes one for a pattern, TensorStore the other for a folder in a folder."""
    with pytest.raises(ConfigError, match='checkpoints need a local folder'):
        folder.make_folder(tmp_path / name / 'run')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['a b', 'a$b', 'é', '?#%*{};&\'"~@:,=+|<>^`!()]'])
def test_a_path_of_any_other_characters_is_made(tmp_path, name):
    folder.make_folder(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not list((tmp_path / name).iterdir())
