"""The portable weights generator of src/weights/random.ts in numpy: the same bits, from names, shapes and a seed alone.

The formulas and their rounding steps are written in that file's docstrings.
"""

import math

import numpy as np

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
