from types import SimpleNamespace

import jax
import pytest

import data
import models
from configs import base
from configs.errors import ConfigError
from experiment.checking import fits
from experiment.checking.validate import validate
from models.mixers import MIXERS


def check(to_train=True, **fields):
    config = base.get_config()
    config.model.patch_size = 2
    config.update_from_flattened_dict({name.replace('__', '.'): value for name, value in fields.items()})
    return validate(config, to_train=to_train)


def test_a_good_config_gives_the_spec_of_its_data():
    assert check().image_shape == (8, 8, 1)
    assert check(data__name='synthetic', data__synthetic__image_size=6).image_shape == (6, 6, 3)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'model__num_heads': 3}, r'model\.num_heads=3 must divide model\.embed_dim=64; 1, 2, 4'),
        ({'model__num_heads': 0}, r'model\.num_heads=0: 1 or more'),
        ({'model__patch_size': 3}, r'model\.patch_size=3 does not tile digits images of 8 x 8 pixels; 1, 2, 4 or 8'),
        (
            {'model__positions__name': 'learned'},
            r"model\.positions\.name='learned' is unknown; did you mean learned_[12]d",
        ),
        ({'model__positions__inject': 'steam'}, r"model\.positions\.inject='steam' is unknown; did you mean stem"),
        ({'model__mixer': 'atention'}, r"model\.mixer='atention' is unknown; did you mean attention"),
        ({'model__name': 'resnet18'}, r"model\.name='resnet18' is unknown; did you mean resnet"),
        ({'model__attention_scale': 'sqrt'}, r"model\.attention_scale='sqrt' is unknown"),
        ({'model__mixer': 'conv', 'model__kernel_size': 4}, r'model\.kernel_size=4 has no centre; 3 or 5'),
        ({'model__mixer': 'gru', 'model__embed_dim': 63}, r"model\.embed_dim=63 must be a multiple of 2 .*'gru'; 64"),
        (
            {'model__positions__name': 'sinusoidal_2d', 'model__embed_dim': 66, 'model__num_heads': 1},
            r'model\.embed_dim=66 must be a multiple of 4 .*; 68',
        ),
        (
            {'model__positions__name': 'alibi_2d', 'model__mixer': 'conv'},
            r"model\.positions\.name='alibi_2d' acts inside attention, and model\.mixer='conv' has none; 'none' would",
        ),
        (
            {'model__positions__name': 'sinusoidal_1d', 'model__positions__inject': 'every_layer'},
            r"inject='every_layer': 'sinusoidal_1d' has no params for a layer .*; 'every_layer_shared' would do",
        ),
        (
            {'model__depth': 1, 'model__positions__inject': 'every_layer_shared'},
            r"inject='every_layer_shared': model\.depth=1 has one place for codes; 'stem' would do",
        ),
        (
            {'model__positions__name': 'rope_axial', 'model__positions__inject': 'every_layer'},
            r"model\.positions\.inject='every_layer' says where codes are added to tokens, and 'rope_axial' adds none",
        ),
        (
            {'model__positions__name': 'conditional', 'model__depth': 1},
            r'model\.depth=1 leaves no place between blocks .* 2 or more',
        ),
        (
            {'model__stochastic_depth': 0.1, 'model__depth': 1},
            r'model\.stochastic_depth=0\.1 rises from 0 in the first block, and model\.depth=1 has no other; 0\.0',
        ),
        (
            {'model__positions__name': 'rope_mixed', 'model__embed_dim': 24},
            r'model\.embed_dim=24 over model\.num_heads=4 must be a multiple of 4 .*model\.embed_dim=32 would do',
        ),
        (
            {'model__positions__name': 'learned_2d', 'model__positions__content': False},
            r"content=False: by 'learned_2d' alone .*alibi_2d, relative_bias or gaussian would do",
        ),
        ({'model__window': 4}, r'model\.window=4 has no centre on a grid; 3 or 5 would do'),
        ({'model__window': 0}, r'model\.window=0: 1 or more'),
        (
            {'model__window': 3, 'model__mixer': 'gru'},
            r"model\.window=3 is about attention, and model\.mixer='gru' has none; None would do",
        ),
        (
            {'model__window': 3, 'model__name': 'resnet'},
            r"model\.window=3 is about attention, and model\.name='resnet' has none; None would do",
        ),
        (
            {'model__attention_scale': 'none', 'model__mixer': 'conv'},
            r"attention_scale='none' is about attention, .*; 'sqrt_head_dim' would do",
        ),
        (
            {'model__positions__content': False, 'model__mixer': 'conv', 'model__positions__name': 'none'},
            r'content=False is about attention, .*; True would do',
        ),
        (
            {'model__positions__inject': 'every_layer', 'model__name': 'resnet'},
            r"inject='every_layer' is about tokens, and model\.name='resnet' has none; 'stem' would do",
        ),
        (
            {
                'model__positions__name': 'gaussian',
                'model__positions__content': False,
                'model__attention_scale': 'none',
            },
            r"attention_scale='none' scales the product .*content=False leaves none",
        ),
        ({'model__window': True}, r'model\.window=True is of type bool; int would do'),
        ({'data__name': 'digit'}, r"data\.name='?digit'? .*digits"),
        ({'data__train_fraction': 0.0}, r'data\.train_fraction=0\.0 must be in \(0, 1\]'),
        ({'data__train_fraction': 1.5}, r'data\.train_fraction=1\.5 must be in \(0, 1\]'),
        ({'data__train_fraction': float('nan')}, r'data\.train_fraction=nan must be in'),
        ({'data__validation_fraction': 1.0}, r'data\.validation_fraction=1\.0 must be in \(0, 1\)'),
        ({'data__augment__flip': True}, r'data\.augment\.flip=True: a mirrored image of digits'),
        ({'data__augment__crop': 9}, r'data\.augment\.crop=9 pads more than the image'),
        ({'data__image_size': 16}, r'data\.image_size=16: digits is not resized; leave it None$'),
        (
            {'data__name': 'digit_pairs', 'data__image_size': 16},
            r'digit_pairs is not resized; leave it None, and set data\.digit_pairs\.grid$',
        ),
        (
            {'data__name': 'digit_pairs', 'data__digit_pairs__distance': 0},
            r'data\.digit_pairs\.distance=0: 1 or more would do',
        ),
        (
            {'data__name': 'digit_pairs', 'data__digit_pairs__grid': 1},
            r'data\.digit_pairs\.grid=1 has no room for two digits; 2 or more would do',
        ),
        (
            {'data__name': 'digit_pairs', 'data__digit_pairs__grid': 10**6},
            r'grid=1000000, .*train_examples=20000, .*test_examples=2000: the images would take',
        ),
        ({'train__steps': 0}, r'train\.steps=0: 1 or more'),
        ({'train__epochs': 0.0}, r'train\.epochs=0\.0 must be a positive number'),
        ({'train__epochs': float('inf')}, r'train\.epochs=inf must be a positive number, and finite'),
        ({'train__clip_norm': float('inf')}, r'train\.clip_norm=inf must be 0 or a positive number, and finite'),
        (
            {'train__learning_rate': 1e39},
            r'train\.learning_rate=1e\+39 must be a positive number, and finite in float32',
        ),
        ({'train__learning_rate': -1.0}, r'train\.learning_rate=-1\.0 must be a positive number'),
        ({'train__warmup': 1.0}, r'train\.warmup=1\.0 must be in \[0, 1\)'),
        ({'train__compute_dtype': 'float16'}, r"train\.compute_dtype='float16' is unknown; did you mean"),
        ({'checkpoint__select': 'first'}, r"checkpoint\.select='first' is unknown"),
        ({'checkpoint__keep': 0}, r'checkpoint\.keep=0: 1 or more'),
        ({'model__dropout': 1.0}, r'model\.dropout=1\.0 must be in \[0, 1\)'),
        ({'seed': -1}, r'seed=-1 must be in'),
    ],
)
def test_what_cannot_work_is_named_with_its_value_and_what_would_do(fields, message):
    with pytest.raises(ConfigError, match=message):
        check(**fields)


@pytest.mark.parametrize(
    'fields',
    [
        {'model__name': 'resnet', 'model__num_heads': 3, 'model__patch_size': 3},
        {'model__mixer': 'conv', 'model__num_heads': 3},
        {'model__mixer': 'identity', 'model__kernel_size': 4},
    ],
)
def test_fields_that_an_arm_does_not_read_do_not_stop_it(fields):
    check(**fields)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'train__batch_size': 2**40}, 'train.batch_size=.* the activations of a step would take'),
        ({'model__embed_dim': 2**12, 'model__depth': 16}, 'the params in training would take'),
        ({'model__name': 'resnet', 'model__resnet_width': 2**10}, 'the params in training would take'),
        ({'train__steps': 2**30, 'checkpoint__count': 2**30}, 'the plan of the steps would take'),
        (
            {'train__steps_per_dispatch': 2**28, 'log__every': 2**28, 'train__steps': 2**28, 'checkpoint__count': 1},
            r'train\.steps_per_dispatch=268435456, .*: the rows of a dispatch would take',
        ),
    ],
)
def test_what_was_trained_elsewhere_is_evaluated_where_it_could_not_train(fields, message, monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 24 * 2**30)
    with pytest.raises(ConfigError, match=message):
        check(**fields)
    check(to_train=False, **fields)


def test_a_dispatch_is_no_longer_than_there_is_between_two_milestones(monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 24 * 2**30)
    check(train__steps_per_dispatch=2**28, log__every=2**28, train__steps=2**28, checkpoint__count=100)


@pytest.mark.parametrize('name', ['team/project', 'a' * 129, 'what?'])
def test_a_project_that_wandb_would_refuse_is_refused_before_anything_is_written(name):
    with pytest.raises(ConfigError, match=r'log\.wandb=.*the name of a project'):
        check(log__wandb=name)


def test_a_kernel_that_falls_back_needs_the_memory_of_the_other(monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 2**30)
    for kernel in ('xla', 'cudnn'):
        with pytest.raises(ConfigError, match="a layer's attention would take"):
            check(model__attention_kernel=kernel, model__patch_size=1, model__num_heads=32, train__batch_size=2**12)


def test_a_row_of_the_log_takes_no_memory(monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 24 * 2**30)
    check(train__steps=2**30, log__every=1)


def test_what_cannot_be_evaluated_either_is_told(monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 2**30)
    with pytest.raises(ConfigError, match='the params would take'):
        check(to_train=False, model__embed_dim=2**12, model__depth=16)
    with pytest.raises(ConfigError, match='the activations of an evaluation would take'):
        check(to_train=False, train__eval_batch_size=2**20)


def test_a_field_too_many_or_too_few_is_told_before_anything_trains():
    config = base.get_config()
    config.unlock()
    config.model.heads = 4
    with pytest.raises(ConfigError, match=r'model\.heads=4 is no field of configs/base\.py'):
        validate(config)
    del config.model['heads']
    del config.model['window']
    with pytest.raises(
        ConfigError, match=r'model\.window is missing; a config that starts from configs/base\.py would'
    ):
        validate(config)


@pytest.mark.parametrize(
    'fields', [{'mixer': mixer} for mixer in MIXERS] + [{'positions.content': False}, {'name': 'resnet'}], ids=str
)
def test_the_params_that_must_fit_are_no_more_than_there_are_and_most_of_them(fields, monkeypatch):
    config = base.get_config()
    config.train.batch_size = config.train.eval_batch_size = 1
    config.model.patch_size, config.model.positions.name = (
        2,
        'relative_bias' if 'positions.content' in fields else 'none',
    )
    config.model.update_from_flattened_dict(fields)
    spec = data.spec(config.data)
    needed = fits.TRAINED * sum(leaf.size for leaf in jax.tree.leaves(models.build(config.model, spec).shapes))
    monkeypatch.setattr(fits, 'machine_memory', lambda: needed)
    fits.check_model(config, config.model, spec, to_train=True)
    monkeypatch.setattr(fits, 'machine_memory', lambda: 0.8 * needed)
    with pytest.raises(ConfigError, match='the params in training would take'):
        fits.check_model(config, config.model, spec, to_train=True)


def test_attention_by_position_alone_has_one_set_of_weights_for_the_batch(monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 2 * 2**30)
    fields = {'data__name': 'synthetic', 'data__synthetic__image_size': 64, 'model__patch_size': 2}
    fields |= {'train__batch_size': 1024, 'train__eval_batch_size': 64, 'model__positions__name': 'gaussian'}
    fields |= {'model__embed_dim': 16, 'model__depth': 1}
    check(**fields, model__positions__content=False)
    with pytest.raises(ConfigError, match="a layer's attention would take 16 GiB at least"):
        check(**fields)


SMALL = {'model.patch_size': 8, 'model.embed_dim': 4, 'model.depth': 1, 'model.mixer': 'identity'}  # one token
SMALL |= {'train.batch_size': 64, 'train.eval_batch_size': 64, 'train.steps': 10}
MADE = {'data.name': 'synthetic', 'data.synthetic.image_size': 1, 'data.synthetic.channels': 1, 'model.patch_size': 1}
MANY_ROWS = {'train.steps': 2**20, 'train.steps_per_dispatch': 2**20, 'log.every': 2**20, 'checkpoint.count': 1}


@pytest.mark.parametrize(
    ('fields', 'needed', 'what'),
    [
        (
            {'data.name': 'digit_pairs', 'data.digit_pairs.grid': 2, 'data.digit_pairs.test_examples': 40_000},
            16**2 * (20_000 + 40_000),
            'the images',
        ),
        (
            MADE | {'data.synthetic.train_examples': 10**6, 'data.synthetic.test_examples': 10**5},
            2 * 1_100_000 + 10,
            'the images',
        ),
        (MADE | {'data.synthetic.num_classes': 10**5}, 4 * 10**10, 'the confusion matrix'),
        ({'train.eval_batch_size': 2**20}, 4 * 2**20 * 64, 'a batch of images'),
        ({'train.eval_batch_size': 2**20, 'train.compute_dtype': 'bfloat16'}, 2 * 2**20 * 64, 'a batch of images'),
        ({'train.batch_size': 2**20}, 2**20 * 64, 'a batch of images'),
        (
            {'train.batch_size': 2**20, 'train.accumulate': 4, 'model.embed_dim': 64, 'model.depth': 2},
            4 * 2**18 * 64 * 2,
            'the activations of a step',
        ),
        (MANY_ROWS, 4 * 2**20 * 64, 'the rows of a dispatch'),
    ],
)
def test_what_needs_a_byte_more_than_there_is_is_refused_and_what_just_fits_is_not(fields, needed, what, monkeypatch):
    config = base.get_config()
    config.update_from_flattened_dict(SMALL | fields)

    def checked():
        fits.check_made_images(config)
        fits.check_fits(config, data.spec(config.data), to_train=True)

    monkeypatch.setattr(fits, 'machine_memory', lambda: needed)
    checked()
    monkeypatch.setattr(fits, 'machine_memory', lambda: needed - 1)
    with pytest.raises(ConfigError, match=f'{what} would take'):
        checked()


@pytest.mark.parametrize(
    'beside', [{}, {'data.train_fraction': 0.5}, {'data.validation_fraction': 0.4}, {'data.train_examples': 100}]
)
def test_steps_that_no_counter_holds_are_refused_whether_they_are_asked_for_or_made_of_epochs(beside, monkeypatch):
    monkeypatch.setattr(fits, 'machine_memory', lambda: 2**60)
    config = base.get_config()
    config.update_from_flattened_dict(SMALL | beside)
    spec, images = data.spec(config.data), len(data.load(config.data).train.labels)
    made = 'with data.train_examples=100 makes' if 'data.train_examples' in beside else r'train\.epochs=\S+ makes'
    for fields, most, message in (
        ({'train.steps': 2**31 - 1}, {'train.steps': 2**31}, r'train\.steps=2147483648 makes'),
        *(({'train.steps': None, 'train.epochs': 0.99 * epochs}, {'train.epochs': 1.01 * epochs}, made)
          for epochs in [(2**31 - 1) * 64 / images]),
    ):  # fmt: skip
        config.update_from_flattened_dict(fields)
        fits.check_fits(config, spec, to_train=True)
        config.update_from_flattened_dict(most)
        with pytest.raises(ConfigError, match=f'{message} 2.*e.09 steps; at most 2,147,483,647 would do'):
            fits.check_fits(config, spec, to_train=True)


def test_attention_that_writes_no_weights_down_for_all_tokens_needs_no_memory_for_them(monkeypatch):
    """In windows it is computed block by block, and a kernel that runs keeps none."""
    monkeypatch.setattr(fits, 'machine_memory', lambda: 2**30)
    config = base.get_config()
    config.update_from_flattened_dict({'data.name': 'synthetic', 'data.synthetic.image_size': 64})
    config.update_from_flattened_dict({'model.patch_size': 2, 'model.embed_dim': 16, 'train.eval_batch_size': 64})
    spec = data.spec(config.data)
    for fields in ({'window': 3}, {'window': None, 'attention_kernel': 'cudnn'}):
        config.model.update(fields)
        with monkeypatch.context() as patch:
            patch.setattr(fits, 'fallback', lambda *model: '')
            fits.check_model(config, config.model, spec, to_train=True)
    with pytest.raises(ConfigError, match="a layer's attention would take 2 GiB"):  # the kernel falls back
        fits.check_model(config, config.model, spec, to_train=True)


def test_memory_is_what_the_group_of_the_process_may_take_and_the_accelerators_have(monkeypatch):
    monkeypatch.setattr(fits.limits, 'memory', lambda: 2**20)
    assert fits.machine_memory.__wrapped__() == 2**20
    devices = [('cpu', {'bytes_limit': 5}), ('gpu', {'bytes_limit': 7}), ('gpu', {'bytes_limit': 7}), ('gpu', None)]
    made = [SimpleNamespace(platform=platform, memory_stats=lambda stats=stats: stats) for platform, stats in devices]
    monkeypatch.setattr(fits.jax, 'devices', lambda: made)
    assert fits.machine_memory.__wrapped__() == 2**20 + 14


def test_numbers_of_64_bits_are_refused():
    jax.config.update('jax_enable_x64', True)
    try:
        with pytest.raises(ConfigError, match=r'JAX_ENABLE_X64 is set: .*; unset it'):
            check()
    finally:
        jax.config.update('jax_enable_x64', False)
