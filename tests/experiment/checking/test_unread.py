"""What a config leaves without effect cannot be asked for, and what it reads can."""

import itertools

import jax
import numpy as np
import pytest

import data
from configs import base
from configs.errors import ConfigError
from configs.fields import flatten, get
from configs.tables import positions_by_heads
from experiment.checking.unread import MADE, refuse_unread, unread
from experiment.sweeping import sweeps
from models import build
from models.mixers import MIXERS


def configured(fields):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    return config


def test_datasets_that_a_config_describes_need_no_preparation():
    assert set(MADE) == set(data.LOCAL) & set(base.get_config().data) != set()


def says(config):
    """What a model makes of some images, as it is drawn."""
    model = build(config.model, data.spec(config.data))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    return np.asarray(model.apply(model.init(jax.random.key(0)), images).logits)


@pytest.mark.parametrize(
    ('fields', 'asked', 'why'),
    [
        ({'train.steps': 5}, 'train.epochs', r'train\.steps=5 goes before it; .*train\.steps=None beside it would do'),
        ({'data.train_examples': 100}, 'data.train_fraction', r'data\.train_examples=100 goes before it'),
        (
            {'model.kernel_size': 5},
            'model.kernel_size',
            r"'attention' has no kernel; --config\.model\.kernel_size=3 would do",
        ),
        ({'model.mixer': 'gru', 'model.kernel_size': 5}, 'model.kernel_size', "mixer='gru' has no kernel"),
        (
            {'model.mixer': 'conv', 'model.num_heads': 8},
            'model.num_heads',
            r"'conv' has no heads; --config\.model\.num_heads=4 would do",
        ),
        (
            {'model.name': 'resnet', 'model.depth': 9},
            'model.depth',
            r'has no tokens; --config\.model\.depth=4 would do',
        ),
        ({'model.name': 'resnet', 'model.positions.name': 'ode'}, 'model.positions.name', 'has no tokens'),
        ({'model.name': 'resnet', 'model.num_heads': 1}, 'model.num_heads', 'has no tokens'),
        ({'model.resnet_width': 16}, 'model.resnet_width', r'is no ResNet; --config\.model\.resnet_width=64 would do'),
        ({'model.reference': 'conv'}, 'model.reference', 'solves no width'),
        ({'model.match': 'params', 'model.kernel_size': 7, 'model.reference': 'gru'}, 'model.kernel_size', 'no kernel'),
        ({'model.match': 'params', 'model.resnet_width': 16}, 'model.resnet_width', 'is no ResNet'),
        ({'model.name': 'resnet', 'model.match': 'flops', 'model.num_heads': 8}, 'model.num_heads', 'has no tokens'),
        ({'model.mixer': 'conv', 'model.match': 'params', 'model.num_heads': 8}, 'model.num_heads', 'has no heads'),
        ({'data.dir': '/somewhere'}, 'data.dir', 'is in no folder'),
        ({'data.synthetic.channels': 1}, 'data.synthetic.channels', "data.name='synthetic' alone reads it"),
        (
            {'data.name': 'synthetic', 'data.digit_pairs.grid': 4},
            'data.digit_pairs.grid',
            r"data\.name='digit_pairs' alone reads it; --config\.data\.digit_pairs\.grid=6 would do",
        ),
        (
            {'data.name': 'digit_pairs', 'data.synthetic.channels': 1},
            'data.synthetic.channels',
            "data.name='synthetic' alone reads it",
        ),
        (
            {'model.num_heads': 64, 'model.attention_scale': 'none'},
            'model.attention_scale',
            "of one channel .*attention_scale='sqrt_head",
        ),
        (
            {'checkpoint.count': 1, 'checkpoint.select': 'last'},
            'checkpoint.select',
            r"leaves one to select; --config\.checkpoint\.select='best' would do",
        ),
    ],
)
def test_a_field_without_effect_is_refused_only_where_it_is_asked_for(fields, asked, why):
    config = configured(fields)
    with pytest.raises(ConfigError, match=rf'--config\.{asked}=.* changes nothing: .*{why}'):
        refuse_unread({asked: get(config, asked)}, [config], '--config.')
    refuse_unread({}, [config])


@pytest.mark.parametrize(
    'fields',
    [
        {'train.steps': None, 'train.epochs': 3.0},
        {'data.train_fraction': 0.5},
        {'data.train_fraction': 1.0, 'train.epochs': 60.0},  # as they are anyway, and read
        {'model.mixer': 'conv', 'model.kernel_size': 5},
        {'model.mixer': 'depthwise_conv', 'model.kernel_size': 5, 'model.positions.name': 'none'},
        {'model.num_heads': 8, 'model.embed_dim': 96},
        {'model.name': 'resnet', 'model.resnet_width': 16, 'model.stochastic_depth': 0.1, 'model.dropout': 0.1},
        # The reference arm is as wide and as deep, whatever the arm that is matched to it.
        {'model.name': 'resnet', 'model.match': 'flops', 'model.embed_dim': 96, 'model.depth': 3},
        {'data.name': 'synthetic', 'data.synthetic.channels': 1},
        {'data.name': 'digit_pairs', 'data.digit_pairs.distance': 2},
        {'data.name': 'fashion_mnist', 'data.dir': '/somewhere'},
        {'model.num_heads': 32, 'model.attention_scale': 'none'},
        # The width that is solved may leave a head more than one channel.
        {'model.num_heads': 64, 'model.attention_scale': 'none', 'model.match': 'params', 'model.reference': 'conv'},
        {'checkpoint.count': 2, 'checkpoint.select': 'last'},
        # A table's rows that cross mixers and heads, as far as the field is as it always is.
        {'model.mixer': 'conv', 'model.num_heads': 4},
    ],
)
def test_a_field_that_is_read_may_be_asked_for(fields):
    refuse_unread(fields, [configured(fields)])


TINY = {'model.embed_dim': 8, 'model.depth': 1, 'model.mlp_ratio': 1.0}
PAIRS = [('model.attention_scale', ('sqrt_head_dim', 'none'), {'model.num_heads': heads}) for heads in (4, 8)]


@pytest.mark.parametrize(('field', 'values', 'fields'), PAIRS)
def test_values_that_compute_the_same_are_those_that_are_refused(field, values, fields):
    configs = [configured(TINY | fields | {field: value}) for value in values]
    said = [says(config) for config in configs]
    for (usual, one), (config, other) in itertools.permutations(zip(configs, said, strict=True), 2):
        asked = {field: get(config, field)}
        try:
            refuse_unread(asked, [config], usual=flatten(usual.to_dict()))
        except ConfigError:
            assert sum(np.array_equal(other, each) for each in said) > 1
        else:
            assert not np.array_equal(other, one)


def test_of_several_configs_one_that_reads_a_field_is_enough():
    asked = {'model.kernel_size': 5}
    attention, conv = configured(asked), configured(asked | {'model.mixer': 'conv'})
    refuse_unread(asked, [attention, conv])
    refuse_unread(asked, [conv, attention])
    with pytest.raises(ConfigError, match='has no kernel'):
        refuse_unread(asked, [attention, attention])


def test_what_is_as_it_would_be_anyway_may_be_said_again():
    config = configured({'model.mixer': 'conv', 'model.num_heads': 2})
    refuse_unread({'model.num_heads': 2}, [config], usual=flatten(config.to_dict()))
    with pytest.raises(ConfigError, match=r'has no heads; model\.num_heads=4 would do'):
        refuse_unread({'model.num_heads': 2}, [config])


@pytest.mark.parametrize(
    ('asked', 'others'),
    [
        ({'model.num_heads': 2}, {}),
        ({'model.attention_scale': 'none'}, {}),
        ({'model.positions.name': 'relative_bias'}, {}),
    ],
)
def test_where_a_token_sees_itself_alone_nothing_says_how_much(asked, others):
    config = TINY | {'model.positions.name': 'none', 'model.window': 1} | others
    with pytest.raises(ConfigError, match=r'model\.window=1 lets a token see itself alone'):
        refuse_unread(asked, [configured(config | asked)])
    if 'model.positions.name' not in asked:
        assert np.array_equal(says(configured(config)), says(configured(config | asked)))
    refuse_unread(asked, [configured(config | {'model.window': 3} | asked)])


@pytest.mark.parametrize(
    'asked',
    [
        {'model.num_heads': 2},
        {'model.attention_scale': 'none'},
        {'model.window': 3},
        {'model.positions.name': 'alibi_2d'},
        {'model.positions.name': 'relative_bias'},
    ],
    ids=str,
)
def test_where_an_image_is_one_token_neither_heads_nor_windows_nor_positions_in_attention_do_anything(asked):
    config = TINY | {'model.positions.name': 'none', 'model.patch_size': 8}
    with pytest.raises(ConfigError, match=r'model\.patch_size=8 makes an image one token'):
        refuse_unread(asked, [configured(config | asked)], tokens_of=lambda config: 1)
    assert np.array_equal(says(configured(config)), says(configured(config | asked)))
    for tokens in (None, 4):
        refuse_unread(asked, [configured(config | asked)], tokens_of=lambda config, tokens=tokens: tokens)
    added = {'model.positions.name': 'learned_1d'}
    refuse_unread(added, [configured(config | added)], tokens_of=lambda config: 1)
    assert not np.array_equal(says(configured(config)), says(configured(config | added)))


@pytest.mark.parametrize('field', ['model.mixer', 'model.reference', 'model.positions.name', 'model.name'])
def test_a_config_that_somebody_else_wrote_may_hold_anything(field):
    fields = flatten(base.get_config().to_dict()) | {'model.match': 'params', 'model.window': 1}
    for value in ([1], {'a': []}, None, 3, 'x'):
        unread(fields | {field: value})


def test_a_width_that_is_solved_is_refused_beside_what_asks_for_that():
    asked = {'model.name': 'resnet', 'model.match': 'params', 'model.resnet_width': 16}
    with pytest.raises(
        ConfigError, match=r'width=16 changes nothing: model\.match solves it; model\.resnet_width=64 would'
    ):
        refuse_unread(asked, [configured(asked)])


def test_a_whole_table_may_be_matched_though_a_row_says_a_width():
    config = positions_by_heads.get_config()
    config.model.match = 'params'
    rows = [row for row in positions_by_heads.sweep() if row.get('model.name') == 'resnet']
    assert {run.config.model.resnet_width for run in sweeps.plan(config, rows)} == {16}


def test_heads_by_which_the_reference_can_be_built_are_read():
    asked = {'model.mixer': 'conv', 'model.match': 'params', 'model.embed_dim': 66, 'model.num_heads': 3}
    refuse_unread(asked, [configured(asked)])


def test_of_a_misspelt_mixer_validation_is_to_tell():
    asked = {'model.mixer': 'convolution', 'model.kernel_size': 5, 'model.num_heads': 8}
    refuse_unread(asked, [configured(asked)])


@pytest.mark.parametrize('field', ['model.num_heads', 'model.kernel_size'])
@pytest.mark.parametrize('mixer', MIXERS)
def test_heads_and_kernels_are_unread_where_a_mixer_computes_the_same_without(mixer, field):
    small, large = (
        configured(TINY | {'model.mixer': mixer} | {field: value}) for value in (1, get(base.get_config(), field))
    )
    assert (field in unread(flatten(large.to_dict()))) == np.array_equal(says(small), says(large))


def test_every_field_named_is_one_of_the_config():
    fields = flatten(base.get_config().to_dict())
    for name, mixer in (('resnet', 'attention'), ('backbone', 'attention'), ('backbone', 'gru')):
        assert set(unread(fields | {'model.name': name, 'model.mixer': mixer, 'train.steps': 3})) <= set(fields)


def test_heads_in_a_window_of_one_token_count_where_the_width_is_matched_to_full_attention():
    fields = flatten(base.get_config().to_dict()) | {'model.window': 1}
    assert 'model.num_heads' in unread(fields)
    assert 'model.num_heads' not in unread(fields | {'model.match': 'flops'})
