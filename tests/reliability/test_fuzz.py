"""Any config either trains two steps or is refused in one line, with nothing written; nothing else.

  pytest tests/reliability/test_fuzz.py --fuzz-examples=5000

Configs are drawn as config.json could hold them, so that values of a wrong type reach validation, which ml_collections
would refuse on a command line. Each differs from a tiny experiment in a few fields of configs/base.py, whatever they
are: a field that is added there is drawn here.
"""

import math
import tempfile
from pathlib import Path

import hypothesis
import jax
import pytest
from hypothesis import HealthCheck, Phase, strategies
from ml_collections import ConfigDict

from configs import base
from configs.errors import ConfigError
from configs.fields import flatten
from experiment.run import execute
from models import MODELS
from models.matching import MATCHES
from models.mixers import MIXERS
from models.positions import POSITIONS
from training.optimiser import Rates
from training.recording.log import read_rows

SHARDS = 8
TINY = {
    'data.name': 'synthetic',
    'data.digit_pairs.grid': 2,
    'data.digit_pairs.train_examples': 12,
    'data.digit_pairs.test_examples': 4,
    'data.synthetic.image_size': 4,
    'data.synthetic.channels': 1,
    'data.synthetic.num_classes': 2,
    'data.synthetic.train_examples': 12,
    'data.synthetic.test_examples': 4,
    'model.patch_size': 2,
    'model.embed_dim': 8,
    'model.depth': 1,
    'model.num_heads': 2,
    'model.mlp_ratio': 1.0,
    'model.resnet_width': 1,
    'train.steps': 2,
    'train.batch_size': 4,
    'train.eval_batch_size': 4,
    'checkpoint.count': 1,
    'log.every': 1,
    'log.tensorboard': False,
}
# Values with which something can train, more often than not; a bool that is not here is True or False.
GOOD = {
    'seed': [0, 1, 2**31, 2**32 - 1],
    'data.name': ['synthetic', 'synthetic', 'synthetic', 'digits', 'digit_pairs'],
    'data.dir': ['', '/nowhere'],
    'data.image_size': [None],
    'data.train_fraction': [1.0, 0.5, 1, 0.1],
    'data.train_examples': [None, 1, 3, 9],
    'data.validation_fraction': [0.1, 0.5, 0.99],
    'data.augment.crop': [0, 1, 4],
    'data.digit_pairs.grid': [2, 3, 1],
    'data.digit_pairs.distance': [None, 1, 2],
    'data.digit_pairs.train_examples': [12, 16, 7, 1],
    'data.digit_pairs.test_examples': [4, 1],
    'data.synthetic.image_size': [4, 8, 2, 6],
    'data.synthetic.channels': [1, 3, 2],
    'data.synthetic.num_classes': [2, 1, 5],
    'data.synthetic.train_examples': [12, 16, 7],
    'data.synthetic.test_examples': [4, 1],
    'model.name': list(MODELS)[:1] * 5 + list(MODELS),
    'model.mixer': list(MIXERS),
    'model.kernel_size': [3, 1, 5],
    'model.patch_size': [2, 1, 4],
    'model.embed_dim': [8, 4, 16, 12],
    'model.depth': [1, 2],
    'model.mlp_ratio': [1.0, 0.5, 2, 0.13],
    'model.num_heads': [2, 1, 4],
    'model.window': [None, 1, 3, 10**12 + 1],
    'model.attention_scale': list(base.ATTENTION_SCALES),
    'model.dropout': [0.0, 0.5, 0.99],
    'model.stochastic_depth': [0.0, 0.5, 0.99],
    'model.positions.name': list(POSITIONS),
    'model.positions.inject': list(base.INJECTIONS),
    'model.attention_kernel': list(base.ATTENTION_KERNELS),
    'model.resnet_width': [1, 2, 17],
    'model.match': ['', '', '', *MATCHES],
    'model.reference': list(MIXERS),
    'train.epochs': [1.0, 0.1, 2, 1e-300],
    'train.steps': [2, 2, 2, None, 1, 3],
    'train.batch_size': [4, 2, 1, 13],
    'train.learning_rate': [1e-3, 1e300, 1e-300, 1],
    'train.weight_decay': [0.0, 0.05, 1e300],
    'train.warmup': [0.0, 0.1, 0.99],
    'train.label_smoothing': [0.0, 0.1, 0.99],
    'train.clip_norm': [0.0, 1.0, 1e300, 1e-300],
    'train.compute_dtype': ['float32', 'bfloat16'],
    'train.shares': [None, 1, 2, 4],
    'train.accumulate': [None, 1, 2, 4],
    'train.steps_per_dispatch': [None, 1, 2, 10**9],
    'train.eval_batch_size': [4, 1, 3],
    'log.every': [1, 2, 3, 10**9],
    'log.tensorboard': [False, False, True],
    'log.wandb': [''],
    'checkpoint.count': [1, 2, 10**9],
    'checkpoint.keep': [1, 2, 10**9],
    'checkpoint.select': ['best', 'last'],
}
NUMBERS = [0, -1, 1, 3, 10**9, 10**12, 2**63, -(2**63), 10**400, True, 0.0, 0.5, 1.0, -1.0, 2.5, 1e308, 1e-308]
NUMBERS += [math.nan, math.inf, -math.inf, -0.0]
TEXTS = ['', 'x', ' ', 'None', '../..', '/etc/passwd', '~nobody', 'mnist', 'imagenet2012', 'cifar10/a', 'mnist:9.9.9']
TEXTS += ['a\nb', '\0', '\x1b[2J', '\u202e', '\ud800', 'é' * 5000, '%s{0}', '<b>', '[', '*']
OTHERS = [None, [], [1], [64, 'x'], True, False]
FIELDS = flatten(base.get_config().to_dict())
CHEAP = [name for name in FIELDS if name.split('.')[0] in ('seed', 'log', 'checkpoint') or name[6:] in Rates._fields]


def good(field):
    default = FIELDS[field]
    return GOOD.get(field, [True, False] if isinstance(default, bool) else [default])


def bad(field):
    """Values of any kind, of the field's own more often."""
    if field == 'log.wandb':  # of any text wandb makes a project, here with what it has of settings and threads
        return strategies.sampled_from(NUMBERS)
    own = TEXTS if isinstance(FIELDS[field], str) else NUMBERS
    return strategies.one_of(*map(strategies.sampled_from, (own, own, NUMBERS, TEXTS, OTHERS)))


@strategies.composite
def changes(draw):
    """Fields of the tiny experiment that change: some to what may well train, and two times in three one to anything.

    Every other example changes no field that its programs depend on, so that they are there already: else compiling
    would be nearly all that this test does.
    """
    known = sorted(FIELDS) if draw(strategies.booleans()) else CHEAP
    names = draw(strategies.lists(strategies.sampled_from(known), max_size=6, unique=True))
    fields = {name: draw(strategies.sampled_from(good(name))) for name in names}
    if draw(strategies.sampled_from((True, True, False))):  # the first is what hypothesis draws most
        name = draw(strategies.sampled_from(sorted(FIELDS)))
        fields[name] = draw(bad(name))
    return fields


def config_of(fields):
    """As folder.read_config gives it: the tree is whole, and values may be anything that JSON holds."""
    tree = base.get_config().to_dict()
    for name, value in {**TINY, **fields}.items():
        *groups, leaf = name.split('.')
        node = tree
        for group in groups:
            node = node[group]
        node[leaf] = value
    return ConfigDict(tree).lock()


def outcome(fields):
    """'trained', 'diverged' or 'refused'; fails where it is anything else."""
    with tempfile.TemporaryDirectory() as parent:
        workdir = Path(parent) / 'run'
        try:
            result = execute(config_of(fields), workdir, lambda row, steps: None)
        except ConfigError as error:
            message = str(error)
        else:
            message = None
        if message is not None:
            assert message.isprintable(), message  # so it is one line
            assert len(message) < 2000
            assert not workdir.exists()
            return 'refused'
        if result['status'] == 'diverged':
            assert result['diverged_step'] >= 1
            return 'diverged'
        assert result['status'] == 'finished'
        for split in ('train', 'validation', 'test'):
            assert 0 <= result[split]['accuracy'] <= 1
            assert math.isfinite(result[split]['loss'])
        assert all(math.isfinite(value) for row in read_rows(workdir / 'metrics.jsonl') for value in row.values())
        return 'trained'


@pytest.mark.parametrize('shard', range(SHARDS))
def test_any_config_trains_or_is_refused_in_one_line(shard, request):
    counts = {'trained': 0, 'diverged': 0, 'refused': 0}
    examples = -(-request.config.getoption('--fuzz-examples') // SHARDS)

    # The examples follow from the shard alone. No shrinking: a failure shows its few fields as they were drawn.
    @hypothesis.seed(shard)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(changes())
    def check(fields):
        counts[outcome(fields)] += 1

    check()
    jax.clear_caches()  # of programs that no other test has
    print(counts)
    assert counts['trained'] >= examples / 8
    assert counts['refused'] >= examples / 4


def test_the_tiny_experiment_trains():
    assert outcome({}) == 'trained'


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('model.embed_dim', 10**9),
        ('model.depth', 10**12),
        ('model.mlp_ratio', 1e308),
        ('model.kernel_size', 10**9 + 1),
        ('model.resnet_width', 10**9),
        ('model.patch_size', 10**9),
        ('data.digit_pairs.grid', 10**9),
        ('data.digit_pairs.train_examples', 10**12),
        ('data.digit_pairs.test_examples', 10**12),
        ('data.synthetic.image_size', 10**9),
        ('data.synthetic.channels', 10**12),
        ('data.synthetic.num_classes', 10**9),
        ('data.synthetic.train_examples', 10**12),
        ('data.synthetic.test_examples', 10**12),
        ('train.batch_size', 10**12),
        ('train.eval_batch_size', 10**12),
        ('train.steps', 10**12),
        ('train.steps', 2**31 - 1),
        ('train.epochs', 1e308),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_made(field, value):
    fields = {'model.mixer': 'conv', 'model.positions.name': 'none'} if 'kernel' in field else {}
    fields |= {'model.name': 'resnet'} if 'resnet' in field else {}
    fields |= {'train.steps': None} if 'epochs' in field else {}
    fields |= {'data.name': 'digit_pairs'} if 'digit_pairs' in field else {}
    fields |= {'train.steps': value, 'log.every': 1} if value == 2**31 - 1 else {field: value}
    with pytest.raises(ConfigError, match=rf'{field}={value}'.replace('+', r'\+')):
        execute(config_of(fields), Path('/nowhere'), lambda row, steps: None)
