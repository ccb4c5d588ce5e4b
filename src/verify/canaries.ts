import { fuse, fuseAndRound } from '../fused/fuse.ts';
import { NetworkBuilder } from '../network/builder.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { randomWeights } from '../weights/random.ts';
import { checkBasis } from './basis.ts';
import { compare, compareBits } from './compare.ts';
import { pieces } from './pieces.ts';

interface Canary {
  readonly name: string;
  readonly actual: readonly number[];
  readonly expected: readonly number[];
}

/** Comparisons that other tools have let pass; a check that passes one of them proves nothing. */
const CANARIES: readonly Canary[] = [
  { name: 'nothing compared', actual: [], expected: [] },
  { name: 'NaN against NaN', actual: [1, Number.NaN], expected: [1, Number.NaN] },
  { name: 'NaN against finite', actual: [1, Number.NaN], expected: [1, 2] },
  { name: 'finite against NaN', actual: [1, 2], expected: [1, Number.NaN] },
  { name: 'finite against infinity', actual: [1, 2], expected: [1, Number.POSITIVE_INFINITY] },
  { name: 'infinity against finite', actual: [1, Number.POSITIVE_INFINITY], expected: [1, 2] },
  { name: 'outputs of different length', actual: [1, 2], expected: [1, 2, 3] },
  { name: 'two channels swapped', actual: [2, 1, 3], expected: [1, 2, 3] },
];

/** Stored weights [2] made of the right ones, that are wrong in ways that a check of weights must see. */
const WRONG_WEIGHTS: readonly (readonly [name: string, change: (right: Float32Array) => Float32Array])[] = [
  ['a weight that is NaN', ([, second]) => Float32Array.of(Number.NaN, second!)],
  ['a weight that is infinite', ([, second]) => Float32Array.of(Number.POSITIVE_INFINITY, second!)],
  ['two channels swapped', ([first, second]) => Float32Array.of(second!, first!)],
  ['weights of zero', () => new Float32Array(2)],
];

export interface CanaryReport {
  readonly checked: number;
  /** Canaries that a comparison let pass: there must be none. */
  readonly survivors: readonly string[];
}

/** How the tiers compare; each has to turn down all of its canaries. */
export interface Checks {
  /** Within a bound. */
  readonly bound: typeof compare;
  /** Bit for bit. */
  readonly bits: typeof compareBits;
  /** On a basis. */
  readonly basis: typeof checkBasis;
}

type Outcome = readonly [name: string, passes: boolean];

/** Puts every canary through the comparisons that the verification uses. */
export function runCanaries({
  bound = compare,
  bits = compareBits,
  basis = checkBasis,
}: Partial<Checks> = {}): CanaryReport {
  const outcomes: Outcome[] = [];
  for (const { name, actual, expected } of CANARIES) {
    const [a, e] = [Float64Array.from(actual), Float64Array.from(expected)];
    outcomes.push([name, bound(a, e, new Float64Array(expected.length).fill(1e-6)).verdict === 'pass']);
    outcomes.push([`${name}, bit for bit`, bits(a, e).verdict === 'pass']);
  }
  for (const [name, passes] of onWeights(basis)) outcomes.push([`${name}, on a basis`, passes]);
  return {
    checked: outcomes.length,
    survivors: outcomes.filter(([, passes]) => passes).map(([name]) => name),
  };
}

/** A depthwise 1x1 convolution of two channels, and its batch norm. */
function onWeights(check: typeof checkBasis): readonly Outcome[] {
  const builder = new NetworkBuilder('canary');
  const pixel = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] } as const;
  const conv = { kind: 'conv2d', outChannels: 2, groups: 2, bias: false, ...pixel } as const;
  const convolved = builder.add('m.c', conv, [builder.input('input', [1, 2, 1, 1])]);
  const fusion = fuse(builder.build(builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved])));
  const weights = randomWeights(fusion.reference, 1);
  const right = fuseAndRound(fusion, weights);
  const piece = pieces(fusion)[0]!;
  const key = `${piece.name}.weight`;
  const { shape, data } = right.get(key)!;
  const passes = (stored: Weights) =>
    check(piece, weights, stored, 'fused in float32').every(({ comparison }) => comparison.verdict === 'pass');
  return [
    ...WRONG_WEIGHTS.map(([name, change]): Outcome => {
      const wrong: Tensor<Float32Array> = { shape, data: change(data) };
      return [name, passes(new Map([...right, [key, wrong]]))];
    }),
    // A check that turns down everything is no check either.
    ['the right weights turned down', !passes(right)],
  ];
}
