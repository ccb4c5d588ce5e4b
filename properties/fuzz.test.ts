/** A fixed set of mutated files through every reader; `npm run fuzz` takes as many as it is asked for. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const PROJECT = resolve(import.meta.dirname, '..');
const FILES = 2500;
const SEED = 2;
/** A file that hangs is found all the same; a slow machine is not taken for one. */
const LIMIT_S = 60;

function fuzz(...options: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/fuzz.js', ...options], {
    cwd: PROJECT,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test(`${FILES} mutated files, seed ${SEED}: each is read or refused by a named error`, () => {
  const { status, stdout } = fuzz('--files', `${FILES}`, '--seed', `${SEED}`, '--limit', `${LIMIT_S}`);
  const rows = stdout
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.trim().split(/\s+/));
  expect(stdout).not.toContain('failure');
  expect(rows.length).toBe(10);
  for (const [target, files, read, refused, reasons] of rows) {
    expect(Number(read) + Number(refused), target).toBe(Number(files));
    // Neither nothing but rubbish nor all the same.
    expect(Math.min(Number(read), Number(reasons)), target).toBeGreaterThan(0);
  }
  expect(rows.reduce((sum, [, files]) => sum + Number(files), 0)).toBeGreaterThanOrEqual(FILES);
  expect(status).toBe(0);
});

test.each([
  [['--target', 'nothing'], 'no target nothing; there are: safetensors, '],
  [['--replay', '3'], '--replay is of one target'],
  [['--files', '0'], 'It must be a whole number from 1'],
])('%j is refused', (options, message) => {
  const { status, stderr } = fuzz(...options);
  expect(stderr).toContain(message);
  expect(status).toBe(2);
});
