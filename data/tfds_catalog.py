"""Which datasets there are: those that TFDS knows by name, and those that are prepared on this machine."""

import difflib
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from configs.errors import ConfigError
from data import LOCAL
from data.tfds_metadata import check_metadata


def data_folder(directory: str) -> Path:
    """Where prepared datasets are: `directory`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets (TFDS's own rule)."""
    return Path(directory or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser().absolute()


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


def nearest_names(name: str, folder: Path) -> list[str]:
    """Up to three names of datasets, ours, TFDS's or prepared in `folder`, that a misspelt `name` may have meant."""
    prepared = [path.parent.parent.name for path in folder.glob('*/*/dataset_info.json')]
    names = dict.fromkeys([*prepared, *LOCAL, *known_names()])
    return difflib.get_close_matches(base_name(name), names, n=3)


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
    own = base_name(name) not in known_names()
    return shlex.join(words + (['--from_folder=DIR'] if own else []))


def _broken(name: str, folder: Path, error: Exception) -> ConfigError:
    reason = str(error).strip().split('\n')[0]
    return ConfigError(
        f'data.name={name}: what is prepared in {folder} cannot be read ({reason}); move it away, and prepare it anew'
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hushes TFDS's warnings about every folder that it looks into and finds empty."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
