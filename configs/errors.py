"""The error that the user can mend: commands print it as one line, without a traceback."""

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """A setting that cannot work. Commands print it as one line on stderr and exit with status 2.

    The message names the field, the value, and what would do:
    `model.num_heads=3 must divide model.embed_dim=64; 1, 2, 4, 8, 16, 32 or 64 would do`.
    """


# What others call the fields of configs/base.py.
ELSEWHERE = {
    'lr': 'learning_rate', 'wd': 'weight_decay', 'layers': 'depth', 'num_layers': 'depth', 'heads': 'num_heads',
    'dim': 'embed_dim', 'hidden_dim': 'embed_dim', 'width': 'embed_dim', 'bs': 'batch_size', 'dtype': 'compute_dtype',
    'positional_encoding': 'positions.name', 'dataset': 'data.name',
}  # fmt: skip


def nearest(name: str, known: Iterable[str]) -> str:
    """What to suggest in place of `name`: the nearest known names, those of its group, or all of them.

    Nearest are first the names with the same last part, or with this project's word for it; then those that begin
    with `name`; then those spelled alike, as a whole or in their last part.
    """
    known, (group, _, word) = list(known), name.rpartition('.')
    meant = ELSEWHERE.get(word, word)
    last = {one: one.rpartition('.')[2] for one in known}
    alike = difflib.get_close_matches(word, sorted({*last.values()}), n=1, cutoff=0.75)
    ways = (
        [one for one in known if one == meant or one.endswith(f'.{meant}')],
        [one for one in known if len(word) > 1 and one.startswith(name)],
        difflib.get_close_matches(name, known, n=1, cutoff=0.75 if group else 0.6),
        [one for one in known if last[one] in alike],
    )
    near = next((found[:3] for found in ways if found), [])
    if near:
        return f'did you mean {" or ".join(filter(None, (", ".join(near[:-1]), near[-1])))}?'
    groups = {one.rpartition('.')[0] for one in known} - {''}
    group = next(iter(difflib.get_close_matches(group, groups, n=1)), group)
    beside = [one for one in known if group and one.startswith(f'{group}.')]
    return f'one of {", ".join(beside or known)} would do'
