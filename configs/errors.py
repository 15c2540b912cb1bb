"""The errors that are the user's to mend: commands print them as one line, without a traceback."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class ConfigError(Exception):
    """A setting that cannot work. Commands print it as one line on stderr and exit with status 2.

    The message names the field, the value, and what would do:
    `model.num_heads=3 must divide model.embed_dim=64; try 1, 2, 4, 8`.
    """


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a full or read-only disk, and a quota, make of any write
OF_STORAGE = (*FULL, errno.EFBIG)  # and a limit on the size of a file
KNOWN = (*OF_STORAGE, errno.EACCES, errno.EIO)


class StorageError(Exception):
    """What a run leaves behind could not be written, or sent. Commands print it as one line and exit with status 1.

    What was written before stays as it was; the same command goes on from there.

    Attributes:
      everywhere: whether the disk is full or cannot be written to, so that whatever comes next would fail as well.
    """

    everywhere = False

    @classmethod
    def of(cls, path: Path, error: Exception) -> 'StorageError':
        """That `path` could not be written, because of `error`."""
        # Libraries put the system's error into texts of many lines; the system's own words say it best.
        text = str(error)
        words = {number: os.strerror(number) for number in KNOWN}
        why = words.get(getattr(error, 'errno', None)) or next((word for word in words.values() if word in text), None)
        why = why or f'{type(error).__name__}: {" ".join(text.split())[:300]}'
        told = cls(f'{path} could not be written ({why}); what was saved before is good, and the same command goes on')
        told.everywhere = why in [words[number] for number in FULL]
        return told


@contextlib.contextmanager
def writing(path: Path, errors: type[Exception] = OSError) -> Iterator[None]:
    """Raises StorageError for any of `errors` that comes while `path` is written."""
    try:
        yield
    except StorageError:
        raise
    except errors as error:
        raise StorageError.of(path, error) from error


# What others call the fields of configs/base.py.
ELSEWHERE = {
    'lr': 'learning_rate', 'wd': 'weight_decay', 'layers': 'depth', 'num_layers': 'depth', 'heads': 'num_heads',
    'dim': 'embed_dim', 'hidden_dim': 'embed_dim', 'width': 'embed_dim', 'bs': 'batch_size', 'dtype': 'compute_dtype',
    'positional_encoding': 'positions.name', 'dataset': 'data.name',
}  # fmt: skip


def nearest(name: str, known: Iterable[str]) -> str:
    """What would do in place of `name`: the nearest known names, those of its group, or all of them.

    Nearest is first what has the same last part, or is called so elsewhere; then what `name` begins; then what is
    spelled alike.
    """
    known, (group, _, word) = list(known), name.rpartition('.')
    meant = ELSEWHERE.get(word, word)
    ways = (
        [one for one in known if one == meant or one.endswith(f'.{meant}')],
        [one for one in known if len(word) > 1 and one.startswith(name)],
        difflib.get_close_matches(name, known, n=1, cutoff=0.75 if group else 0.6),
    )
    near = next((found[:3] for found in ways if found), [])
    if near:
        return f'did you mean {" or ".join(filter(None, (", ".join(near[:-1]), near[-1])))}?'
    groups = {one.rpartition('.')[0] for one in known} - {''}
    group = next(iter(difflib.get_close_matches(group, groups, n=1)), group)
    beside = [one for one in known if group and one.startswith(f'{group}.')]
    return f'one of {", ".join(beside or known)} would do'
