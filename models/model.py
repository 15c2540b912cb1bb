"""What a model is: pure functions of a params tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int32, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data.spec import Spec
from models.backbone import Backbone
from models.keys import from_row, hashed
from models.patches import Coordinates
from models.resnet import ResNet

MODELS = {'backbone': Backbone, 'resnet': ResNet}

# 0..255; on the device, or still on the host.
Images = (
    UInt8[Array | np.ndarray, 'batch height width channels'] | Float[Array | np.ndarray, 'batch height width channels']
)
Params = dict[str, Any]  # nested by module, arrays at the leaves


class Outputs(NamedTuple):
    """What a model says of a batch."""

    logits: Float[Array, 'batch classes']  # float32, whatever the compute type
    captured: dict[str, list[Array]]  # what `capture` named, a list over blocks each


class Model(NamedTuple):
    """A model is its params and these functions of them; it has no other state."""

    init: Callable[[PRNGKeyArray], Params]
    apply: Callable[..., Outputs]  # apply(params, images, *, key=None, first=0, coordinates=None, capture=())
    decays: Callable[[Params], Params]  # a tree of bools: which leaves weight decay may touch
    shapes: Params  # jax.ShapeDtypeStruct at the leaves: what `init` draws, known without tracing it again


def standardise(images: Images, dtype: DTypeLike) -> Float[Array, 'batch height width channels']:
    """Intensities 0..255 to -1..1, the same for every dataset.

    A constant rather than a dataset's mean and deviation, so that a model means the same on any subset of it; and
    inside the model, so that nobody can forget it.
    """
    return (jnp.asarray(images, jnp.float32) / 127.5 - 1).astype(dtype)


def build_as_written(config: ConfigDict, spec: Spec, dtype: DTypeLike = jnp.float32) -> Model:
    """models.build, but of the width and the kernel that stand in `config`."""

    def create(key: PRNGKeyArray) -> nnx.Module:
        constructor = MODELS[config.name]
        return constructor(config, spec.image_shape, spec.num_classes, dtype=dtype, rngs=nnx.Rngs(params=hashed(key)))

    def init(key: PRNGKeyArray) -> Params:
        return params_of(create(key))

    def params_of(module: nnx.Module) -> Params:
        return nnx.to_pure_dict(nnx.state(module, nnx.Param))

    abstract = nnx.eval_shape(lambda: create(jax.random.key(0)))
    graph = nnx.graphdef(abstract)

    def apply(
        params: Params,
        images: Images,
        *,
        key: PRNGKeyArray | None = None,
        first: int | Int32[Array, ''] = 0,
        coordinates: Coordinates | None = None,
        capture: tuple[str, ...] = (),
    ) -> Outputs:
        key = None if key is None else from_row(hashed(key), first)
        module = nnx.merge(graph, params)
        logits, captured = module(standardise(images, dtype), coordinates, key)
        for name in capture:
            if name not in captured:
                raise ValueError(f'capture={name!r}: this model has {", ".join(captured) or "nothing"} to capture')
        return Outputs(logits, {name: captured[name] for name in capture})

    return Model(init, apply, _decays, params_of(abstract))


def _decays(params: Params) -> Params:
    """Kernels decay; norms, biases and everything positional do not."""

    def decays(path, _) -> bool:
        names = [entry.key for entry in path]
        return names[-1] == 'kernel' and 'positions' not in names

    return jax.tree_util.tree_map_with_path(decays, params)
