"""What the makers of goldens share: portable weights into a model, files, and the manifest."""

import hashlib
import json
import platform
import re
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.numpy import save_file

import portable

GOLDEN = Path(__file__).resolve().parent.parent
FIXTURES = GOLDEN / 'fixtures'
MANIFEST = GOLDEN / 'manifest.json'


def load_portable(model: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Puts the portable float32 weights, widened, into the float64 model."""
    state = model.state_dict()
    weights = portable.random_weights({key: tuple(tensor.shape) for key, tensor in state.items()}, seed)
    for key, weight in weights.items():
        state[key] = torch.from_numpy(weight.astype(np.float64))
    model.load_state_dict(state)
    return weights


def record_taps(model: torch.nn.Module, kinds: tuple[type[torch.nn.Module], ...]) -> dict[str, np.ndarray]:
    """Outputs of every module of these kinds in the next forward pass, by module path."""
    taps = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda _m, _i, output, name=name: taps.update({name: output.numpy().copy()}))
    return taps


def save(tensors: dict[str, np.ndarray], file: Path) -> None:
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, file)
    file.chmod(0o644)


def save_keys(model: torch.nn.Module, file: Path) -> None:
    """Keys and dimensions of the model's state_dict, but for the step counters that no inference reads."""
    lines = [
        ' '.join([key, *map(str, tensor.shape)])
        for key, tensor in model.state_dict().items()
        if not key.endswith('.num_batches_tracked')
    ]
    file.write_text('\n'.join(lines) + '\n')


def describe(file: Path, what: str, **rest: object) -> dict[str, object]:
    path = file.relative_to(GOLDEN).as_posix()
    return {'file': path, 'what': what, 'sha256': hashlib.sha256(file.read_bytes()).hexdigest(), **rest}


def describe_case(
    file: Path, logits: dict[str, np.ndarray], name: str, seed: int, config: dict[str, object], size: tuple[int, ...]
) -> dict[str, object]:
    return describe(
        file,
        f'logits ({", ".join(logits)}), float64',
        name=name,
        seed=seed,
        config=config,
        input=dict(zip(('batch', 'height', 'width'), size, strict=True)),
    )


def lists(arguments: dict[str, object]) -> dict[str, object]:
    """Tuples as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


def format_json(value: object) -> str:
    """As the project's formatter would: lists of numbers on one line."""
    text = json.dumps(value, indent=2)
    return re.sub(r'\[([\d,\s]+)\]', lambda match: f"[{' '.join(match[1].split())}]", text) + '\n'


def write_manifest(
    family: str, made_by: dict[str, object], cases: list[dict[str, object]], others: list[dict[str, object]]
) -> None:
    """Puts one family into the manifest and leaves the other as it is."""
    versions = {
        'torch': torch.__version__,
        'numpy': np.__version__,
        'safetensors': safetensors.__version__,
        'python': platform.python_version(),
        'machine': platform.machine(),
    }
    what = 'example checkpoint, its config, input or float64 logits (train, deploy)'
    manifest = {
        **json.loads(MANIFEST.read_text()),
        family: {'made_by': {**made_by, **versions}, 'cases': cases, 'others': others},
        'examples': [describe(file, what) for file in sorted((GOLDEN / 'examples').iterdir())],
    }
    MANIFEST.write_text(format_json(manifest))
