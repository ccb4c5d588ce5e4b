import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { completeRepVitConfig } from '../reference/repvit.ts';
import { forkTask } from './parent.ts';
import type { SessionProgress, SessionSpec } from './session.ts';

const config = completeRepVitConfig({ embed_dim: [8], depth: [1] });
const spec: SessionSpec = {
  model: { name: 'tiny', config, resolution: 16 },
  size: { batch: 1, height: 16, width: 16 },
  seed: 0,
  pairs: [{ baseline: 'reference', arm: 'deploy' }],
  engine: 'fake',
  threads: 1,
  session: 1,
  quads: 3,
  budgetMs: 1,
  longestMs: 1000,
  expected: { reference: Float32Array.of(1, -0), deploy: Float32Array.of(2) },
};

let folder: string;
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs a session in a child that is this script. */
async function inChild(script: string, onProgress = (_: SessionProgress) => {}, signal?: AbortSignal) {
  const file = join(folder, `${files++}.mjs`);
  await writeFile(file, script);
  return forkTask('session', spec, onProgress, signal, pathToFileURL(file));
}

describe('forkTask', () => {
  test('hands the request over, progress on, and the result back', async () => {
    const events: SessionProgress[] = [];
    const result = await inChild(
      `process.once('message', ({ task, spec }) => {
         process.send({ kind: 'progress', progress: { phase: 'load' } });
         process.send({ kind: 'progress', progress: { phase: 'quad', quad: 1, quads: spec.quads } });
         process.send({ kind: 'result', result: { task, echoed: spec } }, () => process.exit());
       });`,
      (event) => events.push(event),
    );
    expect(result).toEqual({ task: 'session', echoed: spec }); // the logits as Float32Array, the sign of zero included
    expect(events).toEqual([{ phase: 'load' }, { phase: 'quad', quad: 1, quads: 3 }]);
  });

  test("passes the child's own error on", async () => {
    const child = inChild(
      `process.once('message', () => process.send({ kind: 'error', message: 'no such engine' }, () => process.exit()));`,
    );
    await expect(child).rejects.toThrow(/^no such engine$/);
  });

  test('a killed child is one clear error', async () => {
    const child = inChild(`process.once('message', () => process.kill(process.pid, 'SIGKILL'));`);
    await expect(child).rejects.toThrow('the timing process was killed (SIGKILL) before it had a result');
  });

  test('an interrupted run ends its child at once', async () => {
    const controller = new AbortController();
    const child = inChild(
      `process.once('message', () => process.send({ kind: 'progress', progress: { phase: 'load' } })); setInterval(() => {}, 1000);`,
      () => controller.abort(),
      controller.signal,
    );
    await expect(child).rejects.toThrow('the timing process was killed (SIGKILL)');
  });

  test('a child that dies says what it said', async () => {
    const child = inChild(`process.stderr.write('out of\\n  memory\\n', () => process.exit(7));`);
    await expect(child).rejects.toThrow(
      /^the timing process ended with code 7 before it had a result; it said: out of memory$/,
    );
  });
});
