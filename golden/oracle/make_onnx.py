"""Makes properties/onnx: small networks as PyTorch's two exporters write them, and their float64 logits.

    python golden/oracle/make_onnx.py --repmlpnet repmlpnet.py

timm's RepVit and the original RepMLPNet (see README.md for where it is from), in train form and fused by their own code, each
with the state dict that it was exported from. Also needs the packages onnx and onnxscript.
"""

import argparse
import copy
import warnings
from pathlib import Path

import onnx
import torch
from safetensors.torch import save_file
from timm.models.repvit import RepVggDw, RepVit

from check_artefacts import fuse_repmlpnet, fuse_timm, load_source, randomise

FOLDER = Path(__file__).resolve().parents[2] / 'properties' / 'onnx'

SMALL = {'embed_dim': (8, 12), 'depth': (2, 1), 'num_classes': 5}


def export(model: torch.nn.Module, x: torch.Tensor, path: Path, opset: int, dynamo: bool, **options: object) -> None:
    names = {'input_names': ['input'], 'output_names': ['logits']}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(model, (x,), path, opset_version=opset, dynamo=dynamo, **names, **options)


def slim(path: Path, external: bool) -> None:
    """Without stack traces; in one file, unless its weights shall stay in the external data that the dynamo exporter writes."""
    model = onnx.load(path, load_external_data=not external)
    for node in model.graph.node:
        node.ClearField('metadata_props')
        node.ClearField('doc_string')
    model.graph.ClearField('value_info')
    onnx.save(model, path)
    if not external:
        Path(f'{path}.data').unlink(missing_ok=True)


def make(name: str, build, fuse, size: tuple[int, int]) -> None:
    trained = randomise(build(), 5)
    x = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(6)) * 2 - 1
    state = {key: value.clone() for key, value in trained.state_dict().items() if value.is_floating_point()}
    save_file(state, FOLDER / f'{name}.safetensors')
    fused = fuse(copy.deepcopy(trained))
    for form, model in (('train', trained), ('fused', fused)):
        for opset in (11, 13, 20):
            export(model, x, FOLDER / f'{name}.{form}.legacy{opset}.onnx', opset, False)
        # The exporter folds shapes where they are fixed, and computes them where they are not.
        dynamic = FOLDER / f'{name}.{form}.legacy17_dynamic.onnx'
        export(model, x, dynamic, 17, False, dynamic_axes={'input': {0: 'batch'}, 'logits': {0: 'batch'}})
        for opset in (18, 20, 21):
            path = FOLDER / f'{name}.{form}.dynamo{opset}.onnx'
            export(model, x, path, opset, True, optimize=True)
            slim(path, external=opset == 20)
    print(name, sorted(path.name for path in FOLDER.glob(f'{name}*')))


class PaddedByOne(torch.nn.Module):
    """timm's `RepVggDw.fuse` pads the 1x1 kernel and the identity by one whatever the kernel's size, so that at 5x5 its own
    sum of kernels does not run. Here it does, the 3x3 kernels on the first taps: the fusion that its padding leads to."""

    def fuse(self) -> torch.nn.Module:
        conv, conv1, bn = self.conv.fuse(), self.conv1, self.bn
        pad = torch.nn.functional.pad
        small = pad(conv1.weight, [1, 1, 1, 1]) + pad(torch.ones_like(conv1.weight), [1, 1, 1, 1])
        conv.weight[:, :, :3, :3] += small
        scale = bn.weight / (bn.running_var + bn.eps) ** 0.5
        conv.bias.copy_(bn.bias + (conv.bias + conv1.bias - bn.running_mean) * scale)
        conv.weight.mul_(scale[:, None, None, None])
        return conv


def make_kernel_5() -> None:
    trained = randomise(RepVit(**SMALL, kernel_size=5), 7)
    save_file({k: v.clone() for k, v in trained.state_dict().items() if v.is_floating_point()}, FOLDER / 'kernel5.safetensors')
    try:
        copy.deepcopy(trained).fuse()
    except RuntimeError as error:
        print('timm at kernel_size 5:', error)
    for module in trained.modules():
        if isinstance(module, RepVggDw):
            module.fuse = PaddedByOne.fuse.__get__(module)
    trained.fuse()
    save_file(dict(trained.state_dict()), FOLDER / 'kernel5.fused.safetensors')
    x = torch.zeros(1, 3, 32, 32)
    export(trained, x, FOLDER / 'kernel5.fused.onnx', 17, False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--repmlpnet', type=Path, required=True)
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    with torch.no_grad():
        make_kernel_5()
        make('repvit', lambda: RepVit(**SMALL), fuse_timm, (32, 32))
        make('repvit_legacy', lambda: RepVit(**SMALL, legacy=True, distillation=False), fuse_timm, (32, 32))
        original = load_source(given.repmlpnet)
        arguments = {
            'channels': (8, 16),
            'hs': (4, 2),
            'ws': (4, 2),
            'num_blocks': (1, 1),
            'sharesets_nums': (2, 4),
            'reparam_conv_k': (1, 3),
            'num_class': 5,
        }
        make('repmlpnet', lambda: original.RepMLPNet(**arguments), fuse_repmlpnet, (32, 32))


if __name__ == '__main__':
    main()
