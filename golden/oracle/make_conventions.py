"""Records what counting tools say of RepViT and RepMLPNet, as their authors wrote them, in every form.

    python golden/oracle/make_conventions.py REPMLPNET_PY FOLDER

writes fixtures/conventions.json, fixtures/tiny_one_stage.onnx and a manifest into FOLDER, for `fuseproof golden update --from
FOLDER`; see README.md for REPMLPNET_PY, and requirements-conventions.txt for the tools. Nothing of fuseproof's own output enters
it.
"""

import copy
import io
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import thop
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info

import make_repmlpnet
import make_repvit
from formatted import format_json
from goldens import Case, Family, Output, load_portable

FILE = 'fixtures/conventions.json'
EXPORTED = 'tiny_one_stage'
TOOLS = ('fvcore', 'ptflops', 'thop', 'torchinfo', 'onnx', 'timm')


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


def count_repvit(case: Case, output: Output) -> dict[str, object]:
    config = case.config
    _, height, width = case.size
    x = torch.randn(1, config['in_chans'], height, width)
    forms = []
    for heads in (2, 1) if config['distillation'] else (1,):
        model = distinct(make_repvit.build({**config, 'distillation': heads == 2}), case.seed)
        forms.append({'form': 'train', 'heads': heads, **count(model, x)})
    if case.name == EXPORTED:
        output.path(f'fixtures/{case.name}.onnx').write_bytes(export(model, x))
    # timm pads the 1x1 kernel by one, whatever kernel_size is, so it fuses 3x3 only.
    if config['kernel_size'] == 3:
        model.fuse()
        forms.append({'form': 'deploy', 'heads': 1, **count(model, x)})
    return {'name': case.name, 'config': config, 'height': height, 'width': width, 'forms': forms}


def count_repmlpnet(case: Case, family: Family) -> dict[str, object]:
    config = case.config
    _, height, width = case.size
    x = torch.randn(1, config['in_channels'], height, width)
    model = distinct(family.build(config), 1)
    forms = [{'form': 'train', 'heads': 1, **count(model, x)}]
    model.locality_injection()
    forms.append({'form': 'deploy-official', 'heads': 1, **count(model, x)})
    return {'name': case.name, 'config': config, 'height': height, 'width': width, 'forms': forms}


def chosen(family: Family) -> list[Case]:
    """Networks of portable weights, each once."""
    return [case for case in family.cases if case.prefix is None and case.model in (None, case.name)]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit('usage: python golden/oracle/make_conventions.py REPMLPNET_PY FOLDER')
    repvits = make_repvit.family(None)
    repmlpnets = make_repmlpnet.family(Path(sys.argv[1]))
    output = Output(Path(sys.argv[2]))
    warnings.filterwarnings('ignore')
    logging.disable(logging.WARNING)
    torch.set_grad_enabled(False)
    jobs = [lambda case=case: count_repvit(case, output) for case in chosen(repvits)]
    jobs += [lambda case=case: count_repmlpnet(case, repmlpnets) for case in chosen(repmlpnets)]
    cases = []
    for job in jobs:
        cases.append(job())
        print(cases[-1]['name'], *cases[-1]['forms'], sep='\n  ', flush=True)
    output.path(FILE).write_text(format_json(cases))
    made_by = {'script': 'golden/oracle/make_conventions.py', **{tool: version(tool) for tool in TOOLS}}
    output.describe('conventions', FILE, "counting tools' own totals for one image", made_by)
    exported = f'train form of {EXPORTED}, torch.onnx.export, opset 11'
    output.describe(f'{EXPORTED}.onnx', f'fixtures/{EXPORTED}.onnx', exported, made_by)
    output.path('manifest.json').write_text(format_json({'goldens': output.entries}))


if __name__ == '__main__':
    main()
