import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { parseThreads } from './entry.ts';

test('threads are few enough for a machine', () => {
  expect(['1', '1024'].map(parseThreads)).toEqual([1, 1024]);
  for (const text of ['0', '1025', '999999', '1.5', '', '-1', '1e2']) {
    expect(() => parseThreads(text)).toThrow(new InvalidArgumentError('It must be a whole number from 1 to 1024.'));
  }
});

test('bench:coverage refuses a folder that it could not write to, before any session', () => {
  const script = fileURLToPath(new URL('../../dist/bench/coverage.js', import.meta.url));
  const file = fileURLToPath(import.meta.url);
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--out', file], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toEqual({
    status: 2,
    stdout: '',
    stderr: `${file} is a file; give --out a folder\n`,
  });
});
