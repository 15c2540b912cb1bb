"""tests/reliability/test_damage.py resumes from what is damaged, test_population.py from where all members are."""

from training.resume import set_aside


def test_a_checkpoint_that_is_set_aside_again_leaves_the_first_copy_there(tmp_path):
    for content in ('first', 'second'):
        (tmp_path / 'checkpoints' / '7').mkdir(parents=True)
        (tmp_path / 'checkpoints' / '7' / 'a').write_text(content)
        set_aside(tmp_path, 7, 'damaged')
    kept = sorted((tmp_path / 'checkpoints_set_aside').glob('*/a'))
    assert [path.read_text() for path in kept] == ['first', 'second']
