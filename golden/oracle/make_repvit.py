"""Makes the RepViT goldens: timm's RepVit in PyTorch float64, on the portable weights and inputs.

    python golden/oracle/make_repvit.py

writes golden/fixtures/ and golden/manifest.json. Nothing of fuseproof's own output enters a golden.
"""

import numpy as np
import timm
import torch
from timm.models.repvit import RepVit

import portable
from goldens import FIXTURES, describe, describe_case, lists, load_portable, record_taps, save, save_keys, write_manifest

CIFAR100 = {'num_classes': 100, 'distillation': False}

# name: (timm's arguments, input [N, H, W], seed)
CASES = {
    'repvit_m0_6': ({'embed_dim': (40, 80, 160, 320), 'depth': (1, 1, 8, 1)}, (1, 224, 224), 1),
    'repvit_m0_9': ({'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2)}, (1, 224, 224), 2),
    'repvit_m1_0': ({'embed_dim': (56, 112, 224, 448), 'depth': (2, 2, 14, 2)}, (1, 224, 224), 3),
    'repvit_m1_1': ({'embed_dim': (64, 128, 256, 512), 'depth': (2, 2, 12, 2)}, (1, 224, 224), 4),
    'repvit_m1_5': ({'embed_dim': (64, 128, 256, 512), 'depth': (4, 4, 24, 4)}, (1, 224, 224), 5),
    'repvit_m2_3': ({'embed_dim': (80, 160, 320, 640), 'depth': (6, 6, 34, 2)}, (1, 224, 224), 6),
    'repvit_m1': ({'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2), 'legacy': True}, (1, 224, 224), 7),
    'repvit_m2': ({'embed_dim': (64, 128, 256, 512), 'depth': (2, 2, 12, 2), 'legacy': True}, (1, 224, 224), 8),
    'repvit_m3': ({'embed_dim': (64, 128, 256, 512), 'depth': (4, 4, 18, 2), 'legacy': True}, (1, 224, 224), 9),
    'repvit_m0_9_cifar100': (
        {'embed_dim': (48, 96, 192, 384), 'depth': (2, 2, 14, 2), **CIFAR100},
        (1, 32, 32),
        10,
    ),
    'repvit_m2_3_cifar100': (
        {'embed_dim': (80, 160, 320, 640), 'depth': (6, 6, 34, 2), **CIFAR100},
        (1, 32, 32),
        11,
    ),
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

TAPPED = 'tiny_non_square'
KEYS_LISTED = ('repvit_m0_9', 'repvit_m1', 'repvit_m0_9_cifar100')
PORTABLE = 'tiny_one_stage'

DEFAULTS = {
    'family': 'repvit',
    'in_chans': 3,
    'mlp_ratio': 2,
    'kernel_size': 3,
    'num_classes': 1000,
    'distillation': True,
    'legacy': False,
}

TAPPED_KINDS = (torch.nn.Conv2d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.Linear)


def make_case(name: str) -> dict[str, object]:
    arguments, size, seed = CASES[name]
    batch, height, width = size
    config = {**DEFAULTS, **lists(arguments)}
    model = RepVit(**arguments).double().eval()
    weights = load_portable(model, seed)
    x = portable.random_input((batch, config['in_chans'], height, width), seed)
    x64 = torch.from_numpy(x.astype(np.float64))
    if name == PORTABLE:
        save({'input': x, **weights}, FIXTURES / 'portable.safetensors')

    logits = {'train': model(x64).numpy()}
    if name == TAPPED:
        taps = record_taps(model, TAPPED_KINDS)
        model(x64)
        save(taps, FIXTURES / f'{name}.taps.safetensors')

    # timm pads the 1x1 kernel by one, whatever kernel_size is, so it fuses 3x3 only.
    if config['kernel_size'] == 3:
        # fuse() makes its new layers in the default dtype: without this the float64 weights would be rounded.
        torch.set_default_dtype(torch.float64)
        model.fuse()
        torch.set_default_dtype(torch.float32)
        assert all(tensor.dtype == torch.float64 for tensor in model.state_dict().values())
        if name in KEYS_LISTED:
            save_keys(model, FIXTURES / f'{name}.fused-keys.txt')
        logits['deploy'] = model(x64).numpy()
        print(f'{name}: max |logit| {np.abs(logits["train"]).max():.4g}, max |deploy - train| '
              f'{np.abs(logits["train"] - logits["deploy"]).max():.3g}', flush=True)
    file = FIXTURES / f'{name}.safetensors'
    save(logits, file)
    return describe_case(file, logits, name, seed, config, size)


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    torch.set_grad_enabled(False)
    cases = [make_case(name) for name in CASES]
    others = [
        describe(FIXTURES / 'portable.safetensors', f'portable weights and input of {PORTABLE}, made in numpy'),
        describe(FIXTURES / f'{TAPPED}.taps.safetensors', f'outputs of the convs, batch norms and linears of {TAPPED}'),
    ]
    for name in KEYS_LISTED:
        others.append(
            describe(
                FIXTURES / f'{name}.fused-keys.txt', "state_dict of timm's fused model: key and dimensions", name=name
            )
        )
    write_manifest('repvit', {'script': 'golden/oracle/make_repvit.py', 'timm': timm.__version__}, cases, others)


if __name__ == '__main__':
    main()
