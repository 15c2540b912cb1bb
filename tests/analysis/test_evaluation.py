"""A trained run, tested again."""

import json
import re

import numpy as np
import pytest

from analysis.evaluation import LARGEST_CONFUSION, Evaluated, evaluate_run, to_text
from configs import base
from data.spec import Spec
from experiment import folder
from experiment.run import execute


def evaluated(confusion, reported=None, finished=True):
    confusion = np.asarray(confusion)
    classes, examples = len(confusion), int(confusion.sum())
    spec = Spec('some', (8, 8, 1), classes, tuple(f'class {number}' for number in range(classes)), flip=False)
    scores = {'accuracy': np.trace(confusion) / examples, 'loss': 0.5, 'examples': examples, 'confusion': confusion}
    return Evaluated(spec, 'test', 7, scores, finished, reported)


def test_a_matrix_says_who_was_taken_for_whom():
    text = to_text(evaluated([[3, 1], [0, 4]]))
    assert 'some, test: 8 images, params of step 7\naccuracy 87.5000%, loss 0.500000\n' in text
    assert re.search(r'class 0 +75.00%\n +class 1 +100.00%', text)
    assert re.search(r'class 0 +3 +1\n +class 1 +0 +4$', text)


def test_of_many_classes_the_commonest_mistakes_are_listed():
    confusion = np.eye(LARGEST_CONFUSION + 1, dtype=int)
    confusion[2, 5], confusion[5, 2] = 7, 9
    assert to_text(evaluated(confusion)).endswith(
        'commonest mistakes\n        9  class 5 taken for class 2\n        7  class 2 taken for class 5'
    )


@pytest.mark.parametrize(
    ('reported', 'word'),
    [
        ({'accuracy': 0.875, 'loss': 0.500001, 'examples': 8}, 'equal to what training reported: 87.5000%'),
        ({'accuracy': 0.875, 'loss': 0.501, 'examples': 8}, 'DIFFERS FROM'),
        ({'accuracy': 1.0, 'loss': 0.5, 'examples': 8}, 'DIFFERS FROM'),
        ({'accuracy': 0.875, 'loss': 0.5, 'examples': 9}, 'DIFFERS FROM'),
    ],
)
def test_training_is_held_to_what_it_reported(reported, word):
    assert word in to_text(evaluated([[3, 1], [0, 4]], reported))
    assert 'reported' not in to_text(evaluated([[3, 1], [0, 4]]))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    config = base.get_config()
    config.update_from_flattened_dict({
        'data.name': 'synthetic', 'data.synthetic.image_size': 8, 'data.synthetic.train_examples': 40,
        'data.synthetic.test_examples': 20, 'model.embed_dim': 8, 'model.depth': 1, 'train.steps': 2,
        'train.batch_size': 4, 'checkpoint.count': 1, 'log.tensorboard': False,
    })  # fmt: skip
    workdir = tmp_path_factory.mktemp('runs') / 'x'
    return workdir, execute(config, workdir, lambda row, steps: None)


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_a_run_does_as_it_said(run, split):
    workdir, result = run
    found = evaluate_run(workdir, split)
    assert (found.finished, found.step) == (True, 2)
    assert found.reported == {name: result[split][name] for name in ('accuracy', 'loss', 'examples')}
    assert 'equal to what training reported' in to_text(found)


def test_a_result_that_is_not_a_runs_own_is_not_believed(run, caplog):
    """As that it diverged, which would leave nothing to evaluate."""
    workdir, result = run
    path = workdir / folder.RESULT
    before = path.read_text()
    path.write_text(json.dumps(result | {'status': 'diverged'}))
    try:
        found = evaluate_run(workdir, 'test')
    finally:
        path.write_text(before)
    assert not found.finished
    assert 'is damaged' in caplog.text
    assert 'the run is not finished' in to_text(found)


def test_no_more_mistakes_are_listed_than_are_said_to_be():
    size = LARGEST_CONFUSION + 1
    lines = to_text(evaluated(np.ones((size, size), int))).splitlines()
    assert len(lines[lines.index(f'the {LARGEST_CONFUSION} commonest mistakes') + 1 :]) == LARGEST_CONFUSION
