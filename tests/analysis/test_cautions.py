"""What a reader is warned of, under whichever table the arms stand."""

import dataclasses

import pytest

from analysis import cautions, pairs
from analysis.reading import runs


@pytest.fixture
def arms(three_arms):
    return runs.read(three_arms.write()).arms


def warned(arms, so=''):
    of_arms = [caution for arm in arms for caution in cautions.of_arm(arm)]
    return of_arms + cautions.of_sweep(arms, pairs.test_sets(arms, 'test'), so)


def with_results(arm, **changed):
    """The arm, where the result of its first run is another."""
    first, *others = arm.runs
    first = dataclasses.replace(first, result=dataclasses.replace(first.result, **changed))
    return dataclasses.replace(arm, runs=(first, *others))


def test_arms_that_share_all_but_what_they_compare_give_no_warning(arms):
    assert warned(arms) == []


@pytest.mark.parametrize('name', ['params', 'forward_flops', 'steps', 'images_seen'])
def test_what_runs_of_an_arm_should_share_is_named_where_they_do_not(arms, name):
    assert warned([with_results(arms[0], **{name: 7}), *arms[1:]]) == [f'runs of poor differ in {name}']


def test_a_run_that_others_begun_is_named(arms):
    (said,) = warned([with_results(arms[0], mixed=True), *arms[1:]])
    assert said == (
        f'{arms[0].runs[0].name} (poor, seed 0) was begun by other code, on other images, with other versions, on '
        'another device or divided otherwise'
    )


def test_runs_whose_images_changed_under_one_name_are_told(arms):
    said = 'were trained or validated on different images, though their config.data is the same'
    same = {'train': 'abc', 'validation': 'def'}
    known = [dataclasses.replace(arm, runs=tuple(with_images(run, same) for run in arm.runs)) for arm in arms]
    assert warned(known) == []
    assert warned([with_results(known[0], fingerprints={'train': '123'}), *known[1:]]) == []  # validation is not known
    for split in same:
        others = [with_results(known[0], fingerprints=same | {split: '123'}), *known[1:]]
        assert warned(others) == [f'runs of {", ".join(arm.label for arm in arms)} {said}']
        # Of one arm alone, too; and where its config asks for other images, nothing is wrong.
        assert warned(others[:1]) == [f'runs of {arms[0].label} {said}']
        first = others[0].runs[0]
        apart = dataclasses.replace(
            first, config=first.config | {'data': first.config.get('data', {}) | {'train_fraction': 0.5}}
        )
        assert warned([dataclasses.replace(others[0], runs=(apart, *others[0].runs[1:])), *known[1:]]) == []


def with_images(run, fingerprints):
    return dataclasses.replace(run, result=dataclasses.replace(run.result, fingerprints=fingerprints))


def test_of_different_data_a_table_says_what_it_leaves_out(arms):
    others = [with_results(arms[0], test_examples=7), *arms[1:]]
    assert warned(others) == ['the arms were tested on different data']
    assert warned(others, ', so none is marked as best') == [
        'the arms were tested on different data, so none is marked as best'
    ]


def test_an_arm_that_lacks_a_run_is_said_to_be_not_compared(arms):
    first, *others = arms[0].runs
    lost = dataclasses.replace(first, status='damaged', result=None)
    short = dataclasses.replace(arms[0], runs=(lost, *others))
    assert warned([short, *arms[1:]]) == [
        'the mean of poor is over the 2 of 3 runs that finished; the arm is not compared with others'
    ]
