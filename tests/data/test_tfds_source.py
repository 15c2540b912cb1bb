"""TFDS datasets come back exactly as they were stored; what cannot be read is told in one line that says what would do.

Besides Fashion-MNIST, where it is prepared, the datasets here are small ones that TFDS's own builder wrote: its writer
needs TensorFlow only to encode images, so they are handed to it encoded.
"""

import gzip
import io
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.testing.mocking import RandomFakeGenerator

from configs import base
from configs.errors import ConfigError
from data import tfds_source

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = Path('/usr/share/datasets/fashion-mnist')


def encode(array, kind='PNG', mode=None):
    image = Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind)
    return stream.getvalue()


def write(
    folder, name, splits, features=None, shape=(32, 32, 3), num_classes=10, keys=('image', 'label'), version='1.0.0'
):
    """Prepares a dataset in `folder` with TFDS; `splits` maps a name to pairs of (image file's bytes, label)."""
    features = features or {
        'image': tfds.features.Image(shape=shape),
        'label': tfds.features.ClassLabel(num_classes=num_classes),
    }
    dataset_name, number = name, version

    class Writer(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset_name
        VERSION = tfds.core.Version(number)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=keys
            )

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for row, (image, label) in enumerate(splits[split]):
                yield row, {'image': io.BytesIO(image), 'label': label}

    Writer(data_dir=folder, file_format='array_record').download_and_prepare()
    return folder / name / version


def random_images(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def pairs(images, labels, **options):
    return [(encode(image, **options), int(label)) for image, label in zip(images, labels, strict=True)]


@pytest.fixture(autouse=True)
def quiet_writer():
    tfds.disable_progress_bar()


@pytest.fixture
def config(tmp_path):
    """`config.data` for datasets prepared in a folder of the test's own."""
    data = base.get_config().data
    data.dir = str(tmp_path)
    return data


def by_content(images, labels):
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def test_every_image_and_label_comes_back(config, tmp_path):
    train, test = random_images(70, (9, 7, 3)), random_images(11, (9, 7, 3), seed=1)
    labels = np.arange(70) % 10
    write(tmp_path, 'boxes', {'train': pairs(train, labels), 'test': pairs(test, labels[:11])}, shape=(9, 7, 3))
    config.name = 'boxes'
    spec = tfds_source.spec(config)
    assert spec.image_shape == (9, 7, 3)
    assert spec.num_classes == 10
    assert spec.class_names == tuple('0123456789')
    for read_again in range(2):
        read_train, read_test = tfds_source.read(config)
        assert by_content(*read_train) == by_content(train, labels), read_again
        assert by_content(*read_test) == by_content(test, labels[:11]), read_again
        assert (read_train.images.dtype, read_train.labels.dtype) == (np.uint8, np.int32)
        assert isinstance(read_train.images, np.memmap)


@pytest.mark.parametrize(('name', 'flip'), [('cifar10', True), ('mnist', False), ('svhn_cropped', False)])
def test_tfds_mock_examples_of_known_datasets(config, tmp_path, name, flip):
    known = tfds.builder(name, data_dir=tmp_path / 'none').info
    fake = list(RandomFakeGenerator(known.features, num_examples=12))
    examples = pairs([example['image'] for example in fake], [example['label'] for example in fake])
    write(
        tmp_path,
        name,
        {'train': examples, 'test': examples[:5]},
        {key: known.features[key] for key in ('image', 'label')},
    )
    config.name = name
    spec = tfds_source.spec(config)
    assert (spec.name, spec.image_shape, spec.flip) == (name, known.features['image'].shape, flip)
    train, test = tfds_source.read(config)
    assert by_content(*train) == by_content([e['image'] for e in fake], [e['label'] for e in fake])
    assert len(test.labels) == 5


def test_images_of_any_size_need_image_size(config, tmp_path):
    sizes = [(40, 60), (60, 40), (24, 24), (24, 25), (100, 8), (23, 300)]
    images = []
    for height, width in sizes:  # one colour inside the centred square, another outside
        side, image = min(height, width), np.zeros((height, width, 3), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        image[top : top + side, left : left + side] = (200, 30, 90)
        images.append(image)
    examples = pairs(images, range(6))
    write(tmp_path, 'photographs', {'train': examples, 'test': examples}, shape=(None, None, 3))
    config.name = 'photographs'
    for function in tfds_source.spec, tfds_source.read:
        with pytest.raises(ConfigError, match=r'data\.image_size is not set.*data\.name=photographs'):
            function(config)
    config.image_size = 24
    assert tfds_source.spec(config).image_shape == (24, 24, 3)
    train, test = tfds_source.read(config)
    assert train.images.shape == test.images.shape == (6, 24, 24, 3)
    centre = train.images[:, 7:-7, 7:-7].reshape(-1, 3).astype(int)
    np.testing.assert_allclose(centre, np.broadcast_to((200, 30, 90), centre.shape), atol=2)
    config.image_size = 16
    assert tfds_source.read(config)[0].images.shape == (6, 16, 16, 3)
    config.image_size = 0
    with pytest.raises(ConfigError, match=r'data\.image_size=0'):
        tfds_source.spec(config)


def test_resizing_keeps_left_left_and_top_top(config, tmp_path):
    image = np.zeros((64, 64, 1), np.uint8)
    image[:32, :32] = 255
    write(tmp_path, 'corner', {'train': pairs([image], [0]), 'test': pairs([image], [0])}, shape=(64, 64, 1))
    config.name, config.image_size = 'corner', 8
    (read,), _ = tfds_source.read(config)[0]
    expected = np.zeros((8, 8, 1))
    expected[:4, :4] = 255
    np.testing.assert_allclose(read, expected, atol=40)  # bicubic rings at an edge
    assert read[1, 1, 0] > 250
    assert max(read[1, 6, 0], read[6, 1, 0], read[6, 6, 0]) < 5


def test_every_kind_of_file_gives_the_declared_channels(config, tmp_path):
    image = np.full((16, 16, 3), (102, 102, 102), np.uint8)  # a colour that Pillow's palette holds
    kinds = [
        ('PNG', None),
        ('JPEG', None),
        ('JPEG', 'L'),
        ('PNG', 'L'),
        ('JPEG', 'CMYK'),
        ('PNG', 'P'),
        ('PNG', 'RGBA'),
        ('BMP', None),
    ]
    examples = [(encode(image, kind, mode), 0) for kind, mode in kinds]
    write(tmp_path, 'kinds', {'train': examples, 'test': examples}, shape=(16, 16, 3))
    config.name = 'kinds'
    train, _ = tfds_source.read(config)
    np.testing.assert_allclose(train.images.astype(int), 102, atol=3)


def test_hidden_test_labels_leave_validation_as_the_test(config, tmp_path):
    images = random_images(6, (8, 8, 1))
    splits = {'train': [0] * 6, 'validation': [1] * 6, 'test': [-1] * 6}
    write(tmp_path, 'contest', {s: pairs(images, labels) for s, labels in splits.items()}, shape=(8, 8, 1))
    config.name = 'contest'
    assert tfds_source.read(config)[1].labels.tolist() == [1] * 6


def test_no_test_split_says_which_there_are(config, tmp_path):
    examples = pairs(random_images(3, (8, 8, 1)), [0, 1, 2])
    write(tmp_path, 'single', {'train': examples, 'extra': examples}, shape=(8, 8, 1))
    config.name = 'single'
    assert tfds_source.spec(config).image_shape == (8, 8, 1)
    with pytest.raises(
        ConfigError, match=r'data\.name=single has no labelled split test or validation, only extra, train'
    ):
        tfds_source.read(config)


def test_one_label_out_of_range_is_named(config, tmp_path):
    labels = [0, 1, 2, -1, 1]
    examples = pairs(random_images(5, (8, 8, 1)), labels)
    write(tmp_path, 'gaps', {'train': examples, 'test': examples[:2]}, shape=(8, 8, 1), num_classes=3)
    config.name = 'gaps'
    with pytest.raises(ConfigError, match=r'label -1 at train\[\d\], where 0 to 2'):
        tfds_source.read(config)


def test_an_unreadable_image_is_named(config, tmp_path):
    good = encode(random_images(1, (8, 8, 1))[0])
    for name, bad in {
        'text': b'no image',
        'torn': good[:40],
        'larger': encode(random_images(1, (9, 9, 1))[0]),
        'turned': encode(random_images(1, (4, 16, 1))[0]),
    }.items():
        write(tmp_path, name, {'train': [(bad, 0)], 'test': [(good, 0)]}, shape=(8, 8, 1))
        config.name = name
        with pytest.raises(ConfigError, match=rf'data\.name={name} has no readable image at train\[0\]'):
            tfds_source.read(config)


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


def test_what_is_no_image_classification_is_refused(config, tmp_path):
    label, image = tfds.features.ClassLabel(num_classes=3), tfds.features.Image(shape=(8, 8, 1))
    examples = {'train': pairs(random_images(2, (8, 8, 1)), [0, 1])}
    write(tmp_path, 'no_pair', examples, {'image': image, 'label': label}, keys=None)
    write(tmp_path, 'number', examples, {'image': image, 'label': tfds.features.Scalar(np.int64)})
    write(tmp_path, 'turned', examples, {'image': image, 'label': label}, keys=('label', 'image'))
    write(tmp_path, 'deep', examples, {'image': tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16), 'label': label})
    for name, reason in {
        'no_pair': 'no pair of input and label',
        'number': 'Image and Scalar',
        'turned': 'ClassLabel and Image',
        'deep': 'uint16',
    }.items():
        config.name = name
        for function in tfds_source.spec, tfds_source.read:
            with pytest.raises(ConfigError, match=rf'data\.name={name} .*{reason}.*would do'):
                function(config)


@pytest.fixture
def small(config, tmp_path):
    """A prepared dataset: its config and its folder."""
    examples = pairs(random_images(40, (16, 16, 1)), np.arange(40) % 10)
    config.name = 'small'
    return config, write(tmp_path, 'small', {'train': examples, 'test': examples}, shape=(16, 16, 1))


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


@pytest.mark.parametrize('damage', ['missing', 'truncated', 'bit flipped'])
def test_damaged_shards_are_told_before_they_are_believed(small, damage):
    config, folder = small
    (shard,) = folder.glob('*train*')
    data = bytearray(shard.read_bytes())
    if damage == 'missing':
        shard.unlink()
    elif damage == 'truncated':
        shard.write_bytes(data[: len(data) // 2])
    else:
        data[next(i for i, byte in enumerate(data) if data[i : i + 4] == b'IDAT') + 20] ^= 1
        shard.write_bytes(data)
    with pytest.raises(
        ConfigError, match=r'data\.name=small: the files in .* are damaged or missing.*data\.prepare small'
    ):
        tfds_source.read(config)


def test_a_shard_of_another_split_is_told_before_it_is_believed(config, tmp_path):
    examples = pairs(random_images(40, (8, 8, 1)), np.arange(40) % 10)
    folder = write(tmp_path, 'mixed', {'train': examples, 'test': examples[:7]}, shape=(8, 8, 1))
    config.name = 'mixed'
    assert len(tfds_source.read(config)[1].labels) == 7
    (train,), (test,) = folder.glob('*train*'), folder.glob('*test*')
    shutil.copy(train, test)
    with pytest.raises(
        ConfigError, match=r'damaged or missing \(mixed-test.* has 40 records, and dataset_info\.json says 7\)'
    ):
        tfds_source.read(config)


def test_dataset_prepared_anew_is_read_anew(small, tmp_path, caplog):
    config, folder = small
    tfds_source.read(config)
    cache = shutil.copytree(folder / 'patchwise', tmp_path / 'cache')
    shutil.rmtree(folder)
    fresh = random_images(40, (16, 16, 1), seed=5)
    write(tmp_path, 'small', {'train': pairs(fresh, [3] * 40), 'test': pairs(fresh, [3] * 40)}, shape=(16, 16, 1))
    shutil.copytree(cache, folder / 'patchwise')
    with caplog.at_level(logging.WARNING):
        train, _ = tfds_source.read(config)
    assert 'stale' in caplog.text
    assert by_content(*train) == by_content(fresh, [3] * 40)


def test_damaged_cache_is_decoded_anew(small, caplog):
    config, folder = small
    before = by_content(*tfds_source.read(config)[0])
    path = folder / 'patchwise' / 'stored' / 'train_images.npy'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert by_content(*tfds_source.read(config)[0]) == before
    assert str(path) in caplog.text


def test_threads_change_nothing(small, monkeypatch):
    config, folder = small
    one = [split.images.copy() for split in tfds_source.read(config)]
    shutil.rmtree(folder / 'patchwise')
    monkeypatch.setattr(tfds_source, 'THREADS_FROM', 0)
    monkeypatch.setattr(tfds_source, 'CHUNK', 3)
    for split, expected in zip(tfds_source.read(config), one, strict=True):
        np.testing.assert_array_equal(split.images, expected)


def test_needs_neither_tensorflow_nor_jax_nor_says_a_word(small):
    config, _ = small
    code = f"""
import sys
from configs import base
from data import tfds_source
config = base.get_config().data
config.name, config.dir = 'small', {config.dir!r}
print(tfds_source.spec(config).image_shape, len(tfds_source.read(config)[0].labels))
print([name for name in ('tensorflow', 'jax') if name in sys.modules])
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == '(16, 16, 1) 40\n[]\n'
    assert done.stderr == ''


def idx(path, header):
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[header:]


@pytest.fixture(scope='module')
def fashion_mnist():
    config = base.get_config().data
    config.name = 'fashion_mnist'
    folder = tfds_source.data_folder('')
    if tfds_source.find('fashion_mnist', folder) is None:
        pytest.skip(f'Fashion-MNIST is not prepared in {folder}: python -m data.prepare fashion_mnist --from_debian')
    return config


def test_fashion_mnist_end_to_end(fashion_mnist):
    spec = tfds_source.spec(fashion_mnist)
    assert (spec.image_shape, spec.num_classes, spec.flip) == ((28, 28, 1), 10, True)
    assert (spec.class_names[0], spec.class_names[9]) == ('T-shirt/top', 'Ankle boot')
    train, test = tfds_source.read(fashion_mnist)
    assert (train.images.shape, test.images.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)  # as published with the dataset's examples
    assert train.images.std() / 255 == pytest.approx(0.3530, abs=1e-4)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason='nothing to compare with: apt-get install dataset-fashion-mnist')
def test_fashion_mnist_is_the_published_one(fashion_mnist):
    for split, prefix in zip(tfds_source.read(fashion_mnist), ('train', 't10k'), strict=True):
        images = idx(DEBIAN / f'{prefix}-images-idx3-ubyte.gz', 16).reshape(-1, 28, 28, 1)
        assert by_content(*split) == by_content(images, idx(DEBIAN / f'{prefix}-labels-idx1-ubyte.gz', 8))


def test_manifest_tells_what_was_read(small):
    config, folder = small
    tfds_source.read(config)
    manifest = json.loads((folder / 'patchwise' / 'stored' / 'manifest.json').read_text())
    assert sorted(manifest['fingerprint']['shards']) == sorted(path.name for path in folder.glob('*.array_record*'))
    assert manifest['arrays']['test_images']['shape'] == [40, 16, 16, 1]
