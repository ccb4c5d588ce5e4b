"""The portable weights generator of src/weights/random.ts in numpy: the same bits, from names, shapes and a seed alone.

    python golden/oracle/portable.py --check

compares it with the test vectors that golden/portable.test.ts holds the TypeScript against, too. The formulas and their
rounding steps are written in the docstrings of src/weights/random.ts.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np

from formatted import format_json

# Of the formulas: a change of any bit is another version, here and in src/weights/random.ts.
VERSION = 1

BN_EPS = np.float32(1e-5)

GAIN = 0.95
BIAS = 0.1
BN_SHIFT = 0.1
GAMMA_LOW = 0.6
GAMMA_SPAN = 0.5


def mix(h: np.ndarray) -> np.ndarray:
    """One round of the 32-bit finaliser `lowbias32` (Chris Wellons, hash-prospector)."""
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x7FEB352D)
    h = h ^ (h >> np.uint32(15))
    h = h * np.uint32(0x846CA68B)
    return h ^ (h >> np.uint32(16))


def stream_key(name: str, seed: int) -> np.ndarray:
    fnv = 0x811C9DC5
    for byte in name.encode('utf-8'):
        fnv = ((fnv ^ byte) * 0x01000193) & 0xFFFFFFFF
    seeded = mix(np.array([(seed + 0x9E3779B9) & 0xFFFFFFFF], dtype=np.uint32))
    return mix(np.array([fnv], dtype=np.uint32) ^ seeded)


def hashes(name: str, seed: int, count: int) -> np.ndarray:
    key = stream_key(name, seed)
    return mix(mix(np.arange(count, dtype=np.uint32) ^ key) + key)


def signed_unit(h: np.ndarray) -> np.ndarray:
    """Uniform in (-1, 1), never 0: odd multiples of 2^-24, exact in float32."""
    return ((h >> np.uint32(8)).astype(np.float32) * np.float32(2) + np.float32(1 - 2**24)) * np.float32(2**-24)


def uniform(name: str, seed: int, shape: tuple[int, ...], half_width: float) -> np.ndarray:
    count = math.prod(shape)
    return (signed_unit(hashes(name, seed, count)) * np.float32(half_width)).reshape(shape)


def running_var(name: str, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    h = hashes(name, seed, math.prod(shape))
    exponent = (((h & np.uint32(255)) * np.uint32(37)) >> np.uint32(8)).astype(np.int32) - 20
    mantissa = np.float32(1) + (h >> np.uint32(9)).astype(np.float32) * np.float32(2**-23)
    return np.ldexp(mantissa, exponent).reshape(shape)


def gamma(name: str, seed: int, var: np.ndarray) -> np.ndarray:
    h = hashes(name, seed, var.size).reshape(var.shape)
    unit = (h >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    magnitude = np.float32(GAMMA_LOW) + np.float32(GAMMA_SPAN) * unit
    sign = np.where(h & np.uint32(1), np.float32(-1), np.float32(1))
    return sign * magnitude * np.sqrt(var + BN_EPS)


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Weights for a PyTorch state_dict's keys and shapes; a module with a `running_var` is a batch norm."""
    weights = {}
    for key, shape in shapes.items():
        module, _, role = key.rpartition('.')
        if role == 'num_batches_tracked':
            continue
        norm = f'{module}.running_var'
        if norm not in shapes:
            half_width = GAIN * math.sqrt(3 / math.prod(shape[1:])) if role == 'weight' else BIAS
            weights[key] = uniform(key, seed, shape, half_width)
        elif role == 'running_var':
            weights[key] = running_var(key, seed, shape)
        elif role == 'weight':
            weights[key] = gamma(key, seed, running_var(norm, seed, shape))
        else:
            weights[key] = uniform(key, seed, shape, BN_SHIFT)
    return weights


def random_input(shape: tuple[int, ...], seed: int, name: str = 'input') -> np.ndarray:
    """Unit variance: uniform in (-sqrt(3), sqrt(3))."""
    return uniform(name, seed, shape, math.sqrt(3))


VECTORS = Path(__file__).resolve().parent / 'portable-vectors.json'

# A state_dict with every kind of tensor that the generator tells apart, and names beyond ASCII.
VECTOR_SHAPES = {
    'stem.conv1.c.weight': (4, 3, 3, 3),
    'stem.conv1.bn.weight': (4,),
    'stem.conv1.bn.bias': (4,),
    'stem.conv1.bn.running_mean': (4,),
    'stem.conv1.bn.running_var': (4,),
    'stages.0.blocks.0.token_mixer.conv1.weight': (5, 1, 1, 1),
    'stages.0.blocks.0.token_mixer.conv1.bias': (5,),
    'fc3.weight': (18, 9, 1, 1),
    'h\u00e9ad.\u5c64.\U0001f9ea.weight': (2, 7),
    'h\u00e9ad.\u5c64.\U0001f9ea.bias': (2,),
}
VECTOR_SEEDS = (0, 1, 2**31, 2**32 - 1)
VECTOR_INPUT = (2, 3, 5, 4)
# Shown in full; longer tensors by their digest alone.
VECTOR_SHOWN = 12
# Large enough that a counter in fewer than 20 bits would show.
VECTOR_LARGE = {'large.weight': (1031, 1021)}


def vector_of(key: str, tensor: np.ndarray) -> dict[str, object]:
    data = np.ascontiguousarray(tensor, dtype='<f4')
    bits = [f'{word:08x}' for word in data.view('<u4').reshape(-1)[:VECTOR_SHOWN]]
    return {
        'name': key,
        'shape': list(tensor.shape),
        'first': ' '.join(bits),
        'sha256': hashlib.sha256(data.tobytes()).hexdigest(),
    }


def vectors() -> dict[str, object]:
    """float32 bits of the first elements, and the SHA-256 of all, little-endian."""
    sets = []
    for seed in VECTOR_SEEDS:
        tensors = {'input': random_input(VECTOR_INPUT, seed), **random_weights(VECTOR_SHAPES, seed)}
        sets.append({'seed': seed, 'tensors': [vector_of(key, tensor) for key, tensor in tensors.items()]})
    large = random_weights(VECTOR_LARGE, 7)
    sets.append({'seed': 7, 'tensors': [vector_of(key, tensor) for key, tensor in large.items()]})
    return {'version': VERSION, 'sets': sets}


def main(arguments: list[str]) -> None:
    if arguments not in (['--check'], ['--write']):
        sys.exit('usage: python golden/oracle/portable.py --check | --write')
    if arguments == ['--write']:
        VECTORS.write_text(format_json(vectors()))
        return
    expected = json.loads(VECTORS.read_text())
    found = vectors()
    if expected['version'] != found['version']:
        sys.exit(f"{VECTORS.name} is of version {expected['version']}, portable.py of {found['version']}")
    compared = 0
    for theirs, ours in zip(expected['sets'], found['sets'], strict=True):
        for wanted, made in zip(theirs['tensors'], ours['tensors'], strict=True):
            if wanted != made or theirs['seed'] != ours['seed']:
                sys.exit(f"{wanted['name']}, seed {theirs['seed']}: expected {wanted['first']}, made {made['first']}")
            compared += math.prod(made['shape'])
    if compared == 0:
        sys.exit(f'{VECTORS.name}: nothing to compare')
    print(f'{compared} elements of version {VERSION}: the same bits')


if __name__ == '__main__':
    main(sys.argv[1:])
