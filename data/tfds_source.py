"""Any TFDS image-classification dataset that was prepared on this machine, read without TensorFlow.

A prepared folder says all there is to know (shards, features, class names), so none of TFDS's code for the single
dataset runs here; that code is what may need TensorFlow. `data.prepare` is where it runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from configs.errors import ConfigError
from data import LOCAL, cache, tfds_shards
from data.spec import Spec, Split
from data.tfds_catalog import (
    base_name,
    check_format,
    data_folder,
    find,
    known_names,
    nearest_names,
    prepare_command,
)
from data.tfds_shards import MODES, Prepared
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
REMEDIES = ('another data.dir', 'a smaller data.image_size')  # where decoded images find no room
TEST_SPLITS = ('test', 'validation')  # the first that has labels


def spec(config: ConfigDict) -> Spec:
    """What a model must know of a prepared dataset, from its metadata: no image is read.

    `config` is an experiment's `config.data`.

    Raises:
      ConfigError: the dataset is not prepared, not known, or not one of images with one label each; or its images
        vary in size and `data.image_size` is not set.
    """
    dataset = _prepared(config)
    return Spec(
        name=config.name,
        image_shape=_image_shape(config, dataset),
        num_classes=dataset.label.num_classes,
        class_names=tuple(dataset.label.names),
        flip=dataset.builder.name not in MIRROR_CHANGES_CLASS,
    )


def examples(config: ConfigDict) -> int:
    """How many images train has, by the metadata; 0 where there is no such split."""
    splits = _prepared(config).builder.info.splits
    return splits['train'].num_examples if 'train' in splits else 0


def read(config: ConfigDict) -> tuple[Split, Split]:
    """Train and test, memory-mapped; decoded on the first call and kept beside the dataset for those that follow.

    Test is the split 'test' where it has labels, else 'validation' (as for imagenet2012, whose test labels are not
    public). Images are decoded by Pillow, whatever else is installed. With `data.image_size` they are centre-cropped
    to a square and resized, bicubic and antialiased.

    Raises:
      ConfigError: as `spec`, or there is no training or labelled test split, or the prepared files are incomplete.
      StorageError: the decoded images cannot be kept there, and are too large for memory.
    """
    dataset = _prepared(config)
    shape = _image_shape(config, dataset)
    resized = config.image_size is not None
    folder = dataset.folder / 'patchwise' / (f'{config.image_size}px' if resized else 'stored')
    with _naming_broken_shards(config, dataset):
        splits = {'train': _labelled_split(dataset, ('train',)), 'test': _labelled_split(dataset, TEST_SPLITS)}

        layout: cache.Layout = {}
        for name, split in splits.items():
            examples = dataset.builder.info.splits[split].num_examples
            layout |= {f'{name}_images': ((examples, *shape), np.uint8), f'{name}_labels': ((examples,), np.int32)}

        def build(allocate: cache.Allocate) -> None:
            arrays = {name: allocate(name, *kind) for name, kind in layout.items()}
            for split in splits.values():
                tfds_shards.check(dataset, split)
            for name, split in splits.items():
                images, labels = arrays[f'{name}_images'], arrays[f'{name}_labels']
                tfds_shards.decode(dataset, split, images, labels, resize=resized)

        arrays = cache.load_or_build(folder, _fingerprint(config, dataset, splits), build, layout, REMEDIES)
    return tuple(Split(arrays[f'{name}_images'], arrays[f'{name}_labels']) for name in splits)


def _prepared(config: ConfigDict) -> Prepared:
    name, folder = config.name, data_folder(config.dir)
    builder = find(name, folder)
    relative = config.dir and not Path(config.dir).expanduser().is_absolute()
    where = f'{folder} (data.dir={config.dir}, seen from where this command runs)' if relative else folder
    if builder is None and base_name(name) in known_names():
        command = prepare_command(name, config.dir)
        raise ConfigError(f'data.name={name} is not prepared in {where}; this prepares it: {command}')
    if builder is None:
        near = nearest_names(name, folder)
        raise ConfigError(
            f'data.name={name} is not a dataset of TFDS, and none of that name is prepared in {where} '
            '(data.prepare --from_folder makes one of your own images); '
            + (f'near it: {", ".join(near)}' if near else f'without preparation: {", ".join(LOCAL)}')
        )
    check_format(name, builder, config.dir)
    return Prepared(name, builder, *_supervised_keys(name, builder.info))


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


def _image_shape(config: ConfigDict, dataset: Prepared) -> tuple[int, int, int]:
    height, width, channels = dataset.stored_shape
    size = config.image_size
    if size is None and (height is None or width is None):
        raise ConfigError(
            f'data.image_size is not set, and the images of data.name={config.name} vary in size; '
            'a number of pixels would do, such as 224'
        )
    if size is not None and size < 1:
        raise ConfigError(f'data.image_size={size} is no size; 1 or more pixels would do')
    return (height, width, channels) if size is None else (size, size, channels)


def _labelled_split(dataset: Prepared, names: tuple[str, ...]) -> str:
    """The first of `names` that holds labelled examples."""
    splits = dataset.builder.info.splits
    for name in names:
        if name in splits and splits[name].num_examples and tfds_shards.is_labelled(dataset, name):
            return name
    raise ConfigError(
        f'data.name={dataset.name} has no labelled split {" or ".join(names)}, only {", ".join(sorted(splits))}; '
        'a dataset with train, and test or validation, would do'
    )


def _fingerprint(config: ConfigDict, dataset: Prepared, splits: dict[str, str]) -> dict:
    """What the decoded arrays depend on. Shards are told by size and time: hashing them would cost as decoding does."""
    metadata = [dataset.folder / 'dataset_info.json', dataset.folder / 'features.json']
    shards = [Path(path) for split in splits.values() for path in dataset.builder.info.splits[split].filepaths]
    return {
        'metadata': {path.name: sha256(path) for path in metadata},
        'shards': {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in shards},
        'splits': splits,
        'image_size': config.image_size,
        'decoder': list(tfds_shards.DECODER),
    }


@contextmanager
def _naming_broken_shards(config: ConfigDict, dataset: Prepared) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, FileNotFoundError) as error:  # ArrayRecord's own checksums fail as a bare RuntimeError
        reason = ' '.join(str(error).split())
        raise ConfigError(
            f'data.name={config.name}: the files in {dataset.folder} are damaged or missing ({reason}); move that '
            f'folder away, then: {prepare_command(config.name, config.dir)}'
        ) from error
