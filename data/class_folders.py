"""Images of one's own, a folder for each class, written as a prepared dataset. No TensorFlow: they are encoded."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from PIL import ExifTags, Image

from configs.errors import ConfigError
from files.text import clean, shown

SPLITS = ('train', 'test')
FORMATS = {'PNG', 'JPEG', 'MPO'}  # Pillow's names; many cameras write MPO, a JPEG and more, into their .jpg files
GREY = ('1', 'L', 'LA', 'I;16')  # Pillow's modes of images with one channel
VERSION = '1.0.0'
UPRIGHT = 1  # EXIF's orientation
OPAQUE = 255  # of alpha


class Found(NamedTuple):
    """What folders of classes hold."""

    classes: list[str]
    files: dict[str, list[tuple[Path, str]]]  # by split: images, each with its class
    shape: tuple[int | None, int | None, int]  # of every image; None where it varies


def find(folder: Path) -> Found:
    """The images in `folder`: FOLDER/train/CLASS/any.png and FOLDER/test/CLASS/any.png, PNG or JPEG.

    Files and folders whose names begin with a dot are left out.

    Raises:
      ConfigError: a split is missing or has no images, train has fewer than two classes or lacks one that test has, or
        a file is no such image.
    """
    files = {split: list(_of_split(folder / split)) for split in SPLITS}
    of_train, of_test = (sorted({label for _, label in files[split]}) for split in SPLITS)
    if len(of_train) < 2:
        raise ConfigError(f'{folder / "train"} has images of fewer than two classes; a folder for each would do')
    if not of_test:
        raise ConfigError(f'{folder / "test"} has no images; a folder for each class would do, as in train')
    unknown = [label for label in of_test if label not in of_train]
    if unknown:
        raise ConfigError(f'{folder / "train" / unknown[0]} has no image, and test has some of that class')
    kinds = {_kind(path) for of_split in files.values() for path, _ in of_split}
    sizes = {size for size, _ in kinds}
    width, height = sizes.pop() if len(sizes) == 1 else (None, None)
    return Found(of_train, files, (height, width, 1 if all(grey for _, grey in kinds) else 3))


def write(name: str, folder: Path, data_dir: Path) -> dict[str, int]:
    """Writes the images in `folder` to `data_dir` as the dataset `name`, and returns how many each split has.

    The files stay as they are, byte for byte; they are decoded when the dataset is first used, in colour if any of
    them is.

    Raises:
      ConfigError: as `find`.
      OSError: a file could not be read, or written.
    """
    found = find(folder)
    features = {
        'image': tfds.features.Image(shape=found.shape),
        'label': tfds.features.ClassLabel(names=found.classes),
    }
    called = name

    class Writer(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = called
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> tfds.core.DatasetInfo:
            described = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=described, supervised_keys=('image', 'label'))

        def _split_generators(self, manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
            return {split: self._generate_examples(found.files[split]) for split in SPLITS}

        def _generate_examples(self, files: list[tuple[Path, str]]) -> Iterator[tuple[bytes, dict]]:
            for path, label in files:
                yield os.fsencode(path.relative_to(folder)), {'image': io.BytesIO(path.read_bytes()), 'label': label}

    tfds.disable_progress_bar()
    # Where it says that it downloads, and where it makes folders for that.
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory(prefix='patchwise-') as scratch:
        without_network = tfds.download.DownloadConfig(try_download_gcs=False)
        builder = Writer(data_dir=data_dir, file_format='array_record')
        builder.download_and_prepare(download_dir=scratch, download_config=without_network)
    return {split: len(of_split) for split, of_split in found.files.items()}


def _of_split(folder: Path) -> Iterator[tuple[Path, str]]:
    if not folder.is_dir():
        raise ConfigError(f'{folder} is missing; it would hold a folder of images for each class')
    for of_class in _listed(folder):
        if not of_class.is_dir():
            raise ConfigError(f'{of_class} is in no folder of a class; {folder / "CLASS" / of_class.name} would do')
        if clean(of_class.name) != of_class.name:
            raise ConfigError(f'{folder} has a class called {shown(of_class.name)}; a short name that prints would do')
        for path in _listed(of_class):
            yield path, of_class.name


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.'))


def _kind(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height of an image, and whether it is grey. Raises ConfigError: it is none that can be kept."""
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS:
                raise ConfigError(f'{path} is {image.format}; PNG or JPEG would do')
            image.load()  # of a JPEG that is cut short nothing else tells
            # What reads the dataset takes the pixels as they are stored.
            if image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) != UPRIGHT:
                raise ConfigError(f'{path} is stored turned or mirrored (its EXIF orientation); upright it would do')
            alpha = image.getchannel('A').getextrema()[0] if 'A' in image.getbands() else OPAQUE
            if alpha != OPAQUE or 'transparency' in image.info:
                raise ConfigError(f'{path} is transparent in places; on a background it would do')
            return image.size, image.mode in GREY
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises of any file
        raise ConfigError(f'{path} cannot be read as an image ({error}); a PNG or JPEG would do') from error
