"""Makes the RepMLPNet goldens: the original RepMLPNet in PyTorch float64, on the portable weights and inputs.

    curl -O https://raw.githubusercontent.com/DingXiaoH/RepMLP/3eff13fa0257af28663880d870f327d665f0a8e2/repmlpnet.py
    python golden/oracle/make_repmlpnet.py repmlpnet.py

writes golden/fixtures/ and golden/manifest.json. Nothing of fuseproof's own output enters a golden.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import portable
from goldens import FIXTURES, describe, describe_case, lists, load_portable, record_taps, save, save_keys, write_manifest

SOURCE = 'https://raw.githubusercontent.com/DingXiaoH/RepMLP/3eff13fa0257af28663880d870f327d665f0a8e2/repmlpnet.py'
SOURCE_SHA256 = '8308e9b41d984adcddfc7bf4cf190da5640ab7a349301444d0b2ae2695d5e3f8'

PUBLISHED_224 = {'hs': (56, 28, 14, 7), 'ws': (56, 28, 14, 7), 'reparam_conv_k': (1, 3)}

# name: (the original's arguments, input [N, H, W], seed)
CASES = {
    'repmlpnet_t224': (
        {
            **PUBLISHED_224,
            'channels': (64, 128, 256, 512),
            'num_blocks': (2, 2, 6, 2),
            'sharesets_nums': (1, 4, 16, 128),
        },
        (1, 224, 224),
        31,
    ),
    'repmlpnet_b224': (
        {
            **PUBLISHED_224,
            'channels': (96, 192, 384, 768),
            'num_blocks': (2, 2, 12, 2),
            'sharesets_nums': (1, 4, 32, 128),
        },
        (1, 224, 224),
        32,
    ),
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

TAPPED = 'repmlpnet_tiny_rectangles'
INJECTED = ('repmlpnet_tiny_rectangles', 'repmlpnet_tiny_kernels_1_3_5_7')
KEYS_LISTED = 'repmlpnet_t224'

DEFAULTS = {
    'family': 'repmlpnet',
    'in_channels': 3,
    'num_class': 1000,
    'patch_size': (4, 4),
    'globalperceptron_reduce': 4,
}


def load_original(path: Path) -> ModuleType:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        sys.exit(f'{path}: SHA-256 {found}, not that of {SOURCE}')
    spec = importlib.util.spec_from_file_location('repmlpnet', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(original: ModuleType, config: dict[str, object]) -> torch.nn.Module:
    arguments = {key: value for key, value in config.items() if key != 'family'}
    # The original says "no local perceptron" with None and stops on an empty tuple.
    model = original.RepMLPNet(**{**arguments, 'reparam_conv_k': config['reparam_conv_k'] or None})
    return model.double().eval()


def tap(original: ModuleType, model: torch.nn.Module, x: torch.Tensor, file: Path) -> None:
    kinds = (torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.Linear, original.RepMLPBlock)
    taps = record_taps(model, kinds)
    model(x)
    save(taps, file)


def make_case(original: ModuleType, name: str) -> dict[str, object]:
    arguments, size, seed = CASES[name]
    batch, height, width = size
    config = {**DEFAULTS, **arguments}
    model = build(original, config)
    load_portable(model, seed)
    x = portable.random_input((batch, config['in_channels'], height, width), seed)
    x64 = torch.from_numpy(x.astype(np.float64))

    logits = {'train': model(x64).numpy()}
    if name == TAPPED:
        tap(original, model, x64, FIXTURES / f'{name}.taps.safetensors')

    # Injection makes its identity matrix in the default dtype.
    torch.set_default_dtype(torch.float64)
    model.locality_injection()
    torch.set_default_dtype(torch.float32)
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())
    logits['deploy'] = model(x64).numpy()
    print(f'{name}: max |logit| {np.abs(logits["train"]).max():.4g}, max |deploy - train| '
          f'{np.abs(logits["train"] - logits["deploy"]).max():.3g}', flush=True)

    if name in INJECTED:
        fc3 = {key: tensor.numpy() for key, tensor in model.state_dict().items() if '.fc3.' in key}
        save(fc3, FIXTURES / f'{name}.fc3.safetensors')
    if name == TAPPED:
        tap(original, model, x64, FIXTURES / f'{name}.deploy-taps.safetensors')
    if name == KEYS_LISTED:
        save_keys(model, FIXTURES / f'{name}.fused-keys.txt')
    file = FIXTURES / f'{name}.safetensors'
    save(logits, file)
    return describe_case(file, logits, name, seed, lists(config), size)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f'usage: python golden/oracle/make_repmlpnet.py REPMLPNET_PY\nwhere REPMLPNET_PY is a copy of {SOURCE}')
    original = load_original(Path(sys.argv[1]))
    FIXTURES.mkdir(exist_ok=True)
    torch.set_grad_enabled(False)
    cases = [make_case(original, name) for name in CASES]
    layers = 'outputs of the convs, batch norms, linears and RepMLPBlocks'
    others = [
        describe(FIXTURES / f'{TAPPED}.taps.safetensors', f'{layers} of {TAPPED}, train form'),
        describe(FIXTURES / f'{TAPPED}.deploy-taps.safetensors', f'{layers} of {TAPPED} after locality_injection()'),
        *(
            describe(FIXTURES / f'{name}.fc3.safetensors', 'fc3 after locality_injection(), float64', name=name)
            for name in INJECTED
        ),
        describe(
            FIXTURES / f'{KEYS_LISTED}.fused-keys.txt',
            'state_dict after locality_injection(): key and dimensions',
            name=KEYS_LISTED,
        ),
    ]
    made_by = {'script': 'golden/oracle/make_repmlpnet.py', 'source': SOURCE, 'source_sha256': SOURCE_SHA256}
    write_manifest('repmlpnet', made_by, cases, others)


if __name__ == '__main__':
    main()
