"""Records become arrays whatever kind of file holds an image, and none of what is damaged is believed."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError
from data import tfds_shards, tfds_source
from tests.data.prepared import encode, pairs, random_images, write


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


def test_resizing_averages_what_is_finer_than_a_pixel(config, tmp_path):
    """Of noise next to nothing is left: 64 pixels in one have an eighth of its deviation."""
    noise = random_images(1, (64, 64, 1))
    write(tmp_path, 'noise', {'train': pairs(noise, [0]), 'test': pairs(noise, [0])}, shape=(64, 64, 1))
    config.name, config.image_size = 'noise', 8
    (read,), _ = tfds_source.read(config)[0]
    assert 0 < read.std() < noise.std() / 4


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


def test_a_jpeg_is_decoded_at_no_fewer_pixels_than_it_is_resized_to(config, tmp_path):
    """Pillow decodes one at a fraction of its size, and would blur what is drawn at the size that is asked for."""
    drawn = random_images(1, (128, 128, 1))
    examples = pairs(drawn.repeat(4, axis=1).repeat(4, axis=2), [0], kind='JPEG', mode='L')
    write(tmp_path, 'photograph', {'train': examples, 'test': examples}, shape=(None, None, 1))
    config.name, config.image_size = 'photograph', 128
    train, _ = tfds_source.read(config)
    assert np.abs(train.images.astype(int) - drawn).mean() < 20


@pytest.mark.parametrize('channels', [1, 3])
def test_sixteen_bits_keep_their_upper_eight(config, tmp_path, channels):
    """As TensorFlow decodes them; Pillow would make white of nearly all."""
    deep = random_images(1, (16, 16), seed=3)[0].astype(np.uint16) << 8 | 77
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, 'PNG')
    examples = [(stream.getvalue(), 0)]
    write(tmp_path, 'deep', {'train': examples, 'test': examples}, shape=(16, 16, channels))
    config.name = 'deep'
    train, _ = tfds_source.read(config)
    np.testing.assert_array_equal(train.images[0], np.repeat(deep[..., None] >> 8, channels, axis=-1))


def test_one_label_out_of_range_is_named(config, tmp_path):
    labels = [0, 1, 2, -1, 1]
    examples = pairs(random_images(5, (8, 8, 1)), labels)
    write(tmp_path, 'gaps', {'train': examples, 'test': examples[:2]}, shape=(8, 8, 1), num_classes=3)
    config.name = 'gaps'
    with pytest.raises(ConfigError, match=r'label -1 at train\[\d\], where 0 to 2'):
        tfds_source.read(config)


def of_floats(array):
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.float32)).save(stream, 'TIFF')
    return stream.getvalue()


def test_an_unreadable_image_is_named(config, tmp_path):
    good = encode(random_images(1, (8, 8, 1))[0])
    for name, bad in {
        'text': b'no image',
        'torn': good[:40],
        'larger': encode(random_images(1, (9, 9, 1))[0]),
        'turned': encode(random_images(1, (4, 16, 1))[0]),
        'rangeless': of_floats(random_images(1, (8, 8))[0]),
    }.items():
        write(tmp_path, name, {'train': [(bad, 0)], 'test': [(good, 0)]}, shape=(8, 8, 1))
        config.name = name
        with pytest.raises(ConfigError, match=rf'data\.name={name} has no readable image at train\[0\]'):
            tfds_source.read(config)


def test_an_image_of_32_bit_integers_is_refused_as_one_of_floats_is(config, tmp_path):
    """Pillow would make 255 of all above it."""
    stream = io.BytesIO()
    Image.fromarray(random_images(1, (8, 8))[0].astype(np.int32) << 16).save(stream, 'TIFF')
    examples = [(stream.getvalue(), 0)]
    write(tmp_path, 'wide', {'train': examples, 'test': examples}, shape=(8, 8, 1))
    config.name = 'wide'
    with pytest.raises(ConfigError, match=r"at train\[0\] \(its pixels are Pillow's 'I', whose range nobody tells"):
        tfds_source.read(config)


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


def test_a_shard_of_fewer_records_than_the_metadata_says_is_told_of_by_both_numbers(config, tmp_path):
    examples = pairs(random_images(40, (8, 8, 1)), np.arange(40) % 10)
    folder = write(tmp_path, 'mixed', {'train': examples, 'test': examples[:7]}, shape=(8, 8, 1))
    config.name = 'mixed'
    (train,), (test,) = folder.glob('*train*'), folder.glob('*test*')
    shutil.copy(test, train)
    with pytest.raises(ConfigError, match=r'mixed-train.* has 7 records, and dataset_info\.json says 40\)'):
        tfds_source.read(config)


def test_threads_change_nothing(small, monkeypatch):
    config, folder = small
    one = [split.images.copy() for split in tfds_source.read(config)]
    shutil.rmtree(folder / 'patchwise')
    monkeypatch.setattr(tfds_shards, 'THREADS_FROM', 0)
    monkeypatch.setattr(tfds_shards, 'CHUNK', 3)
    for split, expected in zip(tfds_source.read(config), one, strict=True):
        np.testing.assert_array_equal(split.images, expected)
