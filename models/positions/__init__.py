"""How a token learns where it is: one family a file, one registry."""

from models.positions.base import AbsolutePositions, NoPositions, Shape
from models.positions.learned import Learned1D
from models.positions.rnn import RNNPositions
from models.positions.sinusoidal import Sinusoidal1D, Sinusoidal2D

__all__ = ['INJECTIONS', 'POSITIONS', 'AbsolutePositions', 'NoPositions', 'Shape']

POSITIONS: dict[str, type[NoPositions]] = {
    'none': NoPositions,
    'sinusoidal_1d': Sinusoidal1D,
    'sinusoidal_2d': Sinusoidal2D,
    'learned_1d': Learned1D,
    'rnn': RNNPositions,
}

INJECTIONS = ('stem', 'every_layer', 'every_layer_shared')
