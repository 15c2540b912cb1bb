from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from models import fused
from models.attention import dot_product_attention
from tests.draws import normal


@pytest.fixture
def heads():
    """Scaled queries, keys and values."""
    return [normal(index, (2, 3, 5, 8)) for index in range(3)]


def test_the_kernel_is_handed_what_attention_computes(heads):
    """By the library's own implementation for any backend, which reads the same arguments as cuDNN's."""
    expected, _ = dot_product_attention(*heads)
    np.testing.assert_allclose(fused.fused_attention(*heads, implementation='xla'), expected, atol=1e-6)


def asked(**fields):
    """A model with attention by cuDNN, two heads, and pixels for tokens."""
    config = base.get_config().model
    config.update_from_flattened_dict({
        'attention_kernel': 'cudnn', 'patch_size': 1, 'embed_dim': 64, 'num_heads': 2, **fields
    })  # fmt: skip
    return config


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(jax, 'devices', lambda: [SimpleNamespace(compute_capability='9.0')])


@pytest.mark.parametrize('capability', ['7.5', 'gfx942'])
def test_a_gpu_without_the_kernel_falls_back(capability, on_gpu, monkeypatch):
    monkeypatch.setattr(jax, 'devices', lambda: [SimpleNamespace(compute_capability=capability)])
    assert fused.fallback(asked(), (64, 1, 1), jnp.bfloat16).endswith(capability)


@pytest.mark.parametrize('tokens', [4, 49, 64, 196, 197])
def test_what_cudnn_is_given_has_a_gradient(tokens, on_gpu, monkeypatch):
    """As XLA is handed it for a GPU: training would end with a traceback where there is none."""
    from jax._src.cudnn import fused_attention_stablehlo

    for check in ('check_cudnn_version', 'check_compute_capability', 'is_cuda_compute_capability_equal'):
        monkeypatch.setattr(fused_attention_stablehlo, check, lambda *args: 0)  # there is no GPU to ask
    heads = jnp.zeros((4, 2, tokens, 32), jnp.bfloat16)

    def lowered():
        of_inputs = jax.grad(lambda *qkv: fused.fused_attention(*qkv).astype(jnp.float32).sum(), (0, 1, 2))
        return jax.jit(of_inputs).trace(heads, heads, heads).lower(lowering_platforms=('cuda',)).as_text()

    config = asked()
    if fused.fallback(config, (tokens, 1, 1), jnp.bfloat16):
        with pytest.raises(NotImplementedError):
            lowered()
    else:
        assert '__cudnn$fmhaSoftmaxBackward' in lowered()


CANNOT = {
    'positions.content': {'positions.name': 'gaussian', 'positions.content': False},
    'model.window=3': {'window': 3},
    "'relative_bias' adds to the logits": {'positions.name': 'relative_bias'},
    'head_dim=12': {'embed_dim': 24},
    'head_dim=256': {'embed_dim': 512},
}


def test_what_cudnn_can_do(on_gpu):
    for able in ({}, {'window': 7}, {'positions.name': 'rope_axial'}, {'positions.name': 'conditional'}):
        assert fused.fallback(asked(**able), (4, 4, 1), jnp.bfloat16) == ''
    assert fused.fallback(asked(attention_kernel='xla', window=3), (4, 4, 1), jnp.float32) == ''
    assert 'odd number of tokens, and these are 9' in fused.fallback(asked(), (3, 3, 1), jnp.bfloat16)
    assert 'float32' in fused.fallback(asked(), (4, 4, 1), jnp.float32)
    for reason, fields in CANNOT.items():
        assert reason in fused.fallback(asked(**fields), (4, 4, 1), jnp.bfloat16)


def test_elsewhere_it_falls_back_with_the_same_result(built, images):
    (model, params), (asked, _) = built(), built(attention_kernel='cudnn')
    expected, found = (one.apply(params, images, capture=('attention',)) for one in (model, asked))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ('image', 'dim'), [((3, 4, 1), 64), ((4, 3, 1), 64), ((4, 4, 1), 2 * fused.LARGEST_HEAD), ((4, 4, 1), 16)]
)
def test_the_kernel_is_used_up_to_its_bounds(image, dim, on_gpu):
    assert fused.fallback(asked(embed_dim=dim, **{'positions.name': 'none'}), image, jnp.bfloat16) == ''
