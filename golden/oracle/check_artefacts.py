"""Checks the files that `fuseproof fuse` writes in the programs that are to read them.

    python golden/oracle/check_artefacts.py --repmlpnet repmlpnet.py --repvit repvit.py

Trained networks of timm and, where their sources are given, of the originals (DingXiaoH/RepMLP `repmlpnet.py`,
THU-MIG/RepViT `model/repvit.py`) are saved by `torch.save`, fused by fuseproof, and loaded again: .pth by
`torch.load(weights_only=True)` and .safetensors, both with `strict=True` into the project's own fused model; .onnx by the
onnx package's checker and ONNX Runtime. Logits are held against the train form's in PyTorch, float64. Also needs the
packages onnx and onnxruntime.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Callable

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import load_file
from timm.models.repvit import RepVit

PROJECT = Path(__file__).resolve().parents[2]

# Of the largest logit: float32 rounding over some fifty layers. A wrong fusion is off by a thousand times as much.
TOLERANCE = 2e-5


def load_source(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # timm's register_model looks it up
    spec.loader.exec_module(module)
    return module


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Statistics as after training: fresh ones hide most wrong fusions."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm1d)):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.num_batches_tracked.fill_(1234)
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.data.uniform_(-((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return model.eval()


def replace_batchnorm(net: torch.nn.Module) -> torch.nn.Module:
    """As THU-MIG/RepViT's `utils.py`."""
    for name, child in net.named_children():
        if hasattr(child, 'fuse'):
            fused = child.fuse()
            setattr(net, name, fused)
            replace_batchnorm(fused)
        elif isinstance(child, torch.nn.BatchNorm2d):
            setattr(net, name, torch.nn.Identity())
        else:
            replace_batchnorm(child)
    return net


def fuse_timm(model: RepVit) -> RepVit:
    model.fuse()
    return model


def fuse_repmlpnet(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        if hasattr(module, 'local_inject'):
            module.local_inject()
    return model


def fuseproof(*arguments: str | Path) -> None:
    command = ['node', str(PROJECT / 'bin' / 'fuseproof.js'), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f'{" ".join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}')


def disagreement(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    assert expected.size > 0
    error = float(np.abs(actual - expected).max() / np.abs(expected).max())
    print(f'  {what}: {expected.size} logits, largest error {error:.2g} of the largest')
    assert error < TOLERANCE, what


def check(
    name: str, make: Callable[[], torch.nn.Module], fuse: Callable[[torch.nn.Module], torch.nn.Module], size: tuple[int, int]
) -> None:
    print(name)
    trained = randomise(make(), 1)
    x = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 2 - 1
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        place = Path(folder)
        torch.save({'model': trained.state_dict()}, place / 'trained.pth')
        expected = trained.double()(x).numpy()
        for output in ('fused.pth', 'fused.safetensors'):
            fuseproof('fuse', place / 'trained.pth', '-o', place / output, '--size', f'{size[0]}x{size[1]}')
            path = place / output
            state = torch.load(path, weights_only=True) if path.suffix == '.pth' else load_file(path)
            mapped = torch.load(path, weights_only=True, mmap=True) if path.suffix == '.pth' else state
            assert all(torch.equal(state[key], mapped[key]) for key in state)
            reader = fuse(randomise(make(), 3))
            print(f'  {output}: {reader.load_state_dict(state, strict=True)}')
            disagreement(reader.eval().double()(x).numpy(), expected, output)
            fuseproof('check', f'{path}.certificate.json')
        for opset in (13, 17, 20, 21):
            path = place / f'fused{opset}.onnx'
            fuseproof(
                *('fuse', place / 'trained.pth', '-o', path, '--size', f'{size[0]}x{size[1]}'),
                *('--opset', opset, '--dynamic-batch', '--input-name', 'image'),
            )
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
            assert [i.name for i in session.get_inputs()] == ['image'], session.get_inputs()
            assert session.get_inputs()[0].shape == ['batch', 3, *size]
            disagreement(session.run(['logits'], {'image': x.float().numpy()})[0], expected, path.name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--repmlpnet', type=Path)
    parser.add_argument('--repvit', type=Path)
    given = parser.parse_args()
    small = {'embed_dim': (16, 24, 32), 'depth': (2, 1, 2), 'num_classes': 7}
    check('timm', lambda: RepVit(**small), fuse_timm, (64, 96))
    check('timm, legacy', lambda: RepVit(**small, legacy=True), fuse_timm, (64, 64))
    check('timm, one head', lambda: RepVit(**small, distillation=False), fuse_timm, (64, 64))
    if given.repvit is None:
        print('no --repvit: the official RepViT is left out')
    else:
        official = load_source(given.repvit)
        # k, t, c, SE, HS, s
        rows = [[3, 2, 16, 1, 0, 1], [3, 2, 16, 0, 0, 1], [3, 2, 16, 0, 0, 1], [3, 2, 24, 0, 0, 2], [3, 2, 24, 1, 1, 1]]
        for heads in (False, True):
            check(
                f'official RepViT, distillation {heads}',
                lambda: official.RepViT([list(row) for row in rows], num_classes=7, distillation=heads),
                replace_batchnorm,
                (64, 64),
            )
    if given.repmlpnet is None:
        print('no --repmlpnet: RepMLPNet is left out')
    else:
        original = load_source(given.repmlpnet)
        arguments = {
            'channels': (8, 16),
            'hs': (4, 2),
            'ws': (4, 2),
            'num_blocks': (2, 1),
            'sharesets_nums': (2, 4),
            'reparam_conv_k': (1, 3),
            'num_class': 5,
        }
        check('RepMLPNet', lambda: original.RepMLPNet(**arguments), fuse_repmlpnet, (32, 32))


if __name__ == '__main__':
    main()
