"""ViT-S/16 on ImageNet-1k: 224 x 224 images, 196 patches of 16 x 16 (Dosovitskiy et al. 2021; Touvron et al. 2021).

  python -m data.prepare imagenet2012 --manual_dir=DIR    # DIR holds the archives from image-net.org
  python train.py --config=configs/imagenet.py --workdir=runs/imagenet

Width, depth and heads are those of DeiT-S (arXiv:2012.12877, table 1). The head reads the mean of the tokens instead
of a class token, as in Beyer et al. 2022 (arXiv:2205.01580), whose recipe of 90 epochs this follows, except for its
MixUp and RandAugment, its crops of any size (here the centre crop is shifted by up to 28 pixels), its tests on the
central 224 pixels of images resized to 256, and its head of two layers. It has not been trained yet, so there is no
result to expect.

`:tiny` is the same model for four steps on synthetic images, a minute or two on a CPU: it shows that the model builds,
fits and steps, and nothing else.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(variant: str = '') -> ConfigDict:
    config = base.get_config()
    config.data.name = 'imagenet2012'
    config.data.image_size = 224
    config.data.validation_fraction = 0.01
    config.data.augment.crop = 28
    config.data.augment.flip = True
    config.model.patch_size = 16
    config.model.embed_dim = 384
    config.model.depth = 12
    config.model.num_heads = 6
    config.model.positions.name = 'sinusoidal_2d'
    config.train.epochs = 90.0
    config.train.batch_size = 1024
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.1
    config.train.label_smoothing = 0.0
    config.train.compute_dtype = 'bfloat16'
    config.log.every = 50
    config.checkpoint.count = 90
    base.choose(variant, tiny=tiny)(config)
    return config


def tiny(config: ConfigDict) -> None:
    config.data.name = 'synthetic'
    config.data.image_size = None
    config.data.validation_fraction = 0.1
    config.data.synthetic.image_size = 224
    config.data.synthetic.num_classes = 4
    config.data.synthetic.train_examples = 40
    config.data.synthetic.test_examples = 8
    config.train.steps = 4
    config.train.batch_size = 8
    config.train.eval_batch_size = 8
    config.train.compute_dtype = 'float32'
    config.log.every = 1
    config.checkpoint.count = 1
