"""Any TFDS image-classification dataset that was prepared on this machine, read without TensorFlow.

A prepared folder says all there is to know (shards, features, class names), so none of TFDS's code for the single
dataset runs here; that code is what may need TensorFlow. `data.prepare` is where it runs.
"""

import difflib
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from configs.errors import ConfigError
from data import LOCAL, cache
from data.spec import Spec, Split
from data.tfds_metadata import check_metadata
from files.checksums import sha256

# Written signs, and things that have a hand: mirrored, they are another class or none.
MIRROR_CHANGES_CLASS = frozenset(
    {
        'binary_alpha_digits',
        'cmaterdb',
        'emnist',
        'kmnist',
        'mnist',
        'mnist_corrupted',
        'omniglot',
        'svhn_cropped',
        'visual_domain_decathlon',  # holds omniglot, svhn, and the German traffic signs: turn left, turn right
    }
)
TEST_SPLITS = ('test', 'validation')  # the first that has labels
MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # channels -> Pillow's name
DECODER = 1  # raise it when decoding changes, so that arrays decoded before are stale
THREADS_FROM = 64 * 64  # pixels of a stored image
CHUNK = 256  # images a thread decodes at a time


class _Source(NamedTuple):
    """A prepared dataset that patchwise can read."""

    builder: tfds.core.DatasetBuilder
    folder: Path  # of the prepared version
    image_key: str
    label_key: str
    stored_shape: tuple[int | None, int | None, int]


def data_folder(directory: str) -> Path:
    """Where prepared datasets are: `directory`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets (TFDS's own rule)."""
    return Path(directory or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser().absolute()


def spec(config: ConfigDict) -> Spec:
    """What a model must know of a prepared dataset, from its metadata: no image is read.

    `config` is an experiment's `config.data`.

    Raises:
      ConfigError: the dataset is not prepared, not known, or not one of images with one label each; or its images
        vary in size and `data.image_size` is not set.
    """
    source = _source(config)
    label = source.builder.info.features[source.label_key]
    return Spec(
        name=config.name,
        image_shape=_image_shape(config, source),
        num_classes=label.num_classes,
        class_names=tuple(label.names),
        flip=source.builder.name not in MIRROR_CHANGES_CLASS,
    )


def examples(config: ConfigDict) -> int:
    """Of train, from the metadata; 0 where there is no such split."""
    splits = _source(config).builder.info.splits
    return splits['train'].num_examples if 'train' in splits else 0


def read(config: ConfigDict) -> tuple[Split, Split]:
    """Train and test, memory-mapped; decoded on the first call and kept beside the dataset for those that follow.

    Test is the split 'test' where it has labels, else 'validation' (as for imagenet2012, whose test labels are not
    public). Images are decoded by Pillow, whatever else is installed. With `data.image_size` they are centre-cropped
    to a square and resized, bicubic and antialiased.

    Raises:
      ConfigError: as `spec`, or there is no training or labelled test split, or the prepared files are incomplete.
    """
    source = _source(config)
    shape = _image_shape(config, source)
    folder = source.folder / 'patchwise' / (f'{config.image_size}px' if config.image_size else 'stored')
    with _naming_broken_shards(config, source):
        splits = {
            'train': _labelled_split(config, source, ('train',)),
            'test': _labelled_split(config, source, TEST_SPLITS),
        }

        layout: cache.Layout = {}
        for name, split in splits.items():
            examples = source.builder.info.splits[split].num_examples
            layout |= {f'{name}_images': ((examples, *shape), np.uint8), f'{name}_labels': ((examples,), np.int32)}

        def build(allocate: cache.Allocate) -> None:
            arrays = {name: allocate(name, *kind) for name, kind in layout.items()}
            for split in splits.values():
                _check_shards(source, split)
            with _progress() as progress:
                for name, split in splits.items():
                    _decode(config, source, split, arrays[f'{name}_images'], arrays[f'{name}_labels'], progress)

        arrays = cache.load_or_build(folder, _fingerprint(config, source, splits), build, layout)
    return tuple(Split(arrays[f'{name}_images'], arrays[f'{name}_labels']) for name in splits)


def find(name: str, folder: Path) -> tfds.core.DatasetBuilder | None:
    """The builder of a prepared dataset, such as 'cifar10', 'emnist/letters' or 'foo/bar:1.0.0'; None if there is none.

    Raises:
      ConfigError: it is there and cannot be read.
    """
    try:
        if base_name(name).isidentifier():  # of any other TFDS says that it is no name
            check_metadata(folder / base_name(name))
        with _quiet():
            return tfds.core.read_only_builder.builder_from_files(name, data_dir=folder)
    except tfds.core.registered.DatasetNotFoundError:
        return None
    except ValueError as error:  # a name that TFDS cannot parse
        if 'Parsing builder name' in str(error):
            return None
        raise _broken(name, folder, error) from error
    except Exception as error:  # TFDS raises what its JSON and protobuf readers raise, which have no common class
        raise _broken(name, folder, error) from error


def check_format(name: str, builder: tfds.core.DatasetBuilder, directory: str) -> None:
    """Raises ConfigError when a dataset is prepared in a format that only TensorFlow reads."""
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise ConfigError(
            f'data.name={name} is prepared in {builder.data_path} as {builder.info.file_format.value}, which takes '
            f'TensorFlow to read; move that folder away, then: {prepare_command(name, directory)}'
        )


def nearest_names(name: str) -> list[str]:
    """Up to three names of datasets, ours or TFDS's, that a misspelt `name` may have meant."""
    return difflib.get_close_matches(base_name(name), [*LOCAL, *known_names()], n=3)


def base_name(name: str) -> str:
    """'emnist' of 'emnist/letters:3.1.0'."""
    return name.split('/')[0].split(':')[0]


def known_names() -> list[str]:
    """The datasets that TFDS can prepare."""
    with _quiet():
        return tfds.list_builders(with_community_datasets=False)


def prepare_command(name: str, directory: str) -> str:
    """What to type to prepare a dataset in `data.dir`."""
    words = ['python', '-m', 'data.prepare', name] + ([f'--data_dir={directory}'] if directory else [])
    return shlex.join(words)


def _source(config: ConfigDict) -> _Source:
    name, folder = config.name, data_folder(config.dir)
    command = prepare_command(name, config.dir)
    builder = find(name, folder)
    if builder is None and base_name(name) in known_names():
        raise ConfigError(f'data.name={name} is not prepared in {folder}; this prepares it: {command}')
    if builder is None:
        near = nearest_names(name)
        raise ConfigError(
            f'data.name={name} is not a dataset of TFDS, and none of that name is prepared in {folder}; '
            + (f'near it: {", ".join(near)}' if near else f'without preparation: {", ".join(LOCAL)}')
        )
    check_format(name, builder, config.dir)
    info = builder.info
    image_key, label_key = _supervised_keys(name, info)
    stored_shape = info.features[image_key].shape
    return _Source(builder, Path(builder.data_path), image_key, label_key, stored_shape)


def _supervised_keys(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str]:
    keys = info.supervised_keys
    features = tfds.features
    if not (keys and len(keys) == 2 and all(isinstance(key, str) for key in keys)):
        raise ConfigError(
            f'data.name={name} names no pair of input and label; an image-classification dataset would do'
        )
    image, label = (info.features[key] for key in keys)
    if not (isinstance(image, features.Image) and isinstance(label, features.ClassLabel)):
        kinds = f'{type(image).__name__} and {type(label).__name__}'
        raise ConfigError(
            f'data.name={name} pairs {kinds}, not Image and ClassLabel; an image-classification dataset would do'
        )
    if image.np_dtype != np.uint8 or len(image.shape) != 3 or image.shape[-1] not in MODES:
        stored = f'{np.dtype(image.np_dtype)}{image.shape}'
        raise ConfigError(f'data.name={name} stores images as {stored}; uint8 with 1, 3 or 4 channels would do')
    return keys


def _image_shape(config: ConfigDict, source: _Source) -> tuple[int, int, int]:
    height, width, channels = source.stored_shape
    size = config.image_size
    if size is None and (height is None or width is None):
        raise ConfigError(
            f'data.image_size is not set, and the images of data.name={config.name} vary in size; '
            'a number of pixels would do, such as 224'
        )
    if size is not None and size < 1:
        raise ConfigError(f'data.image_size={size} is no size; 1 or more pixels would do')
    return (height, width, channels) if size is None else (size, size, channels)


def _labelled_split(config: ConfigDict, source: _Source, names: tuple[str, ...]) -> str:
    """The first of `names` that holds labelled examples. A hidden test set carries the label -1 throughout."""
    splits = source.builder.info.splits
    for name in names:
        if name in splits and splits[name].num_examples and _label(_records(source, name)[0], source) >= 0:
            return name
    raise ConfigError(
        f'data.name={config.name} has no labelled split {" or ".join(names)}, only {", ".join(sorted(splits))}; '
        'a dataset with train, and test or validation, would do'
    )


def _check_shards(source: _Source, split: str) -> None:
    """Raises RuntimeError where a shard holds another number of records than the metadata says.

    TFDS reads as many as those, of whatever file has the shard's name: of another split's, say.
    """
    from array_record.python.array_record_module import ArrayRecordReader  # here, since only Linux has it

    info = source.builder.info.splits[split]
    for path, told in zip(info.filepaths, info.shard_lengths, strict=True):
        reader = ArrayRecordReader(str(path))
        there = reader.num_records()
        reader.close()
        if there != told:
            raise RuntimeError(f'{Path(path).name} has {there} records, and dataset_info.json says {told}')


def _records(source: _Source, split: str) -> Sequence:
    """The examples of a split by index: dicts, their images as the bytes that were stored."""
    features = source.builder.info.features
    as_stored = {key: tfds.decode.SkipDecoding() for key in features if isinstance(features[key], tfds.features.Image)}
    return source.builder.as_data_source(split, decoders=as_stored)


def _label(record: dict, source: _Source) -> int:
    if record[source.label_key] is None:  # how a shard that was cut short may read
        raise RuntimeError('a record is empty')
    return record[source.label_key]


def _decode(
    config: ConfigDict, source: _Source, split: str, images: np.ndarray, labels: np.ndarray, progress: Progress
) -> None:
    """Fills `images` and `labels`, in the order of the records."""
    records = _records(source, split)
    num_classes = source.builder.info.features[source.label_key].num_classes

    def decode_chunk(start: int) -> int:
        rows = range(start, min(start + CHUNK, len(records)))
        for row, record in zip(rows, records.__getitems__(rows), strict=True):
            label = _label(record, source)
            if not 0 <= label < num_classes:
                raise ConfigError(
                    f'data.name={config.name} has the label {label} at {split}[{row}], where 0 to {num_classes - 1} '
                    'would do'
                )
            try:
                images[row] = _decode_image(record[source.image_key], images.shape[1:], config.image_size is not None)
            except (OSError, ValueError, Image.DecompressionBombError) as error:  # no image, or of another size
                raise ConfigError(
                    f'data.name={config.name} has no readable image at {split}[{row}] ({error})'
                ) from error
            labels[row] = label
        return len(rows)

    # Pillow lets go of the interpreter while it decodes and resizes: threads gain on photographs, and lose by taking
    # turns on small images, where Python's own work is most of it.
    height, width, _ = source.stored_shape
    small = height is not None and width is not None and height * width < THREADS_FROM
    with ThreadPoolExecutor(1 if small else os.cpu_count()) as pool:
        bar = progress.add_task(f'{config.name} {split}', total=len(records))
        for done in pool.map(decode_chunk, range(0, len(records), CHUNK)):
            progress.advance(bar, done)


def _decode_image(
    encoded: bytes, shape: tuple[int, int, int], resize: bool
) -> UInt8[np.ndarray, 'height width channels']:
    """One image of `shape`: cropped and resized where `resize`, else it must have been stored so."""
    height, width, channels = shape
    mode = MODES[channels]
    with Image.open(io.BytesIO(encoded)) as image:
        if not resize and image.size != (width, height):  # before it is decoded: it may be huge
            raise ValueError(f'it has {image.height} x {image.width} pixels, not {height} x {width}')
        if resize:
            image.draft(mode, (2 * width, 2 * height))  # a JPEG far too large is decoded at a fraction of its size
        if image.mode != mode:
            image = image.convert(mode)
        if resize and image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(shape)  # Pillow's arrays of one channel have no axis for it


def _fingerprint(config: ConfigDict, source: _Source, splits: dict[str, str]) -> dict:
    """What the decoded arrays depend on. Shards are told by size and time: hashing them would cost as decoding does."""
    metadata = [source.folder / 'dataset_info.json', source.folder / 'features.json']
    shards = [Path(path) for split in splits.values() for path in source.builder.info.splits[split].filepaths]
    return {
        'metadata': {path.name: sha256(path) for path in metadata},
        'shards': {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in shards},
        'splits': splits,
        'image_size': config.image_size,
        'decoder': [DECODER, PIL.__version__],
    }


@contextmanager
def _naming_broken_shards(config: ConfigDict, source: _Source) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, FileNotFoundError) as error:  # ArrayRecord's own checksums fail as a bare RuntimeError
        reason = ' '.join(str(error).split())
        raise ConfigError(
            f'data.name={config.name}: the files in {source.folder} are damaged or missing ({reason}); move that '
            f'folder away, then: {prepare_command(config.name, config.dir)}'
        ) from error


def _broken(name: str, folder: Path, error: Exception) -> ConfigError:
    reason = str(error).strip().split('\n')[0]
    return ConfigError(f'data.name={name}: what is prepared in {folder} cannot be read ({reason}); prepare it anew')


@contextmanager
def _quiet() -> Iterator[None]:
    """Hushes TFDS's warnings about every folder that it looks into and finds empty."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
