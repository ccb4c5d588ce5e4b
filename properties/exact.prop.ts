/** The exact tier: right fusions are equal as fractions, and every faulty rule is seen wherever it changes a weight. */
import fc from 'fast-check';
import type { Fraction } from 'mathjs';
import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { openFractionField } from '../src/fused/fractions.ts';
import { rules as allRules, type Fusion, fuse, fuseIn } from '../src/fused/fuse.ts';
import type { Rule } from '../src/fused/rule.ts';
import { averageHeads } from '../src/fused/rules/average-heads.ts';
import { batchNormConv } from '../src/fused/rules/batch-norm-conv.ts';
import { batchNormLinear } from '../src/fused/rules/batch-norm-linear.ts';
import { batchNormPool } from '../src/fused/rules/batch-norm-pool.ts';
import { batchNormWindowLinear } from '../src/fused/rules/batch-norm-window-linear.ts';
import { convBatchNorm } from '../src/fused/rules/conv-batch-norm.ts';
import { localityInjection } from '../src/fused/rules/locality-injection.ts';
import { setLinearBatchNorm } from '../src/fused/rules/set-linear-batch-norm.ts';
import { windowLinear } from '../src/fused/rules/window-linear.ts';
import { evaluateFloat64 } from '../src/interpreters/float64.ts';
import { evaluateRational, type RationalTensor } from '../src/interpreters/rational.ts';
import { InputError } from '../src/network/errors.ts';
import { isKind, type Network } from '../src/network/ops.ts';
import type { Tensor } from '../src/network/tensor.ts';
import { checkExact } from '../src/verify/exact.ts';
import { averageHeadsFaults } from '../src/verify/faults/heads.ts';
import { convBatchNormFaults, repVggDwFaults } from '../src/verify/faults/kernels.ts';
import type { FaultyRule } from '../src/verify/faults/mistake.ts';
import {
  batchNormBeforePadding,
  batchNormConvFaults,
  batchNormLinearFaults,
  batchNormPoolFaults,
  batchNormWindowLinearFaults,
  setLinearBatchNormFaults,
} from '../src/verify/faults/norms.ts';
import { localityInjectionFaults, windowLinearFaults } from '../src/verify/faults/windows.ts';
import type { Finding } from '../src/verify/findings.ts';
import { rationalWeights } from '../src/weights/rational.ts';
import {
  averagedHeads,
  convNorm,
  convolutions,
  epsOf,
  heads,
  inputFor,
  localities,
  localityNetwork,
  normConv,
  normLinear,
  normPool,
  normWindows,
  operations,
  pools,
  repVggDwNetwork,
  repVggDws,
  setLinearNorm,
  unpaddedConvolutions,
  values,
  weightsFor,
  windowNetwork,
  windows,
} from './arbitraries.ts';
import { propertyOptions, seed } from './check.ts';
import { networks } from './networks.ts';

const field = await openFractionField();
const seeds = fc.nat(2 ** 32 - 1);
const EPS = 1e-5;

/** A network that one rule, or several, fold into one node; printed by what it was made from. */
interface RegionDraw {
  readonly network: Network;
  readonly [fc.toStringMethod]: () => string;
}

/** What a rule is held against. */
interface Subject {
  readonly name: string;
  readonly rules: readonly Rule[];
  readonly draws: fc.Arbitrary<RegionDraw>;
  readonly faults: readonly FaultyRule[];
}

function subject<Draw>(
  name: string,
  rules: readonly Rule[],
  draws: fc.Arbitrary<Draw>,
  networkOf: (draw: Draw, eps: number) => Network,
  faults: readonly FaultyRule[],
): Subject {
  const made = (draw: Draw): RegionDraw => ({
    network: networkOf(draw, EPS),
    [fc.toStringMethod]: () => fc.stringify(draw),
  });
  return { name, rules, draws: draws.map(made), faults };
}

const padded = convolutions().filter(({ op }) => op.padding.some((pad) => pad > 0));

const subjects: readonly Subject[] = [
  subject('conv-batch-norm', [convBatchNorm], convolutions(), convNorm, convBatchNormFaults),
  subject('repvggdw', allRules, repVggDws, repVggDwNetwork, repVggDwFaults),
  subject('batch-norm-conv', [batchNormConv], unpaddedConvolutions, normConv, batchNormConvFaults),
  subject('batch-norm-pool', [batchNormPool], pools(1, 2, 3, 5), normPool, batchNormPoolFaults),
  subject('batch-norm-linear', [batchNormLinear], heads(1, 1), normLinear, batchNormLinearFaults),
  subject('average-heads', [averageHeads], heads(2, 4), averagedHeads, averageHeadsFaults),
  subject('set-linear-batch-norm', [setLinearBatchNorm], windows, setLinearNorm, setLinearBatchNormFaults),
  subject(
    'locality-injection',
    [setLinearBatchNorm, localityInjection],
    localities,
    localityNetwork,
    localityInjectionFaults,
  ),
  subject('window-linear', [windowLinear], windows, windowNetwork, windowLinearFaults),
  subject(
    'batch-norm-window-linear',
    [windowLinear, batchNormWindowLinear],
    windows,
    normWindows,
    batchNormWindowLinearFaults,
  ),
];

const failuresOf = (findings: readonly Finding[]) => findings.filter(({ comparison }) => comparison.verdict !== 'pass');

describe(`equal as fractions, seed ${seed}`, () => {
  test.each(subjects)('$name', async ({ rules, draws }) => {
    await fc.assert(
      fc.asyncProperty(draws, seeds, async ({ network }, drawn) => {
        const fusion = fuse(network, rules);
        expect(fusion.regions.map(({ deploy }) => deploy)).toEqual([fusion.network.output]);
        const findings = await checkExact(fusion, drawn);
        expect(failuresOf(findings)).toEqual([]);
        expect(Math.min(...findings.map(({ comparison }) => comparison.compared))).toBeGreaterThan(0);
      }),
      propertyOptions(8),
    );
  });

  test('whole networks of both families, in every form', async () => {
    await fc.assert(
      fc.asyncProperty(networks(), seeds, async ({ network }, drawn) => {
        for (const form of deployForms(network)) {
          const findings = await checkExact(fuseTo(form, network), drawn);
          expect(failuresOf(findings)).toEqual([]);
          expect(Math.min(...findings.map(({ comparison }) => comparison.compared))).toBeGreaterThan(0);
        }
      }),
      propertyOptions(2),
    );
  });
});

/** All that the deploy form is, in writing; undefined where its weights are not even rational. */
function written(fusion: Fusion, drawn: number): string | undefined {
  const weights = rationalWeights(fusion.reference, drawn, field.of);
  const made: unknown[] = operations(fusion.network).map(({ op }) => op);
  const toText = (values: ArrayLike<Fraction>) => Array.from(values, (value) => value.toFraction());
  try {
    fuseIn(
      fusion,
      field,
      (key) => weights.get(key)!.data,
      (key, _shape, fused) => made.push(key, toText(fused)),
    );
  } catch (error) {
    if (error instanceof Error && error.message.endsWith('has no rational square root')) return undefined;
    throw error;
  }
  return JSON.stringify(made);
}

/** Undefined where a fault makes a node that does not even fit its input. */
function fuseOrRefuse(network: Network, rules: readonly Rule[]): Fusion | undefined {
  try {
    return fuse(network, rules);
  } catch (error) {
    if (error instanceof InputError) return undefined;
    throw error;
  }
}

/** Draws on which each fault has to be seen. */
const FAULT_DRAWS = 3;

async function expectSeen({ rule }: FaultyRule, { rules, draws }: Subject): Promise<void> {
  const options = propertyOptions<[RegionDraw, number]>(FAULT_DRAWS);
  const faulty = rules.map((right) => (right.name === rule.name ? rule : right));
  let seen = 0;
  await fc.assert(
    fc.asyncProperty(draws, seeds, async ({ network }, drawn) => {
      const fusion = fuseOrRefuse(network, faulty);
      fc.pre(fusion !== undefined && written(fusion, drawn) !== written(fuse(network, rules), drawn));
      const failures = failuresOf(await checkExact(fusion, drawn));
      expect(failures.map(({ piece, comparison }) => [piece, comparison.verdict])).toContainEqual([
        fusion.network.output,
        'fail',
      ]);
      seen++;
    }),
    options,
  );
  expect(seen).toBeGreaterThanOrEqual(options.numRuns);
}

describe.each(subjects)(`$name: seen wherever it changes a weight, seed ${seed}`, (rule) => {
  test.each(rule.faults)('$name', async (fault) => {
    await expectSeen(fault, rule);
  });
});

test('geo-bn-before-padding is seen', async () => {
  await expectSeen(batchNormBeforePadding, subject('padded', [batchNormConv], padded, normConv, []));
});

/** Regions whose every float64 value is exact on dyadic values: means of a power of two of pixels or heads. */
const exactSubjects: readonly Subject[] = [
  ...subjects.filter(({ name }) => name !== 'batch-norm-pool' && name !== 'average-heads'),
  subject('batch-norm-pool', [batchNormPool], pools(1, 2, 4), normPool, []),
  subject('average-heads', [averageHeads], fc.oneof(heads(2, 2), heads(4, 4)), averagedHeads, []),
];

describe(`the interpreter in fractions computes what the oracle does, where that is exact, seed ${seed}`, () => {
  /** Not the shortest decimal, but the very number: a whole one over 2^40. */
  const exactly = (value: number) => field.div(field.of(value * 2 ** 40), field.of(2 ** 40));
  const toFractions = ({ shape, data }: Tensor): RationalTensor => ({ shape, data: Array.from(data, exactly) });

  test.each(exactSubjects)('$name: train form and deploy form', async ({ rules, draws }) => {
    await fc.assert(
      fc.asyncProperty(draws, values('dyadic'), async ({ network }, drawn) => {
        const nodes = network.nodes.map((node) =>
          isKind(node, 'batchNorm') ? { ...node, op: { ...node.op, eps: epsOf(drawn) } } : node,
        );
        const train = { ...network, nodes };
        // The deploy form, too, on weights drawn for it.
        for (const evaluated of [train, fuse(train, rules).network]) {
          const [weights, input] = [weightsFor(evaluated, drawn), inputFor(evaluated, drawn)];
          const inputs = new Map([['input', input]]);
          const expected = await evaluateFloat64(evaluated, weights, inputs, { kernels: 'definition' });
          const actual = evaluateRational(
            evaluated,
            new Map([...weights].map(([key, tensor]) => [key, toFractions(tensor)])),
            new Map([['input', toFractions(input)]]),
            field,
          );
          const { shape, data } = expected.get(evaluated.output)!;
          expect(actual.shape).toEqual(shape);
          expect(actual.data.length).toBeGreaterThan(0);
          const differences = Array.from(data, (value, i) => [i, value, Number(actual.data[i]!.valueOf())] as const);
          expect(differences.filter(([, float64, fraction]) => float64 !== fraction)).toEqual([]);
        }
      }),
      propertyOptions(5),
    );
  });
});
