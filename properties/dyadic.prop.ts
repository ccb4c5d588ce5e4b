/** The dyadic tier: a right engine agrees in every bit, and a wrong one is seen on every draw. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Engine } from '../src/engines/engine.ts';
import { openEngine } from '../src/engines/index.ts';
import { type Loading, type TfjsRules, tfjsEngine, tfjsRules } from '../src/engines/tfjs.ts';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import type { Fusion } from '../src/fused/fuse.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { magnitude } from '../src/interpreters/magnitude.ts';
import { subnetwork } from '../src/network/graph.ts';
import { isKind, type Network, type OpKind } from '../src/network/ops.ts';
import { type Tensor, toFloat32 } from '../src/network/tensor.ts';
import { familyOf } from '../src/reference/families.ts';
import { variants } from '../src/reference/variants.ts';
import { checkDyadic } from '../src/verify/dyadic.ts';
import type { Finding } from '../src/verify/findings.ts';
import { pieces } from '../src/verify/pieces.ts';
import { propertyOptions, seed } from './check.ts';
import { networks, regions } from './networks.ts';

const seeds = fc.nat(2 ** 32 - 1);

/** Regions of every rule, but for a mean of three heads: a third of their sum is no float. */
const dyadicRegions = regions().filter(({ network }) =>
  network.nodes.every((node) => !isKind(node, 'scale') || Number.isInteger(Math.log2(node.op.factor))),
);

function fusionsOf(network: Network): readonly Fusion[] {
  return deployForms(network).map((form) => fuseTo(form, network));
}

const failuresOf = (findings: readonly Finding[]) => findings.filter(({ comparison }) => comparison.verdict !== 'pass');

describe(`a right engine agrees in every bit, seed ${seed}`, () => {
  const engine = openEngine('onnxruntime');

  async function expectExact(network: Network, drawn: number): Promise<void> {
    for (const fusion of fusionsOf(network)) {
      const findings = await checkDyadic(fusion, [await engine], drawn);
      expect(failuresOf(findings)).toEqual([]);
      expect(Math.min(...findings.map(({ comparison }) => comparison.compared))).toBeGreaterThan(0);
    }
  }

  test('on regions of every rule', async () => {
    await fc.assert(
      fc.asyncProperty(dyadicRegions, seeds, ({ network }, drawn) => expectExact(network, drawn)),
      propertyOptions(40),
    );
  });

  test('on whole networks of both families', async () => {
    await fc.assert(
      fc.asyncProperty(networks(), seeds, ({ network }, drawn) => expectExact(network, drawn)),
      propertyOptions(3),
    );
  });
});

/** The number rounded to so many significant bits. */
function roundedTo(bits: number, value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) + 1 - bits);
  return Math.round(value / unit) * unit;
}

/** An engine that rounds every node's values to so many bits, and says so. */
function coarseEngine(bits: number): Engine {
  const precision = { unitRoundoff: 2 ** -bits, underflow: 2 ** -1000, largest: Number.MAX_VALUE, erf: 0 };
  return {
    info: { name: `${bits} bits`, version: '', device: '', threads: 1, precision },
    liveTensors: () => undefined,
    load: async (network, weights) => ({
      run: async (inputs) => {
        const values = new Map<string, Tensor>(inputs);
        for (const { name, op } of network.nodes) {
          if (op.kind === 'input') continue;
          const { shape, data } = (
            await evaluateFloat64(subnetwork(network, new Set([name]), name), weights, values)
          ).get(name)!;
          values.set(name, { shape, data: data.map((value) => roundedTo(bits, value)) });
        }
        return toFloat32(values.get(network.output)!);
      },
      dispose: async () => {},
    }),
  };
}

test(`an engine of few bits passes or is inconclusive, and never fails, seed ${seed}`, async () => {
  const verdicts: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(dyadicRegions, fc.integer({ min: 3, max: 14 }), seeds, async ({ network }, bits, drawn) => {
      for (const fusion of fusionsOf(network)) {
        for (const { comparison } of await checkDyadic(fusion, [coarseEngine(bits)], drawn)) {
          expect(comparison.verdict).not.toBe('fail');
          verdicts[comparison.verdict] = (verdicts[comparison.verdict] ?? 0) + 1;
        }
      }
    }),
    propertyOptions(60),
  );
  expect(Object.keys(verdicts).toSorted()).toEqual(['inconclusive', 'pass']);
});

const RUNS_ALL_THE_SAME = 'runs all the same';

/** What the tier says of the sums of a piece, told by an engine for which nothing is exact but zero. */
function claimOf({ comparison }: Finding): { readonly largest: number; readonly step: number } {
  if (comparison.reason === RUNS_ALL_THE_SAME) return { largest: 0, step: 1 };
  const [, largest, step] = /^a sum may reach (\S+), which is \S+ steps of (\S+);/.exec(comparison.reason ?? '') ?? [];
  return { largest: Number(largest), step: Number(step) };
}

test(`sums are multiples of the step, and not beyond the largest, seed ${seed}`, async () => {
  const never: Engine = { ...coarseEngine(-10), load: () => Promise.reject(new Error(RUNS_ALL_THE_SAME)) };
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof({ weight: 9, arbitrary: dyadicRegions }, { weight: 1, arbitrary: networks() }),
      seeds,
      async ({ network }, drawn) => {
        for (const fusion of fusionsOf(network)) {
          const sums: { readonly magnitudes: ArrayLike<number>; readonly values: ArrayLike<number> }[] = [];
          const exact = coarseEngine(24);
          const observed: Engine = {
            ...exact,
            load: async (piece, weights) => {
              const loaded = await exact.load(piece, weights);
              return {
                ...loaded,
                run: async (inputs) => {
                  const { sum } = await magnitude(piece, weights, inputs, { floor: 0, erfError: 0 });
                  const output = await loaded.run(inputs);
                  sums.push({ magnitudes: sum.data, values: output.data });
                  return output;
                },
              };
            },
          };
          const findings = await checkDyadic(fusion, [observed, never], drawn);
          const claims = findings.filter(({ engine }) => engine === never.info.name).map(claimOf);
          expect(claims).toHaveLength(sums.length);
          for (const [i, { magnitudes, values }] of sums.entries()) {
            const { largest, step } = claims[i]!;
            expect(Array.from(magnitudes).filter((magnitude) => !(magnitude <= largest))).toEqual([]);
            expect(Array.from(values).filter((value) => !Number.isInteger(value / step))).toEqual([]);
            compared += values.length;
          }
        }
      },
    ),
    propertyOptions(40),
  );
  expect(compared).toBeGreaterThan(0);
});

interface PlantedFault {
  readonly fault: string;
  readonly rules: Partial<TfjsRules>;
  /** Every piece in which it is seen has such an op. */
  readonly kind: OpKind;
}

/** The next float32 but for zeros: one unit in the last place too much. */
const lastBit: TfjsRules['conv2d'] = (node, loading) => {
  const compute = tfjsRules.conv2d(node, loading);
  return (inputs, fed) => loading.tf.mul(compute(inputs, fed), 1 + 2 ** -23);
};

/** The layer's weights in reverse. */
function reversed(loading: Loading): Loading {
  const weight: Loading['weight'] = (role) =>
    role === 'weight' ? loading.weight(role).toReversed() : loading.weight(role);
  return { ...loading, weight };
}

const faults: readonly PlantedFault[] = [
  { fault: 'a last bit too much', kind: 'conv2d', rules: { conv2d: lastBit } },
  {
    fault: 'kernels in reverse',
    kind: 'conv2d',
    rules: { conv2d: (node, loading) => tfjsRules.conv2d(node, reversed(loading)) },
  },
  {
    fault: 'layers over windows in reverse',
    kind: 'setLinear',
    rules: { setLinear: (node, loading) => tfjsRules.setLinear(node, reversed(loading)) },
  },
  {
    fault: 'classifiers in reverse',
    kind: 'linear',
    rules: { linear: (node, loading) => tfjsRules.linear(node, reversed(loading)) },
  },
  {
    fault: 'eps twice',
    kind: 'batchNorm',
    rules: {
      batchNorm: (node, loading) => tfjsRules.batchNorm({ ...node, op: { ...node.op, eps: 2 * node.op.eps } }, loading),
    },
  },
  {
    fault: 'terms beyond the second left out',
    kind: 'add',
    rules: {
      add:
        (_node, { tf }) =>
        ([x, y]) =>
          tf.add(x!, y!),
    },
  },
  {
    fault: 'the largest in place of the mean',
    kind: 'globalAvgPool',
    rules: {
      globalAvgPool:
        (node, { tf }) =>
        ([x]) =>
          tf.max(x!, [1, 2], node.op.keepDims),
    },
  },
  {
    fault: 'no constants behind the windows',
    kind: 'windowLinear',
    rules: {
      windowLinear: (node, loading) => tfjsRules.windowLinear({ ...node, op: { ...node.op, affine: false } }, loading),
    },
  },
];

async function wrongEngine(rules: Partial<TfjsRules>): Promise<Engine> {
  const tf = await import('@tensorflow/tfjs-core');
  const { info } = await openEngine('cpu');
  return tfjsEngine({ tf, backend: 'cpu', info, rules: { ...tfjsRules, ...rules } });
}

/** Small networks of both families, in every deploy form. */
const miniatures = ['repvit_m0_9', 'repmlpnet_t224'].flatMap((name) => {
  const { config } = variants.find((variant) => variant.name === name)!;
  const family = familyOf(config);
  const { config: small, size } = family.miniature(config);
  return fusionsOf(family.build(small, size));
});

describe(`a wrong engine is seen, seed ${seed}`, () => {
  test.each(faults)('$fault', async ({ rules, kind }) => {
    const engine = await wrongEngine(rules);
    await fc.assert(
      fc.asyncProperty(seeds, async (drawn) => {
        let seen = 0;
        for (const fusion of miniatures) {
          const all = new Map(pieces(fusion).map((piece) => [piece.name, piece]));
          for (const { piece, form, comparison } of failuresOf(await checkDyadic(fusion, [engine], drawn))) {
            const { reference, deploy } = all.get(piece)!;
            const { nodes } = form === 'reference' ? reference : deploy;
            expect(comparison.verdict).toBe('fail');
            expect(nodes.map(({ op }) => op.kind)).toContain(kind);
            seen += comparison.failures;
          }
        }
        expect(seen).toBeGreaterThan(0);
      }),
      propertyOptions(2),
    );
  });
});
