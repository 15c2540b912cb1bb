"""Under a table stands what a reviewer asks for."""

import pytest

from analysis import captions, formats, tables
from analysis.reading import runs
from tests.analysis.arms import as_printed


def test_notes_hold_what_a_reviewer_asks_for(three_arms):
    table = tables.make_table(runs.read(three_arms.write()))
    for text in (formats.to_markdown(table), as_printed(table)):
        assert '660 steps of 128 images, 84,480 images seen' in text
        assert 'validation, which is 10% of train, stratified' in text
        assert 'Each run was evaluated on the test set (1,000 images) once, at its end' in text
        assert 'do not include the uncertainty from sampling the 1,000 test images (± 1.1 points at 97%)' in text
        assert 'Seeds: 0, 1, 2.' in text
        assert 'Student t' in text
        assert 'paired by seed, Holm-corrected over 2 arms' in text
        assert '1 x cpu' in text
        assert 'jax 0.10.2' in text
        assert '0123456789' in text
        assert 'Warning' not in text


def test_a_window_s_flops_are_said_to_be_those_computed(three_arms):
    assert 'Forward FLOPs are per image.' in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    three_arms.add('near', 0, 0.9, {'model.window': 3}, {'test.examples': 1000})
    said = 'per image; for attention in windows they include pairs of tokens that are computed and then masked.'
    assert said in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))


def test_a_kernel_that_was_not_the_one_asked_for_is_told(workdir):
    """Else its speeds would be taken for those of the other."""
    asked = {'model.attention_kernel': 'cudnn'}
    workdir.add('asked', 0, 0.9, asked, {'test.examples': 1000, 'kernel_fallback': 'the backend is cpu'})
    workdir.add('plain', 0, 0.9, result={'test.examples': 1000})
    said = "Attention used XLA's kernel instead of the one requested: the backend is cpu."
    assert said in formats.to_markdown(tables.make_table(runs.read(workdir.write())))


@pytest.mark.parametrize(
    ('results', 'said', 'unsaid'),
    [
        ([{'population': {'size': 3}}] * 2, ['in populations of 3 runs:', 'of a whole population'], ['differ in size']),
        (
            [{'population': {'size': 1}}, {'population': {'size': 8}}],
            ['populations of 1 to 8', 'may differ in speed'],
            [],
        ),
        ([{'population': {'size': 1}}] * 2, [], ['population', 'processes']),
        (
            [{'population': {'size': 1, 'processes': 2}}] * 2,
            ['2 processes trained on the machine at the same time'],
            ['populations'],
        ),
        (
            [{'compilation_cache': {'hits': 50, 'misses': 0}}, {'compilation_cache': {'hits': 0, 'misses': 53}}],
            ['0 to 50 came from the compilation cache and 0 to 53 were compiled'],
            ['population'],
        ),
    ],
)
def test_what_shared_a_machine_or_a_cache_is_said(workdir, results, said, unsaid):
    for seed, result in enumerate(results):
        workdir.add('arm', seed, 0.9, result=result)
    notes = ' '.join(tables.make_table(runs.read(workdir.write())).notes)
    assert all(text in notes for text in said)
    assert not any(text in notes for text in unsaid)


def test_a_budget_that_differs_is_said(three_arms):
    three_arms.add('short', 0, 0.9, {'train.epochs': 30.0}, {'steps': 330, 'images_seen': 42240, 'test.examples': 1000})
    text = formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    assert 'Arms differ in budget: 330 to 660 steps of 128 images, 42,240 to 84,480 images seen' in text


@pytest.mark.parametrize(
    ('rules', 'said'),
    [
        (['best'], 'those of the step with the best accuracy on validation, which is 10%'),
        (['last'], 'those of the last step, also measured on validation'),
        ([None], 'is not known; they were measured on validation'),
        (['best', 'last'], 'were selected by more than one rule (best, last) on validation'),
    ],
)
def test_by_which_rule_weights_were_selected_is_said(workdir, rules, said):
    for seed, rule in enumerate(rules):
        selection = {'split': 'validation: 10% of train, stratified', 'rule': rule, 'step': 320}
        workdir.add('arm', seed, 0.9, result={'selection': selection})
    assert said in ' '.join(tables.make_table(runs.read(workdir.write())).notes)


def test_a_width_that_was_solved_is_said_beside_the_reference(three_arms):
    solved = {'width': {'embed_dim': 52, 'mlp_ratio': 2.0}, 'reference': {'params': 138_890}, 'params': 139_446}
    written = {'model.mixer': 'conv', 'model.depth': 5, 'model.mlp_ratio': 2.0}
    other = {'width': {'resnet_width': 17}, 'reference': {'flops': 2_000_000}, 'forward_flops': 1_970_000}
    coarse = solved | {'width': {'embed_dim': 56, 'mlp_ratio': 132 / 56}}
    for seed in (0, 1):
        three_arms.add('conv 3 x 3', seed, 0.9, written, {'test.examples': 1000, **solved})
    three_arms.add('resnet', 0, 0.9, {'model.name': 'resnet'}, {'test.examples': 1000, **other})
    three_arms.add('coarse', 0, 0.9, {'model.depth': 6}, {'test.examples': 1000, **coarse})
    (note,) = (note for note in tables.make_table(runs.read(three_arms.write())).notes if 'reference' in note)
    assert note == (
        'Widths were computed to match a reference arm. '
        'conv 3 x 3: embed_dim 52 (reference 138,890 params; +0.4%); '
        'resnet: resnet_width 17 (reference 2,000,000 FLOPs; -1.5%); '
        'coarse: embed_dim 56, mlp_ratio 2.357 (reference 138,890 params; +0.4%). '
        'There are 2 reference arms, since a reference takes all but the mixer (depth, patch size, ...) from the arm '
        'that is matched to it: arms with different references do not cost the same.'
    )


def test_arms_of_one_reference_cost_alike(three_arms):
    for arm, params in (('narrow', 139_446), ('wide', 138_000)):
        solved = {'width': {'embed_dim': 52, 'mlp_ratio': 2.0}, 'reference': {'params': 138_890}, 'params': params}
        three_arms.add(arm, 0, 0.9, {'model.depth': params}, {'test.examples': 1000, **solved})
    (note,) = (note for note in tables.make_table(runs.read(three_arms.write())).notes if 'reference' in note)
    assert 'reference arms' not in note


@pytest.mark.parametrize(
    'result',
    [
        {'width': {'embed_dim': 64, 'mlp_ratio': 4.0}, 'reference': None},
        {'width': 'wide', 'reference': 'params'},
        {'reference': {'params': 0}},
        {'reference': {'params': 'many', 'seconds': 3}},
    ],
)
def test_nothing_is_said_of_a_width_that_was_not_solved(three_arms, result):
    three_arms.add('plain', 0, 0.9, {'model.depth': 5}, {'test.examples': 1000, **result})
    assert 'reference' not in formats.to_markdown(tables.make_table(runs.read(three_arms.write())))


def test_a_pass_is_as_many_images_as_there_are_to_train_on(three_arms):
    sweep = runs.read(three_arms.write())
    assert '(65.34 passes over 1,293 training images)' in ' '.join(tables.make_table(sweep).notes)
    assert '(84,480 images seen; 1,293 training images)' in captions.budget_caption(sweep.arms)


def test_as_many_steps_of_more_images_are_another_budget(three_arms):
    more = {'images_seen': 168_960, 'test.examples': 1000}
    three_arms.add('large batches', 0, 0.9, {'train.batch_size': 256}, more)
    text = formats.to_markdown(tables.make_table(runs.read(three_arms.write())))
    assert 'Arms differ in budget: 660 steps of 128 to 256 images, 84,480 to 168,960 images seen' in text
