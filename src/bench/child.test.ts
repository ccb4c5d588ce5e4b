import { beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../engines/index.ts';
import { cost } from '../interpreters/cost.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { forkTask } from './parent.ts';
import { type Arm, prepareArms } from './prepare.ts';
import type { SessionResult, SessionSpec } from './session.ts';
import type { VerificationProgress } from './tasks.ts';

/** The built process: Node runs no TypeScript. `npm test` builds before it tests. */
const CHILD = new URL('../../dist/bench/child.js', import.meta.url);

const ENGINE = 'cpu';
const identity = {
  model: {
    name: 'tiny',
    config: completeRepVitConfig({ embed_dim: [8, 16], depth: [1, 1], num_classes: 4 }),
    resolution: 16,
  },
  size: { batch: 2, height: 16, width: 20 },
  seed: 3,
};

const ARMS = ['reference', 'deploy'] as const;
const pairs = [
  { baseline: 'reference', arm: 'deploy' },
  { baseline: 'deploy', arm: 'deploy' },
] as const;
/** Logits of both forms, computed in this process. */
const expected: Partial<Record<Arm, Float32Array>> = {};
beforeAll(async () => {
  const engine = await openEngine(ENGINE);
  const { forms, input } = prepareArms(identity, ARMS);
  for (const [arm, { network, weights }] of forms) {
    const loaded = await engine.load(network, weights);
    expected[arm] = (await loaded.run(new Map([['input', input]]))).data;
    await loaded.dispose();
  }
});

const spec = (rest: Partial<SessionSpec> = {}): SessionSpec => ({
  ...identity,
  pairs,
  engine: ENGINE,
  threads: 1,
  session: 1,
  quads: 3,
  budgetMs: 1,
  longestMs: 60_000,
  expected,
  ...rest,
});

async function timed(request: SessionSpec): Promise<SessionResult> {
  const result = await forkTask('session', request, () => {}, undefined, CHILD);
  if (result.kind !== 'timed') throw new Error(`too slow: ${result.neededMs} ms`);
  return result;
}

describe('a session in a process of its own', () => {
  test('makes the same network, weights and input from the seed, and the same logits bit for bit', async () => {
    const { info, arms, pairs: timedPairs, tensorsLeaked } = await timed(spec());
    expect(info.name).toBe(ENGINE);
    // One quad of each pair: the time is up at once.
    expect([arms.reference?.samples.length, arms.deploy?.samples.length]).toEqual([2, 6]);
    expect(timedPairs.map(({ checked }) => checked)).toEqual([4, 4]);
    expect(tensorsLeaked).toBe(0);
  });

  test('fails where one verified logit differs in its last bit', async () => {
    const deploy = Float32Array.from(expected.deploy!);
    const bits = new Uint32Array(deploy.buffer);
    bits[5]! ^= 1;
    const session = forkTask('session', spec({ expected: { ...expected, deploy } }), () => {}, undefined, CHILD);
    await expect(session).rejects.toThrow(
      "the deploy form's logits in the timed run are not those that were verified: element 5 is",
    );
  });

  test('fails where the seed is another', async () => {
    const session = forkTask('session', spec({ seed: 4 }), () => {}, undefined, CHILD);
    await expect(session).rejects.toThrow("form's logits in the timed run are not those that were verified");
  });

  test('an engine that is too slow is said to be, not timed', async () => {
    const { kind } = await forkTask('session', spec({ longestMs: 0 }), () => {}, undefined, CHILD);
    expect(kind).toBe('too slow');
  });

  test('an engine that is not there is one clear error', async () => {
    const session = forkTask('session', spec({ engine: 'wasn' }), () => {}, undefined, CHILD);
    await expect(session).rejects.toThrow('engine wasn is unknown; did you mean wasm?');
  });
});

describe('a verification in a process of its own', () => {
  const asked = { engine: 'onnxruntime-web', threads: 2 };

  test('describes an engine with so many threads, and verifies every form on it, raw and optimised', async () => {
    const { optimised, raw } = await forkTask('engine', asked, undefined, undefined, CHILD);
    expect([optimised.name, optimised.threads, raw?.threads]).toEqual(['onnxruntime-web', 2, 2]);
    const seen: unknown[] = [];
    const onProgress = (progress: VerificationProgress) => seen.push(progress);
    const request = { ...identity, ...asked };
    const { rows, logits } = await forkTask('verification', request, onProgress, undefined, CHILD);
    expect(rows.map(({ engine, form, verdict }) => `${form} on ${engine}: ${verdict}`)).toEqual(
      [optimised.name, raw?.name].map((name) => `deploy on ${name}: pass`),
    );
    expect(seen).toContainEqual(expect.objectContaining({ form: 'deploy' }));
    expect(Object.keys(logits.get(optimised.name) ?? {}).sort()).toEqual(['deploy', 'reference']);
  });
});

describe('a profile in a process of its own', () => {
  const profile = (engine: string) =>
    forkTask('profile', { ...identity, engine, threads: 1, arm: 'deploy' }, undefined, undefined, CHILD);

  test.each(['cpu', 'onnxruntime'])(
    'times every node on %s, and gives each its multiply-accumulates once',
    async (engine) => {
      const result = await profile(engine);
      if (result.kind !== 'profiled') throw new Error(result.reason);
      const { forms } = prepareArms(identity, ['deploy']);
      const { total } = cost(forms.get('deploy')!.network);
      expect(result.steps.reduce((sum, { macs = 0 }) => sum + macs, 0)).toBe(total.macs);
      expect(result.steps.every(({ milliseconds }) => milliseconds >= 0)).toBe(true);
      expect(result.peakGflops).toBeGreaterThan(0);
      expect(result.inferences).toBeGreaterThanOrEqual(3);
    },
  );

  test('an engine that cannot say is no error', async () => {
    expect((await profile('onnxruntime-web')).kind).toBe('unsupported');
  });
});
