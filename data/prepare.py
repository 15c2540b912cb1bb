"""Prepares a TFDS dataset with TFDS's own builder, which needs TensorFlow and so runs in an environment of its own.

    python -m data.prepare fashion_mnist                      downloads
    python -m data.prepare fashion_mnist --from_debian        no network: from Debian's dataset-fashion-mnist
    python -m data.prepare imagenet2012 --manual_dir=DIR      from files that you downloaded into DIR

The first call makes that environment (.venv-prepare, 1.7 GB) from requirements/prepare.txt. Exit status 2 means that
the command asks for what cannot be, or that the download failed; 1, that something else did.
"""

import argparse
import errno
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.errors import ConfigError
from data import LOCAL, tfds_catalog

ROOT = Path(__file__).resolve().parent.parent
LOCKFILE = ROOT / 'requirements' / 'prepare.txt'
ENVIRONMENT = ROOT / '.venv-prepare'
TAIL = 4000  # bytes of a failed command's output that are shown

DEBIAN_FOLDER = Path('/usr/share/datasets/fashion-mnist')
# Debian strips name and time from the gzip headers; these are the times of the original files, in Unix seconds.
DEBIAN_TIMES = {
    'train-images-idx3-ubyte.gz': 1504176606,
    'train-labels-idx1-ubyte.gz': 1504176606,
    't10k-images-idx3-ubyte.gz': 1504176627,
    't10k-labels-idx1-ubyte.gz': 1504176627,
}
GZIP_HEADER = struct.Struct('<2sBBIBB')  # RFC 1952: magic, method, flags, time, extra flags, operating system
FNAME, UNIX = 0x08, 3


class _Failed(Exception):
    """Something went wrong that the command's user did not cause; the message may hold the output that tells."""


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
    args = parser.parse_args(arguments)
    try:
        print(prepare(args.name, args.data_dir, args.manual_dir, args.from_debian))
    except ConfigError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except _Failed as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def prepare(name: str, data_dir: str = '', manual_dir: str = '', from_debian: bool = False) -> str:
    """Prepares a dataset unless it is prepared already, and says where it is and what it holds.

    Args:
      name: a TFDS name, with a configuration or a version where wanted.
      data_dir: the folder of prepared datasets; '' as in `tfds_catalog.data_folder`.
      manual_dir: a folder with the files that TFDS would download, by the names that TFDS expects; '' for none.
      from_debian: take the files from Debian's package (fashion_mnist only).
    Raises:
      ConfigError: the user's to mend: an unknown name, missing files, no network.
    """
    if name in LOCAL:
        return f'{name} needs no preparation'
    folder = tfds_catalog.data_folder(data_dir)
    _check_arguments(name, manual_dir, from_debian)
    builder = tfds_catalog.find(name, folder)
    if builder is not None:
        tfds_catalog.check_format(name, builder, data_dir)
        splits = {split: info.num_examples for split, info in builder.info.splits.items()}
        return f'{name} is already prepared in {builder.data_path}: {_describe(splits)}'
    _check_known(name)
    _make_folder(folder)
    python = _environment()
    with tempfile.TemporaryDirectory(prefix='patchwise-') as scratch:
        if from_debian:
            restore_debian_files(DEBIAN_FOLDER, Path(scratch))
            manual_dir = scratch
        made = _run_builder(python, name, folder, manual_dir)
    return f'prepared {name} in {made["folder"]}: {_describe(made["splits"])}'


def restore_debian_files(source: Path, target: Path) -> None:
    """Writes the four files of Fashion-MNIST in `target`, byte for byte as they were published, from Debian's.

    Debian repacks a gzip header without name and time, for reproducible builds; the compressed data is untouched. So
    a header with both restores the file.

    Raises:
      ConfigError: the package is not installed.
    """
    for name, time in DEBIAN_TIMES.items():
        path = source / name
        if not path.is_file():
            raise ConfigError(f'{path} is missing: apt-get install dataset-fashion-mnist')
        header = GZIP_HEADER.pack(b'\x1f\x8b', 8, FNAME, time, 0, UNIX)
        body = path.read_bytes()[GZIP_HEADER.size :]
        (target / name).write_bytes(header + name.removesuffix('.gz').encode() + b'\0' + body)


def _check_arguments(name: str, manual_dir: str, from_debian: bool) -> None:
    if from_debian and tfds_catalog.base_name(name) != 'fashion_mnist':
        raise ConfigError(f'--from_debian prepares fashion_mnist only, not {name}; --manual_dir=DIR takes other files')
    if from_debian and manual_dir:
        raise ConfigError('--from_debian and --manual_dir both say where the files are; one of them would do')
    if manual_dir and not Path(manual_dir).expanduser().is_dir():
        raise ConfigError(f'--manual_dir={manual_dir} is not a folder; one with the files of {name} would do')
    if from_debian and not DEBIAN_FOLDER.is_dir():
        raise ConfigError(f'{DEBIAN_FOLDER} is missing: apt-get install dataset-fashion-mnist')


def _check_known(name: str) -> None:
    if tfds_catalog.base_name(name) not in tfds_catalog.known_names():
        near = tfds_catalog.nearest_names(name)
        raise ConfigError(
            f'{name} is not a dataset of TFDS'
            + (f'; near it: {", ".join(near)}' if near else '; see https://www.tensorflow.org/datasets/catalog')
        )


def _make_folder(folder: Path) -> None:
    why = os.strerror(errno.EACCES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
    if not os.access(folder, os.W_OK | os.X_OK) or not os.path.isdir(folder):
        raise ConfigError(f'datasets cannot be written to {folder} ({why}); another --data_dir would do')


def _environment() -> Path:
    """The Python that has TensorFlow; its environment is made where it is missing or not of the present lock."""
    python, stamp = ENVIRONMENT / 'bin' / 'python', ENVIRONMENT / 'lock.sha256'
    wanted = hashlib.sha256(LOCKFILE.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f'making {ENVIRONMENT} from {os.path.relpath(LOCKFILE, ROOT)} (TensorFlow; once)', file=sys.stderr)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    for command in _environment_commands(python):
        _run(command, f'could not make {ENVIRONMENT} with `{command[0]}`')
    stamp.write_text(wanted)  # last, so that half an environment is never taken for a whole one
    return python


def _environment_commands(python: Path) -> list[list[str]]:
    own = ROOT / '.tools' / 'bin' / 'uv'
    uv = str(own) if own.exists() else shutil.which('uv')
    if uv:
        return [
            [uv, 'venv', '--quiet', '--no-python-downloads', '--python', sys.executable, str(ENVIRONMENT)],
            [uv, 'pip', 'install', '--quiet', '--python', str(python), '-r', str(LOCKFILE)],
        ]
    return [
        [sys.executable, '-m', 'venv', str(ENVIRONMENT)],
        [str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', str(LOCKFILE)],
    ]


def _run_builder(python: Path, name: str, folder: Path, manual_dir: str) -> dict:
    with tempfile.TemporaryDirectory(prefix='patchwise-') as scratch:
        report = Path(scratch) / 'report.json'
        # -I: else the folder of the script comes first on the path, and our modules hide the library's of that name.
        command = [str(python), '-I', str(ROOT / 'data' / 'tfds_builder.py'), name]
        command += [f'--data_dir={folder}', f'--report={report}']
        command += [f'--manual_dir={Path(manual_dir).expanduser().absolute()}'] if manual_dir else []
        print(f'preparing {name} in {folder}', file=sys.stderr)
        quiet = {'TF_CPP_MIN_LOG_LEVEL': '3', 'TF_ENABLE_ONEDNN_OPTS': '0', 'CUDA_VISIBLE_DEVICES': '-1'}
        output = _run(command, f'could not prepare {name}', {**os.environ, **quiet}, report)
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
    return _Failed(f'could not prepare {name} ({reason})\n{output}')


def _run(command: list[str], failure: str, environment: Mapping[str, str] | None = None, report: Path | None = None):
    """Runs a command, its output shown where someone watches and kept where not; gives the end of it.

    Raises:
      _Failed: the command could not start, or it failed without writing `report`.
    """
    tail = b''
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    except OSError as error:
        raise _Failed(f'{failure} ({error.strerror})') from error
    with process:
        while chunk := process.stdout.read1():
            tail = (tail + chunk)[-TAIL:]
            if sys.stderr.isatty():
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
    output = tail.decode(errors='replace').strip()
    if process.returncode and not (report and report.is_file()):
        raise _Failed(f'{failure}\n{output}')
    return output


def _describe(splits: Mapping[str, int]) -> str:
    return ', '.join(f'{count:,} {split}' for split, count in splits.items()) + ' examples'


if __name__ == '__main__':
    sys.exit(main())
