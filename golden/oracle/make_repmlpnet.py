"""The RepMLPNet goldens: the original RepMLPNet in PyTorch float64. Run by make.py."""

import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import torch

from goldens import Case, Family, lists, of_kinds

SOURCE = 'https://raw.githubusercontent.com/DingXiaoH/RepMLP/3eff13fa0257af28663880d870f327d665f0a8e2/repmlpnet.py'
SOURCE_SHA256 = '8308e9b41d984adcddfc7bf4cf190da5640ab7a349301444d0b2ae2695d5e3f8'

# name: (channels, side of the windows, blocks and share-sets of each stage, resolution, seed)
PUBLISHED = {
    'repmlpnet_t224': ((64, 128, 256, 512), (56, 28, 14, 7), (2, 2, 6, 2), (1, 4, 16, 128), 224, 31),
    'repmlpnet_b224': ((96, 192, 384, 768), (56, 28, 14, 7), (2, 2, 12, 2), (1, 4, 32, 128), 224, 32),
    'repmlpnet_t256': ((64, 128, 256, 512), (64, 32, 16, 8), (2, 2, 6, 2), (1, 4, 16, 128), 256, 41),
    'repmlpnet_b256': ((96, 192, 384, 768), (64, 32, 16, 8), (2, 2, 12, 2), (1, 4, 32, 128), 256, 42),
    'repmlpnet_d256': ((80, 160, 320, 640), (64, 32, 16, 8), (2, 2, 18, 2), (1, 4, 16, 128), 256, 43),
    'repmlpnet_l256': ((96, 192, 384, 768), (64, 32, 16, 8), (2, 2, 18, 2), (1, 4, 32, 256), 256, 44),
}

# name: (the original's arguments, input [N, H, W], seed)
TINY = {
    # Several windows in every stage, of another height than width.
    'repmlpnet_tiny_windows': (
        {
            'channels': (8, 12, 16, 24),
            'hs': (4, 4, 2, 1),
            'ws': (8, 2, 1, 2),
            'num_blocks': (1, 2, 1, 1),
            'sharesets_nums': (2, 3, 4, 6),
            'reparam_conv_k': (1, 3),
            'num_class': 5,
        },
        (1, 64, 128),
        33,
    ),
    # Maps of 4x12, 2x6 and 1x3.
    'repmlpnet_tiny_rectangles': (
        {
            'channels': (4, 6, 8),
            'hs': (2, 2, 1),
            'ws': (6, 3, 3),
            'num_blocks': (1, 1, 1),
            'sharesets_nums': (2, 3, 4),
            'reparam_conv_k': (1, 3),
            'num_class': 6,
        },
        (2, 16, 48),
        34,
    ),
    # Kernels larger than the windows.
    'repmlpnet_tiny_kernels_1_3_5_7': (
        {
            'channels': (8, 16),
            'hs': (5, 5),
            'ws': (8, 4),
            'num_blocks': (1, 1),
            'sharesets_nums': (4, 2),
            'reparam_conv_k': (1, 3, 5, 7),
            'num_class': 5,
        },
        (1, 40, 64),
        35,
    ),
    'repmlpnet_tiny_kernel_3': (
        {
            'channels': (8, 16),
            'hs': (4, 2),
            'ws': (3, 3),
            'num_blocks': (2, 1),
            'sharesets_nums': (1, 8),
            'reparam_conv_k': (3,),
            'globalperceptron_reduce': 2,
            'num_class': 7,
        },
        (3, 32, 24),
        36,
    ),
    'repmlpnet_tiny_no_locality': (
        {
            'channels': (6, 12),
            'hs': (4, 2),
            'ws': (4, 2),
            'num_blocks': (1, 2),
            'sharesets_nums': (3, 2),
            'reparam_conv_k': (),
            'globalperceptron_reduce': 2,
            'num_class': 5,
        },
        (2, 32, 16),
        37,
    ),
    # As many share-sets as channels, one grey input channel, one stage.
    'repmlpnet_tiny_one_stage': (
        {
            'in_channels': 1,
            'channels': (6,),
            'hs': (5,),
            'ws': (2,),
            'num_blocks': (3,),
            'sharesets_nums': (6,),
            'reparam_conv_k': (5, 3),
            'globalperceptron_reduce': 2,
            'num_class': 5,
        },
        (2, 20, 16),
        38,
    ),
    # Maps of 5x15, 2x7 and 1x3: each convolution leaves a remainder.
    'repmlpnet_tiny_remainders': (
        {
            'patch_size': (4, 2),
            'channels': (8, 12, 20),
            'hs': (5, 2, 1),
            'ws': (5, 7, 1),
            'num_blocks': (1, 1, 1),
            'sharesets_nums': (2, 4, 5),
            'reparam_conv_k': (1, 3),
            'num_class': 5,
        },
        (2, 23, 31),
        39,
    ),
    'repmlpnet_tiny_five_stages': (
        {
            'channels': (4, 8, 12, 16, 20),
            'hs': (4, 4, 2, 2, 1),
            'ws': (4, 2, 4, 1, 2),
            'num_blocks': (1, 1, 1, 2, 1),
            'sharesets_nums': (1, 2, 4, 8, 20),
            'reparam_conv_k': (1, 3),
            'num_class': 6,
        },
        (1, 64, 128),
        40,
    ),
}

LAYERS_OF = ('repmlpnet_tiny_rectangles',)
FC3_OF = ('repmlpnet_tiny_rectangles', 'repmlpnet_tiny_kernels_1_3_5_7')
KEYS_OF = ('repmlpnet_t224',)

# Checkpoints whose weights and images are stored: all that begins so, and the images.
STORED = {
    'repmlpnet': ('examples/repmlpnet', 'examples/repmlpnet.input.safetensors'),
    'digits_repmlpnet': ('digits/repmlpnet', 'digits/test.safetensors'),
}

DEFAULTS = {
    'family': 'repmlpnet',
    'in_channels': 3,
    'num_class': 1000,
    'patch_size': (4, 4),
    'globalperceptron_reduce': 4,
}


def load_original(path: Path) -> ModuleType:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        sys.exit(f'{path}: {error.strerror}; it must be a copy of {SOURCE}')
    if found != SOURCE_SHA256:
        sys.exit(f'{path}: SHA-256 {found}, not that of {SOURCE}')
    spec = importlib.util.spec_from_file_location('repmlpnet', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def complete(arguments: dict[str, object]) -> dict[str, object]:
    return lists({**DEFAULTS, **arguments})


def cases() -> list[Case]:
    found = []
    for name, (channels, windows, blocks, sharesets, side, seed) in PUBLISHED.items():
        config = complete(
            {
                'hs': windows,
                'ws': windows,
                'reparam_conv_k': (1, 3),
                'channels': channels,
                'num_blocks': blocks,
                'sharesets_nums': sharesets,
            }
        )
        # The windows of the first stage are its map: no smaller input fits, and none that is not square but two of these.
        found.append(Case(name, config, (1, side, side), seed, model=name))
    for name, (arguments, size, seed) in TINY.items():
        found.append(Case(name, complete(arguments), size, seed))
    for name, (prefix, images) in STORED.items():
        found.append(Case(name, prefix=prefix, images=images))
    return found


def inject(model: torch.nn.Module) -> bool:
    # Injection makes its identity matrix in the default dtype.
    torch.set_default_dtype(torch.float64)
    model.locality_injection()
    torch.set_default_dtype(torch.float32)
    return True


def family(source: Path | None) -> Family:
    if source is None:
        sys.exit(f'RepMLPNet needs --repmlpnet FILE, a copy of {SOURCE}')
    original = load_original(source)

    def build(config: dict[str, object]) -> torch.nn.Module:
        arguments = {key: value for key, value in config.items() if key != 'family'}
        # The original says "no local perceptron" with None and stops on an empty list.
        return original.RepMLPNet(**{**arguments, 'reparam_conv_k': config['reparam_conv_k'] or None})

    def stage(name: str, module: torch.nn.Module) -> str | None:
        """A stage's output is its last unit's."""
        found = re.fullmatch(r'(stages\.\d+)\.(\d+)', name)
        # The original keeps a stage as a list that is never called, so the last unit stands for it.
        return None if found is None or not isinstance(module, original.RepMLPNetUnit) else found[1]

    return Family(
        made_by={'script': 'golden/oracle/make_repmlpnet.py', 'source': SOURCE, 'source_sha256': SOURCE_SHA256},
        cases=cases(),
        complete=complete,
        build=build,
        fuse=inject,
        fuser='locality_injection()',
        stage=stage,
        layer=of_kinds(torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear, original.RepMLPBlock),
        layers_of=LAYERS_OF,
        fused_layers_of=LAYERS_OF,
        fused_weights_of={name: '.fc3.' for name in FC3_OF},
        keys_of=KEYS_OF,
    )
