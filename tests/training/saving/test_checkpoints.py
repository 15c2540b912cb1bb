import errno
import os
import threading

import numpy as np
import pytest

from files.checksums import SEAL, seal
from files.writing import StorageError
from training.progress import Progress
from training.recording.log import EMPTY
from training.saving import checkpoints
from training.saving.resume import resume
from training.step import State, Sums


@pytest.fixture
def state():
    return State(np.int32(1), {'w': np.zeros(3, np.float32)}, {'m': np.zeros(3, np.float32)}, Sums.zeros())


def test_folders_that_are_no_steps_are_no_checkpoints(tmp_path):
    for name in ('12', '3', '007', '²', '٣', '0', 'tmp.4', '-1'):
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    assert checkpoints.steps(tmp_path) == [3, 12]


def test_what_is_saved_is_the_state_as_it_was_when_that_was_asked(tmp_path, state):
    """The next step may write over its arrays before they are on disk."""
    saving, begin = checkpoints.Checkpoints(tmp_path, 1), threading.Event()
    checkpoints._beginning.submit(begin.wait)
    saving.save(1, state, Progress(0.0))
    state.params['w'][:] = 7
    begin.set()
    saving.close()
    saved, _ = checkpoints.read(tmp_path, 1, state)
    np.testing.assert_array_equal(saved.params['w'], 0)


@pytest.mark.parametrize('accuracy', [0.0, 0.5])
def test_a_step_that_was_not_validated_is_never_the_best(tmp_path, state, accuracy):
    """Not even beside one that recognised nothing."""
    saving, progress = checkpoints.Checkpoints(tmp_path, 1), Progress(0.0)
    for step, loss, validated in ((1, 2.0, True), (2, 2.0, False), (3, 3.0, True)):
        if validated:
            progress = progress.validated(step, {'accuracy': accuracy, 'loss': loss})
        saving.save(step, state, progress)
    saving.close()
    assert checkpoints.steps(tmp_path) == [1, 3]


def test_what_an_earlier_process_saved_is_kept_and_removed_by_the_same_rule(tmp_path, state):
    progress = Progress(0.0)
    for step, accuracy in {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.8, 5: 0.95, 6: 0.2}.items():
        progress = progress.validated(step, {'accuracy': accuracy, 'loss': 1.0})
        saving = checkpoints.Checkpoints(tmp_path, 2)
        saving.save(step, state._replace(step=np.int32(step)), progress)
        saving.close()
        if step == 4:
            assert checkpoints.steps(tmp_path) == [2, 3, 4]
    assert checkpoints.steps(tmp_path) == [5, 6]


def test_each_of_the_latest_keeps_the_best_that_it_knew():
    bests = {1: 1, 2: 2, 3: 2, 4: 2, 5: 5, 6: 5}
    assert checkpoints.replaced(bests, 3) == [1, 3]
    assert checkpoints.replaced(bests, 2) == [1, 2, 3, 4]
    assert checkpoints.replaced({1: 1}, 2) == []


@pytest.mark.parametrize('keep', [1, 2])
def test_a_new_best_that_could_not_be_sealed_leaves_the_old_one_to_go_on_with(tmp_path, state, keep, monkeypatch):
    scores = {1: 0.8, 2: 0.1, 3: 0.2, 4: 0.9}
    saving, progress = checkpoints.Checkpoints(tmp_path, keep), Progress(0.0, rows=EMPTY._asdict())
    monkeypatch.setattr(checkpoints, 'seal', lambda folder: full() if folder.name == '4' else seal(folder))

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / 'metrics.jsonl').touch()
    for step, accuracy in scores.items():
        progress = progress.validated(step, {'accuracy': accuracy, 'loss': 1.0})
        saving.save(step, state._replace(step=np.int32(step)), progress)
    with pytest.raises(StorageError, match='No space left'):
        saving.close()
    assert checkpoints.steps(tmp_path) == [1, 3] if keep == 1 else [1, 2, 3]
    step, progress = resume(tmp_path, 'best')
    assert (step, progress.best_step) == (3, 1)


def test_the_latest_checkpoint_is_one_that_was_written_to_its_end(tmp_path):
    for step in (3, 5):
        (tmp_path / 'checkpoints' / str(step)).mkdir(parents=True)
    assert checkpoints.latest_step(tmp_path) == 0
    (tmp_path / 'checkpoints' / '3' / SEAL).touch()
    assert checkpoints.latest_step(tmp_path) == 3
