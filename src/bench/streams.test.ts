import { beforeAll, describe, expect, test } from 'vitest';
import { openEngine } from '../engines/index.ts';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { type Arm, prepareArms } from './prepare.ts';
import type { Setting } from './settings.ts';
import { inferFor } from './stream.ts';
import { measureStreams, type StreamProgress, throughputOf } from './streams.ts';

/** The built process: Node runs no TypeScript. `npm test` builds before it tests. */
const CHILD = new URL('../../dist/bench/stream-child.js', import.meta.url);

const model = {
  name: 'tiny',
  config: completeRepVitConfig({ embed_dim: [8], depth: [1], num_classes: 4 }),
  resolution: 16,
};
const size = { batch: 2, height: 16, width: 16 };
const SEED = 3;
const pairs = [{ baseline: 'reference', arm: 'deploy' }] as const;

let setting: Setting;
beforeAll(async () => {
  const engine = await openEngine('wasm');
  const { forms, input } = prepareArms({ model, size, seed: SEED }, ['reference', 'deploy']);
  const expected: Partial<Record<Arm, Float32Array>> = {};
  for (const [arm, { network, weights }] of forms) {
    const loaded = await engine.load(network, weights);
    expected[arm] = (await loaded.run(new Map([['input', input]]))).data;
    await loaded.dispose();
  }
  setting = { model, size, engine: engine.info, threads: 1, pairs, expected };
});

describe('inferFor', () => {
  test('infers until the time is up, ends what it began, and keeps every time', async () => {
    let time = 5;
    const run = async () => {
      time += 4;
      return Float32Array.of(time);
    };
    expect(await inferFor(run, 10, () => time)).toEqual({ took: [4, 4, 4], last: Float32Array.of(17) });
    expect((await inferFor(run, 0, () => time)).took).toEqual([4]);
  });
});

describe('throughputOf', () => {
  test('adds up streams, each by its own time', () => {
    const row = throughputOf(
      [
        [10, 10],
        [40, 10],
      ],
      3,
    );
    expect(row).toMatchObject({ streams: 2, seconds: 0.05, inferences: 4, latencyMs: 10, checkedOutputs: 2 });
    expect(row.imagesPerSecond).toBe(3 * (100 + 40));
  });
});

describe('measureStreams', () => {
  const options = (streams: readonly number[]) => {
    const events: StreamProgress[] = [];
    const progress = (event: StreamProgress) => void events.push(event);
    return { seed: SEED, streams, latencyMs: () => 1, progress, signal: undefined, events };
  };

  test('measures both forms with each number of streams', async () => {
    const asked = options([1, 2]);
    const rows = await measureStreams(setting, asked, CHILD);
    expect(rows.map(({ arm, streams, batch, checkedOutputs }) => [arm, streams, batch, checkedOutputs])).toEqual([
      ['reference', 1, 2, 1],
      ['reference', 2, 2, 2],
      ['deploy', 1, 2, 1],
      ['deploy', 2, 2, 2],
    ]);
    for (const { imagesPerSecond, inferences, seconds } of rows) {
      expect(inferences).toBeGreaterThanOrEqual(3);
      expect(seconds).toBeGreaterThanOrEqual(1.5);
      expect(imagesPerSecond).toBeGreaterThan(0);
    }
    expect(asked.events.map(({ done, total }) => `${done} of ${total}`)).toEqual([
      '0 of 4',
      '1 of 4',
      '2 of 4',
      '3 of 4',
    ]);
  });

  test('fails where a logit is not the verified one', async () => {
    const deploy = Float32Array.from(setting.expected.deploy!);
    new Uint32Array(deploy.buffer)[2]! ^= 1;
    const wrong = { ...setting, expected: { ...setting.expected, deploy } };
    await expect(measureStreams(wrong, options([1]), CHILD)).rejects.toThrow(
      "the deploy form's logits in the timed run are not those that were verified: element 2",
    );
  });

  test('fails where a stream runs on another device, or dies', async () => {
    const elsewhere = { ...setting, engine: { ...setting.engine, device: 'GPU' } };
    await expect(measureStreams(elsewhere, options([1]), CHILD)).rejects.toThrow(
      'it was verified on GPU, and ran on CPU',
    );
    const nowhere = new URL('nowhere.js', CHILD);
    await expect(measureStreams(setting, options([1]), nowhere)).rejects.toThrow(
      'the timing process ended with code 1',
    );
  });
});
