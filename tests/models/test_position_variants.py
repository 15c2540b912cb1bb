"""What each positional encoding says it is: its paper's equation, computed another way."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.ndimage import map_coordinates

from models.patches import Coordinates, grid_coordinates
from models.positions import POSITIONS, Shape, scores_by_head
from models.positions.rotary import turn
from models.positions.sinusoidal import sinusoid
from models.positions.tables import interpolate
from models.windows import offsets
from tests.draws import normal, rngs

GRID = (4, 4)
TRAINED = grid_coordinates(GRID)
OFFSETS = offsets(TRAINED)


def make(name, embed_dim=32, num_heads=4, grid=GRID):
    return POSITIONS[name](Shape(embed_dim, num_heads, grid), rngs=rngs())


def queries(num_heads=4, head_dim=8, tokens=16):
    return normal(5, (num_heads, 2, tokens, head_dim))


def at(places, grid=GRID):
    places = np.asarray(places, np.float32)
    return Coordinates(places, np.zeros(len(places), np.float32), grid)


def test_sinusoid_is_vaswani_s_equation():
    dim = 8
    codes = np.asarray(sinusoid(jnp.arange(50.0), dim))
    for place in (0, 1, 7, 49):
        for i in range(dim // 2):
            angle = place / 10_000 ** (2 * i / dim)
            np.testing.assert_allclose(codes[place, i], np.sin(angle), atol=1e-5)
            np.testing.assert_allclose(codes[place, dim // 2 + i], np.cos(angle), atol=1e-5)


def test_sinusoid_shifts_by_a_rotation():
    """PE(p + k) is a linear function of PE(p), the same for every p: the reason that Vaswani et al. give for it."""
    codes = np.asarray(sinusoid(jnp.arange(40.0), 16), np.float64)
    shift, *_ = np.linalg.lstsq(codes[:-3], codes[3:], rcond=None)
    np.testing.assert_allclose(codes[:-3] @ shift, codes[3:], atol=1e-4)


def test_sinusoidal_2d_tells_rows_from_columns():
    codes = np.asarray(make('sinusoidal_2d').codes(TRAINED)).reshape(4, 4, 32)
    assert np.ptp(codes[:, :, :16], axis=1).max() == 0  # the first half says the row alone
    assert np.ptp(codes[:, :, 16:], axis=0).max() == 0  # the second the column alone
    for half in (codes[:, 0, :16], codes[0, :, 16:]):  # both counted from 0
        np.testing.assert_allclose(half, sinusoid(jnp.arange(4.0), 16), atol=1e-6)


def test_tables_are_interpolated_as_scipy_does_and_repeated_beyond_the_edge():
    table = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    places = np.random.default_rng(1).uniform(-2, 7, (40, 2)).astype(np.float32)
    expected = np.stack([map_coordinates(table[..., c], places.T, order=1, mode='nearest') for c in range(2)], -1)
    np.testing.assert_allclose(interpolate(jnp.asarray(table), places), expected, atol=1e-5)
    np.testing.assert_allclose(interpolate(jnp.asarray(table), jnp.asarray(places)), expected, atol=1e-5)
    entries = np.stack(np.indices((5, 3)), -1).astype(np.float32)
    np.testing.assert_array_equal(interpolate(jnp.asarray(table), entries), table)


def test_learned_1d_has_a_free_vector_for_every_place():
    positions = make('learned_1d', embed_dim=8)
    table = np.asarray(positions.table[...])
    np.testing.assert_array_equal(positions.codes(TRAINED), table.reshape(16, 8))
    between, centre, beyond = np.asarray(positions.codes(at([[1.0, 0.5], [2.0, 2.0], [9.5, 0.5]])))
    np.testing.assert_allclose(between, (table[0, 0] + table[1, 0]) / 2, atol=1e-6)
    np.testing.assert_allclose(centre, table[1:3, 1:3].mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(beyond, table[3, 0], atol=1e-6)


def test_learned_2d_is_the_sum_of_a_row_and_a_column():
    positions = make('learned_2d', embed_dim=8, grid=(3, 5))
    rows, columns = np.asarray(positions.rows[...]), np.asarray(positions.columns[...])
    expected = (rows[:, None] + columns[None]).reshape(15, 8)
    np.testing.assert_allclose(positions.codes(grid_coordinates((3, 5))), expected, atol=1e-7)


def test_rnn_walks_on_from_where_it_was():
    """The code of each token follows from the last state: a longer walk begins with the shorter one."""
    positions = make('rnn')
    long = positions.codes(grid_coordinates((1, 60), GRID))
    np.testing.assert_allclose(long[:16], positions.codes(TRAINED), atol=1e-5)
    assert np.linalg.norm(np.diff(long, axis=0), axis=1)[16:].min() > 1e-4
    halfway = positions.codes(Coordinates(np.zeros((1, 2), np.float32), np.float32([2.5]), GRID))
    np.testing.assert_allclose(halfway[0], (long[2] + long[3]) / 2, atol=1e-6)


@pytest.mark.parametrize('name', ['rnn', 'ode'])
def test_walks_reach_every_place_that_is_asked(name):
    positions = make(name)
    long = positions.codes(grid_coordinates((1, 40), GRID))
    asked = Coordinates(np.zeros((4, 2), np.float32), np.float32([0, 16, 25, 39]), (2, 2))
    np.testing.assert_allclose(positions.codes(asked), long[np.array([0, 16, 25, 39])], atol=1e-5)


@pytest.mark.parametrize('name', ['rnn', 'ode'])
def test_a_place_before_the_first_token_has_the_first_one_s_code(name):
    """As columns of a finer grid have, up to half a place."""
    positions = make(name)
    first, before = positions.codes(Coordinates(np.zeros((2, 2), np.float32), np.float32([0, -0.4]), GRID))
    np.testing.assert_array_equal(before, first)


@pytest.mark.parametrize('name', ['rnn', 'ode'])
def test_walks_beyond_the_grid_end_there_only_where_coordinates_are_traced(name):
    positions = make(name)
    asked = Coordinates(np.zeros((3, 2), np.float32), np.float32([3, 15, 39]), GRID)
    known = positions.codes(asked)
    np.testing.assert_array_equal(positions.codes(jax.tree.map(jnp.asarray, asked)), known)
    traced = jax.jit(positions.codes)(asked)
    np.testing.assert_allclose(traced[:2], known[:2], atol=1e-5)
    assert np.abs(traced[2] - known[2]).max() > 1e-2


def test_rnn_is_a_gru_that_reads_the_same_input_at_every_step():
    positions = make('rnn', embed_dim=8)
    gru, h = positions.gru, np.asarray(positions.start[...], np.float64)[0]
    for code in np.asarray(positions.codes(TRAINED)):
        x_reset, x_keep, x_new = np.split(dense(np.asarray(positions.drive[...], np.float64)[0], gru.inputs), 3)
        h_reset, h_keep, h_new = np.split(dense(h, gru.recurrent), 3)
        reset, keep = (1 / (1 + np.exp(-gate)) for gate in (x_reset + h_reset, x_keep + h_keep))
        h = (1 - keep) * np.tanh(x_new + reset * h_new) + keep * h
        np.testing.assert_allclose(code, dense(h, positions.project), atol=1e-5)


def test_rnn_s_memories_start_between_one_step_and_the_sequence_s_length():
    """Tallec & Ollivier 2018, section 3: biases of the gate that keeps what was, and of no other."""
    reset, keep, new = np.split(np.asarray(make('rnn', embed_dim=64, grid=(8, 8)).gru.inputs.bias[...]), 3)
    assert (keep >= 0).all()
    assert np.log(32) < keep.max() <= np.log(63)
    np.testing.assert_array_equal([reset, new], 0)


@pytest.mark.parametrize(('embed_dim', 'grown'), [(8, 1), (64, 1), (64, 1.25)])
def test_ode_s_codes_lie_on_the_path_that_scipy_finds(embed_dim, grown):
    """As drawn, and with larger kernels, as training may make them."""
    positions = make('ode', embed_dim=embed_dim)
    for layer in (positions.expand, positions.contract):
        layer.kernel[...] = grown * layer.kernel[...]
    expand, contract = (
        {name: np.asarray(leaf[...], np.float64) for name, leaf in (('kernel', layer.kernel), ('bias', layer.bias))}
        for layer in (positions.expand, positions.contract)
    )

    def velocity(time, code):
        hidden = np.tanh(np.append(code, time) @ expand['kernel'] + expand['bias'])
        return hidden @ contract['kernel'] + contract['bias']

    orders = np.float32([0, 1, 2.5, 7, 15])
    path = solve_ivp(velocity, (0, 2), np.asarray(positions.start[...]), t_eval=0.1 * orders, rtol=1e-9, atol=1e-9)
    codes = positions.codes(Coordinates(np.zeros((5, 2), np.float32), orders, GRID))
    np.testing.assert_allclose(codes, path.y.T, atol=2e-4)


def dense(x, layer):
    return x @ np.asarray(layer.kernel[...], np.float64) + np.asarray(layer.bias[...], np.float64)


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_sinusoidal_1d_is_the_sinusoid_of_the_raster_order():
    codes = make('sinusoidal_1d').codes(grid_coordinates((2, 3), GRID))
    np.testing.assert_allclose(codes, sinusoid(jnp.arange(6.0), 32), atol=1e-6)


def test_mlp_reads_coordinates_from_minus_one_to_one():
    positions = make('mlp', grid=(4, 2))
    where = grid_coordinates((4, 2))
    rows, columns = (2 * (np.arange(size) + 0.5) / size - 1 for size in (4, 2))
    places = np.stack(np.meshgrid(rows, columns, indexing='ij'), -1).reshape(8, 2)
    expected = dense(tanh_gelu(dense(places, positions.expand)), positions.contract)
    np.testing.assert_allclose(positions.codes(where), expected, atol=1e-5)


@pytest.mark.parametrize(('name', 'reads'), [('mlp', 'tensor<16x2xf32>'), ('ode', 'tensor<33xf32>')])
def test_products_that_read_coordinates_are_not_left_to_the_accelerator_s_default(name, reads):
    """Which rounds their inputs; a CPU does not, so the program is asked."""
    positions = make(name)
    program = jax.jit(lambda: positions.codes(TRAINED)).lower().as_text()
    products = [line for line in program.splitlines() if 'dot_general' in line and reads in line]
    assert products
    assert all('precision = [HIGHEST, HIGHEST]' in line for line in products)


def test_fourier_is_li_s_algorithm():
    positions = make('fourier')
    projection = np.asarray(positions.projection[...], np.float64)
    features = np.concatenate([np.cos(TRAINED.centres @ projection), np.sin(TRAINED.centres @ projection)], axis=-1)
    features /= np.sqrt(16)  # F = embed_dim / 2
    expected = dense(tanh_gelu(dense(features, positions.expand)), positions.contract)
    np.testing.assert_allclose(positions.codes(TRAINED), expected, atol=1e-5)


def test_fourier_features_of_near_places_are_alike_as_a_gaussian_says():
    """The drawn frequencies are N(0, 1 / gamma^2): cos(W (p - q)) is exp(-|p - q|^2 / (2 gamma^2)) in the mean."""
    positions = make('fourier', embed_dim=8192)
    places = np.float32([[0.5, 0.5], [0.5, 1.5], [2.5, 1.5]])
    angles = places @ np.asarray(positions.projection[...])
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1) / np.sqrt(angles.shape[-1])
    squares = ((places[:, None] - places[None]) ** 2).sum(-1)
    np.testing.assert_allclose(features @ features.T, np.exp(-squares / 2), atol=0.05)


def test_relative_bias_is_a_logit_for_each_offset():
    positions = make('relative_bias', num_heads=2, grid=(2, 3))
    coordinates = grid_coordinates((2, 3))
    scores = positions.scores(None, None, offsets(coordinates))
    assert scores.shape == (2, 1, 6, 6)
    table = np.asarray(positions.table[...])
    for query in range(6):
        for key in range(6):
            row, column = coordinates.centres[key] - coordinates.centres[query]
            np.testing.assert_array_equal(scores[:, 0, query, key], table[int(row) + 1, int(column) + 2])


def test_relative_vectors_meet_the_query():
    positions = make('relative_vectors')
    q = queries()
    scores = np.asarray(positions.scores(q, q, OFFSETS))
    rows, columns = np.asarray(positions.rows[...]), np.asarray(positions.columns[...])
    for query, key in ((0, 0), (0, 15), (6, 9), (15, 2)):
        row, column = (TRAINED.centres[key] - TRAINED.centres[query]).astype(int)
        expected = np.asarray(q)[:, :, query] @ (rows[row + 3] + columns[column + 3])
        np.testing.assert_allclose(scores[:, :, query, key], expected, atol=1e-5)


def test_gaussian_scores_are_the_log_density_up_to_a_constant():
    positions = make('gaussian')
    scores = np.asarray(positions.scores(None, None, OFFSETS))
    for head in range(4):
        centre, matrix = (np.asarray(leaf[...][head], np.float64) for leaf in (positions.centres, positions.spreads))
        apart = OFFSETS - centre
        expected = -0.5 * np.einsum('qki,ij,qkj->qk', apart, matrix.T @ matrix, apart)
        np.testing.assert_allclose(scores[head, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'field', 'spread'),
    [
        *[('learned_1d', 'table', 0.02), ('learned_2d', 'rows', 0.02), ('learned_2d', 'columns', 0.02)],
        *[('relative_vectors', 'rows', 8**-0.5), ('relative_vectors', 'columns', 8**-0.5)],
        *[('relative_bias', 'table', 0.02), ('gaussian', 'centres', 2.0)],
        *[('rnn', 'start', 1.0), ('rnn', 'drive', 1.0), ('ode', 'start', 1.0)],
    ],
)
def test_what_is_learned_starts_as_far_apart_as_its_paper_says(name, field, spread):
    positions = make(name, embed_dim=512, num_heads=64, grid=(16, 16))
    drawn = np.asarray(getattr(positions, field)[...])
    np.testing.assert_allclose(drawn.std(), spread, rtol=0.15)
    assert abs(drawn.mean()) < 0.3 * spread


@pytest.mark.parametrize(
    ('shape', 'content', 'fits'),
    [
        ((16, 16), True, True),
        ((4, 1, 16, 16), True, True),
        ((1, 2, 16, 16), True, True),
        ((4, 1, 16, 16), False, True),
        ((3, 1, 16, 16), True, False),  # heads
        ((4, 3, 16, 16), True, False),  # images
        ((4, 2, 16, 16), False, False),  # of which there are none without queries
        ((4, 1, 1, 16), True, False),  # queries
        ((16, 1), True, False),  # keys
        ((4, 16, 16), True, False),
    ],
)
def test_scores_have_one_of_two_shapes(shape, content, fits):
    positions, q = make('none'), queries() if content else None
    positions.scores = lambda q, k, offsets: jnp.zeros(shape)
    if fits:
        assert scores_by_head(positions, q, q, OFFSETS, 4).shape[::3] == (4, 16)
        return
    with pytest.raises(TypeError, match=re.escape(f'NoPositions.scores returns shape {shape}')):
        scores_by_head(positions, q, q, OFFSETS, 4)


@pytest.mark.parametrize(('blocks', 'fits'), [(1, True), (3, True), (2, False)])
def test_blocks_that_share_offsets_may_have_scores_of_their_own(blocks, fits):
    positions, q = make('none'), normal(0, (4, 2, 3, 5, 8))
    positions.scores = lambda q, k, offsets: jnp.zeros((4, 2, blocks, 5, 7))
    offsets, k = np.zeros((1, 5, 7, 2), np.float32), normal(0, (4, 2, 3, 7, 8))
    if fits:
        assert scores_by_head(positions, q, k, offsets, 4).shape == (4, 2, blocks, 5, 7)
        return
    with pytest.raises(TypeError, match='returns shape'):
        scores_by_head(positions, q, k, offsets, 4)


def test_alibi_falls_linearly_with_slopes_of_press_s_sequence():
    positions = make('alibi_2d', grid=(1, 6))
    scores = np.asarray(positions.scores(None, None, offsets(grid_coordinates((1, 6)))))
    assert np.abs(np.diagonal(scores, axis1=-2, axis2=-1)).max() == 0
    forward = -scores[:, 0, 0]  # of the first token: all keys lie after it
    np.testing.assert_allclose(forward, forward[:, 1:2] * np.arange(6), rtol=1e-5)
    slopes = np.sort(np.array(positions.slopes).ravel())[::-1]
    np.testing.assert_allclose(slopes, 2.0 ** (-8 * np.arange(1, 17) / 16))
    assert (np.array(positions.slopes)[:, 1] != np.array(positions.slopes)[:, 3]).all()  # right and left differ
    # Head h has j = h, h + H, ...; the steepest falls down for the first head, then right, up, and left.
    np.testing.assert_array_equal(np.argmax(positions.slopes, axis=1), np.arange(4))


@pytest.mark.parametrize('name', ['rope_axial', 'rope_mixed'])
def test_rotary_products_know_the_offset_alone(name):
    positions = make(name)
    q, k = queries(), queries()[..., ::-1]
    here, there = (positions.rotate(q, k, at(TRAINED.centres + shift)) for shift in (0, np.float32([5, -2])))
    products = [np.einsum('hbqd,hbkd->hbqk', *pair) for pair in (here, there)]
    np.testing.assert_allclose(*products, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(here[0], axis=-1), np.linalg.norm(q, axis=-1), rtol=1e-5)
    assert np.abs(products[0] - np.einsum('hbqd,hbkd->hbqk', q, k)).max() > 0.1


def test_turning_is_a_complex_product():
    x = queries()
    angles = jax.random.uniform(jax.random.key(1), (4, 16, 4), maxval=6.0)
    turned = np.asarray(turn(x, angles))
    number = (np.asarray(x)[..., :4] + 1j * np.asarray(x)[..., 4:]) * np.exp(1j * np.asarray(angles))[:, None]
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], number, atol=1e-5)


def test_rope_mixed_starts_every_head_in_a_direction_of_its_own():
    """Turned at random, so they point all around."""
    first = np.asarray(make('rope_mixed', embed_dim=256, num_heads=64).frequencies[...])[:, 0]
    angles = np.arctan2(first[:, 0], first[:, 1])
    assert len(np.unique(angles.round(4))) == 64
    counts, _ = np.histogram(angles, bins=4, range=(-np.pi, np.pi))
    assert counts.min() >= 5


def test_rope_axial_s_frequencies():
    """Half of the pairs of channels turn with the row, half with the column, at 100^(-t / (head_dim / 4))."""
    positions = make('rope_axial', num_heads=1, embed_dim=16)
    ones = jnp.concatenate([jnp.ones((1, 1, 1, 8)), jnp.zeros((1, 1, 1, 8))], axis=-1)
    turned = np.asarray(positions.rotate(ones, ones, at([[1.0, 2.0]]))[0])[0, 0, 0]
    angles = np.arctan2(turned[8:], turned[:8])
    frequencies = 100.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(angles, np.concatenate([1.0 * frequencies, 2.0 * frequencies]), atol=1e-5)


def test_rope_mixed_starts_as_two_orthogonal_directions_a_head():
    frequencies = np.asarray(make('rope_mixed', num_heads=2, embed_dim=16).frequencies[...])
    lengths = np.linalg.norm(frequencies, axis=-1)
    np.testing.assert_allclose(lengths, np.tile(10.0 ** (-np.arange(2) / 2), (2, 2)), rtol=1e-5)
    first, second = frequencies[:, :2], frequencies[:, 2:]
    np.testing.assert_allclose((first * second).sum(-1), 0, atol=1e-6)


def test_gaussian_starts_round_and_as_wide_as_a_patch():
    """Cordonnier et al. 2020: A is near the identity, so the softmax has a covariance near it."""
    spreads = np.asarray(make('gaussian', embed_dim=512, num_heads=64).spreads[...])
    np.testing.assert_allclose((spreads - np.eye(2)).std(), 0.01, rtol=0.15)


def test_conditional_adds_a_depthwise_convolution_with_zeros_beyond_the_border():
    positions = make('conditional', embed_dim=4, num_heads=1)
    positions.conv.bias[...] = jnp.arange(4.0)
    x = normal(0, (2, 16, 4))
    image = np.pad(np.asarray(x).reshape(2, 4, 4, 4), ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = np.asarray(positions.conv.kernel[...])[:, :, 0]
    expected = np.asarray(x).reshape(2, 4, 4, 4) + np.arange(4.0)
    for row in range(3):
        for column in range(3):
            expected = expected + image[:, row : row + 4, column : column + 4] * kernel[row, column]
    np.testing.assert_allclose(positions.between(x, TRAINED), expected.reshape(2, 16, 4), atol=1e-5)
