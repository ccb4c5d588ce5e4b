import { describe, expect, test } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { fuse, fuseAndRound } from '../fused/fuse.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { FLOAT32, NO_PRECISION } from '../network/precision.ts';
import { toFloat32 } from '../network/tensor.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { type Finding, type Verification, type VerifyRequest, verify } from './verify.ts';

const SEED = 9;

/** conv -> bn, relu, and a linear layer that fusing leaves as it is. */
const fusion = (() => {
  const builder = new NetworkBuilder('tiny');
  const size = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
  const conv = { kind: 'conv2d', outChannels: 2, bias: false, ...size } as const;
  const convolved = builder.add('m.c', conv, [builder.input('input', [1, 2, 3, 3])]);
  const active = builder.add('act', { kind: 'relu' }, [
    builder.add('m.bn', { kind: 'batchNorm', eps: 1e-5 }, [convolved]),
  ]);
  const pooled = builder.add('pool', { kind: 'globalAvgPool', keepDims: false }, [active]);
  return fuse(builder.build(builder.add('head', { kind: 'linear', outFeatures: 3, bias: true }, [pooled])));
})();
const weights = randomWeights(fusion.reference, SEED);

/** Computes in float64 and rounds once. */
function engine(name: string, precision: Engine['info']['precision']): Engine {
  return {
    info: { name, version: '', device: '', threads: 1, precision },
    liveTensors: () => undefined,
    load: async (network, given) => ({
      run: async (inputs) => toFloat32((await evaluateFloat64(network, given, inputs)).get(network.output)!),
      dispose: async () => {},
    }),
  };
}
const right = engine('right', { ...FLOAT32, underflow: 2 ** -149, erf: 0 });
const silent = engine('silent', undefined);

function run(rest: Partial<VerifyRequest>): Promise<Verification> {
  const input = randomInput([1, 2, 3, 3], SEED);
  return verify({
    fusion,
    weights,
    input,
    engines: [],
    probe: (shape, name) => randomInput(shape, SEED, name),
    ...rest,
  });
}

test('an engine that states no precision is inconclusive on every piece, and spoils nothing else', async () => {
  const result = await run({ engines: [silent, right], tiers: ['algebra', 'runtime'] });
  const verdicts = result.tiers.map(({ tier, engine: name, form, verdict }) => [tier, name, form, verdict]);
  expect(verdicts).toEqual([
    ['canaries', undefined, undefined, 'pass'],
    ['algebra', undefined, undefined, 'pass'],
    ['runtime', 'silent', 'reference', 'inconclusive'],
    ['runtime', 'right', 'reference', 'pass'],
    ['runtime', 'silent', 'deploy', 'inconclusive'],
    ['runtime', 'right', 'deploy', 'pass'],
    ['runtime', 'silent', 'both', 'inconclusive'],
    ['runtime', 'right', 'both', 'pass'],
  ]);
  expect(result.failures.map(({ piece, form }) => [piece, form])).toEqual([
    ['m', 'reference'],
    ['m', 'deploy'],
    ['act', 'both'],
    ['pool', 'both'],
    ['head', 'both'],
  ]);
  for (const { tier, engine: name, shape, comparison } of result.failures) {
    expect([tier, name, shape.length > 1]).toEqual(['runtime', 'silent', true]);
    expect(comparison).toMatchObject({ verdict: 'inconclusive', compared: 0, reason: NO_PRECISION });
  }
});

describe('weights of a node that fusing leaves as it is', () => {
  test('that are off are counted, and how far', async () => {
    const stored = fuseAndRound(fusion, weights);
    const { shape, data } = stored.get('head.bias')!;
    const bits = new Int32Array(data.slice().buffer);
    bits[1]! += 3;
    const off = { shape, data: new Float32Array(bits.buffer) };
    const findings: Finding[] = [];
    await run({
      deployWeights: new Map([...stored, ['head.bias', off]]),
      tiers: ['basis'],
      onFinding: (finding) => findings.push(finding),
    });
    const roundings = findings.filter(({ piece }) => piece === 'head').map(({ key, rounding }) => [key, rounding]);
    expect(Object.fromEntries(roundings)).toEqual({
      'head.weight': { correctly: 6, inFloat32: 0, worstUlps: 0.5 },
      'head.bias': { correctly: 2, inFloat32: 0, worstUlps: 3 },
    });
  });
});

test('of weights that are right nobody says how they were rounded', async () => {
  const findings: Finding[] = [];
  const deployWeights = fuseAndRound(fusion, weights);
  await run({ deployWeights, tiers: ['weights'], onFinding: (finding) => findings.push(finding) });
  expect(findings.map(({ key }) => key)).toEqual(['m.weight', 'm.bias', 'head.weight', 'head.bias']);
  for (const finding of findings) expect(finding).not.toHaveProperty('roundedInFloat32');
});

describe('a tier that is asked for by name and has nothing to compare says why', () => {
  test.each<[string, Partial<VerifyRequest>, string]>([
    ['of one piece', { only: 'm', tiers: ['network'] }, 'it has nothing to say of m alone'],
    // A seed that is none is not even looked at.
    ['without an engine', { tiers: ['dyadic'], seed: -1 }, 'no engine was given'],
  ])('%s', async (_name, rest, why) => {
    const { verdict, problems } = await run(rest);
    expect(verdict).toBe('nothing compared');
    expect(problems).toEqual([`the ${rest.tiers![0]} tier compared nothing: ${why}`]);
  });
});
