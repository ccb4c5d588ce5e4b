/**
 * The portable weights generator: the same bits in TypeScript and in numpy (`golden/oracle/portable.py`), from names,
 * shapes and a seed alone. So a golden of a large network is a seed and its logits.
 *
 * It is counter-based: element i of a tensor is a hash of (name, seed, i). Only integer arithmetic and exactly rounded
 * +, *, / and sqrt are used, each step of the floating-point formulas below being rounded to float32 where `fround` says.
 *
 * - `mix` is one round of the 32-bit finaliser `lowbias32` (Chris Wellons, hash-prospector).
 * - key = mix(FNV-1a(UTF-8 of the name) ^ mix(seed + 0x9e3779b9)); h(i) = mix(mix(i ^ key) + key), all modulo 2^32.
 * - u(i) = (2 (h >>> 8) + 1 - 2^24) 2^-24: in (-1, 1), never 0, exact in float32.
 *
 * The constants are tuned so that activations keep their scale and logits feel every layer: on repvit_m0_9, m2_3 and m3
 * at 64 and 224 pixels the largest logit is 0.6 to 2500, and negating the stem's weights or dropping the identity of the
 * first RepVGGDW moves the logits by 16 % to 161 % of it.
 */
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { isKind, type Network, type Node, type Role } from '../network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../network/tensor.ts';

/** Of the formulas: a change of any bit is another version, here and in `portable.py`. */
export const GENERATOR_VERSION = 1;

/** Conv and linear weights are uniform with the variance gain^2 / fan_in. */
const GAIN = 0.95;
/** Half-width of the biases of convs and linears. */
const BIAS = 0.1;
/** Half-width of a batch norm's bias and running_mean. */
const BN_SHIFT = 0.1;
/** A batch norm's |weight| / sqrt(running_var + eps) is uniform from `GAMMA_LOW` to `GAMMA_LOW + GAMMA_SPAN`. */
const GAMMA_LOW = Math.fround(0.6);
const GAMMA_SPAN = Math.fround(0.5);
const BN_EPS = Math.fround(1e-5);
/** running_var lies in [2^-20, 2^17). */
const VAR_LOWEST_EXPONENT = -20;
const VAR_EXPONENTS = 37;

function mix(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return h ^ (h >>> 16);
}

function streamKey(name: string, seed: number): number {
  let fnv = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) fnv = Math.imul(fnv ^ byte, 0x01000193);
  return mix(fnv ^ mix(seed + 0x9e3779b9));
}

function hashAt(key: number, index: number): number {
  return mix(mix(index ^ key) + key);
}

function generate(name: string, seed: number, shape: Shape, value: (hash: number, index: number) => number) {
  const key = streamKey(name, seed);
  const data = new Float32Array(elements(shape));
  for (let i = 0; i < data.length; i++) data[i] = value(hashAt(key, i), i);
  return { shape, data };
}

/** fround(u(i) * fround(halfWidth)) */
function uniform(name: string, seed: number, shape: Shape, halfWidth: number): Tensor<Float32Array> {
  const key = streamKey(name, seed);
  const data = new Float32Array(elements(shape));
  const step = Math.fround(halfWidth) * 2 ** -24;
  for (let i = 0; i < data.length; i += STRETCH) fillUniform(data, i, Math.min(data.length, i + STRETCH), key, step);
  return { shape, data };
}

/** Elements that one call fills: an engine keeps fast code for a function that is called often, not for one long loop. */
const STRETCH = 4096;

function fillUniform(data: Float32Array, start: number, end: number, key: number, step: number): void {
  // The product of two 24-bit significands is exact in float64; storing it is the one rounding.
  for (let i = start; i < end; i++) data[i] = (2 * (hashAt(key, i) >>> 8) + 1 - 2 ** 24) * step;
}

/** (1 + (h >>> 9) 2^-23) * 2^e with e = floor((h & 255) * 37 / 256) - 20: exact. */
function runningVar(name: string, seed: number, shape: Shape): Tensor<Float32Array> {
  return generate(name, seed, shape, (hash) => {
    const exponent = (((hash & 255) * VAR_EXPONENTS) >>> 8) + VAR_LOWEST_EXPONENT;
    return (1 + (hash >>> 9) * 2 ** -23) * 2 ** exponent;
  });
}

/**
 * fround(sign * magnitude * root), sign = -1 where h is odd, magnitude = fround(0.6 + fround(0.5 (h >>> 8) 2^-24)),
 * root = fround(sqrt(fround(running_var + 1e-5))); 0.6, 0.5 and 1e-5 in float32.
 */
function gamma(name: string, seed: number, runningVariance: Tensor<Float32Array>): Tensor<Float32Array> {
  return generate(name, seed, runningVariance.shape, (hash, i) => {
    const magnitude = Math.fround(GAMMA_LOW + Math.fround(GAMMA_SPAN * ((hash >>> 8) * 2 ** -24)));
    const root = Math.fround(Math.sqrt(Math.fround(runningVariance.data[i]! + BN_EPS)));
    return (hash & 1 ? -magnitude : magnitude) * root;
  });
}

function tensorFor(node: Node, role: Role, key: string, shape: Shape, seed: number): Tensor<Float32Array> {
  if (!isKind(node, 'batchNorm')) {
    const fanIn = elements(shape.slice(1));
    return uniform(key, seed, shape, role === 'weight' ? GAIN * Math.sqrt(3 / fanIn) : BIAS);
  }
  if (role === 'running_var') return runningVar(key, seed, shape);
  if (role === 'weight') return gamma(key, seed, runningVar(node.weights.running_var ?? '', seed, shape));
  return uniform(key, seed, shape, BN_SHIFT);
}

function checkSeed(seed: number): void {
  if (!Number.isInteger(seed) || seed < 0 || seed > 2 ** 32 - 1) {
    throw new InputError(`seed ${seed}: it must be a whole number from 0 to 4294967295`);
  }
}

/**
 * Gain-tuned weights for every key of the network; running_var spreads over eleven decades, gamma has both signs.
 * @param seed whole number from 0 to 2^32 - 1
 * @throws InputError where the seed is out of range
 */
export function randomWeights(network: Network, seed: number): Weights<Float32Array> {
  checkSeed(seed);
  const shapes = weightShapesByKey(network);
  const weights = new Map<string, Tensor<Float32Array>>();
  for (const node of network.nodes) {
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      weights.set(key, tensorFor(node, role, key, shapes.get(key) ?? [], seed));
    }
  }
  return weights;
}

/**
 * An input of unit variance, uniform in (-sqrt(3), sqrt(3)): fround(u(i) * fround(sqrt(3))).
 * @param seed whole number from 0 to 2^32 - 1
 * @param name names the stream: inputs of other names get other values
 * @throws InputError where the seed is out of range
 */
export function randomInput(shape: Shape, seed: number, name = 'input'): Tensor<Float32Array> {
  checkSeed(seed);
  return uniform(name, seed, shape, Math.sqrt(3));
}
