import { describe, expect, test } from 'vitest';
import type { Engine, LoadedNetwork } from '../engines/engine.ts';
import { FLOAT32 } from '../network/precision.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { type Arm, prepareArms } from './prepare.ts';
import { type SessionProgress, type SessionResult, type SessionSpec, timeArms } from './session.ts';

const model = {
  name: 'tiny',
  config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
  resolution: 16,
};
const size = { batch: 1, height: 16, width: 16 };
const ONE_PAIR = [{ baseline: 'reference', arm: 'deploy' }] as const;
const WITH_NULL = [...ONE_PAIR, { baseline: 'deploy', arm: 'deploy' }] as const;
const WITH_RAW = [{ baseline: 'reference-raw', arm: 'deploy' }, ...WITH_NULL] as const;
const prepared = prepareArms({ model, size, seed: 7 }, ['reference-raw', 'reference', 'deploy']);
const LOGITS = {
  'reference-raw': Float32Array.of(1, 2, 3, 3),
  reference: Float32Array.of(1, 2, 3, 4),
  deploy: Float32Array.of(1, 2, 3, 5),
};

/** What ran: an arm, and which of its copies. */
type Run = `${Arm}${'' | '+'}`;

/** A clock that only inferences move, and an engine whose inferences take stated times. */
class FakeEngine implements Engine {
  time = 0;
  /** Arms in the order of their inferences; the copy that was loaded second has a plus. */
  readonly order: Run[] = [];
  readonly loads: Arm[] = [];
  /** Of each network; as long as this, and the arms are loaded only once. */
  loadingMs = 1e6;
  tensors = 3;
  leak = 0;
  output: (arm: Arm, inference: number) => Float32Array = (arm) => LOGITS[arm as keyof typeof LOGITS];
  readonly info = {
    name: 'fake',
    version: '1',
    device: 'none',
    threads: 1,
    precision: { ...FLOAT32, underflow: 2 ** -149, erf: 0 },
  };
  readonly #milliseconds: (arm: Arm, inference: number, sinceLoading: number) => number;

  constructor(milliseconds: (arm: Arm, inference: number, sinceLoading: number) => number) {
    this.#milliseconds = milliseconds;
  }

  async load(network: object): Promise<LoadedNetwork> {
    return this.loadAs(network === prepared.forms.get('reference')?.network ? 'reference' : 'deploy');
  }

  loadAs(arm: Arm): LoadedNetwork {
    const run: Run = this.loads.includes(arm) ? `${arm}+` : arm;
    this.loads.push(arm);
    this.time += this.loadingMs;
    this.tensors += 10;
    let sinceLoading = 0;
    return {
      run: async () => {
        this.order.push(run);
        this.time += this.#milliseconds(arm, this.order.length, ++sinceLoading);
        return { shape: [1, 4], data: this.output(arm, this.order.length) };
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
    pairs: ONE_PAIR,
    engine: 'fake',
    threads: 1,
    session: 1,
    quads: 24,
    budgetMs: 1e6,
    longestMs: 12_000,
    expected: LOGITS,
    ...rest,
  };
}

const outcome = (engine: FakeEngine, rest: Partial<SessionSpec> = {}, report = (_: SessionProgress) => {}) => {
  const raw: Engine = { ...engine, liveTensors: () => 0, load: async () => engine.loadAs('reference-raw') };
  return timeArms({ optimised: engine, raw }, prepared, spec(rest), report, () => engine.time);
};

async function session(...args: Parameters<typeof outcome>): Promise<SessionResult> {
  const result = await outcome(...args);
  if (result.kind !== 'timed') throw new Error(`too slow: ${result.neededMs} ms`);
  return result;
}

describe('timeArms', () => {
  test('times each arm by itself and gives the ratio of every quad', async () => {
    const engine = new FakeEngine((arm) => (arm === 'reference' ? 40 : 20));
    const result = await session(engine);
    expect(result.arms).toEqual({
      reference: { inferencesPerSample: 1, samples: Array(48).fill(40) },
      deploy: { inferencesPerSample: 1, samples: Array(48).fill(20) },
    });
    expect(result.pairs).toEqual([
      { ...ONE_PAIR[0], logRatios: Array(24).fill(Math.log(40) - Math.log(20)), checked: 96 },
    ]);
    expect(result.settled).toBe(true);
    expect(result.tensorsLeaked).toBe(0);
  });

  test('loads one form twice for the null control, and the raw train form where the engine is raw', async () => {
    const times: Partial<Record<Arm, number>> = { 'reference-raw': 80, reference: 40, deploy: 20 };
    const engine = new FakeEngine((arm) => times[arm]!);
    const result = await session(engine, { pairs: WITH_RAW, quads: 3 });
    expect([...engine.loads].sort()).toEqual(['deploy', 'deploy', 'reference', 'reference-raw']);
    expect(result.pairs.map(({ logRatios }) => logRatios.map((d) => Math.exp(d).toFixed(6)))).toEqual([
      ['4.000000', '4.000000', '4.000000'],
      ['2.000000', '2.000000', '2.000000'],
      ['1.000000', '1.000000', '1.000000'],
    ]);
    expect(new Set(engine.order)).toEqual(new Set(['reference-raw', 'reference', 'deploy', 'deploy+']));
    expect(result.arms.deploy?.samples.length).toBe(24);
  });

  test('loads in another order in another session', async () => {
    const orders = new Set<string>();
    for (let number = 1; number <= 8; number++) {
      const engine = new FakeEngine(() => 20);
      await session(engine, { session: number, quads: 1 });
      orders.add(engine.loads.join());
    }
    expect(orders).toEqual(new Set(['reference,deploy', 'deploy,reference']));
  });

  test('loads anew in between, in another order, where loading is quick: another place in memory', async () => {
    const times = (loadingMs: number) => {
      const engine = new FakeEngine((_arm, _inference, sinceLoading) => (sinceLoading === 1 ? 200 : 20));
      engine.loadingMs = loadingMs;
      return engine;
    };
    const quick = times(100);
    const { arms, pairs } = await session(quick, { pairs: WITH_NULL, budgetMs: 20_000 });
    expect(quick.loads.length).toBe(4 * 3);
    expect(new Set([0, 3, 6, 9].map((first) => quick.loads.slice(first, first + 3).join())).size).toBeGreaterThan(1);
    expect(quick.tensors).toBe(3);
    // Neither a loading nor what is first run after it is timed.
    expect(pairs.map(({ logRatios }) => logRatios.length)).toEqual([24, 24]);
    expect(new Set(arms.deploy!.samples)).toEqual(new Set([20]));
    const slow = times(1600);
    await session(slow, { pairs: WITH_NULL, budgetMs: 20_000 });
    expect(slow.loads.length).toBe(3);
  });

  test('fills 20 ms with inferences and reports the time of one', async () => {
    const engine = new FakeEngine((arm) => (arm === 'reference' ? 8 : 4));
    const { arms } = await session(engine, { quads: 3 });
    expect(arms.reference?.inferencesPerSample).toBe(3);
    expect(arms.deploy).toEqual({ inferencesPerSample: 5, samples: Array(6).fill(4) });
  });

  test('runs quads as ABBA or BAAB, both of them, and the same for the same seed and session', async () => {
    const quadsOf = async (rest: Partial<SessionSpec>) => {
      const engine = new FakeEngine(() => 20);
      await session(engine, rest);
      const timed = engine.order.slice(-96).map((arm) => (arm === 'reference' ? 'A' : 'B'));
      return Array.from({ length: 24 }, (_, quad) => timed.slice(4 * quad, 4 * quad + 4).join(''));
    };
    const quads = await quadsOf({ seed: 7 });
    expect(new Set(quads)).toEqual(new Set(['ABBA', 'BAAB']));
    expect(await quadsOf({ seed: 7 })).toEqual(quads);
    expect(await quadsOf({ seed: 8 })).not.toEqual(quads);
    expect(await quadsOf({ seed: 7, session: 2 })).not.toEqual(quads);
  });

  test('takes the pairs in turns, first one and then the other', async () => {
    const engine = new FakeEngine(() => 20);
    await session(engine, { pairs: WITH_NULL });
    const rounds = Array.from({ length: 24 }, (_, round) => engine.order.slice(-192).slice(8 * round, 8 * round + 8));
    const isNullFirst = rounds.map((round) => round.slice(0, 4).includes('deploy+'));
    for (const round of rounds) expect(round.filter((arm) => arm === 'reference').length).toBe(2);
    expect(new Set(isNullFirst)).toEqual(new Set([true, false]));
  });

  test('a drift that grows with every inference does not reach the ratios', async () => {
    const engine = new FakeEngine((arm, inference) => (arm === 'reference' ? 40 : 20) * 2 ** (inference / 64));
    engine.loadingMs = 2500;
    const { pairs } = await session(engine, { quads: 8, budgetMs: 8000 });
    expect(pairs[0]!.logRatios.length).toBe(8);
    expect(engine.time).toBeLessThan(2 ** 14);
    // So a reading of the clock is within 2^-40, a time of at least 20 ms within 2^-43 of itself; logs add less than 2^-46.
    for (const d of pairs[0]!.logRatios) expect(Math.abs(d - Math.LN2)).toBeLessThan(2 ** -41);
  });

  test('warms up until two medians agree, and times none of it', async () => {
    const engine = new FakeEngine((_, inference) => (inference <= 20 ? 100 - inference : 20));
    const result = await session(engine, { quads: 3 });
    expect(result.arms.reference?.samples).toEqual(Array(6).fill(20));
    expect(result.settled).toBe(true);
  });

  test('says so when the warm-up never settles', async () => {
    const engine = new FakeEngine((_, inference) => 20 + 10 * (Math.floor((inference - 3) / 6) % 2));
    expect((await session(engine, { quads: 3 })).settled).toBe(false);
  });

  test('a slow engine gets the quads that its budget pays for, at least one of each pair', async () => {
    const slow = () => new FakeEngine(() => 1000);
    const quads = async (budgetMs: number) => (await session(slow(), { budgetMs })).pairs[0]!.logRatios.length;
    expect(await quads(30_000)).toBe(6); // 6 s warm-up, 24 s / 4 s
    expect(await quads(1000)).toBe(1);
  });

  test('an engine that is too slow for one quad in its time is not timed, and says so', async () => {
    const engine = new FakeEngine((arm) => (arm === 'reference' ? 2000 : 9000));
    expect(await outcome(engine)).toEqual({ kind: 'too slow', neededMs: 18_000 + (engine.order.length - 1) * 4000 });
    expect(engine.tensors).toBe(3);
  });

  test('a network that takes all of that time by itself is run once, and the other not at all', async () => {
    const engine = new FakeEngine(() => 6001);
    expect((await outcome(engine)).kind).toBe('too slow');
    expect(engine.order.length).toBe(1);
  });

  test('just fast enough for one quad in its time is timed', async () => {
    const engine = new FakeEngine(() => 3000);
    expect((await session(engine, { budgetMs: 1 })).pairs[0]?.logRatios.length).toBe(1);
  });

  test('an engine that turns slow stops when its budget is spent', async () => {
    const engine = new FakeEngine((_, inference) => (inference <= 40 ? 20 : 2000));
    expect((await session(engine, { budgetMs: 60_000 })).pairs[0]?.logRatios.length).toBeLessThan(24);
  });

  test.each([
    ['another number', Float32Array.of(1, 2, 3, 6), 'element 3 is 6 instead of 5'],
    ['another sign of zero', Float32Array.of(1, 2, 3, 5), 'element 0 is -0 instead of 0'],
    ['too few', Float32Array.of(1, 2, 3), '3 elements, 4 verified'],
  ])('fails when a timed run gives other logits than the verified ones: %s', async (what, wrong, message) => {
    const engine = new FakeEngine(() => 20);
    const zero = what === 'another sign of zero';
    const expected = zero ? { ...LOGITS, deploy: Float32Array.of(0, 2, 3, 5) } : LOGITS;
    if (zero) wrong[0] = -0;
    engine.output = (arm, inference) =>
      arm === 'deploy' && inference > 60 ? wrong : expected[arm as keyof typeof LOGITS];
    await expect(session(engine, { expected })).rejects.toThrow(message);
  });

  test('fails when there is nothing to compare', async () => {
    const engine = new FakeEngine(() => 20);
    await expect(session(engine, { expected: {} })).rejects.toThrow('4 elements, 0 verified');
    engine.output = () => new Float32Array(0);
    const nothing = { reference: new Float32Array(0), deploy: new Float32Array(0) };
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
