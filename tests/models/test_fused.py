import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')


@pytest.mark.parametrize('tokens', [4, 49, 64, 196, 197])
def test_what_cudnn_is_given_has_a_gradient(tokens, on_gpu, monkeypatch):
    """As XLA is handed it for a GPU: training would end with a traceback where there is none."""
    from jax._src.cudnn import fused_attention_stablehlo

    for asked in ('check_cudnn_version', 'check_compute_capability', 'is_cuda_compute_capability_equal'):
        monkeypatch.setattr(fused_attention_stablehlo, asked, lambda *args: 0)  # there is no GPU to ask
    heads = jnp.zeros((4, 2, tokens, 32), jnp.bfloat16)

    def lowered():
        of_inputs = jax.grad(lambda *qkv: fused.fused_attention(*qkv).astype(jnp.float32).sum(), (0, 1, 2))
        return jax.jit(of_inputs).trace(heads, heads, heads).lower(lowering_platforms=('cuda',)).as_text()

    if fused.why_not(heads, heads, 0.0, None) is None:
        assert '__cudnn$fmhaSoftmaxBackward' in lowered()
    else:
        with pytest.raises(NotImplementedError):
            lowered()


def test_what_cudnn_can_do(heads, on_gpu):
    q, _, v = (x[:, :, :4].astype(jnp.bfloat16) for x in heads)
    assert fused.why_not(q, v, 0.0, None) is None
    assert 'positions.content' in fused.why_not(None, v, 0.0, None)
    assert 'model.window=3' in fused.why_not(q, v, 0.0, 3)
    assert 'add to the logits' in fused.why_not(q, v, jnp.zeros((2, 1, 4, 4)), None)
    assert 'float32' in fused.why_not(q, v.astype(jnp.float32), 0.0, None)
    assert 'odd number of tokens' in fused.why_not(q[:, :, :3], v[:, :, :3], 0.0, None)
    assert 'head_dim=4' in fused.why_not(q[..., :4], v[..., :4], 0.0, None)


def test_elsewhere_it_falls_back_with_one_warning_and_the_same_result(built, images, caplog):
    fused.warn.cache_clear()
    model, params = built()
    expected = model.apply(params, images, capture=('attention',))
    with caplog.at_level(logging.WARNING):
        asked, _ = built(attention_kernel='cudnn')
        found = asked.apply(params, images, capture=('attention',))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert [record.message for record in caplog.records if 'cudnn' in record.message] == [
        "model.attention_kernel='cudnn' falls back to 'xla': the backend is cpu, and cuDNN is of NVIDIA GPUs"
    ]
