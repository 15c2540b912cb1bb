"""An arm with `match` costs what the reference arm does, and its width is one that it can have."""

import functools
import itertools
import json

import pytest
from ml_collections import ConfigDict

import models
from analysis import tables
from analysis.reading import runs
from configs import base, digits, fashion_mnist
from configs.errors import ConfigError
from data.spec import Spec
from experiment import folder
from experiment.checking.validate import validate
from experiment.run import execute
from models import matching
from models.accounting import count_params, forward_flops
from models.mixers import MIXERS


def _spec(side):
    return Spec('any', (side, side, 1), 10, tuple('0123456789'), flip=True)


FASHION = (fashion_mnist.get_config('tiny').model, _spec(28))
DIGITS = (digits.get_config('tiny').model, _spec(8))


def _changed(config, **fields):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict({name.replace('__', '.'): value for name, value in fields.items()})
    return changed


def _counted(config, spec, match):
    model = models.build(config, spec)
    if match == 'flops':
        return forward_flops(model, spec)
    return count_params(model.shapes)


@functools.lru_cache
def _reference(fields, spec, match):
    """Counted from the fields that make the reference arm, said once more."""
    config = ConfigDict(json.loads(fields))
    plain = {'positions__name': 'none', 'positions__content': True, 'window': None, 'match': ''}
    return _counted(_changed(config, name='backbone', mixer=config.reference, **plain), spec, match)


SIZES = {'fashion': FASHION, 'digits': DIGITS}
ARMS = [
    *((size, {'mixer': mixer, 'positions__name': 'none'}) for size in SIZES for mixer in MIXERS),
    ('digits', {'positions__name': 'relative_bias', 'num_heads': 8, 'window': 3, 'positions__content': False}),
    ('digits', {'positions__name': 'rnn'}),
    ('digits', {'positions__name': 'sinusoidal_2d', 'mixer': 'conv', 'reference': 'gru'}),
]


@pytest.mark.parametrize('match', matching.MATCHES)
@pytest.mark.parametrize(
    ('size', 'arm'), ARMS, ids=[f'{size}-{"-".join(map(str, arm.values()))}' for size, arm in ARMS]
)
def test_a_matched_arm_costs_what_the_reference_does(size, arm, match):
    config, spec = SIZES[size]
    target = _reference(_changed(config, reference=arm.get('reference', 'attention')).to_json(), spec, match)
    config = _changed(config, match=match, **arm)
    assert matching.width(config, spec).reference == target
    assert _counted(config, spec, match) == pytest.approx(target, rel=matching.TOLERANCE)
    solved = matching.matched(config, spec)
    if config.mixer == 'attention':
        assert solved.embed_dim % config.num_heads == 0
    if config.mixer == 'gru':
        assert solved.embed_dim % 2 == 0
    if config.positions.name == 'sinusoidal_2d':
        assert solved.embed_dim % 4 == 0
    width = {'embed_dim', 'mlp_ratio', 'match'}
    others = {name: value for name, value in solved.to_dict().items() if name not in width}
    assert others == {name: value for name, value in config.to_dict().items() if name not in width}


def test_the_reference_of_a_window_is_attention_to_all_tokens():
    """So many tokens that a window saves FLOPs, which the arm then spends."""
    config, spec = FASHION
    config = _changed(config, patch_size=2, depth=1, positions__name='none', match='flops')
    full, windowed = (matching.width(_changed(config, window=window), spec) for window in (None, 3))
    assert windowed.reference == full.reference
    assert windowed.fields['embed_dim'] > full.fields['embed_dim']


def test_the_arm_that_is_the_reference_stays_as_it_was_written():
    config, spec = FASHION
    config = _changed(config, positions__name='none', match='params')
    assert matching.width(config, spec).fields == {'embed_dim': 64, 'mlp_ratio': 2.0}


@pytest.mark.parametrize('match', matching.MATCHES)
def test_a_resnet_is_matched_where_its_steps_are_fine_enough(match):
    config = _changed(FASHION[0], name='resnet', embed_dim=192, match=match)
    width = matching.width(config, FASHION[1])
    assert set(width.fields) == {'resnet_width'}
    assert _counted(config, FASHION[1], match) == pytest.approx(width.reference, rel=matching.TOLERANCE)


@pytest.mark.parametrize('match', matching.MATCHES)
def test_the_kernel_that_is_asked_for_changes_no_width(match):
    """One kernel's FLOPs are hidden in it; the other's are seen, and as many."""
    config = _changed(DIGITS[0], mixer='conv', positions__name='none', match=match)
    plain, asked = (matching.width(_changed(config, attention_kernel=kernel), DIGITS[1]) for kernel in ('xla', 'cudnn'))
    assert asked == plain


def test_what_cannot_be_matched_is_refused_with_the_nearest_widths():
    config = base.get_config()
    config.data.name, config.data.synthetic.image_size, config.data.synthetic.channels = 'synthetic', 8, 1
    config.model.patch_size, config.model.name, config.model.match = 2, 'resnet', 'params'
    config.model.embed_dim, config.model.depth, config.model.mlp_ratio = 48, 3, 2.0
    with pytest.raises(
        ConfigError,
        match=r"model\.match='params': .* within 3% of the reference arm's 57,706 params; the nearest is "
        r'resnet_width 5 \(69,305; \+20\.1%\) or resnet_width 4 \(44,550; -22\.8%\); a larger model\.embed_dim would',
    ):
        validate(config)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'match': 'param'}, r"model\.match='param' is unknown; did you mean params"),
        ({'match': 'time'}, r"model\.match='time' is unknown; one of params, flops would do"),
        ({'reference': 'atention'}, r"model\.reference='atention' is unknown; did you mean attention"),
        (
            {'match': 'params', 'mixer': 'conv', 'num_heads': 3},
            r"the reference arm of model\.match='params' cannot be built: model\.num_heads=3 must divide",
        ),
        (
            {'match': 'flops', 'name': 'resnet', 'patch_size': 3},
            r'the reference arm .*model\.patch_size=3 does not tile',
        ),
    ],
)
def test_validation_names_what_is_wrong(fields, message):
    config = base.get_config()
    config.model.patch_size = 2
    config.model = _changed(config.model, **fields)
    with pytest.raises(ConfigError, match=message):
        validate(config)


@pytest.mark.parametrize(
    'fields',
    [
        {'positions__name': 'rnn', 'positions__inject': 'every_layer'},
        {'positions__name': 'relative_bias', 'positions__content': False, 'window': 3, 'reference': 'conv'},
        {'mixer': 'gru', 'positions__name': 'learned_1d', 'positions__inject': 'every_layer_shared'},
    ],
)
def test_what_an_arm_adds_to_the_reference_is_left_out_of_it(fields):
    """Whatever the arm has, the reference arm is one that validation lets pass."""
    config = base.get_config()
    config.model.patch_size, config.model.depth = 2, 2
    config.model = _changed(config.model, match='params', **fields)
    validate(config)


# Monotone costs of whole numbers: of a network, with much that no width changes, linear, steep, and of few steps.
COSTS = {
    'network': lambda n: 12 * n * n + 17 * n + 100,
    'mostly constant': lambda n: 10**6 + 3 * n,
    'linear': lambda n: 7 * n,
    'steep': lambda n: n**5,
    'late': lambda n: n if n < 50 else n**3,
}


@pytest.mark.parametrize('name', COSTS)
def test_a_bracket_holds_the_target_between_neighbours_in_few_evaluations(name):
    cost = COSTS[name]
    for target, guess in itertools.product((1, 90, 10_000, 1_000_123, 77_777_777), (1, 64, 1000)):
        asked = []

        def counting(number, asked=asked):
            asked.append(number)
            return cost(number)

        found = matching.bracket(counting, target, guess)
        assert all(spent == cost(number) for number, spent in found)
        if len(found) == 2:
            (low, under), (high, over) = found
            assert high == low + 1
            assert under < target < over
        else:
            (number, spent) = found[0]
            assert spent == target or (number == 1 and spent > target)
        assert len(asked) == len(set(asked)) < 50


def test_a_network_s_width_takes_four_evaluations():
    asked = []
    matching.bracket(lambda n: asked.append(n) or 12 * n * n * 4 + 17 * n + 100, 12 * 90 * 90 * 4, 64)
    assert len(asked) <= 4


def test_steps_that_are_too_coarse_leave_the_rest_to_the_mlp():
    config = _changed(FASHION[0], num_heads=16, embed_dim=64, mlp_ratio=2.0)

    def cost(fields):
        dim = fields['embed_dim']
        return 4 * dim * dim + 2 * dim * round(fields['mlp_ratio'] * dim)

    for target in range(20_000, 60_000, 1_001):
        best = matching.solve(config, cost, target)[0]
        assert best.cost == cost(best.fields) == pytest.approx(target, rel=matching.TOLERANCE)
        assert best.fields['embed_dim'] % 16 == 0
        plain = cost({'embed_dim': best.fields['embed_dim'], 'mlp_ratio': 2.0})
        if abs(plain - target) <= matching.TOLERANCE * target:
            assert best.fields['mlp_ratio'] == 2.0


def test_where_the_mlp_of_the_nearest_width_cannot_make_up_the_rest_that_of_the_other_does():
    """Of 48 channels all costs too much but the MLP, which 32 have room for."""
    config = _changed(FASHION[0], num_heads=16, embed_dim=64, mlp_ratio=2.0)

    def cost(fields):
        dim = fields['embed_dim']
        return 100 * dim * dim + dim * round(fields['mlp_ratio'] * dim)

    best = matching.solve(config, cost, 180_000)[0]
    assert best.fields['embed_dim'] == 32
    assert best.cost == pytest.approx(180_000, rel=matching.TOLERANCE)


def test_a_run_says_what_was_chosen_and_keeps_what_was_written(tmp_path):
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.train_examples = 8, 64
    config.data.synthetic.test_examples = 16
    config.model.embed_dim, config.model.depth, config.model.mixer = 32, 1, 'conv'
    config.model.positions.name, config.model.match = 'none', 'params'
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 2, 8, 16
    config.checkpoint.count, config.log.tensorboard = 1, False
    execute(config, tmp_path, lambda row, steps: None)
    result = json.loads((tmp_path / folder.RESULT).read_text())
    assert result['config']['model']['embed_dim'] == 32
    assert result['width']['embed_dim'] < 32
    assert result['params'] == pytest.approx(result['reference']['params'], rel=matching.TOLERANCE)
    # What evaluation and resuming build from the folder's config is the model that was trained.
    assert _counted(folder.read_config(tmp_path).model, validate(config), 'params') == result['params']
    note = next(note for note in tables.make_table(runs.read(tmp_path)).notes if 'reference' in note)
    assert f'embed_dim {result["width"]["embed_dim"]}' in note


@pytest.mark.parametrize(
    ('fields', 'multiple'),
    [
        ({'num_heads': 3, 'positions__name': 'rope_mixed'}, 12),
        ({'num_heads': 6, 'positions__name': 'sinusoidal_2d'}, 12),
        ({'num_heads': 6, 'positions__name': 'sinusoidal_2d', 'mixer': 'gru'}, 4),
        ({'num_heads': 6, 'positions__name': 'none'}, 6),
        ({'num_heads': 6, 'positions__name': 'none', 'mixer': 'gru'}, 2),
    ],
    ids=str,
)
def test_a_width_divides_among_heads_and_among_what_positions_take_of_each(fields, multiple):
    assert matching.multiple(_changed(DIGITS[0], **fields)) == multiple


def test_without_a_match_the_width_is_as_written():
    config, spec = FASHION
    assert matching.width(config, spec) == ({'embed_dim': 64, 'mlp_ratio': 2.0}, None)
    assert matching.width(_changed(config, name='resnet'), spec) == ({'resnet_width': 64}, None)
    assert matching.matched(config, spec) is config
