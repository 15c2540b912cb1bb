import json

import pytest

from benchmarks import train_step
from configs.errors import ConfigError
from experiment.environment import ROOT
from training.optimiser import Rates

PYTHON = ROOT / '.venv-bench' / 'bin' / 'python'

VIT = train_step.Size('small ViT', 8, 1, 4, train_step.vit(16, 2, 2, 4))
SMALL = [
    VIT,
    train_step.Size('small convolution', 8, 1, 4, VIT.fields | train_step.CONVOLUTION),
    train_step.Size('small ResNet', 8, 3, 4, {'model.name': 'resnet', 'model.resnet_width': 16}),
]


class SlowRates(Rates):
    """As Rates, with a hundredth of the learning rate."""

    @classmethod
    def of(cls, train):
        return Rates.of(train)._replace(learning_rate=train.learning_rate / 100)


@pytest.mark.parametrize('size', SMALL, ids=lambda size: size.label)
def test_the_timed_step_trains(size):
    experiment = train_step.experiment(size, 'float32')
    step, loss = train_step.runner(train_step.compiled(*experiment), *experiment, train_step.weights(*experiment))
    losses = []
    for count in (1, 2, 3):
        assert int(step()) == count
        losses.append(loss())
    assert losses[0] > losses[1] > losses[2]


def test_without_peers_there_is_a_speed_and_no_ratio():
    row = train_step.measure(VIT, None, 'bfloat16', seconds=0.0, fewest=2)
    (record,) = train_step.to_records([row | {'size': 'small'}])
    assert record['images_per_second'] > 0
    assert record['ratio_to_best_peer'] is None
    assert 'patchwise, images/s' in train_step.to_markdown([row])


def test_every_size_is_an_experiment_of_ours():
    for size in train_step.ALL_SIZES.values():
        config, dataset = train_step.experiment(size, 'bfloat16')
        assert config.train.batch_size == len(dataset.train.labels) == size.batch


@pytest.mark.skipif(not PYTHON.exists(), reason='the peers are not installed: `make .venv-bench/.installed`')
@pytest.mark.parametrize('size', SMALL, ids=lambda size: size.label)
def test_the_peers_compute_the_same(size, monkeypatch):
    """Also that what is compared would show a difference: other weights, other logits."""
    experiment = train_step.experiment(size, 'float32')
    with train_step.Peer(str(PYTHON)) as peer:
        other = train_step.jiggled(train_step.weights(*experiment))
        assert train_step.build_peer(*experiment, other, peer, ['eager']) < train_step.TOLERANCE
        row = train_step.measure(size, peer, 'float32', seconds=0.0, fewest=2, arms=('eager', 'processes'))
        assert row['losses'].keys() == {'eager', 'processes'}
        # The step is the same as well: with another learning rate the losses are others.
        monkeypatch.setattr(train_step, 'Rates', SlowRates)
        with pytest.raises(RuntimeError, match='losses of patchwise and PyTorch differ'):
            train_step.measure(size, peer, 'float32', seconds=0.0, fewest=2, arms=('eager',))
    assert row['images_per_second']['eager'] > 0
    assert row['best'] == row['ratios']['eager']
    (ours, theirs, _) = train_step.to_records([row | {'size': 'small'}])
    assert json.loads(json.dumps(ours)).keys() == {'size', 'arm', 'images_per_second', 'ratio_to_best_peer'}
    assert theirs['ratio_to_best_peer'] == 1.0
    assert 'small' in train_step.to_markdown([row])


@pytest.mark.skipif(not PYTHON.exists(), reason='the peers are not installed: `make .venv-bench/.installed`')
def test_a_peer_that_ends_is_told_with_its_status():
    with train_step.Peer('/bin/true') as peer:
        peer._process.wait()
        with pytest.raises(RuntimeError, match='ended with status 0'):
            peer.ask(ask='versions')


def test_a_kernel_that_cannot_be_is_refused_before_anything_is_compiled(monkeypatch):
    size = train_step.ALL_SIZES['vit64']
    size = size._replace(fields=size.fields | {'model.attention_kernel': 'cudnn'})
    monkeypatch.setattr(train_step, 'compile_programs', None)
    with pytest.raises(ConfigError, match=r'--kernel=cudnn: the backend is cpu.*--kernel=xla would do'):
        train_step.compiled(*train_step.experiment(size, 'bfloat16'))


def test_a_python_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r'--peers=/nowhere/python: No such file.*make bench'):
        train_step.Peer('/nowhere/python')
