"""The shards of a prepared TFDS dataset: whether they are whole, and their records as uint8 arrays."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import tensorflow_datasets as tfds
from jaxtyping import Int32, UInt8
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from configs.errors import ConfigError
from machine.cores import cores_allowed

MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # channels -> Pillow's name
DECODER = (2, PIL.__version__)  # raise the number when decoding changes, so that arrays decoded before are stale
THREADS_FROM = 64 * 64  # pixels of a stored image
CHUNK = 256  # images a thread decodes at a time


class Prepared(NamedTuple):
    """A prepared dataset that patchwise can read."""

    name: str  # as the user wrote it
    builder: tfds.core.DatasetBuilder
    image_key: str
    label_key: str

    @property
    def folder(self) -> Path:
        """Of the prepared version."""
        return Path(self.builder.data_path)

    @property
    def stored_shape(self) -> tuple[int | None, int | None, int]:
        """Of an image; None where it varies."""
        return self.builder.info.features[self.image_key].shape

    @property
    def label(self) -> tfds.features.ClassLabel:
        return self.builder.info.features[self.label_key]


def check(dataset: Prepared, split: str) -> None:
    """Raises RuntimeError where a shard holds another number of records than the metadata says.

    TFDS reads as many as those, of whatever file has the shard's name: of another split's, say.
    """
    from array_record.python.array_record_module import ArrayRecordReader  # here, since only Linux has it

    info = dataset.builder.info.splits[split]
    for path, told in zip(info.filepaths, info.shard_lengths, strict=True):
        reader = ArrayRecordReader(str(path))
        there = reader.num_records()
        reader.close()
        if there != told:
            raise RuntimeError(f'{Path(path).name} has {there} records, and dataset_info.json says {told}')


def is_labelled(dataset: Prepared, split: str) -> bool:
    """Whether a split's first example has a label. Hidden test sets carry -1 throughout.

    Raises:
      RuntimeError, FileNotFoundError: the first shard is damaged or missing.
    """
    return _label(dataset, _records(dataset, split)[0]) >= 0


def decode(
    dataset: Prepared,
    split: str,
    images: UInt8[np.ndarray, 'examples height width channels'],
    labels: Int32[np.ndarray, 'examples'],
    *,
    resize: bool,
) -> None:
    """Fills `images` and `labels`, in the order of the records, showing on a terminal how far it is.

    Args:
      resize: whether images are centre-cropped to `images`' shape and resized, bicubic and antialiased, or must have
        been stored so.
    Raises:
      ConfigError: an image cannot be read, or a label is of no class.
      RuntimeError, FileNotFoundError: a shard is damaged or missing.
    """
    records = _records(dataset, split)

    def decode_chunk(start: int) -> int:
        rows = range(start, min(start + CHUNK, len(records)))
        for row, record in zip(rows, records.__getitems__(rows), strict=True):
            labels[row] = _class(dataset, record, f'{split}[{row}]')
            try:
                images[row] = _decode_image(record[dataset.image_key], images.shape[1:], resize)
            except (OSError, ValueError, Image.DecompressionBombError) as error:  # no image, or of another size
                raise ConfigError(
                    f'data.name={dataset.name} has no readable image at {split}[{row}] ({error}); a dataset prepared '
                    'without it would do'
                ) from error
        return len(rows)

    # Pillow lets go of the interpreter while it decodes and resizes: threads gain on photographs, and lose by taking
    # turns on small images, where Python's own work is most of it.
    height, width, _ = dataset.stored_shape
    small = height is not None and width is not None and height * width < THREADS_FROM
    with ThreadPoolExecutor(1 if small else len(cores_allowed())) as pool, _progress() as progress:
        bar = progress.add_task(f'{dataset.name} {split}', total=len(records))
        for done in pool.map(decode_chunk, range(0, len(records), CHUNK)):
            progress.advance(bar, done)


def _records(dataset: Prepared, split: str) -> Sequence:
    """The examples of a split by index: dicts, their images as the bytes that were stored."""
    features = dataset.builder.info.features
    as_stored = {key: tfds.decode.SkipDecoding() for key in features if isinstance(features[key], tfds.features.Image)}
    return dataset.builder.as_data_source(split, decoders=as_stored)


def _label(dataset: Prepared, record: dict) -> int:
    if record[dataset.label_key] is None:  # how a shard that was cut short may read
        raise RuntimeError('a record is empty')
    return record[dataset.label_key]


def _class(dataset: Prepared, record: dict, where: str) -> int:
    label, most = _label(dataset, record), dataset.label.num_classes - 1
    if not 0 <= label <= most:
        raise ConfigError(f'data.name={dataset.name} has the label {label} at {where}, where 0 to {most} would do')
    return label


def _decode_image(
    encoded: bytes, shape: tuple[int, int, int], resize: bool
) -> UInt8[np.ndarray, 'height width channels']:
    height, width, channels = shape
    mode = MODES[channels]
    with Image.open(io.BytesIO(encoded)) as image:
        if not resize and image.size != (width, height):  # before it is decoded: it may be huge
            raise ValueError(f'it has {image.height} x {image.width} pixels, not {height} x {width}')
        if resize:
            image.draft(mode, (2 * width, 2 * height))  # a JPEG far too large is decoded at a fraction of its size
        if image.mode in ('I', 'F'):
            raise ValueError(f"its pixels are Pillow's {image.mode!r}, whose range nobody tells")
        if image.mode.startswith('I;16'):  # of which Pillow's own conversion makes 255 of all above 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode != mode:
            image = image.convert(mode)
        if resize and image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(shape)  # Pillow's arrays of one channel have no axis for it


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
