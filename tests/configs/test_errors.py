import pytest

from configs import base
from configs.errors import nearest
from configs.fields import flatten
from models.positions import POSITIONS

FIELDS = flatten(base.get_config().to_dict())


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('train.lr', 'train.learning_rate'),
        ('train.wd', 'train.weight_decay'),
        ('model.num_layers', 'model.depth'),
        ('train.seed', 'seed'),
        ('seeed', 'seed'),
        ('model.patch', 'model.patch_size'),
        ('modle.depth', 'model.depth'),
        ('train.warmpu', 'train.warmup'),
        ('depht', 'model.depth'),
        ('modle.depht', 'model.depth'),
        ('model.positional_encoding', 'model.positions.name'),
    ],
)
def test_what_others_call_it_and_what_is_misspelt_lead_to_the_field(name, meant):
    assert nearest(name, FIELDS) == f'did you mean {meant}?'


def test_several_that_begin_so_are_all_named():
    assert nearest('rope', POSITIONS) == 'did you mean rope_axial or rope_mixed?'


def test_where_nothing_is_near_there_is_the_group_or_everything():
    offered = nearest('train.optimizer', FIELDS)
    assert 'train.learning_rate' in offered
    assert 'model.' not in offered
    assert nearest('tarin.optimizer', FIELDS) == offered
    assert all(name in nearest('xyz', POSITIONS) for name in POSITIONS)
