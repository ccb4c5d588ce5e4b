"""What the makers of goldens share: weights into a model, taps, files, and their entries of the manifest."""

import hashlib
import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.numpy import load_file, save_file

import portable

GOLDEN = Path(__file__).resolve().parent.parent

# A map of the train form of at most so many elements is stored whole, any other as its digest. As in src/golden/digest.ts.
WHOLE = 2048
SAMPLES = 64
# Prime, so that samples of a map do not fall into one row or channel.
SAMPLE_STEP = 1000003
# Rows and columns of the map of block sums, at most.
BLOCKS = 16


@dataclass(frozen=True)
class Case:
    """One golden: a network on portable weights and an input [N, H, W] of a seed, or on stored ones."""

    name: str
    # Complete, as JSON has it.
    config: dict[str, object] = field(default_factory=dict)
    size: tuple[int, int, int] = (0, 0, 0)
    seed: int = 0
    # The published network that it is.
    model: str | None = None
    # Where PREFIX.json and PREFIX.weights.safetensors are stored, and PREFIX.logits.safetensors will be.
    prefix: str | None = None
    # A file with a tensor `input`.
    images: str | None = None


Wanted = Callable[[str, torch.nn.Module], str | None]


@dataclass(frozen=True)
class Family:
    made_by: dict[str, object]
    cases: list[Case]
    # Fills in defaults.
    complete: Callable[[dict[str, object]], dict[str, object]]
    build: Callable[[dict[str, object]], torch.nn.Module]
    # The other project's own fusion, in place; False where it has none for this network.
    fuse: Callable[[torch.nn.Module], bool]
    fuser: str
    # Which modules' outputs are a stage's, and which are layers; the name that each goes by.
    stage: Wanted
    layer: Wanted
    # Names of cases of which more is kept.
    layers_of: tuple[str, ...] = ()
    fused_layers_of: tuple[str, ...] = ()
    fused_weights_of: dict[str, str] = field(default_factory=dict)
    keys_of: tuple[str, ...] = ()
    portable_of: tuple[str, ...] = ()


class Output:
    """Where goldens go, and the entries of those that are there. Nothing that is accepted is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[dict[str, object]] = []

    @staticmethod
    def versions() -> dict[str, object]:
        return {
            'generator': portable.VERSION,
            'torch': torch.__version__,
            'numpy': np.__version__,
            'safetensors': safetensors.__version__,
            'python': platform.python_version(),
            'machine': platform.machine(),
        }

    def path(self, file: str) -> Path:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, file: str, tensors: dict[str, np.ndarray]) -> None:
        path = self.path(file)
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)
        path.chmod(0o644)

    def save_keys(self, file: str, model: torch.nn.Module) -> None:
        """Keys and dimensions of the model's state_dict, but for the step counters that no inference reads."""
        lines = [
            ' '.join([key, *map(str, tensor.shape)])
            for key, tensor in model.state_dict().items()
            if not key.endswith('.num_batches_tracked')
        ]
        self.path(file).write_text('\n'.join(lines) + '\n')

    def describe(self, name: str, file: str, what: str, made_by: dict[str, object], **rest: object) -> None:
        sha256 = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()
        made_by = {**made_by, **self.versions()}
        self.entries.append({'name': name, 'file': file, 'what': what, 'sha256': sha256, **rest, 'made_by': made_by})


def tensors_of(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(weight.astype(np.float64)) for key, weight in weights.items()}


def load_portable(model: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Puts the portable float32 weights, widened, into the float64 model."""
    state = model.state_dict()
    weights = portable.random_weights({key: tuple(tensor.shape) for key, tensor in state.items()}, seed)
    model.load_state_dict({**state, **tensors_of(weights)})
    return weights


def load_stored(model: torch.nn.Module, file: Path) -> None:
    """Puts stored float32 weights, widened, into the float64 model."""
    counters = {key: value for key, value in model.state_dict().items() if key.endswith('.num_batches_tracked')}
    model.load_state_dict({**counters, **tensors_of(load_file(file))})


def record_taps(model: torch.nn.Module, x: torch.Tensor, wanted: Wanted) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The model's output, and those of modules under the names that `wanted` gives them; of several, the last one's."""
    taps: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        tap = wanted(name, module)
        if tap is None:
            continue
        # An output may be written over in place later on.
        keep = lambda _module, _inputs, output, tap=tap: taps.update({tap: output.clone()})  # noqa: E731
        handles.append(module.register_forward_hook(keep))
    output = model(x)
    for handle in handles:
        handle.remove()
    return output.numpy(), {tap: values.numpy() for tap, values in taps.items()}


def of_kinds(*kinds: type[torch.nn.Module]) -> Wanted:
    return lambda name, module: name if isinstance(module, kinds) else None


def digest(values: np.ndarray, form: str) -> dict[str, np.ndarray]:
    """
    What is kept of a map [N, C, H, W]: all of it under '', or elements at fixed places (`sample`), sums over each channel
    (`channels`, [N, C]), over all channels of a block of pixels (`blocks`, [N, rows, columns]: the map as a picture) and of
    the squares (`squares`, [N]).
    """
    if form == 'train' and values.size <= WHOLE:
        return {'': values}
    images, _, height, width = values.shape
    flat = values.reshape(-1)
    rows, columns = math.ceil(height / BLOCKS), math.ceil(width / BLOCKS)
    blocks = np.zeros((images, math.ceil(height / rows), math.ceil(width / columns)))
    over_channels = values.sum(axis=1)
    for y in range(blocks.shape[1]):
        for x in range(blocks.shape[2]):
            block = over_channels[:, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns]
            blocks[:, y, x] = block.sum(axis=(1, 2))
    return {
        '.sample': flat[[place * SAMPLE_STEP % flat.size for place in range(SAMPLES)]],
        '.channels': values.sum(axis=(2, 3)),
        '.blocks': blocks,
        '.squares': (values**2).sum(axis=(1, 2, 3)),
    }


def lists(arguments: dict[str, object]) -> dict[str, object]:
    """Tuples as JSON has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


def run(model: torch.nn.Module, x: torch.Tensor, form: str, family: Family, case: Case) -> dict[str, np.ndarray]:
    """Logits, under the form's name, and on portable weights what is kept of each stage, under `form.stages.0` and so on."""
    if case.prefix is not None:
        return {form: model(x).numpy()}
    logits, taps = record_taps(model, x, family.stage)
    stages = {f'{form}.{tap}{part}': kept for tap, values in taps.items() for part, kept in digest(values, form).items()}
    return {form: logits, **stages}


def make_case(output: Output, family: Family, case: Case) -> None:
    if case.prefix is None:
        make_portable(output, family, case)
    else:
        make_stored(output, family, case, case.prefix, case.images)


def make_portable(output: Output, family: Family, case: Case) -> None:
    name = case.name
    batch, height, width = case.size
    model = family.build(case.config).double().eval()
    weights = load_portable(model, case.seed)
    channels = case.config.get('in_chans', case.config.get('in_channels'))
    x = portable.random_input((batch, channels, height, width), case.seed)
    if name in family.portable_of:
        file = 'fixtures/portable.safetensors'
        output.save(file, {'input': x, **weights})
        output.describe('portable', file, f'portable weights and input of {name}, made in numpy', family.made_by)
    x64 = torch.from_numpy(x.astype(np.float64))

    tensors = run(model, x64, 'train', family, case)
    if name in family.layers_of:
        save_layers(output, family, f'{name}.taps', model, x64, 'train form')
    if family.fuse(model):
        assert all(parameter.dtype == torch.float64 for parameter in model.parameters())
        tensors |= run(model, x64, 'deploy', family, case)
        if name in family.fused_layers_of:
            save_layers(output, family, f'{name}.deploy-taps', model, x64, f'after {family.fuser}')
        if name in family.fused_weights_of:
            part = family.fused_weights_of[name]
            file = f'fixtures/{name}.fc3.safetensors'
            output.save(file, {key: tensor.numpy() for key, tensor in model.state_dict().items() if part in key})
            output.describe(f'{name}.fc3', file, f'fc3 after {family.fuser}, float64', family.made_by)
        if name in family.keys_of:
            file = f'fixtures/{name}.fused-keys.txt'
            output.save_keys(file, model)
            what = f'state_dict after {family.fuser}: key and dimensions'
            output.describe(f'{name}.fused-keys', file, what, family.made_by)
    report(name, tensors)
    file = f'fixtures/{name}.safetensors'
    output.save(file, tensors)
    of = {} if case.model is None else {'model': case.model}
    size = dict(zip(('batch', 'height', 'width'), case.size, strict=True))
    what = 'logits and stages, float64'
    output.describe(name, file, what, family.made_by, **of, seed=case.seed, config=case.config, input=size)


def save_layers(
    output: Output, family: Family, name: str, model: torch.nn.Module, x: torch.Tensor, which: str
) -> None:
    file = f'fixtures/{name}.safetensors'
    output.save(file, record_taps(model, x, family.layer)[1])
    output.describe(name, file, f'outputs of every layer, {which}', family.made_by)


def make_stored(output: Output, family: Family, case: Case, prefix: str, images: str) -> None:
    def stored(file: str) -> Path:
        """What was made just now, else what is accepted."""
        made = output.folder / file
        return made if made.exists() else GOLDEN / file

    weights = f'{prefix}.weights.safetensors'
    config = family.complete(json.loads(stored(f'{prefix}.json').read_text()))
    model = family.build(config).double().eval()
    load_stored(model, stored(weights))
    x = load_file(stored(images))['input'].astype(np.float64)
    tensors = run(model, torch.from_numpy(x), 'train', family, case)
    if family.fuse(model):
        tensors |= run(model, torch.from_numpy(x), 'deploy', family, case)
    report(case.name, tensors)
    file = f'{prefix}.logits.safetensors'
    output.save(file, tensors)
    batch, _, height, width = x.shape
    size = {'batch': batch, 'height': height, 'width': width}
    files = {'weights': weights, 'images': images}
    output.describe(case.name, file, 'logits, float64', family.made_by, config=config, input=size, stored=files)


def report(name: str, tensors: dict[str, np.ndarray]) -> None:
    train = tensors['train']
    line = f'{name}: {len(tensors)} tensors, max |logit| {np.abs(train).max():.4g}'
    if 'deploy' in tensors:
        line += f', max |deploy - train| {np.abs(train - tensors["deploy"]).max():.3g}'
    print(line, flush=True)
