"""Fashion-MNIST's files as they were published, from those of Debian's package dataset-fashion-mnist."""

import struct
from pathlib import Path

from configs.errors import ConfigError

FOLDER = Path('/usr/share/datasets/fashion-mnist')
# Debian strips name and time from the gzip headers; these are the times of the original files, in Unix seconds.
TIMES = {
    'train-images-idx3-ubyte.gz': 1504176606,
    'train-labels-idx1-ubyte.gz': 1504176606,
    't10k-images-idx3-ubyte.gz': 1504176627,
    't10k-labels-idx1-ubyte.gz': 1504176627,
}
GZIP_HEADER = struct.Struct('<2sBBIBB')  # RFC 1952: magic, method, flags, time, extra flags, operating system
FNAME, UNIX = 0x08, 3


def restore(source: Path, target: Path) -> None:
    """Writes the four files of Fashion-MNIST in `target`, byte for byte as they were published, from Debian's.

    Debian repacks a gzip header without name and time, for reproducible builds; the compressed data is untouched. So
    a header with both restores the file.

    Raises:
      ConfigError: the package is not installed.
    """
    for name, time in TIMES.items():
        path = source / name
        if not path.is_file():
            raise ConfigError(f'{path} is missing: apt-get install dataset-fashion-mnist')
        header = GZIP_HEADER.pack(b'\x1f\x8b', 8, FNAME, time, 0, UNIX)
        body = path.read_bytes()[GZIP_HEADER.size :]
        (target / name).write_bytes(header + name.removesuffix('.gz').encode() + b'\0' + body)
