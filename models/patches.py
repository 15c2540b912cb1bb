"""From an image to tokens, and to where each token is."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

Grid = tuple[int, int]  # rows and columns of patches


@flax.struct.dataclass
class Coordinates:
    """Where the tokens are, in units of *training* patches: any grid and any order can be asked.

    Positions read these and nothing else, so to move a token is to change its row here; convolutions and the GRU know
    the grid alone. The raster order stands beside the centres because one-dimensional codes count tokens along the
    sequence, and how many tokens come before one depends on the width of its grid. (`learned_1d` does not: its table is
    of the trained sequence, and is read by the centres.) A sequence is a grid of one row.

    Which token stands at which place of the grid is said by `order` too, unless `raster` says it: in the trained
    sequence that a finer grid is squeezed into, tokens of two rows lie between each other.
    """

    centres: Float[Array | np.ndarray, 'tokens 2']  # row and column of the patch's centre; the first is (0.5, 0.5)
    order: Float[Array | np.ndarray, 'tokens']  # place in the sequence that codes count along; the first is 0
    grid: Grid = flax.struct.field(pytree_node=False)  # rows and columns of patches
    raster: Int[Array | np.ndarray, 'tokens'] | None = None  # place in the raster of `grid`; None: as `order` sorts


def grid_coordinates(grid: Grid, trained: Grid | None = None, policy: str = 'extend') -> Coordinates:
    """Coordinates of every patch of `grid`, row by row, for a model trained on the grid `trained`.

    Args:
      policy: 'extend': a larger image reaches further, beyond the trained range; 'rescale': a larger image is a
        finer look at the trained range. In one dimension too: a token's place in the sequence is then in the trained
        row that its centre lies in (on the border of two, in the outer one), and between that row's places, or up to
        half a place beyond its ends, as its column is. Finer rows that lie in one trained row have the same places.
    """
    trained = trained or grid
    rows, columns = np.indices(grid).reshape(2, -1)
    centres = np.stack([rows, columns], axis=-1).astype(np.float32) + 0.5
    order = np.arange(len(centres), dtype=np.float32)
    raster = None
    if policy == 'rescale':
        raster = np.arange(len(centres))
        centres = centres * (np.float32(trained) / np.float32(grid))
        # Stretched as a whole, a finer grid's second row would get the codes of the trained first row's second half.
        row, beyond_border = np.divmod((2 * rows + 1) * trained[0], 2 * grid[0])
        # Always the lower one, and the sequence would lose its middle. (On a border in the very middle it is that.)
        row -= (beyond_border == 0) & (2 * rows + 1 < grid[0])
        order = row * trained[1] + (columns + 0.5) * (trained[1] / grid[1]) - 0.5
    elif policy != 'extend':
        raise ValueError(f'policy={policy!r}: extend or rescale')
    return Coordinates(centres.astype(np.float32), order.astype(np.float32), tuple(grid), raster)


def raster_order(coordinates: Coordinates) -> Int[Array | np.ndarray, 'tokens'] | None:
    """Which token stands at each place of the raster; None when they stand in that order already.

    Coordinates that are being traced are sorted by the program, since nobody knows their order before it runs.
    """
    places = coordinates.order if coordinates.raster is None else coordinates.raster
    if isinstance(places, jax.Array):
        return jnp.argsort(places)
    order = np.argsort(places, kind='stable')
    return None if np.array_equal(order, np.arange(len(order))) else order


def in_raster_order(coordinates: Coordinates) -> Coordinates:
    """The same places, row by row."""
    order = raster_order(coordinates)
    if order is None:
        return coordinates
    # A plain range says to `raster_order` that there is nothing left to sort.
    raster = np.arange(len(order))
    return coordinates.replace(centres=coordinates.centres[order], order=coordinates.order[order], raster=raster)


def patch_grid(image_shape: tuple[int, ...], patch_size: int) -> Grid:
    """Rows and columns of whole patches in an image of `image_shape` (height, width, ...) pixels."""
    return image_shape[0] // patch_size, image_shape[1] // patch_size


def to_patches(
    images: Float[Array, 'batch height width channels'], patch_size: int
) -> Float[Array, 'batch tokens pixels']:
    """Cuts images into squares, row by row, and flattens each (Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 1)."""
    rows, columns = patch_grid(images.shape[1:], patch_size)
    batch, channels = images.shape[0], images.shape[-1]
    squares = images.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return squares.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, patch_size * patch_size * channels)


class PatchEmbedding(nnx.Module):
    """A linear map of each patch's pixels."""

    def __init__(self, patch_size: int, channels: int, embed_dim: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.patch_size = patch_size
        self.project = nnx.Linear(patch_size * patch_size * channels, embed_dim, dtype=dtype, rngs=rngs)

    def __call__(self, images: Float[Array, 'batch height width channels']) -> Float[Array, 'batch tokens embed']:
        patches = to_patches(images, self.patch_size)
        # As one two-dimensional product: XLA would turn the kernel's gradient around, and multiply by plain loops.
        return self.project(patches.reshape(-1, patches.shape[-1])).reshape(*patches.shape[:2], -1)
