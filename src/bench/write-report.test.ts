import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { openReportFolder } from './write-report.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('makes the folder with those above it, and takes one that is there', async () => {
  await openReportFolder(join(folder, 'a', 'b'));
  await openReportFolder(join(folder, 'a', 'b'));
  expect(await readdir(join(folder, 'a'))).toEqual(['b']);
});

test('a file in its place is bad input', async () => {
  const file = join(folder, 'file');
  await writeFile(file, '');
  await expect(openReportFolder(file)).rejects.toThrow(new InputError(`${file} is a file; give --out a folder`));
});
