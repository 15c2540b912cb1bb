"""Of an arm that is tuned, the table reports what validation prefers, and says what else was tried."""

import numpy as np
import pytest

from analysis import tables
from analysis.reading import runs

RATE = 'train.learning_rate'


@pytest.fixture
def tuned(workdir):
    """tuned(arm, rate, validation, test, seed) adds a run of an arm that is tuned over its learning rate."""

    def add(arm, rate, validation, test=0.9, seed=0, result=None, **kept):
        changes = {'validation.accuracy': validation} | (result or {})
        folder = workdir.add(arm, seed, test, {RATE: rate} | kept.pop('config', {}), changes, **kept)
        workdir.listed[-1]['tuned'] = [RATE]
        return folder

    return add


def test_validation_chooses_for_each_arm_and_the_test_set_has_no_say(workdir, tuned):
    for seed in range(2):
        for rate, validation, test in ((0.1, 0.7, 0.95), (0.2, 0.9, 0.6), (0.4, 0.8, 0.99)):
            tuned('attention', rate, validation + 0.01 * seed, test + 0.01 * seed, seed)
        for rate, validation, test in ((0.1, 0.7, 0.5), (0.2, 0.6, 0.9), (0.4, 0.8, 0.7)):
            tuned('conv', rate, validation + 0.01 * seed, test + 0.01 * seed, seed, config={'model.mixer': 'conv'})
    arms = runs.read(workdir.write()).arms
    assert [arm.label for arm in arms] == ['attention', 'conv']
    assert [[run.config['train']['learning_rate'] for run in arm.runs] for arm in arms] == [[0.2, 0.2], [0.4, 0.4]]
    assert [[run.seed for run in arm.runs] for arm in arms] == [[0, 1], [0, 1]]
    table = tables.make_table(runs.read(workdir.path))
    assert list(table.arms['test_accuracy']) == pytest.approx([0.605, 0.705])
    (note,) = [note for note in table.notes if RATE in note]
    assert 'attention: 0.2, of 0.1 (70.50%), 0.2 (90.50%), 0.4 (80.50%)' in note
    assert 'conv: 0.4, an end of the range, of 0.1' in note
    assert not any('Warning' in note for note in table.notes)


def test_the_mean_over_seeds_chooses_and_not_the_luckiest_run(workdir, tuned):
    for seed, validations in enumerate(([0.99, 0.8], [0.5, 0.8])):
        for rate, validation in zip((0.1, 0.2), validations, strict=True):
            tuned('arm', rate, validation, seed=seed)
    (arm,) = runs.read(workdir.write()).arms
    assert arm.tuning.tried[arm.tuning.chosen].values == (0.2,)
    assert arm.complete


@pytest.mark.parametrize('losses', [(0.2, 0.1, 0.3), (0.3, 0.2, 0.1), (0.1, 0.2, 0.3)])
def test_where_accuracies_tie_the_loss_decides(workdir, tuned, losses):
    for rate, loss in zip((0.1, 0.2, 0.4), losses, strict=True):
        tuned('arm', rate, 0.9, result={'validation.loss': loss})
    tuned('arm', 0.8, 0.8, result={'validation.loss': 0.01})
    (arm,) = runs.read(workdir.write()).arms
    assert arm.tuning.chosen == losses.index(min(losses))


def test_accuracies_that_differ_by_rounding_alone_tie(workdir, tuned):
    """The same images right over the seeds, in another order: the means differ in the last digit."""
    orders = {0.1: (128, 141, 138), 0.2: (128, 138, 141)}
    assert len({float(np.mean([right / 143 for right in order])) for order in orders.values()}) == 2
    for worse, better in ((0.1, 0.2), (0.2, 0.1)):
        for rate, order in orders.items():
            for seed, right in enumerate(order):
                loss = {worse: 0.9, better: 0.1}[rate]
                tuned(f'{better} is better', rate, right / 143, seed=seed, result={'validation.loss': loss},
                      config={'model.depth': 2 if better == 0.2 else 3})  # fmt: skip
    chosen = [arm.tuning.tried[arm.tuning.chosen].values[0] for arm in runs.read(workdir.write()).arms]
    assert chosen == [0.2, 0.1]


def test_a_setting_that_diverged_for_one_seed_is_not_chosen_for_the_others(workdir, tuned):
    tuned('arm', 0.1, 0.5)
    tuned('arm', 0.1, 0.5, seed=1)
    tuned('arm', 9.0, 0.99)
    tuned('arm', 9.0, 0.99, seed=1, result={'status': 'diverged', 'diverged_step': 40})
    sweep = runs.read(workdir.write())
    (arm,) = sweep.arms
    assert [run.config['train']['learning_rate'] for run in arm.runs] == [0.1, 0.1]
    assert sweep.warnings == ()
    assert '9.0 (diverged)' in ' '.join(tables.make_table(runs.read(workdir.path)).notes)


@pytest.mark.parametrize('kept', [{'finished': False}, {'started': False}])
def test_a_choice_without_all_that_was_to_be_tried_says_so(workdir, tuned, kept):
    tuned('arm', 0.1, 0.5)
    tuned('arm', 0.2, 0.6)
    tuned('arm', 0.4, 0.9, **kept)
    sweep = runs.read(workdir.write())
    (arm,) = sweep.arms
    assert [run.config['train']['learning_rate'] for run in arm.runs] == [0.2]
    assert sweep.warnings == (f'{RATE} of arm was chosen among 2 of 3 settings: 0.4 is unfinished',)


def test_a_choice_among_other_seeds_says_so(workdir, tuned):
    for seed in (0, 1):
        tuned('arm', 0.1, 0.5, seed=seed)
    tuned('arm', 0.2, 0.6)
    assert runs.read(workdir.write()).warnings == (f'{RATE} of arm was chosen among settings of different seeds',)


def test_where_no_setting_can_be_chosen_the_first_stands_for_the_arm(workdir, tuned):
    workdir.add('other', 0)
    for rate in (0.1, 0.2):
        tuned('arm', rate, 0.5, result={'status': 'diverged', 'diverged_step': 3})
    table = tables.make_table(runs.read(workdir.write()))
    row = table.arms.iloc[1]
    assert (row['n'], row['runs'], row['diverged']) == (0, 1, 1)
    assert any('more settings were tried for some arms than for others' in note for note in table.notes)


def test_arms_that_differ_in_more_than_they_are_tuned_over_are_told_apart(workdir, tuned):
    tuned('arm', 0.1, 0.5)
    tuned('arm', 0.2, 0.6, config={'model.depth': 9})
    sweep = runs.read(workdir.write())
    assert [arm.label for arm in sweep.arms] == [
        'arm (model.depth=4, train.learning_rate=0.1)',
        'arm (model.depth=9, train.learning_rate=0.2)',
    ]
    assert any('differ in more than train.learning_rate' in warning for warning in sweep.warnings)


@pytest.mark.parametrize('names', ['train.learning_rate', [3], ['model.nothing'], {'a': 1}])
def test_nonsense_in_the_list_is_named_and_nothing_is_chosen(workdir, names):
    for rate in (0.1, 0.2):
        workdir.add('arm', 0, config={RATE: rate})
        workdir.listed[-1]['tuned'] = names
    sweep = runs.read(workdir.write())
    assert len(sweep.arms) == 2
    assert all(arm.tuning is None for arm in sweep.arms)
    assert any('tuned=' in warning for warning in sweep.warnings)
