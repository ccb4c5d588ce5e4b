"""Makes checkpoints as PyTorch users have them: saved by torch.save, safetensors and huggingface_hub, of networks of timm, of
the official RepViT and of the original RepMLPNet, trained and fused.

    ORIGINALS=$(mktemp -d)
    RAW=https://raw.githubusercontent.com
    curl -o $ORIGINALS/repmlpnet.py $RAW/DingXiaoH/RepMLP/3eff13fa0257af28663880d870f327d665f0a8e2/repmlpnet.py
    curl -o $ORIGINALS/repvit.py $RAW/THU-MIG/RepViT/298f42075eda5d2e6102559fad260c970769d34e/model/repvit.py
    curl -o $ORIGINALS/utils.py $RAW/THU-MIG/RepViT/298f42075eda5d2e6102559fad260c970769d34e/utils.py
    curl -o $ORIGINALS/repvit_legacy.py $RAW/THU-MIG/RepViT/8df4270266aa704eb7e955c0ece926a798378d7a/model/repvit.py
    python golden/oracle/make_checkpoints.py $ORIGINALS

writes properties/checkpoints/ with checkpoints.json, which says of each file what it holds. Its digest is of the tensors as
PyTorch has them, widened to float64: see digest().
"""

import argparse
import collections
import hashlib
import importlib.util
import json
import pathlib
import platform
import sys
from types import ModuleType

import huggingface_hub
import numpy as np
import safetensors
import timm
import torch
from safetensors.torch import save_file
from timm.layers import SqueezeExcite
from timm.models.repvit import RepVit

from formatted import format_json

CHECKPOINTS = pathlib.Path(__file__).resolve().parents[2] / 'properties' / 'checkpoints'

ORIGINALS = {
    'repmlpnet.py': '8308e9b41d984adcddfc7bf4cf190da5640ab7a349301444d0b2ae2695d5e3f8',
    'repvit.py': 'a9c8f0d8219a19049ad160e1d0e55351c41d92de19352af6ca65d76e100aef99',
    'repvit_legacy.py': '3e8ee6c8fee112a825b741e87b55328ba692eb92366380129d221c50baa1d24d',
    'utils.py': '8d17de2834da61bf8ccca8637fdc40126710e49f463f5a94a455997ef8331cc7',
}

# Rows of the official code: kernel, expansion, width, SE, HS, stride.
ROWS = [[3, 2, 8, 1, 0, 1], [3, 2, 8, 0, 0, 1], [3, 2, 16, 0, 0, 2], [3, 2, 16, 1, 1, 1], [3, 2, 16, 0, 1, 1]]
REPVIT = {'embed_dim': [8, 16], 'depth': [1, 2], 'num_classes': 5}
REPMLPNET = {
    'channels': [8, 12],
    'hs': [4, 3],
    'ws': [4, 3],
    'num_blocks': [1, 1],
    'sharesets_nums': [2, 3],
    'reparam_conv_k': [1, 3],
    'num_class': 5,
}
SEED = 7


def load(folder: pathlib.Path, file: str) -> ModuleType:
    path = folder / file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != ORIGINALS[file]:
        sys.exit(f'{path}: SHA-256 {found}, not {ORIGINALS[file]}')
    name = f'original_{path.stem}'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class ConvBN(torch.nn.Module):
    """Of the CIFAR-100 reproduction, whose modules are named otherwise; nothing of it is run."""

    def __init__(self, inp: int, out: int, kernel: int, groups: int = 1):
        super().__init__()
        self.conv = torch.nn.Conv2d(inp, out, kernel, groups=groups, bias=False)
        self.bn = torch.nn.BatchNorm2d(out)


def cifar(num_classes: int) -> torch.nn.Module:
    """The reproduction's RepViT on the rows above."""

    def parts(**modules: torch.nn.Module) -> torch.nn.Module:
        module = torch.nn.Module()
        for name, part in modules.items():
            module.add_module(name, part)
        return module

    width = ROWS[0][2]
    stem = torch.nn.Sequential(ConvBN(3, width // 2, 3), torch.nn.GELU(), ConvBN(width // 2, width, 3))
    features = [stem]
    for kernel, _, out, se, _, stride in ROWS:
        if stride == 1:
            depthwise = parts(
                conv1=ConvBN(width, width, kernel, width),
                conv2=torch.nn.Conv2d(width, width, 1, groups=width),
                bn=torch.nn.BatchNorm2d(width),
            )
            gate = SqueezeExcite(width, 0.25) if se else torch.nn.Identity()
            mixer = torch.nn.Sequential(depthwise, gate)
        else:
            mixer = torch.nn.Sequential(ConvBN(width, width, kernel, width), torch.nn.Identity(), ConvBN(width, out, 1))
        ffn = parts(conv1=ConvBN(out, 2 * out, 1), conv2=ConvBN(2 * out, out, 1))
        features.append(parts(token_mixer=mixer, channel_mixer=ffn))
        width = out
    head = parts(fc=parts(bn=torch.nn.BatchNorm1d(width), linear=torch.nn.Linear(width, num_classes)))
    return parts(features=torch.nn.ModuleList(features), classifier=head)


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """As after training: no batch norm is an identity. Every value is one of float32."""
    generator = torch.Generator().manual_seed(SEED)

    def draw(like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float32).to(like.dtype)

    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith('num_batches_tracked'):
                tensor.fill_(1000)
            elif key.endswith('running_var'):
                tensor.copy_((0.5 + draw(tensor)).to(torch.float32))
            elif tensor.dim() == 1:
                tensor.copy_((draw(tensor) - 0.4).to(torch.float32))
            else:
                tensor.copy_(((draw(tensor) - 0.5) / tensor[0].numel() ** 0.5).to(torch.float32))
    return model.eval()


def digest(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """Of the float tensors, in the order of their keys: for each a line `key dimensions`, then its values in float64."""
    floats = {key: tensor.detach() for key, tensor in state.items() if tensor.is_floating_point()}
    sha256 = hashlib.sha256()
    for key in sorted(floats):
        sha256.update((' '.join([key, *map(str, floats[key].shape)]) + '\n').encode())
        sha256.update(np.ascontiguousarray(floats[key].to(torch.float64).numpy()).tobytes())
    return {'tensors': len(floats), 'digest': sha256.hexdigest()}


def main(originals: pathlib.Path) -> None:
    torch.set_default_dtype(torch.float64)
    CHECKPOINTS.mkdir(exist_ok=True)
    files = []

    def describe(name: str, state: dict[str, torch.Tensor], **rest: object) -> None:
        parts = sorted(CHECKPOINTS.glob(f'{name.split(".")[0]}-*')) + [CHECKPOINTS / name]
        hashes = {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in parts}
        files.append({'file': name, **rest, **digest(state), 'sha256': hashes})

    def save(name: str, checkpoint: object, state: dict[str, torch.Tensor], what: dict[str, object], **options) -> None:
        torch.save(checkpoint, CHECKPOINTS / name, **options)
        describe(name, state, **what)

    def prefixed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return collections.OrderedDict((f'module.{key}', tensor) for key, tensor in state.items())

    timm_repvit = {'family': 'repvit', **REPVIT, 'distillation': True, 'legacy': False}
    train = {'network': timm_repvit, 'scheme': 'timm', 'form': 'train', 'entry': ''}
    model = randomise(RepVit(**REPVIT))
    state = collections.OrderedDict((k, v.float() if v.is_floating_point() else v) for k, v in model.state_dict().items())

    # What the official main.py and timm's CheckpointSaver save beside the weights.
    ema = {key: tensor * 0.5 if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float32))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW([parameter])
    optimizer.step()
    around = {
        'optimizer': optimizer.state_dict(),
        'lr_scheduler': {'milestones': collections.Counter([3, 5]), 'last_epoch': 2},
        'epoch': 299,
        'scaler': {},
        'args': argparse.Namespace(lr=1e-3, output_dir=pathlib.PurePosixPath('out').name, size=torch.Size([1, 3])),
        'metric': np.float64(79.2),
    }
    official_style = {'model': state, 'model_ema': prefixed(ema), **around}
    save('trainer.pth', official_style, state, {**train, 'entry': 'model', 'others': ['model_ema']})
    timm_style = {'arch': 'repvit', 'state_dict': state, 'version': 2, 'state_dict_ema': ema, **around}
    save(
        'trainer_legacy.pth',
        timm_style,
        state,
        {**train, 'entry': 'state_dict', 'others': ['state_dict_ema']},
        _use_new_zipfile_serialization=False,
    )

    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    save('float16.pth', {'state_dict': prefixed(half)}, half, {**train, 'entry': 'state_dict'})
    brain = {key: tensor.bfloat16() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    save('bfloat16.pt', brain, brain, train, pickle_protocol=5)
    save('bfloat16_legacy.pth', brain, brain, train, _use_new_zipfile_serialization=False, pickle_protocol=4)
    double = model.state_dict()
    save('float64.pth', prefixed(double), double, train)

    # Parameters on one flat storage, in channels_last, expanded, transposed.
    flat = torch.cat([tensor.reshape(-1) for tensor in state.values() if tensor.dim() == 1 and tensor.is_floating_point()])
    views, at = collections.OrderedDict(), 0
    for key, tensor in state.items():
        if tensor.dim() == 1 and tensor.is_floating_point():
            views[key] = torch.nn.Parameter(flat[at : at + tensor.numel()], requires_grad=False)
            at += tensor.numel()
        elif tensor.dim() == 4:
            views[key] = tensor.contiguous(memory_format=torch.channels_last)
        else:
            views[key] = tensor.t().contiguous().t() if tensor.dim() == 2 else tensor
    views['head.head.bn.weight'] = torch.tensor([0.75]).float().expand(16)
    views['head.head_dist.bn.weight'] = torch.stack([flat[:16], flat[16:32]], dim=1)[:, 1]
    save('views.pth', {'model': views}, views, {**train, 'entry': 'model'})
    save('views_legacy.pth', views, views, train, _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    save('no_checksums.pth', state, state, train)
    torch.serialization.set_crc32_options(True)

    floats = {key: tensor for key, tensor in state.items()}
    huggingface_hub.save_torch_state_dict(
        floats, CHECKPOINTS, filename_pattern='sharded{suffix}.safetensors', max_shard_size=20_000
    )
    describe('sharded.safetensors.index.json', state, **train)
    save_file({key: tensor.contiguous() for key, tensor in half.items()}, CHECKPOINTS / 'float16.safetensors')
    describe('float16.safetensors', half, **train)

    fused = {**train, 'form': 'deploy', 'of': 'trainer.pth'}
    model.fuse()
    deploy = {key: tensor.float() for key, tensor in model.state_dict().items()}
    save('timm_fused.pth', deploy, deploy, fused)

    utils = load(originals, 'utils.py')
    for name, file, legacy, two_heads in [('official', 'repvit.py', False, True), ('official_legacy', 'repvit_legacy.py', True, False)]:
        official = randomise(load(originals, file).RepViT(ROWS, num_classes=5, distillation=two_heads))
        state = {k: v.float() if v.is_floating_point() else v for k, v in official.state_dict().items()}
        network = {**timm_repvit, 'distillation': two_heads, 'legacy': legacy}
        what = {**train, 'network': network, 'scheme': 'official'}
        save(f'{name}.pth', {'model': state}, state, {**what, 'entry': 'model'})
        utils.replace_batchnorm(official)
        state = {key: tensor.float() for key, tensor in official.state_dict().items()}
        save(f'{name}_fused.pth', state, state, {**what, 'form': 'deploy', 'of': f'{name}.pth'})

    state = {k: v.float() if v.is_floating_point() else v for k, v in randomise(cifar(5)).state_dict().items()}
    network = {**timm_repvit, 'distillation': False}
    save('cifar.pth', state, state, {**train, 'network': network, 'scheme': 'CIFAR-100 reproduction'})

    perceptron = randomise(load(originals, 'repmlpnet.py').RepMLPNet(**REPMLPNET))
    state = {k: v.float() if v.is_floating_point() else v for k, v in perceptron.state_dict().items()}
    what = {**train, 'network': {'family': 'repmlpnet', **REPMLPNET}, 'scheme': 'official'}
    save('repmlpnet.pth', state, state, what)
    perceptron.locality_injection()
    state = {k: v.float() if v.is_floating_point() else v for k, v in perceptron.state_dict().items()}
    save('repmlpnet_injected.pth', state, state, {**what, 'form': 'deploy-official', 'of': 'repmlpnet.pth'})

    # Refused: they hold a program, or need one.
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), CHECKPOINTS / 'refused_module.pth')
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(CHECKPOINTS / 'refused_torchscript.pt')

    for path in CHECKPOINTS.iterdir():
        path.chmod(0o644)
    versions = {
        'torch': torch.__version__,
        'timm': timm.__version__,
        'safetensors': safetensors.__version__,
        'huggingface_hub': huggingface_hub.__version__,
        'numpy': np.__version__,
        'python': platform.python_version(),
    }
    refused = [
        {'file': path.name, 'sha256': {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}}
        for path in sorted(CHECKPOINTS.glob('refused_*'))
    ]
    listing = {'made_by': versions, 'checkpoints': files, 'refused': refused}
    (CHECKPOINTS / 'checkpoints.json').write_text(format_json(listing))


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
