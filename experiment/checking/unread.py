"""Fields that a config leaves without effect. Whoever asks for one is told so: its run would be labelled by what it
does not do, and two that differ in nothing else would pass for two.

A field may well be there and not be read, as `num_heads` is beside a convolution: so these are refused where somebody
asks for them, and experiment.checking.validate refuses in any config what would contradict the rest of it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from configs.errors import ConfigError
from configs.fields import defaults, flatten
from data import LOCAL
from models.matching import REFERENCE
from models.mixers import MIXERS
from models.positions import POSITIONS

OVERRULED = {'train.epochs': 'train.steps', 'data.train_fraction': 'data.train_examples'}  # by what goes before it
OF_TOKENS = ('mixer', 'kernel_size', 'num_heads', 'patch_size', 'embed_dim', 'depth', 'mlp_ratio', 'positions.name')
SOLVED = 'model.match solves it'
DEFAULTS = defaults()
MADE = tuple(name for name in LOCAL if f'data.{name}.train_examples' in DEFAULTS)  # datasets that a config describes


def refuse_unread(
    asked: dict[str, Any],
    configs: Iterable[ConfigDict],
    prefix: str = '',
    usual: dict[str, Any] = DEFAULTS,
    tokens_of: Callable[[ConfigDict], int | None] = lambda config: None,
) -> None:
    """Raises ConfigError where a field that was `asked` for, by dotted name, changes nothing that a config does.

    Of several `configs` one that reads it is enough. As it would be anyway (`usual`) a field may be asked for all the
    same, as by a table's rows that cross two fields.

    Args:
      prefix: what stands before a field's name where it was written.
      tokens_of: how many tokens a config makes of an image; None: it is not known.
    """
    reasons = [unread(flatten(config.to_dict()), tokens_of(config)) for config in configs]
    for field, why in reasons[0].items():
        if why == SOLVED and 'model.match' not in asked:
            continue  # whoever asks for the matching of a whole table may leave its rows as they are
        everywhere = all(field in others for others in reasons)
        if everywhere and field in asked and (field in OVERRULED or asked[field] != usual[field]):
            mend = f'{OVERRULED[field]}=None beside it' if field in OVERRULED else f'{field}={usual[field]!r}'
            raise ConfigError(f'{prefix}{field}={asked[field]} changes nothing: {why}; {prefix}{mend} would do')


def unread(fields: dict[str, Any], tokens: int | None = None) -> dict[str, str]:
    """The fields of a config, flat by dotted name, that nothing reads, and why; what is missing is read."""
    found = {
        field: f'{first}={fields[first]} goes before it'
        for field, first in OVERRULED.items()
        if fields.get(first) is not None
    }
    source = fields.get('data.name')
    if source in LOCAL:
        found['data.dir'] = f'data.name={source!r} is in no folder'
    for name in MADE:
        if name != source:
            made = (field for field in fields if field.startswith(f'data.{name}.'))
            found |= dict.fromkeys(made, f'data.name={name!r} alone reads it')
    if fields.get('checkpoint.count') == 1:
        found['checkpoint.select'] = 'checkpoint.count=1 leaves one to select'
    own = _unread_of_model(fields, tokens)
    if not fields.get('model.match'):
        return found | own | {'model.reference': "model.match='' solves no width"}
    # The arm that the width is matched to is made of the same fields.
    changed = {f'model.{name}': value for name, value in REFERENCE.items()}
    reference = _unread_of_model(fields | changed | {'model.mixer': fields.get('model.reference')}, tokens)
    found |= {field: why for field, why in own.items() if field in reference}
    if fields.get('model.name') == 'resnet':
        found['model.resnet_width'] = SOLVED
    # Full attention without positions costs the same with any number of heads that divides its channels.
    if 'model.num_heads' in own and not _has_heads(fields) and _divides(DEFAULTS['model.num_heads'], fields):
        found['model.num_heads'] = own['model.num_heads']
    return found


def _unread_of_model(fields: dict[str, Any], tokens: int | None) -> dict[str, str]:
    if fields.get('model.name') == 'resnet':
        return {f'model.{name}': "model.name='resnet' has no tokens" for name in OF_TOKENS}
    found, mixer = {}, fields.get('model.mixer')
    if fields.get('model.name') == 'backbone':
        found['model.resnet_width'] = "model.name='backbone' is no ResNet"
    if not isinstance(mixer, str) or mixer not in MIXERS:  # validation says so
        return found
    if not MIXERS[mixer].has_heads:
        found['model.num_heads'] = f'model.mixer={mixer!r} has no heads'
    elif fields.get('model.embed_dim') == fields.get('model.num_heads') and fields.get('model.positions.content'):
        found['model.attention_scale'] = 'of one channel a head, the root is 1'
    if MIXERS[mixer].has_heads and 1 in (tokens, fields.get('model.window')):
        # A token that sees itself alone has the weight 1, whatever says what it should be.
        why = 'model.window=1 lets a token see itself alone'
        if tokens == 1:
            why = found['model.window'] = f'model.patch_size={fields.get("model.patch_size")} makes an image one token'
        alone = ['num_heads', 'attention_scale', *(['positions.name'] if _is_in_attention(fields) else [])]
        found |= {f'model.{name}': why for name in alone}
    if not MIXERS[mixer].has_kernel:
        found['model.kernel_size'] = f'model.mixer={mixer!r} has no kernel'
    return found


def _divides(heads: int, fields: dict[str, Any]) -> bool:
    channels = fields.get('model.embed_dim')
    return isinstance(channels, int) and channels % heads == 0


def _has_heads(fields: dict[str, Any]) -> bool:
    mixer = fields.get('model.mixer') if fields.get('model.name') == 'backbone' else None
    return isinstance(mixer, str) and mixer in MIXERS and MIXERS[mixer].has_heads


def _is_in_attention(fields: dict[str, Any]) -> bool:
    name = fields.get('model.positions.name')
    return isinstance(name, str) and name in POSITIONS and POSITIONS[name].in_attention
