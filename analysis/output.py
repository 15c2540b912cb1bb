"""How text and files leave the analysis: what a terminal, a spreadsheet or Markdown could misread, made safe once."""

import contextlib
import html
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from configs.errors import ConfigError
from files.writing import OF_STORAGE, StorageError, write_bytes

ASCII_SYMBOLS = str.maketrans({'±': '+/-', '†': '+', '…': '...'})


def printable(text: str, encoding: str | None) -> str:
    """The text with stand-ins for the symbols that a stream of this encoding cannot write."""
    if (encoding or 'utf-8').lower().startswith('utf'):
        return text
    return text.translate(ASCII_SYMBOLS).encode(encoding, 'replace').decode(encoding)


def escape_markdown(text: str) -> str:
    """The Markdown that shows `text` as it is, never as markup or HTML."""
    # Underscores inside a word are no emphasis: learned_1d stays readable in the source.
    text = re.sub(r'([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))', r'\\\1', text)
    return html.escape(text, quote=False)


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV, in full precision.

    A text that a spreadsheet would run as a formula gets a leading apostrophe, as OWASP advises (CSV injection).
    """
    texts = {
        name: column.str.replace(r'^(?=[=+\-@])', "'", regex=True)
        for name, column in frame.items()
        if pd.api.types.is_string_dtype(column)
    }
    return frame.assign(**texts).to_csv(index=False, lineterminator='\n')


def write_table(path: Path, frame: pd.DataFrame) -> list[Path]:
    """Writes a frame as CSV, as `write` does; where it is empty, one that an earlier table left there is removed."""
    if not frame.empty:
        return [write(path, to_csv(frame))]
    with telling(path):
        path.unlink(missing_ok=True)
    return []


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file whole or not at all.

    Raises:
      ConfigError: the folder cannot be written, which is the user's to mend.
      StorageError: the disk is full, or can be written no more.
    """
    with telling(path):
        write_bytes(path, content.encode() if isinstance(content, str) else content)
    return path


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Raises `write`'s errors for what goes wrong while `path` is written."""
    try:
        yield
    except OSError as error:
        if error.errno in OF_STORAGE:
            raise StorageError.of(path, error) from error
        raise ConfigError(f'--workdir={path.parent}: cannot write {path.name} ({error.strerror})') from error
