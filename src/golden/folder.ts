import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Manifest } from './manifest.ts';

/** The folder of those that wait for a review. */
export const PENDING = 'pending';

/**
 * What is wrong with the files of a folder: each file that the manifest lists and that is missing or altered, and each in
 * the same subfolders that it does not list.
 */
export async function checkFiles(folder: string, { goldens }: Manifest): Promise<readonly string[]> {
  const subfolders = new Set(goldens.map(({ file }) => dirname(file)));
  const found = new Set(await filesIn(folder, subfolders));
  const problems: string[] = [];
  for (const { file, sha256 } of goldens) {
    if (!found.delete(file)) {
      problems.push(`${file} is missing; restore it from the repository`);
      continue;
    }
    const actual = await sha256Of(join(folder, file));
    if (actual !== sha256) {
      problems.push(
        `${file} was altered: SHA-256 ${actual.slice(0, 12)}..., the manifest says ${sha256.slice(0, 12)}...`,
      );
    }
  }
  for (const file of [...found].sort()) problems.push(`${file} is extra: the manifest does not list it; delete it`);
  return problems;
}

/** Files in these subfolders; none in one that is not there. */
async function filesIn(folder: string, subfolders: ReadonlySet<string>): Promise<readonly string[]> {
  const lists = [...subfolders].map(async (name) => {
    const files = await readdir(join(folder, name)).catch(() => []);
    return files.map((file) => `${name}/${file}`);
  });
  return (await Promise.all(lists)).flat();
}

export async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
