import jax
import numpy as np
import pytest

import data
import models
from analysis.heads import removal as module
from analysis.heads.removal import keep_heads, removal
from data.spec import Dataset, Split
from training import evaluate

LAYERS, HEADS, HEAD_DIM = 2, 2, 8


@pytest.fixture
def logits(images):
    return lambda one, params: np.asarray(models.build(one.config.model, one.spec).apply(params, images(one, 6)).logits)


def rows(head):
    return slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)


@pytest.mark.parametrize('name', ['learned_1d', 'gaussian', 'rope_mixed', 'conditional'])
def test_a_head_that_is_not_kept_is_one_whose_values_are_zero(trained, logits, name):
    """Its values come from a third of the one map that makes queries, keys and values."""
    one = trained(name)
    kept = np.ones((LAYERS, HEADS), bool)
    np.testing.assert_array_equal(logits(one, keep_heads(one.params, kept)), logits(one, one.params))
    kept[1, 0] = False
    silenced = jax.tree.map(lambda leaf: leaf, one.params)
    qkv = silenced['blocks'][1]['mixer']['qkv']
    values = slice(2 * HEADS * HEAD_DIM, 2 * HEADS * HEAD_DIM + HEAD_DIM)
    qkv['kernel'], qkv['bias'] = qkv['kernel'].at[:, values].set(0), qkv['bias'].at[values].set(0)
    np.testing.assert_allclose(logits(one, keep_heads(one.params, kept)), logits(one, silenced), atol=1e-5)


def test_a_head_that_says_nothing_costs_nothing_whenever_it_goes(trained):
    one = trained()
    out = one.params['blocks'][0]['mixer']['out']
    out['kernel'] = out['kernel'].at[rows(1)].set(0)
    found = removal(one, data.load(one.config.data))
    assert found.lost[0, 1] == 0
    place = found.order.index((0, 1))
    assert found.accuracy[place] == found.accuracy[place + 1]
    assert sorted(found.order) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(found.accuracy) == LAYERS * HEADS + 1


def test_the_head_that_everything_depends_on_goes_last_and_takes_all(trained):
    """Labels are what the model says; one head's outputs are made so large that they decide."""
    one = trained()
    out = one.params['blocks'][1]['mixer']['out']
    out['kernel'] = out['kernel'].at[rows(0)].multiply(50.0)
    dataset = data.load(one.config.data)
    model = models.build(one.config.model, one.spec)

    def labelled(split):
        said = np.asarray(model.apply(one.params, split.images).logits).argmax(-1).astype(np.int32)
        return Split(split.images, said)

    own = Dataset(dataset.spec, dataset.train, labelled(dataset.validation), labelled(dataset.test))
    found = removal(one, own)
    assert found.accuracy[0] == 1.0
    assert found.order[-1] == (1, 0)
    assert found.lost.max() == found.lost[1, 0] > 0
    # The last point of the curve is the model without any head.
    none = keep_heads(one.params, np.zeros((LAYERS, HEADS), bool))
    said = np.asarray(model.apply(none, own.test.images).logits).argmax(-1)
    assert found.accuracy[-1] == pytest.approx(np.mean(said == own.test.labels))
    # Alone or in the curve, a head that is removed is the same model.
    assert 1 - found.lost[found.order[0]] == pytest.approx(found.accuracy[1])


def test_the_order_is_that_of_the_validation_images_by_accuracy_and_then_by_loss(trained, monkeypatch):
    """What is reported, here the opposite of it, has no say."""
    one = trained()
    dataset = data.load(one.config.data)
    without = {(0, 0): (0.5, 0.1), (0, 1): (0.5, 0.3), (1, 0): (0.9, 0.9), (1, 1): (0.5, 0.2)}

    def scored(examples, *more):
        return lambda step, params: scores(step, examples)

    def scores(step, examples):
        gone = [tuple(which) for which in np.argwhere(~step(None, None)).tolist()]
        if len(examples.labels) == len(dataset.validation.labels):
            (which,) = gone
            return dict(zip(('accuracy', 'loss'), without[which], strict=True))
        return {'accuracy': 0.8 - sum(without[which][0] for which in gone) / 4, 'loss': 0.0}

    monkeypatch.setattr(module, '_compile', lambda fields, spec: lambda params, kept, *rest: kept)
    monkeypatch.setattr(module, 'evaluation_of', scored)
    found = removal(one, dataset)
    assert found.order == ((1, 0), (0, 0), (1, 1), (0, 1))
    np.testing.assert_allclose(found.lost, [[0.125, 0.125], [0.225, 0.125]])
    np.testing.assert_allclose(found.accuracy, [0.8, 0.575, 0.45, 0.325, 0.2])


def test_images_are_sent_to_the_device_once_for_all_heads(trained, monkeypatch):
    sent, batches = [], evaluate.padded_batches

    def counted(split, batch_size):
        for batch in batches(split, batch_size):
            sent.append(batch)
            yield batch

    monkeypatch.setattr(evaluate, 'padded_batches', counted)
    one = trained(train__eval_batch_size=3)
    dataset = data.load(one.config.data)
    removal(one, dataset)
    assert len(sent) == sum(-(-len(split.labels) // 3) for split in (dataset.validation, dataset.test))
