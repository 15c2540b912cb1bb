"""The one kind of error that is the user's to mend."""

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """A setting that cannot work. Commands print it as one line on stderr and exit with status 2.

    The message names the field, the value, and what would do:
    `model.num_heads=3 must divide model.embed_dim=64; try 1, 2, 4, 8`.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """What would do in place of `name`: the nearest known name, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f'did you mean {near[0]}?' if near else f'one of {", ".join(known)} would do'
