import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { pathOf } from './goldens.ts';
import manifest from './manifest.json' with { type: 'json' };

it('the golden files are those of the manifest, by SHA-256', async () => {
  const { repvit, repmlpnet, conventions, examples } = manifest;
  const listed = [repvit.cases, repvit.others, repmlpnet.cases, repmlpnet.others, conventions.others, examples].flat();
  const folders = ['fixtures', 'examples'].map(async (folder) => {
    const files = (await readdir(pathOf(folder))).map((file) => `${folder}/${file}`);
    return Promise.all(files.map(async (file) => [file, sha256Of(await readFile(pathOf(file)))] as const));
  });
  const found = Object.fromEntries((await Promise.all(folders)).flat());
  expect(found, 'a golden changed; see golden/oracle/README.md').toEqual(
    Object.fromEntries(listed.map(({ file, sha256 }) => [file, sha256])),
  );
});

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
