"""What a run says of its start."""

import jax
import pytest

import data
from configs import base
from training import loop, programs
from training.track import Member


@pytest.fixture
def config():
    config = base.get_config()
    config.data.name = 'synthetic'
    config.data.synthetic.image_size, config.data.synthetic.channels = 8, 1
    config.data.synthetic.train_examples, config.data.synthetic.test_examples = 64, 16
    config.model.embed_dim, config.model.depth = 16, 1
    config.train.steps, config.train.batch_size, config.train.eval_batch_size = 3, 8, 16
    config.checkpoint.count, config.log.tensorboard = 1, False
    return config


def start(config, folder, *, anew):
    """What a run tells of its cache; `anew`: as in a process that has not made its programs yet."""
    if anew:
        programs._slot.cache_clear()
    (result,) = loop.train([Member(config, folder, lambda row, steps: None)], data.load(config.data))
    assert result['first_step_seconds'] > 0
    return result['compilation_cache']


def test_programs_are_counted_and_a_slow_start_is_a_warning(config, tmp_path, switched, caplog):
    folder = switched()
    first = start(config, tmp_path / 'first', anew=True)
    assert first['misses'] > 1
    shared = start(config, tmp_path / 'shared', anew=False)
    assert 1 < shared['misses'] <= first['misses']  # those of the programs that both use
    again = start(config, tmp_path / 'again', anew=True)
    assert again['misses'] == 0
    assert again['hits'] > 1

    caplog.clear()
    (note,) = folder.glob('*-start')
    note.write_text('0.001')
    start(config, tmp_path / 'found', anew=True)
    assert 'all programs came from the cache' in caplog.text
    for path in folder.glob('*-cache'):
        path.unlink()
    lost = start(config, tmp_path / 'lost', anew=True)
    assert f'{lost["misses"]} of {lost["hits"] + lost["misses"]} programs were not in the cache' in caplog.text


def test_without_a_cache_there_is_nothing_to_count(config, tmp_path, caplog, switched):
    jax.config.update('jax_enable_compilation_cache', False)
    assert start(config, tmp_path, anew=True) is None
    assert caplog.text == ''
