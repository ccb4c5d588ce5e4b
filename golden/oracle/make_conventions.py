"""Records what counting tools say of RepViT and RepMLPNet, as their authors wrote them, in every form.

    python golden/oracle/make_conventions.py REPMLPNET_PY

writes golden/fixtures/conventions.json, tiny_one_stage.onnx and their entries in golden/manifest.json; see README.md for
REPMLPNET_PY, and requirements-conventions.txt for the tools. Nothing of fuseproof's own output enters it.
"""

import copy
import io
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import thop
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from timm.models.repvit import RepVit

import make_repmlpnet
import make_repvit
from goldens import FIXTURES, describe, format_json, lists, load_portable, write_manifest

FILE = FIXTURES / 'conventions.json'
EXPORTED = 'tiny_one_stage'
TOOLS = ('fvcore', 'ptflops', 'thop', 'torchinfo', 'onnx', 'timm')

REPMLPNET_256 = {'hs': (64, 32, 16, 8), 'ws': (64, 32, 16, 8), 'reparam_conv_k': (1, 3)}

# The published ones that have no logits among the goldens: the original's arguments.
MORE_REPMLPNETS = {
    'repmlpnet_t256': {'channels': (64, 128, 256, 512), 'num_blocks': (2, 2, 6, 2), 'sharesets_nums': (1, 4, 16, 128)},
    'repmlpnet_b256': {'channels': (96, 192, 384, 768), 'num_blocks': (2, 2, 12, 2), 'sharesets_nums': (1, 4, 32, 128)},
    'repmlpnet_d256': {'channels': (80, 160, 320, 640), 'num_blocks': (2, 2, 18, 2), 'sharesets_nums': (1, 4, 16, 128)},
    'repmlpnet_l256': {'channels': (96, 192, 384, 768), 'num_blocks': (2, 2, 18, 2), 'sharesets_nums': (1, 4, 32, 256)},
}


def export(model: torch.nn.Module, x: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, opset_version=11, dynamo=False)
    return file.getvalue()


def initialisers(model: torch.nn.Module, x: torch.Tensor) -> int:
    """Elements of the initialisers of an export, counted as the RDK X5 model zoo's script does."""
    graph = onnx.load_from_string(export(model, x)).graph
    return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in graph.initializer)


def ptflops(model: torch.nn.Module, x: torch.Tensor, backend: str) -> int:
    macs, _ = get_model_complexity_info(
        copy.deepcopy(model), tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend=backend
    )
    return int(macs)


def count(model: torch.nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Each tool's own total for one image."""
    analysis = FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return {
        'fvcore': int(analysis.total()),
        'ptflops': ptflops(model, x, 'pytorch'),
        'ptflops-aten': ptflops(model, x, 'aten'),
        'thop': int(thop.profile(copy.deepcopy(model), inputs=(x,), verbose=False)[0]),
        'torchinfo': int(torchinfo.summary(copy.deepcopy(model), input_data=x, verbose=0).total_mult_adds),
        'onnx': initialisers(model, x),
    }


def distinct(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """With weights that differ from layer to layer: the exporter stores equal ones once."""
    model = model.double().eval()
    load_portable(model, seed)
    return model.float()


def count_repvit(name: str) -> dict[str, object]:
    arguments, (_, height, width), seed = make_repvit.CASES[name]
    config = {**make_repvit.DEFAULTS, **lists(arguments)}
    x = torch.randn(1, config['in_chans'], height, width)
    forms = []
    for heads in (2, 1) if config['distillation'] else (1,):
        model = distinct(RepVit(**{**arguments, 'distillation': heads == 2}), seed)
        forms.append({'form': 'train', 'heads': heads, **count(model, x)})
    if name == EXPORTED:
        (FIXTURES / f'{name}.onnx').write_bytes(export(model, x))
    # timm pads the 1x1 kernel by one, whatever kernel_size is, so it fuses 3x3 only.
    if config['kernel_size'] == 3:
        model.fuse()
        forms.append({'form': 'deploy', 'heads': 1, **count(model, x)})
    return {'name': name, 'config': config, 'height': height, 'width': width, 'forms': forms}


def count_repmlpnet(
    original: ModuleType, name: str, arguments: dict[str, object], height: int, width: int
) -> dict[str, object]:
    config = {**make_repmlpnet.DEFAULTS, **arguments}
    x = torch.randn(1, config['in_channels'], height, width)
    model = distinct(make_repmlpnet.build(original, config), 1)
    forms = [{'form': 'train', 'heads': 1, **count(model, x)}]
    model.locality_injection()
    forms.append({'form': 'deploy-official', 'heads': 1, **count(model, x)})
    return {'name': name, 'config': lists(config), 'height': height, 'width': width, 'forms': forms}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit('usage: python golden/oracle/make_conventions.py REPMLPNET_PY')
    original = make_repmlpnet.load_original(Path(sys.argv[1]))
    warnings.filterwarnings('ignore')
    logging.disable(logging.WARNING)
    torch.set_grad_enabled(False)
    repmlpnets = [(name, arguments, *size[1:]) for name, (arguments, size, _) in make_repmlpnet.CASES.items()]
    repmlpnets += [(name, {**REPMLPNET_256, **rest}, 256, 256) for name, rest in MORE_REPMLPNETS.items()]
    jobs = [lambda name=name: count_repvit(name) for name in make_repvit.CASES]
    jobs += [lambda case=case: count_repmlpnet(original, *case) for case in repmlpnets]
    cases = []
    for job in jobs:
        cases.append(job())
        print(cases[-1]['name'], *cases[-1]['forms'], sep='\n  ', flush=True)
    FILE.write_text(format_json(cases))
    tools = {tool: version(tool) for tool in TOOLS}
    made_by = {'script': 'golden/oracle/make_conventions.py', **tools}
    others = [
        describe(FILE, "counting tools' own totals for one image"),
        describe(FIXTURES / f'{EXPORTED}.onnx', f'train form of {EXPORTED}, torch.onnx.export, opset 11'),
    ]
    write_manifest('conventions', made_by, [], others)


if __name__ == '__main__':
    main()
