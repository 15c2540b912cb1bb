"""TFDS datasets come back exactly as they were stored."""

import gzip
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.testing.mocking import RandomFakeGenerator

from configs import base
from configs.errors import ConfigError
from data import tfds_catalog, tfds_source
from experiment.environment import ROOT
from tests.data.prepared import by_content, pairs, random_images, write

DEBIAN = Path('/usr/share/datasets/fashion-mnist')


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
    folder = tfds_catalog.data_folder('')
    if tfds_catalog.find('fashion_mnist', folder) is None:
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
