"""What is not there, or cannot be read, is told in one line that says what would do."""

import pytest

from configs.errors import ConfigError
from data import tfds_source
from tests.data.prepared import pairs, random_images, write


def test_not_prepared_gives_the_command(config, tmp_path, monkeypatch):
    config.name = 'cifar10'
    for function in tfds_source.spec, tfds_source.read:
        with pytest.raises(ConfigError) as error:
            function(config)
        assert f'data.name=cifar10 is not prepared in {tmp_path};' in str(error.value)
        assert str(error.value).endswith(f'python -m data.prepare cifar10 --data_dir={tmp_path}')
    config.dir = ''
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'elsewhere'))
    with pytest.raises(ConfigError) as error:
        tfds_source.spec(config)
    assert str(tmp_path / 'elsewhere') in str(error.value)
    assert str(error.value).endswith('python -m data.prepare cifar10')
    monkeypatch.chdir(tmp_path)
    config.dir = 'near'
    with pytest.raises(ConfigError, match=f'{tmp_path}/near .data.dir=near, seen from where this command runs.;'):
        tfds_source.spec(config)


@pytest.mark.parametrize(
    ('name', 'near'),
    [
        ('fashion_mnst', 'fashion_mnist'),
        ('cifar_10', 'cifar10'),
        ('digit', 'digits'),
        ('synthetics/a:1.0.0', 'synthetic'),
    ],
)
def test_unknown_name_gives_the_nearest(config, name, near):
    config.name = name
    with pytest.raises(ConfigError, match=f'data.name={name} is not a dataset of TFDS.*near it: .*{near}'):
        tfds_source.spec(config)


@pytest.mark.parametrize('name', ['', 'no such thing!', '../escape', 'x:y:z', 'huggingface:mnist', 'zzzzzzzz', 'a/b=1'])
def test_any_text_as_a_name_is_a_config_error_of_one_line(config, name):
    config.name = name
    with pytest.raises(ConfigError) as error:
        tfds_source.spec(config)
    assert '\n' not in str(error.value)
    assert f'data.name={name}' in str(error.value)


def test_version_in_the_name_selects_it(config, tmp_path):
    for version, count in {'1.0.0': 2, '2.0.0': 3}.items():
        examples = pairs(random_images(count, (8, 8, 1)), range(count))
        write(tmp_path, 'versions', {'train': examples, 'test': examples}, shape=(8, 8, 1), version=version)
    for name, count in {'versions:1.0.0': 2, 'versions:2.0.0': 3, 'versions': 3}.items():
        config.name = name
        assert len(tfds_source.read(config)[0].labels) == count
    config.name = 'versions:3.0.0'
    with pytest.raises(ConfigError, match=r'data\.name=versions:3\.0\.0'):
        tfds_source.spec(config)


def test_tfrecord_is_refused_with_what_to_do(small):
    config, folder = small
    info = folder / 'dataset_info.json'
    info.write_text(info.read_text().replace('array_record', 'tfrecord'))
    with pytest.raises(ConfigError, match=r'as tfrecord.*TensorFlow.*python -m data\.prepare small'):
        tfds_source.read(config)


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
def test_damaged_metadata_is_a_config_error_of_one_line(small, file):
    config, folder = small
    (folder / file).write_text((folder / file).read_text()[:-40])
    with pytest.raises(ConfigError, match=r'data\.name=small.*cannot be read') as error:
        tfds_source.spec(config)
    assert '\n' not in str(error.value)
