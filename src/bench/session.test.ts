import { describe, expect, test } from 'vitest';
import type { Engine, LoadedNetwork } from '../engines/engine.ts';
import { FLOAT32 } from '../network/precision.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { preparePair, type Role } from './prepare.ts';
import { type SessionProgress, type SessionResult, type SessionSpec, timePair } from './session.ts';

const model = {
  name: 'tiny',
  config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
  resolution: 16,
};
const size = { batch: 1, height: 16, width: 16 };
const pair = { baseline: 'reference', arm: 'deploy' } as const;
const prepared = preparePair({ model, size, seed: 7 }, pair);
const LOGITS: Readonly<Record<Role, Float32Array>> = {
  baseline: Float32Array.of(1, 2, 3, 4),
  arm: Float32Array.of(1, 2, 3, 5),
};

/** A clock that only inferences move, and an engine whose inferences take stated times. */
class FakeEngine implements Engine {
  time = 0;
  /** Forms in the order of their inferences. */
  readonly order: Role[] = [];
  tensors = 3;
  leak = 0;
  output: (role: Role, inference: number) => Float32Array = (role) => LOGITS[role];
  readonly info = {
    name: 'fake',
    version: '1',
    device: 'none',
    threads: 1,
    precision: { ...FLOAT32, underflow: 2 ** -149, erf: 0 },
  };
  readonly #milliseconds: (role: Role, inference: number) => number;

  constructor(milliseconds: (role: Role, inference: number) => number) {
    this.#milliseconds = milliseconds;
  }

  async load(network: object): Promise<LoadedNetwork> {
    const role: Role = network === prepared.forms.baseline.network ? 'baseline' : 'arm';
    this.tensors += 10;
    return {
      run: async () => {
        this.order.push(role);
        this.time += this.#milliseconds(role, this.order.length);
        return { shape: [1, 4], data: this.output(role, this.order.length) };
      },
      dispose: async () => {
        this.tensors -= 10 - this.leak;
      },
    };
  }

  liveTensors(): number {
    return this.tensors;
  }
}

function spec(rest: Partial<SessionSpec> = {}): SessionSpec {
  return {
    model,
    size,
    seed: 7,
    pair,
    engine: 'fake',
    threads: 1,
    quads: 24,
    budgetMs: 1e6,
    longestMs: 60_000,
    expected: LOGITS,
    ...rest,
  };
}

const outcome = (engine: FakeEngine, rest: Partial<SessionSpec> = {}, report = (_: SessionProgress) => {}) =>
  timePair(engine, prepared, spec(rest), report, () => engine.time);

async function session(...args: Parameters<typeof outcome>): Promise<SessionResult> {
  const result = await outcome(...args);
  if (result.kind !== 'timed') throw new Error(result.reason);
  return result;
}

describe('timePair', () => {
  test('times each form by itself and gives the ratio of every quad', async () => {
    const engine = new FakeEngine((role) => (role === 'baseline' ? 40 : 20));
    const result = await session(engine);
    expect(result.samples).toEqual({ baseline: Array(48).fill(40), arm: Array(48).fill(20) });
    expect(result.logRatios).toEqual(Array(24).fill(Math.log(40) - Math.log(20)));
    expect(result.settled).toBe(true);
    expect(result.checked).toBe(96);
    expect(result.tensorsLeaked).toBe(0);
  });

  test('fills 20 ms with inferences and reports the time of one', async () => {
    const engine = new FakeEngine((role) => (role === 'baseline' ? 8 : 4));
    const result = await session(engine, { quads: 3 });
    expect(result.inferencesPerSample).toEqual({ baseline: 3, arm: 5 });
    expect(result.samples.arm).toEqual(Array(6).fill(4));
  });

  test('runs quads as ABBA or BAAB, both of them, and the same for the same seed', async () => {
    const quadsOf = async (seed: number) => {
      const engine = new FakeEngine(() => 20);
      await session(engine, { seed });
      const timed = engine.order.slice(-96).map((role) => (role === 'baseline' ? 'A' : 'B'));
      return Array.from({ length: 24 }, (_, quad) => timed.slice(4 * quad, 4 * quad + 4).join(''));
    };
    const quads = await quadsOf(7);
    expect(new Set(quads)).toEqual(new Set(['ABBA', 'BAAB']));
    expect(await quadsOf(7)).toEqual(quads);
    expect(await quadsOf(8)).not.toEqual(quads);
  });

  test('a drift that grows with every inference does not reach the ratios', async () => {
    const engine = new FakeEngine((role, inference) => (role === 'baseline' ? 40 : 20) * 2 ** (inference / 64));
    const { logRatios } = await session(engine, { quads: 8 });
    expect(engine.time).toBeLessThan(2 ** 14);
    // So a reading of the clock is within 2^-40, a time of at least 20 ms within 2^-43 of itself; logs add less than 2^-46.
    for (const d of logRatios) expect(Math.abs(d - Math.LN2)).toBeLessThan(2 ** -41);
  });

  test('warms up until two medians agree, and times none of it', async () => {
    const engine = new FakeEngine((_, inference) => (inference <= 20 ? 100 - inference : 20));
    const result = await session(engine, { quads: 3 });
    expect(result.samples.baseline).toEqual(Array(6).fill(20));
    expect(result.settled).toBe(true);
  });

  test('says so when the warm-up never settles', async () => {
    const engine = new FakeEngine((_, inference) => 20 + 10 * (Math.floor((inference - 3) / 6) % 2));
    expect((await session(engine, { quads: 3 })).settled).toBe(false);
  });

  test('a slow engine gets the quads that its budget pays for, at least three', async () => {
    const slow = () => new FakeEngine(() => 1000);
    expect((await session(slow(), { budgetMs: 30_000 })).logRatios.length).toBe(5); // 2 s cold, 6 s warm-up, 22 s / 4 s
    expect((await session(slow(), { budgetMs: 1000 })).logRatios.length).toBe(3);
  });

  test('an engine that is too slow for three quads in its time is not timed, and says so', async () => {
    const engine = new FakeEngine((role) => (role === 'baseline' ? 2000 : 9000));
    expect(await outcome(engine)).toEqual({
      kind: 'too slow',
      reason: '3 quads would take 66 s or more, over the limit of 60 s',
    });
    expect(engine.order).toEqual(['baseline', 'arm']);
    expect(engine.tensors).toBe(3);
  });

  test('a baseline that takes all of that time by itself is run once, and the arm not at all', async () => {
    const engine = new FakeEngine((role) => (role === 'baseline' ? 10_001 : 1));
    expect((await outcome(engine)).kind).toBe('too slow');
    expect(engine.order).toEqual(['baseline']);
  });

  test('just fast enough for three quads in its time is timed', async () => {
    const engine = new FakeEngine(() => 5000);
    expect((await session(engine, { budgetMs: 1 })).logRatios.length).toBe(3);
  });

  test('an engine that turns slow stops when its budget is spent', async () => {
    const engine = new FakeEngine((_, inference) => (inference <= 40 ? 20 : 2000));
    expect((await session(engine, { budgetMs: 60_000 })).logRatios.length).toBeLessThan(24);
  });

  test.each([
    ['another number', Float32Array.of(1, 2, 3, 6), 'element 3 is 6 instead of 5'],
    ['another sign of zero', Float32Array.of(1, 2, 3, 5), 'element 0 is -0 instead of 0'],
    ['too few', Float32Array.of(1, 2, 3), '3 elements, 4 verified'],
  ])('fails when a timed run gives other logits than the verified ones: %s', async (what, wrong, message) => {
    const engine = new FakeEngine(() => 20);
    const zero = what === 'another sign of zero';
    const expected = zero ? { ...LOGITS, arm: Float32Array.of(0, 2, 3, 5) } : LOGITS;
    if (zero) wrong[0] = -0;
    engine.output = (role, inference) => (role === 'arm' && inference > 60 ? wrong : expected[role]);
    await expect(session(engine, { expected })).rejects.toThrow(message);
  });

  test('fails when there is nothing to compare', async () => {
    const engine = new FakeEngine(() => 20);
    engine.output = () => new Float32Array(0);
    const nothing = { baseline: new Float32Array(0), arm: new Float32Array(0) };
    await expect(session(engine, { expected: nothing })).rejects.toThrow('0 elements, 0 verified');
  });

  test('counts tensors that are left behind', async () => {
    const engine = new FakeEngine(() => 20);
    engine.leak = 2;
    expect((await session(engine, { quads: 3 })).tensorsLeaked).toBe(4);
  });

  test('reports only between samples, each quad once', async () => {
    const engine = new FakeEngine(() => 20);
    const events: SessionProgress[] = [];
    await session(engine, { quads: 3 }, (event) => events.push(event));
    expect(events).toEqual([
      { phase: 'load' },
      { phase: 'warm-up' },
      { phase: 'quad', quad: 1, quads: 3 },
      { phase: 'quad', quad: 2, quads: 3 },
      { phase: 'quad', quad: 3, quads: 3 },
    ]);
  });
});
