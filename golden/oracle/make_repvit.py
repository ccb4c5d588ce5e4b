"""The RepViT goldens: timm's RepVit in PyTorch float64. Run by make.py."""

import re
from pathlib import Path

import timm
import torch
from timm.models.repvit import RepVit

from goldens import Case, Family, lists, of_kinds

CIFAR100 = {'num_classes': 100, 'distillation': False}

# name: (timm's arguments, resolution, seed)
PUBLISHED = {
    'repvit_m0_6': ({'embed_dim': (40, 80, 160, 320), 'depth': (1, 1, 8, 1)}, 224, 1),
    'repvit_m0_9': ({'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2)}, 224, 2),
    'repvit_m1_0': ({'embed_dim': (56, 112, 224, 448), 'depth': (2, 2, 14, 2)}, 224, 3),
    'repvit_m1_1': ({'embed_dim': (64, 128, 256, 512), 'depth': (2, 2, 12, 2)}, 224, 4),
    'repvit_m1_5': ({'embed_dim': (64, 128, 256, 512), 'depth': (4, 4, 24, 4)}, 224, 5),
    'repvit_m2_3': ({'embed_dim': (80, 160, 320, 640), 'depth': (6, 6, 34, 2)}, 224, 6),
    'repvit_m1': ({'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2), 'legacy': True}, 224, 7),
    'repvit_m2': ({'embed_dim': (64, 128, 256, 512), 'depth': (2, 2, 12, 2), 'legacy': True}, 224, 8),
    'repvit_m3': ({'embed_dim': (64, 128, 256, 512), 'depth': (4, 4, 18, 2), 'legacy': True}, 224, 9),
    'repvit_m0_9_cifar100': ({'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2), **CIFAR100}, 32, 10),
    'repvit_m2_3_cifar100': ({'embed_dim': (80, 160, 320, 640), 'depth': (6, 6, 34, 2), **CIFAR100}, 32, 11),
}

# Maps of 5x9, 3x5, 2x3 and 1x2.
SMALL = (1, 20, 33)
SMALL_SEED = 100

# name: (timm's arguments, input [N, H, W], seed)
TINY = {
    'tiny_kernel_1': ({'embed_dim': (8, 16), 'depth': (1, 2), 'kernel_size': 1, 'num_classes': 7}, (2, 20, 20), 12),
    'tiny_kernel_5': ({'embed_dim': (8, 16), 'depth': (1, 2), 'kernel_size': 5, 'num_classes': 7}, (2, 20, 20), 13),
    'tiny_kernel_7': (
        {'embed_dim': (8, 16), 'depth': (2, 1), 'kernel_size': 7, 'num_classes': 7, 'legacy': True},
        (1, 24, 24),
        14,
    ),
    'tiny_one_stage': ({'embed_dim': (12,), 'depth': (3,), 'num_classes': 5, 'distillation': False}, (1, 16, 16), 15),
    'tiny_five_stages': (
        {'embed_dim': (8, 12, 16, 20, 24), 'depth': (1, 1, 1, 2, 1), 'num_classes': 6},
        (1, 64, 64),
        16,
    ),
    'tiny_legacy_two_heads': (
        {'embed_dim': (8, 16), 'depth': (2, 2), 'num_classes': 9, 'legacy': True, 'distillation': True},
        (2, 18, 18),
        17,
    ),
    'tiny_non_square': ({'embed_dim': (8, 16, 24), 'depth': (1, 1, 2), 'num_classes': 6}, (1, 17, 29), 18),
    'tiny_batch_3': ({'embed_dim': (8, 16), 'depth': (2, 1), 'num_classes': 6}, (3, 20, 28), 19),
    'tiny_mlp_ratio_3': ({'embed_dim': (8, 16), 'depth': (1, 1), 'mlp_ratio': 3, 'num_classes': 6}, (1, 20, 20), 20),
    'tiny_grey': (
        {'embed_dim': (10, 20), 'depth': (1, 1), 'in_chans': 1, 'num_classes': 6, 'distillation': False},
        (1, 21, 20),
        21,
    ),
}

LAYERS_OF = ('tiny_non_square',)
KEYS_OF = ('repvit_m0_9', 'repvit_m1', 'repvit_m0_9_cifar100')
PORTABLE_OF = ('tiny_one_stage',)

# Checkpoints whose weights and images are stored: all that begins so, and the images.
STORED = {
    'repvit_two_heads': ('examples/repvit_two_heads', 'examples/repvit_two_heads.input.safetensors'),
    'repvit_legacy': ('examples/repvit_legacy', 'examples/repvit_legacy.input.safetensors'),
    'digits_repvit': ('digits/repvit', 'digits/test.safetensors'),
}

DEFAULTS = {
    'family': 'repvit',
    'in_chans': 3,
    'mlp_ratio': 2,
    'kernel_size': 3,
    'num_classes': 1000,
    'distillation': True,
    'legacy': False,
}


def complete(arguments: dict[str, object]) -> dict[str, object]:
    return {**DEFAULTS, **lists(arguments)}


def cases() -> list[Case]:
    found = []
    for name, (arguments, side, seed) in PUBLISHED.items():
        config = complete(arguments)
        found.append(Case(name, config, (1, side, side), seed, model=name))
        small = f'{name}_{SMALL[1]}x{SMALL[2]}'
        found.append(Case(small, config, SMALL, SMALL_SEED + seed, model=name))
    for name, (arguments, size, seed) in TINY.items():
        found.append(Case(name, complete(arguments), size, seed))
    for name, (prefix, images) in STORED.items():
        found.append(Case(name, prefix=prefix, images=images))
    return found


def build(config: dict[str, object]) -> RepVit:
    arguments = {key: value for key, value in config.items() if key != 'family'}
    return RepVit(**{**arguments, 'embed_dim': tuple(config['embed_dim']), 'depth': tuple(config['depth'])})


def fuse(model: RepVit) -> bool:
    # timm pads the 1x1 kernel by one, whatever kernel_size is, so it fuses 3x3 only.
    if any(mixer.conv.c.kernel_size != (3, 3) for mixer in mixers(model)):
        return False
    # fuse() makes its new layers in the default dtype: without this the float64 weights would be rounded.
    torch.set_default_dtype(torch.float64)
    model.fuse()
    torch.set_default_dtype(torch.float32)
    return True


def mixers(model: RepVit) -> list[torch.nn.Module]:
    return [module for name, module in model.named_modules() if name.endswith('.token_mixer')]


def family(_source: Path | None) -> Family:
    return Family(
        made_by={'script': 'golden/oracle/make_repvit.py', 'timm': timm.__version__},
        cases=cases(),
        complete=complete,
        build=build,
        fuse=fuse,
        fuser="timm's fuse()",
        stage=lambda name, _module: name if re.fullmatch(r'stages\.\d+', name) else None,
        layer=of_kinds(torch.nn.Conv2d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.Linear),
        layers_of=LAYERS_OF,
        keys_of=KEYS_OF,
        portable_of=PORTABLE_OF,
    )
