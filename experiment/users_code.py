"""What a config file raised, in one line, with the line of the file where it did: it is code of the user's."""

import re
import sysconfig
import traceback
from pathlib import Path

from configs.errors import ConfigError, nearest
from configs.fields import defaults


def describe(error: BaseException) -> str:
    """What went wrong, and the line of the config file where it did."""
    errors = with_causes(error)
    # ml_collections wraps an error in others, some with a traceback for a text: the first that happened says it best.
    first = errors[-1]
    text = str(first.args[0]) if isinstance(first, KeyError) and first.args else str(first)
    users = lines_of_users(errors)
    if isinstance(first, ConfigError):
        return text
    if isinstance(first, OSError) and not users:
        last = text.splitlines()[-1].strip()
        return f'--config={first.filename}: {first.strerror}' if first.filename else f'--config: {last}'
    if users:
        text = text.partition(' Other fields present')[0]  # a locked ConfigDict prints itself whole after that
        missing = re.match(r'Key "(\w+)" does not exist', text)
        near = nearest(missing[1], defaults()) if missing else ''
        text = f'{text.rstrip(".")}; {near}' if near.startswith('did you mean') else text
        return f'{users[-1].filename}:{users[-1].lineno}: {type(first).__name__}: {text}'
    return str(error)


def with_causes(error: BaseException) -> list[BaseException]:
    """The error, and those while which it was raised; the first of all comes last."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    return chain


def lines_of_users(errors: list[BaseException]) -> list[traceback.FrameSummary]:
    """The lines of config files in the tracebacks of all `errors`."""
    frames = [frame for error in errors for frame in traceback.extract_tb(error.__traceback__)]
    return [frame for frame in frames if _is_users(Path(frame.filename))]


def _is_users(path: Path) -> bool:
    """Whether a line there may be a config file's: in no library, Python's own included, nor in this folder."""
    libraries = Path(sysconfig.get_paths()['stdlib'])  # site-packages are below it, or of another name elsewhere
    in_library = 'site-packages' in path.parts or path.is_relative_to(libraries)
    return path.is_file() and not in_library and not path.resolve().is_relative_to(Path(__file__).resolve().parent)
