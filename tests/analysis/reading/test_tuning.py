"""Of an arm that is tuned, the table reports what validation prefers, and says what else was tried."""

import numpy as np
import pytest

from analysis import tables
from analysis.reading import runs

RATE, DECAY = 'train.learning_rate', 'train.weight_decay'


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
    assert 'attention: 0.2, out of 0.1 (70.50%), 0.2 (90.50%), 0.4 (80.50%)' in note
    assert 'conv: 0.4, at an end of the range, out of 0.1' in note
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


@pytest.fixture
def tuned_over(workdir):
    """tuned_over(arm, fields, validation) adds a run of an arm that is tuned over several fields."""

    def add(arm, fields, validation, **kept):
        workdir.add(arm, 0, config=fields | kept.pop('config', {}), result={'validation.accuracy': validation}, **kept)
        workdir.listed[-1]['tuned'] = [*fields]

    return add


def tuning_note(workdir):
    (note,) = [note for note in tables.make_table(runs.read(workdir.write())).notes if 'among those tried' in note]
    return note


def test_a_value_of_several_tuned_fields_stands_beside_the_name_of_its_field(workdir, tuned_over):
    for rate, decay, validation in ((0.1, 0.01, 0.5), (0.2, 0.01, 0.7), (0.4, 0.01, 0.6)):
        tuned_over('arm', {RATE: rate, DECAY: decay}, validation)
    assert tuning_note(workdir) == (
        f'For each tuned arm, {RATE} and {DECAY} are the values with the highest mean accuracy on validation among '
        'those tried and, where several tie, the lowest loss. In brackets: that accuracy, or why there is none. '
        'arm: learning_rate 0.2 with weight_decay 0.01, out of learning_rate 0.1 with '
        'weight_decay 0.01 (50.00%), learning_rate 0.2 with weight_decay 0.01 (70.00%), learning_rate 0.4 with '
        'weight_decay 0.01 (60.00%).'
    )


@pytest.mark.parametrize(
    ('best', 'ends'),
    [
        ((0.2, 0.02), ''),
        ((0.4, 0.02), ', at an end of the range of learning_rate'),
        ((0.2, 0.01), ', at an end of the range of weight_decay'),
        ((0.1, 0.03), ', at an end of the range of learning_rate and weight_decay'),
    ],
)
def test_the_end_of_a_range_is_told_of_each_tuned_field_by_itself(workdir, tuned_over, best, ends):
    for rate in (0.1, 0.2, 0.4):
        for decay in (0.01, 0.02, 0.03):
            tuned_over('arm', {RATE: rate, DECAY: decay}, 0.9 if (rate, decay) == best else 0.5)
    assert f'arm: learning_rate {best[0]} with weight_decay {best[1]}{ends}, out of ' in tuning_note(workdir)


def test_only_a_field_of_several_numbers_has_a_range(workdir, tuned_over):
    for rate, mixer, validation in ((0.1, 'conv', 0.5), (0.1, 'attention', 0.7)):
        tuned_over('words', {RATE: rate, 'model.mixer': mixer}, validation)
    (arm,) = runs.read(workdir.write()).arms
    assert arm.tuning.at_the_end == ()
    assert 'words: learning_rate 0.1 with mixer attention, out of ' in tuning_note(workdir)


def test_fields_whose_last_names_are_the_same_are_named_whole(workdir, tuned_over):
    for name in ('none', 'learned_1d'):
        tuned_over('arm', {'data.name': 'digits', 'model.positions.name': name}, 0.5)
    assert 'arm: data.name digits with model.positions.name none, out of ' in tuning_note(workdir)


def test_arms_that_are_tuned_over_different_fields_name_them(workdir, tuned_over):
    for value, validation in ((0.1, 0.5), (0.2, 0.7), (0.3, 0.6)):
        tuned_over('rate', {RATE: value}, validation)
        tuned_over('decay', {DECAY: value}, validation)
    note = tuning_note(workdir)
    assert 'rate: learning_rate 0.2, out of learning_rate 0.1 (50.00%), learning_rate 0.2 (70.00%)' in note
    assert 'decay: weight_decay 0.2, out of weight_decay 0.1 (50.00%), weight_decay 0.2 (70.00%)' in note


def test_a_setting_of_several_fields_that_could_not_be_chosen_is_named(workdir, tuned_over):
    tuned_over('arm', {RATE: 0.1, DECAY: 0.01}, 0.5)
    tuned_over('arm', {RATE: 0.2, DECAY: 0.01}, 0.5, finished=False)
    (warning,) = runs.read(workdir.write()).warnings
    assert warning.endswith('among 1 of 2 settings: learning_rate 0.2 with weight_decay 0.01 is unfinished')


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
