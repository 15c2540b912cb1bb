"""Means, tested pairs and warnings of runs that were really evaluated."""

import json
import shutil

import numpy as np
import pytest

from analysis import statistics
from analysis.extrapolation import measure, report
from experiment import folder
from files.writing import write_json
from tests.analysis.extrapolation.sweep import POLICIES, SEEDS, SIDES, run_names


def test_another_accuracy_than_training_reported_is_a_warning(trained, found):
    untrained = run_names(trained)[SEEDS:]
    assert len(found.warnings) == len(untrained)
    for name, warning in zip(untrained, found.warnings, strict=True):
        assert name in warning
        assert '33.3333% in its result.json' in warning


def test_the_summary_is_the_mean_over_seeds_and_its_interval(found):
    assert found.summary['arm'].drop_duplicates().to_list() == ['attention', 'conv', 'ResNet']
    assert len(found.summary) == 3 * len(SIDES) * len(POLICIES)
    for row in found.summary.itertuples():
        here = found.scores.query('arm == @row.arm and policy == @row.policy and resolution == @row.resolution')
        expected = statistics.mean_and_interval(here['accuracy'].to_list())
        np.testing.assert_equal((row.accuracy, row.low, row.high, row.n), tuple(expected))
    tokens = found.summary.query("policy == 'extend'").set_index('arm')['tokens']
    assert tokens['attention'].to_list() == tokens['conv'].to_list() == [4, 9]
    assert tokens['ResNet'].isna().all()


def test_pairs_that_the_sweep_asks_for_are_tested_at_each_resolution(copied):
    """An arm whose seeds 0 and 1 are the other's 2 and 3, so that what they differ by is known from its scores."""
    manifest = json.loads((copied / 'sweep.json').read_text())
    for seed, source in enumerate(run_names(copied)[2:SEEDS]):
        name = str(seed) * 12
        shutil.copytree(copied / source, copied / name)
        config = json.loads((copied / name / 'config.json').read_text()) | {'seed': seed}
        write_json(copied / name / 'config.json', config)
        folder.write_result(copied / name, folder.read_result(copied / name) | {'config': config, 'seed': seed})
        manifest['runs'].append({'run': name, 'arm': 'late', 'against': ['attention'], 'overrides': {'seed': seed}})
    write_json(copied / 'sweep.json', manifest)
    found = measure.measure(copied, SIDES, POLICIES)
    assert list(zip(found.pairs['policy'], found.pairs['resolution'], strict=True)) == [
        (policy, side) for side in SIDES for policy in POLICIES
    ]
    alone = {}
    for row in found.pairs.itertuples():
        here = found.scores.query('policy == @row.policy and resolution == @row.resolution')
        early, late = (here.query('arm == @arm')['accuracy'].to_numpy() for arm in ('attention', 'late'))
        assert (row.arm, row.against, row.n) == ('late', 'attention', 2)
        assert row.difference == pytest.approx(np.mean(early[2:] - early[:2]))
        alone[row.policy, row.resolution] = statistics.paired_difference(late, early[:2], 1 / 50).p_value
    # At the trained size both policies are one test; at the other they are two, corrected together.
    corrected = found.pairs.set_index(['policy', 'resolution'])['p_value']
    assert corrected[:, 8].tolist() == [alone['extend', 8]] * 2
    assert corrected[:, 12].tolist() == statistics.holm([alone[policy, 12] for policy in POLICIES])
    text = ' '.join(report.to_markdown(found).split())
    for policy in POLICIES:
        assert f"Pairs, difference in points. Coordinates '{policy}'." in text
    assert '| late | attention | ' in text
    assert 'Holm-corrected over the pairs of each image size' in text


def test_what_training_said_of_the_test_set_is_held_against_no_other_split(trained):
    assert measure.measure(trained, [8], ['rescale'], 'validation').warnings == ()
