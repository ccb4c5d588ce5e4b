import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { validateReport } from '../report/validate.ts';

/** Runs dist: `npm test` builds before it tests. */
const COMMAND = fileURLToPath(new URL('../../bin/fuseproof.js', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('ctrl-C writes the sessions that are complete, marked partial, though it arrives twice', {
  timeout: 60_000,
}, async () => {
  const config = join(folder, 'tiny.json');
  await writeFile(config, JSON.stringify({ family: 'repvit', embed_dim: [8], depth: [1], num_classes: 4 }));
  const args = ['bench', '--model', config, '--size', '16', '--engine', 'cpu', '--out', folder];
  const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (!stderr.includes('Interrupted') && stderr.includes('(session 2 of 5)')) {
      child.kill('SIGINT');
      child.kill('SIGINT');
    }
  });
  const [code] = await once(child, 'close');
  expect(stderr).toContain('partial, for the run was interrupted');
  expect(code).toBe(130);
  const report = await validateReport(JSON.parse(await readFile(join(folder, 'latest.json'), 'utf8')));
  expect([report.partial, report.verdict]).toEqual([true, 'inconclusive']);
  expect(report.speedups.map(({ stopped, sessions }) => [stopped, sessions.length])).toEqual([['interrupted', 1]]);
  expect(report.verification.map(({ verdict }) => verdict)).toEqual(['pass']);
});
