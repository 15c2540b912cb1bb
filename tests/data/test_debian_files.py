"""Debian's files of Fashion-MNIST become the published ones again."""

import gzip
import hashlib

import pytest
import tensorflow_datasets as tfds

from data import debian_files

NAMES = sorted(debian_files.TIMES)


def strip_header(data):
    """What Debian does to a gzip file whose header holds a name: no name, no time."""
    name_end = data.index(b'\0', 10) + 1
    return data[:3] + b'\0' * 5 + b'\2\3' + data[name_end:]


def test_restored_files_hold_the_same_data_under_the_original_header(tmp_path):
    source, target = tmp_path / 'source', tmp_path / 'target'
    source.mkdir()
    target.mkdir()
    for name in NAMES:
        with gzip.GzipFile(name.removesuffix('.gz'), 'wb', fileobj=(source / name).open('wb'), mtime=1) as file:
            file.write(name.encode() * 100)
        (source / name).write_bytes(strip_header((source / name).read_bytes()))
    debian_files.restore(source, target)
    for name in NAMES:
        restored = (target / name).read_bytes()
        assert gzip.decompress(restored) == name.encode() * 100
        assert int.from_bytes(restored[4:8], 'little') == debian_files.TIMES[name]
        assert restored[10:].startswith(name.removesuffix('.gz').encode() + b'\0')


@pytest.mark.skipif(not debian_files.FOLDER.is_dir(), reason='apt-get install dataset-fashion-mnist')
def test_restored_debian_files_have_the_sums_that_tfds_registered(tmp_path):
    debian_files.restore(debian_files.FOLDER, tmp_path)
    registered = {info.filename: info for info in tfds.builder_cls('fashion_mnist').url_infos.values()}
    assert sorted(registered) == NAMES
    for name in NAMES:
        data = (tmp_path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (registered[name].size, registered[name].checksum)
