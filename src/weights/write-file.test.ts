import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { writeFileAtomically, writeFilesAtomically } from './write-file.ts';

describe('writeFileAtomically', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('replaces what was there and leaves nothing beside it', async () => {
    const path = join(folder, 'out.bin');
    await writeFile(path, 'a longer text that was there before');
    await writeFileAtomically(path, Uint8Array.of(1, 2, 3));
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    expect(await readdir(folder)).toEqual(['out.bin']);
  });

  test('files that belong together: none is replaced where one cannot be written', async () => {
    const [path, other] = [join(folder, 'out.bin'), join(folder, 'none', 'other.bin')];
    await writeFile(path, 'old');
    await expect(
      writeFilesAtomically([
        [path, 'new'],
        [other, 'new'],
      ]),
    ).rejects.toThrow(`${other}: cannot write it: no such file or folder`);
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['out.bin']);
  });

  test('refuses a missing folder', async () => {
    const path = join(folder, 'none', 'out.txt');
    await expect(writeFileAtomically(path, 'x')).rejects.toThrow(
      new InputError(
        `${path}: cannot write it: no such file or folder; give a file in a folder that exists and can be written`,
      ),
    );
    expect(await readdir(folder)).toEqual([]);
  });

  test('refuses a folder in its place, and takes its half-done work away', async () => {
    const path = join(folder, 'taken');
    await mkdir(path);
    await expect(writeFileAtomically(path, 'x')).rejects.toThrow(InputError);
    expect(await readdir(folder)).toEqual(['taken']);
  });
});
