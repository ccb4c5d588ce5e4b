import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { MAX_FILE_BYTES, readWholeFile } from './read-file.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('a whole file, in a buffer of its own', async () => {
  const path = join(folder, 'file');
  await writeFile(path, Buffer.of(1, 2, 3));
  const bytes = await readWholeFile(path, 'a file');
  expect([...bytes]).toEqual([1, 2, 3]);
  expect(bytes.byteOffset).toBe(0);
});

test('an empty file', async () => {
  const path = join(folder, 'empty');
  await writeFile(path, '');
  expect(await readWholeFile(path, 'a file')).toHaveLength(0);
});

test('a file over the limit is refused before it is read', async () => {
  const path = join(folder, 'large');
  const handle = await open(path, 'w');
  await handle.truncate(MAX_FILE_BYTES + 1);
  await handle.close();
  await expect(readWholeFile(path, 'a file')).rejects.toThrow(
    new InputError(
      `${path}: ${MAX_FILE_BYTES + 1} bytes; at most ${MAX_FILE_BYTES} can be read, so leave out what is not weights`,
    ),
  );
});

test('a pipe, which might never end, is refused without waiting', async () => {
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  await expect(readWholeFile(path, 'a file')).rejects.toThrow(
    new InputError(`${path}: is no regular file; give a file`),
  );
});
