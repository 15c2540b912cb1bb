"""tests/reliability/test_damage.py resumes from what is damaged, test_population.py from where all members are."""

from training.progress import Progress
from training.saving import resume
from training.saving.resume import set_aside


def test_a_checkpoint_that_is_set_aside_again_leaves_the_first_copy_there(tmp_path):
    for content in ('first', 'second'):
        (tmp_path / 'checkpoints' / '7').mkdir(parents=True)
        (tmp_path / 'checkpoints' / '7' / 'a').write_text(content)
        set_aside(tmp_path, 7, 'damaged')
    kept = sorted((tmp_path / 'checkpoints_set_aside').glob('*/a'))
    assert [path.read_text() for path in kept] == ['first', 'second']


def test_a_checkpoint_whose_best_is_gone_is_none_to_go_on_from(tmp_path, caplog, monkeypatch):
    """Its run would end without the params that count, unless later ones were better."""
    for step in (4, 8, 12):
        (tmp_path / 'checkpoints' / str(step)).mkdir(parents=True)
    best = {4: 4, 8: 8, 12: 6}
    monkeypatch.setattr(resume, 'check', lambda path: None)
    monkeypatch.setattr(resume, 'read_progress', lambda folder, step: Progress(0.0, best_step=best[step]))
    assert resume.resume(tmp_path, 'best')[0] == 8
    assert '6, the best on validation when 12 was saved, is gone' in caplog.text
    assert (tmp_path / 'checkpoints_set_aside' / '12').is_dir()


def test_by_the_last_no_other_checkpoint_is_needed(tmp_path, monkeypatch):
    (tmp_path / 'checkpoints' / '12').mkdir(parents=True)
    monkeypatch.setattr(resume, 'check', lambda path: None)
    monkeypatch.setattr(resume, 'read_progress', lambda folder, step: Progress(0.0, best_step=6))
    assert resume.resume(tmp_path, 'last')[0] == 12
