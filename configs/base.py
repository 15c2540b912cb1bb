"""Every field of every experiment, once: its default, its unit, and what it does.

A config file starts from `get_config()` here and changes fields; the tree is locked, so a misspelt name is an
error. Fields whose default is None are `placeholder`s: unset until given a value of their type.
"""

from collections.abc import Callable

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.errors import ConfigError

INJECTIONS = ('stem', 'every_layer', 'every_layer_shared')  # what model.positions.inject can be
ATTENTION_SCALES = ('sqrt_head_dim', 'none')  # what model.attention_scale can be
ATTENTION_KERNELS = ('xla', 'cudnn')  # what model.attention_kernel can be
COMPUTE_DTYPES = ('float32', 'bfloat16')  # what train.compute_dtype can be
SELECTIONS = ('best', 'last')  # what checkpoint.select can be


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # initial params, data order, augmentation, dropout; never the splits
    config.deterministic = False  # bit-identical reruns on a GPU too, with slower kernels; on a CPU they always are

    config.data = data = ConfigDict()
    data.name = 'digits'  # digits | digit_pairs | synthetic | any TFDS image-classification dataset
    data.dir = ''  # folder of prepared TFDS datasets; '': $TFDS_DATA_DIR, else ~/tensorflow_datasets
    data.image_size = placeholder(int)  # pixels; resize and centre-crop to a square; None: as stored
    data.train_fraction = 1.0  # share of the training examples to use, in (0, 1]; nested and class-balanced
    data.train_examples = placeholder(int)  # the same as a count; overrides train_fraction when set
    data.validation_fraction = 0.1  # share of train kept apart for selection, in (0, 1); the same for every seed
    data.augment = ConfigDict()
    data.augment.crop = 0  # pixels of zero padding before a random crop back to size; 0: off
    data.augment.flip = False  # mirror half of the images; refused where a mirrored image changes its class
    data.digit_pairs = ConfigDict()  # for data.name='digit_pairs': are two digits of one class?
    data.digit_pairs.grid = 6  # cells per side, each as large as a digit: 8 x 8 pixels
    data.digit_pairs.distance = placeholder(int)  # cells from digit to digit, the larger of rows and columns; None: any
    data.digit_pairs.train_examples = 20_000  # images; validation is taken from these
    data.digit_pairs.test_examples = 2_000  # images, of digits that train does not have
    data.synthetic = ConfigDict()  # for data.name='synthetic'
    data.synthetic.image_size = 32  # pixels
    data.synthetic.channels = 3  # per pixel
    data.synthetic.num_classes = 10  # each class is one fixed random picture, under noise
    data.synthetic.train_examples = 1024  # images; validation is taken from these
    data.synthetic.test_examples = 256  # images

    config.model = model = ConfigDict()
    model.name = 'backbone'  # backbone: patches -> [mixer + MLP] x depth -> head | resnet: for comparison
    model.mixer = 'attention'  # attention | conv | depthwise_conv | gru | identity
    model.kernel_size = 3  # patches; side of conv's and depthwise_conv's kernel, odd
    model.patch_size = 4  # pixels; must tile the image
    model.embed_dim = 64  # channels of a token
    model.depth = 4  # blocks
    model.mlp_ratio = 4.0  # hidden width of a block's MLP, divided by embed_dim
    model.num_heads = 4  # must divide embed_dim
    # A window over the whole grid is full attention there, but not on larger images (eval.py --resolutions).
    model.window = placeholder(int)  # a token sees window x window tokens (odd); in a sequence window // 2 each way
    model.attention_scale = 'sqrt_head_dim'  # logits / sqrt(head_dim) | none: not divided, shows softmax saturating
    model.dropout = 0.0  # share dropped, in [0, 1): after embedding and each sublayer; resnet: of pooled features
    model.stochastic_depth = 0.0  # share of residual branches dropped in the last block, rising from 0 in the first
    model.positions = ConfigDict()
    model.positions.name = 'learned_1d'  # one of sixteen: models/positions/__init__.py lists them
    model.positions.content = True  # False: positions alone say where attention looks, whatever is there; no q and k
    model.positions.inject = 'stem'  # absolute codes are added at: stem (once) | every_layer (own) | every_layer_shared
    model.attention_kernel = (
        'xla'  # xla | cudnn: fused, on NVIDIA GPUs, where it supports the case; else xla, with a warning
    )
    model.remat = False  # compute blocks' activations again in the backward pass: less memory, a third more FLOPs
    model.resnet_width = 64  # channels of resnet's first stage; 64 is ResNet-18
    model.match = ''  # params | flops: set the width so that the arm costs what the reference arm does; '': as written
    model.reference = 'attention'  # mixer of the arm to match, without window and positions; all else as written

    config.train = train = ConfigDict()
    train.epochs = 60.0  # passes over the training examples
    train.steps = placeholder(int)  # the same as a count of steps; overrides epochs when set
    train.batch_size = 128  # images per step
    train.learning_rate = 2e-3  # peak of the cosine schedule, after a linear warm-up
    train.weight_decay = 0.05  # AdamW's; not on norms, biases and positional parameters
    train.warmup = 0.1  # share of the steps, in [0, 1)
    train.label_smoothing = 0.1  # in [0, 1)
    train.clip_norm = 1.0  # largest global norm of the gradients; 0: off
    train.compute_dtype = 'float32'  # float32 | bfloat16; params are float32 either way
    train.shares = placeholder(int)  # of a batch, on a CPU each by a process with its own cores; None: chosen for you
    train.accumulate = placeholder(int)  # parts of a share, for less memory (docs/performance.md); None: chosen for you
    train.steps_per_dispatch = placeholder(int)  # steps per call of the compiled program; None: chosen for you
    train.eval_batch_size = 500  # images; changes only speed

    config.log = log = ConfigDict()
    log.every = 20  # steps between rows of metrics.jsonl
    log.tensorboard = True  # the same rows as TensorBoard events, in the run's folder
    log.wandb = ''  # project of Weights & Biases to log to as well, where the package wandb is installed; '': off

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.count = 10  # times a run stops to validate and save, evenly spread, the last at its end
    checkpoint.keep = 2  # latest checkpoints kept, beside the best on validation until each
    checkpoint.select = 'best'  # params that are tested: best (accuracy on validation, of equals by loss) | last

    config.debug = debug = ConfigDict()
    debug.check_numerics = False  # find the operation in which a run diverges; each step waits for the one before
    return config.lock()


def choose(variant: str, **forms: Callable[[ConfigDict], None]) -> Callable[[ConfigDict], None]:
    """The form that is named after the colon of --config=FILE:VARIANT; without a name, the full form.

    Raises:
      ConfigError: no form has that name.
    """
    if variant and variant not in forms:
        raise ConfigError(f'--config=...:{variant} is unknown; {", ".join(forms)} would do, or nothing after the colon')
    return forms[variant] if variant else lambda config: None
