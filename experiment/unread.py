"""Fields that a config leaves without effect. Whoever asks for one is told so: its run would be labelled by what it
does not do, and two that differ in nothing else would pass for two."""

from typing import Any

from ml_collections import ConfigDict

from configs import base
from configs.errors import ConfigError
from experiment.folder import flatten

OVERRULED = {'train.epochs': 'train.steps', 'data.train_fraction': 'data.train_examples'}  # by what goes before it
OF_TOKENS = ('mixer', 'patch_size', 'embed_dim', 'depth', 'mlp_ratio', 'positions.name')
DEFAULTS = flatten(base.get_config().to_dict())


def refuse_unread(asked: dict[str, Any], config: ConfigDict, prefix: str = '') -> None:
    """Raises ConfigError where a field that was `asked` for, by dotted name, changes nothing of what `config` does.

    As configs/base.py has it a field may be asked for all the same, as in a table's rows that cross two fields.

    Args:
      prefix: what stands before a field's name where it was written.
    """
    fields = flatten(config.to_dict())
    for field, why in unread(fields).items():
        if field in asked and (field in OVERRULED or asked[field] != DEFAULTS[field]):
            mend = f'{prefix}{OVERRULED[field]}=None beside it' if field in OVERRULED else repr(DEFAULTS[field])
            raise ConfigError(f'{prefix}{field}={asked[field]} changes nothing: {why}; {mend} would do')


def unread(fields: dict[str, Any]) -> dict[str, str]:
    """The fields of a config, flat by dotted name, that nothing reads, and why; what is missing is read."""
    found = {
        field: f'{first}={fields[first]} goes before it'
        for field, first in OVERRULED.items()
        if fields.get(first) is not None
    }
    source = fields.get('data.name')
    if source in ('digits', 'synthetic'):
        found['data.dir'] = f'data.name={source!r} is in no folder'
    if source != 'synthetic':
        made = (field for field in fields if field.startswith('data.synthetic.'))
        found |= dict.fromkeys(made, f'data.name={source!r} is not made')
    return found if fields.get('model.match') else found | _unread_of_model(fields)


def _unread_of_model(fields: dict[str, Any]) -> dict[str, str]:
    """Where no width is solved: the reference arm, which is, reads fields that the arm itself does not."""
    found = {'model.reference': "model.match='' solves no width"}
    if fields.get('model.name') == 'resnet':
        without = "model.name='resnet' has no tokens"
        found |= {f'model.{name}': without for name in (*OF_TOKENS, 'num_heads', 'kernel_size')}
        return found
    found['model.resnet_width'] = f'model.name={fields.get("model.name")!r} is no ResNet'
    mixer = fields.get('model.mixer')
    if mixer != 'attention':
        found['model.num_heads'] = f'model.mixer={mixer!r} has no heads'
    if mixer not in ('conv', 'depthwise_conv'):
        found['model.kernel_size'] = f'model.mixer={mixer!r} has no kernel'
    return found
