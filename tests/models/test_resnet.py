import jax
import pytest

from models.patches import grid_coordinates
from models.resnet import group_size


def test_a_resnet_has_no_coordinates(built, images):
    model, params = built(name='resnet', resnet_width=16)
    with pytest.raises(ValueError, match='no tokens'):
        model.apply(params, images, coordinates=grid_coordinates((4, 4)))


@pytest.mark.parametrize('width', [1, 8, 16, 50, 56, 64])
def test_resnets_of_any_width_build(built, images, width):
    model, params = built(name='resnet', resnet_width=width)
    shape = jax.eval_shape(lambda params: model.apply(params, images).logits, params).shape
    assert shape == (4, 10)


@pytest.mark.parametrize('width', range(7, 65))
def test_groups_are_near_the_paper_s_size_at_every_width(width):
    """Also those that models.matching finds: no stage but a narrow or a prime one has all its channels in one group."""
    for channels in (width * 2**stage for stage in range(4)):
        size = group_size(channels)
        assert channels % size == 0
        assert 7 <= size < 32 or size == width
        assert size == 16 or channels % 16 != 0
        assert size < channels or channels < 32 or channels == width


@pytest.mark.parametrize(('channels', 'size'), [(1, 1), (2, 2), (6, 6), (257, 257)])
def test_a_group_has_more_than_one_channel_where_there_are_more(channels, size):
    assert group_size(channels) == size
