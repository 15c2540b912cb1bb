"""Images of one's own come back as they were, and what cannot be a dataset is refused in one line."""

import os

import numpy as np
import pytest
from PIL import ExifTags, Image

import data
from configs import base
from configs.errors import ConfigError
from data import prepare
from tests.data.prepared import by_content, encode, random_images

COUNTS = {'train': 12, 'test': 5}


def leave(folder, shape=(6, 4, 3), counts=COUNTS, kind='PNG'):
    """Writes random images of two classes, in turns; {split: (images, labels)}."""
    left = {}
    for number, (split, count) in enumerate(counts.items()):
        images, labels = random_images(count, shape, number), np.arange(count) % 2
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = folder / split / ('cat', 'dog')[label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f'{row}.{kind.lower()}').write_bytes(encode(image, kind))
        left[split] = images, labels
    return left


def config(folder, **fields):
    found = base.get_config().data
    found.name, found.dir, found.validation_fraction = 'pets', str(folder), 0.25
    found.update(fields)
    return found


def run(capsys, *arguments):
    status = prepare.main(['pets', *map(str, arguments)])
    streams = capsys.readouterr()
    return status, streams.out.strip(), streams.err.strip().splitlines()


@pytest.mark.parametrize('shape', [(6, 4, 3), (5, 5, 1)])
def test_images_come_back_as_they_were(tmp_path, capsys, shape):
    left = leave(tmp_path / 'own', shape)
    (tmp_path / 'own' / '.DS_Store').write_bytes(b'x')
    (tmp_path / 'own' / 'train' / 'cat' / '.hidden.png').write_bytes(b'x')
    for said, more in (
        ('prepared pets', ''),
        ('pets is already prepared', '; --from_folder was not read: changed'),
    ):
        status, out, _ = run(capsys, f'--from_folder={tmp_path / "own"}', f'--data_dir={tmp_path / "data"}')
        where = tmp_path / 'data' / 'pets' / '1.0.0'
        assert status == 0
        assert out.startswith(f'{said} in {where}: 12 train, 5 test examples{more}')
    assert [path.name for path in (tmp_path / 'data').iterdir()] == ['pets']  # beside it nothing, such as downloads
    spec, dataset = data.spec(config(tmp_path / 'data')), data.load(config(tmp_path / 'data'))
    assert (spec.image_shape, spec.class_names) == (shape, ('cat', 'dog'))
    held_in, held_out = (by_content(split.images, split.labels) for split in (dataset.train, dataset.validation))
    assert sorted(held_in + held_out) == by_content(*left['train'])
    assert (len(held_in), len(held_out)) == (8, 4)
    assert by_content(dataset.test.images, dataset.test.labels) == by_content(*left['test'])


def test_of_several_sizes_and_modes_all_become_colour_of_the_size_that_is_asked(tmp_path, capsys):
    leave(tmp_path / 'own', (8, 8, 1))
    Image.new('RGB', (30, 20), (200, 10, 10)).save(tmp_path / 'own' / 'train' / 'dog' / 'red.jpg')
    assert run(capsys, f'--from_folder={tmp_path / "own"}', f'--data_dir={tmp_path / "data"}')[0] == 0
    dataset = data.load(config(tmp_path / 'data', image_size=8))
    assert dataset.spec.image_shape == (8, 8, 3)
    images = np.concatenate([dataset.train.images, dataset.validation.images])
    grey = (images[..., :1] == images).all(axis=(1, 2, 3))
    assert (len(images), grey.sum()) == (COUNTS['train'] + 1, COUNTS['train'])
    np.testing.assert_allclose(images[~grey][0], np.full((8, 8, 3), (200, 10, 10)), atol=8)


def cut_short(folder):
    path = folder / 'train' / 'dog' / 'x.jpg'
    path.write_bytes(encode(random_images(1, (64, 64, 3))[0], 'JPEG')[:-500])


def on_its_side(folder):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (6, 4)).save(folder / 'train' / 'dog' / 'x.jpg', exif=exif)


def without(*path):
    def change(folder):
        for base_folder, _, files in os.walk(folder.joinpath(*path)):
            for file in files:
                os.unlink(os.path.join(base_folder, file))

    return change


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda folder: (folder / 'test').rename(folder / 'testing'), 'test is missing; it would hold a folder'),
        (lambda folder: (folder / 'train' / 'cat.png').write_bytes(b'x'), 'cat.png is in no folder of a class'),
        (lambda folder: (folder / 'train' / 'cat' / 'x.png').write_bytes(b'no image'), 'x.png cannot be read as an'),
        (lambda folder: Image.new('L', (2, 2)).save(folder / 'test' / 'dog' / 'x.bmp'), 'x.bmp is BMP; PNG or JPEG'),
        (cut_short, 'x.jpg cannot be read as an image (image file is truncated'),
        (on_its_side, 'x.jpg is stored turned or mirrored'),
        (lambda folder: Image.new('RGBA', (6, 4)).save(folder / 'train' / 'dog' / 'x.png'), 'x.png is transparent in'),
        (lambda folder: (folder / 'train' / 'cat').rename(folder / 'train' / 'c\nt'), "a class called 'c\\nt'"),
        (without('train', 'cat'), 'train has images of fewer than two classes'),
        (without('test'), 'test has no images'),
        (lambda folder: (folder / 'train' / 'cat').rename(folder / 'train' / 'cow'), 'cat has no image, and test has'),
    ],
)  # fmt: skip
def test_what_is_no_dataset_is_refused_and_nothing_is_left(tmp_path, capsys, change, said):
    leave(tmp_path / 'own')
    change(tmp_path / 'own')
    status, out, err = run(capsys, f'--from_folder={tmp_path / "own"}', f'--data_dir={tmp_path / "data"}')
    assert (status, out, len(err)) == (2, '', 1)
    assert said in err[0]
    assert not (tmp_path / 'data' / 'pets').exists()


@pytest.mark.parametrize(
    ('name', 'arguments', 'said'),
    [
        ('pets', ['--from_folder=/nowhere'], '--from_folder=/nowhere is not a folder'),
        ('mnist', ['--from_folder=.'], 'mnist is the name of another dataset'),
        ('digits', ['--from_folder=.'], 'digits is the name of another dataset'),
        ('My pets', ['--from_folder=.'], 'My pets is no name for a dataset'),
        ('pets', ['--from_folder=.', '--manual_dir=.'], '--from_folder and another say where the files are'),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path, capsys, name, arguments, said):
    assert prepare.main([name, *arguments, f'--data_dir={tmp_path}']) == 2
    assert said in capsys.readouterr().err


def test_a_misspelt_name_of_one_s_own_is_found(tmp_path, capsys):
    leave(tmp_path / 'own')
    assert run(capsys, f'--from_folder={tmp_path / "own"}', f'--data_dir={tmp_path / "data"}')[0] == 0
    wrong = config(tmp_path / 'data')
    wrong.name = 'petz'
    with pytest.raises(ConfigError, match=r'data.name=petz is not a dataset of TFDS, .*; near it: pets'):
        data.spec(wrong)
