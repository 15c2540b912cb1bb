import itertools

from training.progress import Progress, Spent
from training.recording.log import EMPTY

SCORES = [{'accuracy': accuracy, 'loss': loss} for accuracy in (0.5, 0.6) for loss in (1.0, 2.0)]


def test_the_best_has_the_highest_accuracy_then_the_lowest_loss_and_is_the_first_of_equals():
    for scores in itertools.product(SCORES, repeat=3):
        progress = Progress(compile_seconds=0.0)
        for step, own in enumerate(scores, start=1):
            progress = progress.validated(step, own)
        ranked = sorted(enumerate(scores, start=1), key=lambda one: (-one[1]['accuracy'], one[1]['loss'], one[0]))
        assert (progress.best_step, progress.best) == ranked[0]
        assert progress.validation == scores[-1]
        assert progress.selected('best', 3) == progress.best_step
        assert progress.selected('last', 3) == 3


def test_seconds_of_devices_add_up_where_a_run_goes_on_on_another_number_of_them():
    progress = Progress(compile_seconds=0.0).after(Spent(10.0, 0.0, 8), EMPTY).after(Spent(30.0, 0.0, 1), EMPTY)
    assert (progress.train_seconds, progress.device_seconds) == (40.0, 110.0)


def test_before_any_validation_the_latest_step_counts():
    assert Progress(compile_seconds=0.0).selected('best', 3) == 3


def test_a_maker_is_written_down_where_it_differs_from_the_one_before():
    one, other = {'code': {'sha256': '0'}}, {'code': {'sha256': '1'}}
    progress = Progress(compile_seconds=0.0)
    for maker in (one, one, other, other, one):
        progress = progress.by(maker)
    assert progress.makers == [one, other, one]
