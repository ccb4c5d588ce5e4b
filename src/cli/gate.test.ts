import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { openGate } from './gate.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('a baseline that could not be written is refused before the run', async () => {
  const baseline = join(folder, 'none', 'x.json');
  const message = `${baseline}: cannot write it: no such file or folder; give a file in a folder that exists and can be written`;
  const opening = openGate({ baseline, updateBaseline: true, out: join(folder, 'out') });
  await expect(opening).rejects.toThrow(new InputError(message));
  await writeFile(join(folder, 'file'), '');
  const inFile = openGate({ baseline: join(folder, 'file', 'x.json'), updateBaseline: true, out: folder });
  await expect(inFile).rejects.toThrow('cannot write it: a part of its path is not a folder');
  // The run makes the folder of its reports, and those above it.
  for (const out of [join(folder, 'none'), join(folder, 'none', 'deep')]) {
    const gate = await openGate({ baseline, updateBaseline: true, out });
    expect(Object.keys(gate)).toEqual(['judge', 'update']);
  }
});
