"""Small datasets, prepared by TFDS's own builder: it needs TensorFlow only to encode images, so they come encoded."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


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
    tfds.disable_progress_bar()

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


def by_content(images, labels):
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
