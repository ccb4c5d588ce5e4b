import { beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../engines/index.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { forkSession } from './parent.ts';
import { preparePair, type Role } from './prepare.ts';
import type { SessionResult, SessionSpec } from './session.ts';

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

const pair = { baseline: 'reference', arm: 'deploy' } as const;
/** Logits of both forms, computed in this process. */
let expected: Record<Role, Float32Array>;
beforeAll(async () => {
  const engine = await openEngine(ENGINE);
  const { forms, input } = preparePair(identity, pair);
  const logits = async ({ network, weights }: typeof forms.arm) => {
    const loaded = await engine.load(network, weights);
    const output = await loaded.run(new Map([['input', input]]));
    await loaded.dispose();
    return output.data;
  };
  expected = { baseline: await logits(forms.baseline), arm: await logits(forms.arm) };
});

const spec = (rest: Partial<SessionSpec> = {}): SessionSpec => ({
  ...identity,
  pair,
  engine: ENGINE,
  threads: 1,
  quads: 3,
  budgetMs: 1,
  longestMs: 60_000,
  expected,
  ...rest,
});

async function timed(request: SessionSpec): Promise<SessionResult> {
  const result = await forkSession(request, () => {}, CHILD);
  if (result.kind !== 'timed') throw new Error(result.reason);
  return result;
}

describe('a session in a process of its own', () => {
  test('makes the same network, weights and input from the seed, and the same logits bit for bit', async () => {
    const { info, samples, checked, tensorsLeaked } = await timed(spec());
    expect(info.name).toBe(ENGINE);
    expect(samples.baseline.length + samples.arm.length).toBe(12);
    expect(checked).toBe(12);
    expect(tensorsLeaked).toBe(0);
  });

  test('fails where one verified logit differs in its last bit', async () => {
    const arm = Float32Array.from(expected.arm);
    const bits = new Uint32Array(arm.buffer);
    bits[5]! ^= 1;
    const session = forkSession(spec({ expected: { ...expected, arm } }), () => {}, CHILD);
    await expect(session).rejects.toThrow(
      "the deploy form's logits in the timed run are not those that were verified: element 5 is",
    );
  });

  test('fails where the seed is another', async () => {
    const session = forkSession(spec({ seed: 4 }), () => {}, CHILD);
    await expect(session).rejects.toThrow("the reference form's logits in the timed run");
  });

  test('an engine that is too slow is said to be, not timed', async () => {
    const { kind } = await forkSession(spec({ longestMs: 0 }), () => {}, CHILD);
    expect(kind).toBe('too slow');
  });

  test('an engine that is not there is one clear error', async () => {
    const session = forkSession(spec({ engine: 'wasn' }), () => {}, CHILD);
    await expect(session).rejects.toThrow('engine wasn is unknown; did you mean wasm?');
  });
});
