"""What a PyTorch user does to see that a fusion is right: build, randomise, forward, fuse, forward, compare, in float64.

    python golden/oracle/time_pytorch.py repvit_m0_9 repvit_m1_1
    python golden/oracle/time_pytorch.py repmlpnet_t224 --repmlpnet repmlpnet.py

prints one JSON object: seconds of imports and of each network. `npm run bench:harness -- --against python` times the whole
process, imports and all, alternately with `fuseproof verify` of the same networks.
"""

import argparse
import json
import time

started = time.perf_counter()

import importlib.util  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402

import timm  # noqa: E402
import torch  # noqa: E402
from timm.models.repvit import RepVit  # noqa: E402

imported = time.perf_counter()

SIZE = 224

REPMLPNET = {
    'repmlpnet_t224': {
        'channels': (64, 128, 256, 512),
        'num_blocks': (2, 2, 6, 2),
        'sharesets_nums': (1, 4, 16, 128),
    },
    'repmlpnet_b224': {
        'channels': (96, 192, 384, 768),
        'num_blocks': (2, 2, 12, 2),
        'sharesets_nums': (1, 4, 32, 128),
    },
}


def load_source(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('repmlpnet', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name: str, repmlpnet: ModuleType | None) -> torch.nn.Module:
    if name not in REPMLPNET:
        return timm.create_model(name)
    if repmlpnet is None:
        raise SystemExit(f"{name}: --repmlpnet FILE is needed, the original's repmlpnet.py")
    published = {'hs': (56, 28, 14, 7), 'ws': (56, 28, 14, 7), 'reparam_conv_k': (1, 3)}
    return repmlpnet.RepMLPNet(**published, **REPMLPNET[name])


def randomise(model: torch.nn.Module) -> None:
    """Fresh statistics would hide most wrong fusions."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


def fuse(model: torch.nn.Module) -> None:
    # Both conversions make new tensors in the default dtype: without this float64 weights would be rounded, or refused.
    torch.set_default_dtype(torch.float64)
    if isinstance(model, RepVit):
        model.fuse()
    else:
        model.locality_injection()
    torch.set_default_dtype(torch.float32)


def check(name: str, repmlpnet: ModuleType | None) -> None:
    model = build(name, repmlpnet)
    randomise(model)
    model = model.double().eval()
    x = torch.randn(1, 3, SIZE, SIZE, dtype=torch.float64)
    expected = model(x)
    fuse(model)
    torch.testing.assert_close(model(x), expected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='+', help="timm's RepViT, repmlpnet_t224 or repmlpnet_b224")
    parser.add_argument('--repmlpnet', type=Path, help="the original's repmlpnet.py")
    arguments = parser.parse_args()
    repmlpnet = None if arguments.repmlpnet is None else load_source(arguments.repmlpnet)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    seconds = {}
    for name in arguments.names:
        before = time.perf_counter()
        check(name, repmlpnet)
        seconds[name] = time.perf_counter() - before
    versions = {'torch': torch.__version__, 'timm': timm.__version__}
    print(json.dumps({'imports': imported - started, 'networks': seconds, 'threads': torch.get_num_threads(), **versions}))


if __name__ == '__main__':
    main()
