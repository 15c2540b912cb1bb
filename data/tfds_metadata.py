"""Looks through the metadata of prepared TFDS datasets before TFDS does.

TFDS imports whatever module a features.json names, and reads its files whole, be they FIFOs or huge.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from files.reading import Damaged, parse, read_json

FILES = ('features.json', 'dataset_info.json')
DEPTHS = ('*', '*/*')  # of a dataset's folder: a version, or a configuration's version
# Fields of features.json whose value is the class that TFDS imports; the last two are those of its older versions.
CLASSES = ('pythonClassName', 'python_class_name', 'type', 'proto_cls')
TRUSTED = 'tensorflow_datasets.'


def check_metadata(folder: Path) -> None:
    """Raises Damaged when any version in a dataset's `folder` has metadata that is not safe to hand to TFDS."""
    for name in FILES:
        for depth in DEPTHS:
            for path in folder.glob(f'{depth}/{name}'):
                try:
                    _check_classes(read_json(path))
                except Damaged as error:
                    raise Damaged(f'{path} {error}') from error


def _check_classes(content: Any) -> None:
    for name, value in _fields(content):
        if name in CLASSES and not str(value).startswith(TRUSTED):
            raise Damaged(f'names a class that is not of TFDS, {str(value)[:80]!r}')
        if name == 'json' and isinstance(value, str):  # a feature's content may be JSON in JSON
            _check_classes(parse(value.encode(errors='replace')))


def _fields(node: Any) -> Iterator[tuple[str, Any]]:
    """Every field at any depth."""
    if isinstance(node, dict):
        yield from node.items()
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _fields(inner)
