import { describe, expect, test } from 'vitest';
import type { Comparison, Verdict } from './compare.ts';
import { type Finding, Ledger, TIERS, worstVerdict } from './findings.ts';

const comparisonOf = (verdict: Verdict, compared: number, worstRatio = 0): Comparison => ({
  verdict,
  compared,
  failures: verdict === 'fail' ? 1 : 0,
  worstRatio,
  worst: [],
});

const finding = (rest: Partial<Finding> = {}): Finding => ({
  tier: 'algebra',
  piece: 'stem',
  rules: [],
  reference: [],
  shape: [1],
  comparison: comparisonOf('pass', 3, 0.5),
  ...rest,
});

describe('worstVerdict', () => {
  test.each<[Verdict, readonly Verdict[]]>([
    ['nothing compared', []],
    ['pass', ['pass', 'pass']],
    ['inconclusive', ['pass', 'inconclusive']],
    ['nothing compared', ['inconclusive', 'nothing compared', 'pass']],
    ['fail', ['nothing compared', 'pass', 'fail', 'inconclusive']],
  ])('is %s of %j', (worst, verdicts) => {
    expect(worstVerdict(verdicts)).toBe(worst);
  });
});

describe('a ledger', () => {
  test('sums up the findings of a tier, and names the worst piece', () => {
    const ledger = new Ledger();
    ledger.add(finding());
    ledger.add(finding({ piece: 'middle', comparison: comparisonOf('fail', 4, 7) }));
    ledger.add(finding({ piece: 'head', comparison: comparisonOf('inconclusive', 5, 7) }));
    expect(ledger.summaries()).toStrictEqual([
      { tier: 'algebra', verdict: 'fail', compared: 12, pieces: 3, worstRatio: 7, worstPiece: 'middle' },
    ]);
    expect(ledger.failures.map(({ piece }) => piece)).toEqual(['middle', 'head']);
    expect(ledger.problems).toEqual([]);
  });

  test('names the first piece where none has an error', () => {
    const ledger = new Ledger();
    for (const piece of ['a', 'b']) ledger.add(finding({ piece, comparison: comparisonOf('pass', 1) }));
    expect(ledger.summaries()).toMatchObject([{ worstRatio: 0, worstPiece: 'a', pieces: 2 }]);
  });

  test('keeps engines and forms apart', () => {
    const ledger = new Ledger();
    const runtime = { tier: 'runtime', comparison: comparisonOf('pass', 1, 0.25) } as const;
    ledger.add(finding({ ...runtime, engine: 'wasm', form: 'reference' }));
    ledger.add(finding({ ...runtime, engine: 'wasm', form: 'deploy' }));
    ledger.add(finding({ ...runtime, engine: 'cpu', form: 'deploy' }));
    ledger.add(finding({ ...runtime, engine: 'wasm', form: 'deploy' }));
    const common = { tier: 'runtime', verdict: 'pass', worstRatio: 0.25, worstPiece: 'stem' };
    expect(ledger.summaries()).toEqual([
      { ...common, engine: 'wasm', form: 'reference', compared: 1, pieces: 1 },
      { ...common, engine: 'wasm', form: 'deploy', compared: 2, pieces: 2 },
      { ...common, engine: 'cpu', form: 'deploy', compared: 1, pieces: 1 },
    ]);
    expect(ledger.failures).toEqual([]);
  });

  test('takes no engine for another, whatever its name', () => {
    const ledger = new Ledger();
    const runtime = { tier: 'runtime', comparison: comparisonOf('pass', 1) } as const;
    ledger.add(finding({ ...runtime, engine: 'wasm', form: 'deploy' }));
    ledger.add(finding({ ...runtime, engine: 'wasmdeploy' }));
    ledger.note('network', 'pass', 1, [], { engine: 'wasm', form: 'deploy' });
    ledger.note('network', 'pass', 1, [], { engine: 'wasmdeploy' });
    expect(ledger.summaries().map(({ tier, engine }) => [tier, engine])).toEqual([
      ['runtime', 'wasm'],
      ['runtime', 'wasmdeploy'],
      ['network', 'wasm'],
      ['network', 'wasmdeploy'],
    ]);
  });

  test('has no worst piece where a tier was noted and no finding is off', () => {
    const ledger = new Ledger();
    ledger.note('exact', 'nothing compared', 0, ['too large']);
    ledger.add(finding({ tier: 'exact', comparison: comparisonOf('pass', 3) }));
    expect(ledger.summaries()).toStrictEqual([
      { tier: 'exact', verdict: 'nothing compared', compared: 3, pieces: 1, worstRatio: 0 },
    ]);
  });

  test('tells the tiers in their order, whatever came first', () => {
    const ledger = new Ledger();
    for (const tier of TIERS.toReversed()) ledger.add(finding({ tier }));
    expect(ledger.summaries().map(({ tier }) => tier)).toEqual(TIERS);
    expect(TIERS).toEqual([
      'canaries',
      'structure',
      'exact',
      'basis',
      'weights',
      'algebra',
      'dyadic',
      'runtime',
      'network',
    ]);
  });

  test('notes what comes from no comparison, and each problem once', () => {
    const ledger = new Ledger();
    ledger.note('structure', 'fail', 9, ['a is left', 'b is left']);
    ledger.note('network', 'inconclusive', 2, ['b is left', 'no gelu here'], { engine: 'wasm', form: 'deploy' });
    expect(ledger.summaries()).toEqual([
      { tier: 'structure', verdict: 'fail', compared: 9, pieces: 0, worstRatio: 0 },
      {
        tier: 'network',
        engine: 'wasm',
        form: 'deploy',
        verdict: 'inconclusive',
        compared: 2,
        pieces: 0,
        worstRatio: 0,
      },
    ]);
    expect(ledger.problems).toEqual(['a is left', 'b is left', 'no gelu here']);
  });

  test('adds up how weights were rounded, and keeps the worst', () => {
    const ledger = new Ledger();
    const rounding = (correctly: number, inFloat32: number, worstUlps: number, worstWeight?: string) => ({
      correctly,
      inFloat32,
      worstUlps,
      ...(worstWeight === undefined ? {} : { worstWeight }),
    });
    ledger.add(finding({ tier: 'basis', rounding: rounding(10, 0, 0.5) }));
    ledger.add(finding({ tier: 'basis', rounding: rounding(7, 2, 3, 'a.weight[0]') }));
    ledger.add(finding({ tier: 'basis' }));
    ledger.add(finding({ tier: 'basis', rounding: rounding(1, 1, 3, 'b.weight[0]') }));
    expect(ledger.summaries()[0]).toMatchObject({
      pieces: 4,
      rounding: { correctly: 18, inFloat32: 3, worstUlps: 3, worstWeight: 'a.weight[0]' },
    });
    ledger.add(finding());
    expect(ledger.summaries()[1]).not.toHaveProperty('rounding');
  });
});

describe('the regions of a tier', () => {
  const at = (actual: number, expected: number, bound: number): Partial<Finding> => {
    const difference = { index: 0, actual, expected, bound, ratio: Math.abs(actual - expected) / bound };
    return { comparison: { ...comparisonOf('pass', 3, difference.ratio), worst: [difference] } };
  };
  const regionsOf = (...findings: readonly Partial<Finding>[]) => {
    const ledger = new Ledger();
    for (const each of findings) ledger.add(finding(each));
    return Object.fromEntries(ledger.summaries().map(({ tier, regions }) => [tier, regions]));
  };

  test('have the error, the bound and the place of each, the same in both tiers that have bounds', () => {
    const [stem, head] = [{ piece: 'stem' }, { piece: 'head' }];
    const regions = regionsOf(
      { ...stem, ...at(5, 3, 8) },
      { ...head, ...at(1, 1.5, 4) },
      { ...head, ...at(3, 2, 16), tier: 'runtime' },
      { ...stem, ...at(2, 2, 32), tier: 'runtime' },
      { piece: 'last', ...at(1, 0, 2), tier: 'runtime' },
    );
    expect(regions).toEqual({
      algebra: [
        { region: 'stem', place: 0, error: 2, bound: 8 },
        { region: 'head', place: 1, error: 0.5, bound: 4 },
      ],
      runtime: [
        { region: 'head', place: 1, error: 1, bound: 16 },
        { region: 'stem', place: 0, error: 0, bound: 32 },
        { region: 'last', place: 2, error: 1, bound: 2 },
      ],
    });
  });

  test.each<[string, readonly [number, number], readonly [number, number], number]>([
    ['the first, if it is nearer to its bound', [1, 10], [2, 40], 1],
    ['the second, if it is', [1, 10], [3, 4], 3],
    ['the first of two that are as near', [1, 2], [2, 4], 1],
  ])('of two inputs show %s', (_name, [one, small], [other, large], error) => {
    const { algebra } = regionsOf(at(one, 0, small), at(other, 0, large));
    expect(algebra).toHaveLength(1);
    expect(algebra![0]).toMatchObject({ region: 'stem', error });
  });

  test.each<[string, Partial<Finding>]>([
    ['no bound', { ...at(1, 0, 2), tier: 'weights' }],
    ['no number', at(Number.NaN, 0, 2)],
    ['no finite error', at(Number.POSITIVE_INFINITY, 0, 2)],
    ['no finite bound', at(1, 0, Number.POSITIVE_INFINITY)],
    ['nothing compared', { comparison: comparisonOf('nothing compared', 0) }],
  ])('leave out what has %s', (_name, left) => {
    expect(Object.values(regionsOf(left))).toEqual([undefined]);
  });
});

test('who asks to be told hears of every finding, in order', () => {
  const heard: Finding[] = [];
  const ledger = new Ledger((each) => heard.push(each));
  const findings = [finding(), finding({ piece: 'head', comparison: comparisonOf('fail', 1, 2) })];
  for (const each of findings) ledger.add(each);
  expect(heard).toEqual(findings);
});
