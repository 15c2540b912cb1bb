"""Prepares a dataset: one of TFDS, with TFDS's own builder, or images of one's own.

    python -m data.prepare fashion_mnist                      downloads
    python -m data.prepare fashion_mnist --from_debian        no network: from Debian's dataset-fashion-mnist
    python -m data.prepare imagenet2012 --manual_dir=DIR      from files that you downloaded into DIR
    python -m data.prepare flowers --from_folder=DIR          your own: DIR/train/CLASS/any.png, DIR/test/CLASS/any.jpg

TFDS's builders need TensorFlow, so they run in an environment of their own (.venv-prepare, 1.7 GB), which the first
call makes from requirements/prepare.txt; images of one's own need none. Exit status 2 means that the command asks for
what cannot be, or that the download failed; 1, that something else did.
"""

import argparse
import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.errors import ConfigError
from data import LOCAL, class_folders, debian_files, prepare_environment, tfds_catalog

BUILDER = Path(__file__).resolve().with_name('tfds_builder.py')


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m data.prepare', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', help='such as cifar10, emnist/letters or imagenet2012:5.1.0')
    parser.add_argument('--data_dir', default='', help='where to; default: $TFDS_DATA_DIR, else ~/tensorflow_datasets')
    parser.add_argument('--manual_dir', default='', help='a folder with the files that TFDS would download')
    parser.add_argument(
        '--from_debian', action='store_true', help='fashion_mnist from the package dataset-fashion-mnist'
    )
    parser.add_argument('--from_folder', default='', help='a folder with train/CLASS/ and test/CLASS/, PNG or JPEG')
    args = parser.parse_args(arguments)
    try:
        print(prepare(args.name, args.data_dir, args.manual_dir, args.from_debian, args.from_folder))
    except ConfigError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except prepare_environment.Failed as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def prepare(
    name: str, data_dir: str = '', manual_dir: str = '', from_debian: bool = False, from_folder: str = ''
) -> str:
    """Prepares a dataset unless it is prepared already, and says where it is and what it holds.

    Args:
      name: a TFDS name, with a configuration or a version where wanted; of images of one's own, any other.
      data_dir: the folder of prepared datasets; '' as in `tfds_catalog.data_folder`.
      manual_dir: a folder with the files that TFDS would download, by the names that TFDS expects; '' for none.
      from_debian: take the files from Debian's package (fashion_mnist only).
      from_folder: a folder of images, as class_folders.find has it; '': a TFDS dataset.
    Raises:
      ConfigError: the user's to mend: an unknown name, missing files, no network.
      prepare_environment.Failed: anything else that stopped it.
    """
    if name in LOCAL and not from_folder:
        return f'{name} needs no preparation'
    folder = tfds_catalog.data_folder(data_dir)
    _check_arguments(name, manual_dir, from_debian, from_folder)
    builder = tfds_catalog.find(name, folder)
    if builder is not None:
        tfds_catalog.check_format(name, builder, data_dir)
        splits = {split: info.num_examples for split, info in builder.info.splits.items()}
        unread = '; --from_folder was not read: changed images are a dataset of another name' if from_folder else ''
        return f'{name} is already prepared in {builder.data_path}: {_describe(splits)}{unread}'
    if from_folder:
        _make_folder(folder)
        if (folder / name).exists():
            raise ConfigError(f'{folder / name} is there, and holds no whole dataset; moved away, it would do')
        try:
            counts = class_folders.write(name, Path(from_folder).expanduser(), folder)
        except OSError as error:
            raise ConfigError(f'{name} could not be made of {from_folder} in {folder} ({error})') from error
        return f'prepared {name} in {folder / name / class_folders.VERSION}: {_describe(counts)}'
    _check_known(name, folder)
    _make_folder(folder)
    python = prepare_environment.python_with_tensorflow()
    with tempfile.TemporaryDirectory(prefix='patchwise-') as scratch:
        if from_debian:
            debian_files.restore(debian_files.FOLDER, Path(scratch))
            manual_dir = scratch
        made = _run_builder(python, name, folder, manual_dir)
    return f'prepared {name} in {made["folder"]}: {_describe(made["splits"])}'


def _check_arguments(name: str, manual_dir: str, from_debian: bool, from_folder: str) -> None:
    if from_folder:
        _check_own(name, from_folder, others=[manual_dir, from_debian])
    if from_debian and tfds_catalog.base_name(name) != 'fashion_mnist':
        raise ConfigError(f'--from_debian prepares fashion_mnist only, not {name}; --manual_dir=DIR takes other files')
    if from_debian and manual_dir:
        raise ConfigError('--from_debian and --manual_dir both say where the files are; one of them would do')
    if manual_dir and not Path(manual_dir).expanduser().is_dir():
        raise ConfigError(f'--manual_dir={manual_dir} is not a folder; one with the files of {name} would do')
    if from_debian and not debian_files.FOLDER.is_dir():
        raise ConfigError(f'{debian_files.FOLDER} is missing: apt-get install dataset-fashion-mnist')


def _check_own(name: str, folder: str, others: Sequence[str | bool]) -> None:
    if any(others):
        raise ConfigError('--from_folder and another say where the files are; one of them would do')
    if name in LOCAL or name in tfds_catalog.known_names():
        raise ConfigError(f'{name} is the name of another dataset; one of your own would do')
    if not re.fullmatch('[a-z][a-z0-9_]*', name):
        raise ConfigError(f'{name} is no name for a dataset; small letters, digits and _ would do, as in my_images')
    if not Path(folder).expanduser().is_dir():
        raise ConfigError(f'--from_folder={folder} is not a folder; one with train/CLASS/ and test/CLASS/ would do')


def _check_known(name: str, folder: Path) -> None:
    if tfds_catalog.base_name(name) not in tfds_catalog.known_names():
        near = tfds_catalog.nearest_names(name, folder)
        raise ConfigError(
            f'{name} is not a dataset of TFDS'
            + (f'; near it: {", ".join(near)}' if near else '; see https://www.tensorflow.org/datasets/catalog')
            + '; --from_folder=DIR makes one of your own images'
        )


def _make_folder(folder: Path) -> None:
    why = os.strerror(errno.EACCES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
    if not os.access(folder, os.W_OK | os.X_OK) or not os.path.isdir(folder):
        raise ConfigError(f'datasets cannot be written to {folder} ({why}); another --data_dir would do')


def _run_builder(python: Path, name: str, folder: Path, manual_dir: str) -> dict:
    with tempfile.TemporaryDirectory(prefix='patchwise-') as scratch:
        report = Path(scratch) / 'report.json'
        # -I: else the folder of the script comes first on the path, and our modules hide the library's of that name.
        command = [str(python), '-I', str(BUILDER), name]
        command += [f'--data_dir={folder}', f'--report={report}']
        command += [f'--manual_dir={Path(manual_dir).expanduser().absolute()}'] if manual_dir else []
        print(f'preparing {name} in {folder}', file=sys.stderr)
        quiet = {'TF_CPP_MIN_LOG_LEVEL': '3', 'TF_ENABLE_ONEDNN_OPTS': '0', 'CUDA_VISIBLE_DEVICES': '-1'}
        output = prepare_environment.run(command, f'could not prepare {name}', {**os.environ, **quiet}, report)
        outcome = json.loads(report.read_text())
    if 'ok' in outcome:
        return outcome['ok']
    raise _explain(name, manual_dir, outcome['error'], output)


def _explain(name: str, manual_dir: str, error: Mapping[str, str], output: str) -> Exception:
    reason = ' '.join(error['message'].split())[:500]
    match error['kind']:
        case 'download':
            return ConfigError(
                f'could not download {name} ({reason}); with a network, or with its files in --manual_dir=DIR, it '
                'would do'
            )
        case 'checksum':
            where = f'--manual_dir={manual_dir}' if manual_dir else 'the download'
            return ConfigError(f'{where} holds a file of {name} that is not the published one ({reason})')
        case 'manual':
            return ConfigError(f'{name} needs files that TFDS may not download; give --manual_dir=DIR ({reason})')
        case 'name':
            return ConfigError(f'TFDS has no {name} ({reason})')
    return prepare_environment.Failed(f'could not prepare {name} ({reason})\n{output}')


def _describe(splits: Mapping[str, int]) -> str:
    return ', '.join(f'{count:,} {split}' for split, count in splits.items()) + ' examples'


if __name__ == '__main__':
    sys.exit(main())
