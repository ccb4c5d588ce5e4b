import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Manifest } from './manifest.ts';

/** The folder of those that wait for a review. */
export const PENDING = 'pending';

/** What lies beside the goldens: their manifest and tests, what makes them, and what waits for a review. */
const BESIDE = new RegExp(`^(manifest\\.json|[^/]+\\.ts|(oracle|${PENDING})/.*)$`);

/** A file that is not as the manifest has it. */
export interface FileProblem {
  readonly file: string;
  readonly kind: 'missing' | 'altered' | 'extra';
  /** In a sentence. */
  readonly problem: string;
}

/**
 * What is wrong with the files of a folder: each file that the manifest lists and that is missing or altered, and each that
 * it does not list.
 */
export async function checkFiles(folder: string, { goldens }: Manifest): Promise<readonly FileProblem[]> {
  const found = new Set((await filesIn(folder)).filter((file) => !BESIDE.test(file)));
  const problems: FileProblem[] = [];
  for (const { file, sha256 } of goldens) {
    if (!found.delete(file)) {
      problems.push({ file, kind: 'missing', problem: `${file} is missing; restore it from the repository` });
      continue;
    }
    const actual = await sha256Of(join(folder, file));
    if (actual !== sha256) {
      const hashes = `SHA-256 ${actual.slice(0, 12)}..., the manifest says ${sha256.slice(0, 12)}...`;
      problems.push({ file, kind: 'altered', problem: `${file} was altered: ${hashes}` });
    }
  }
  for (const file of [...found].sort()) {
    problems.push({ file, kind: 'extra', problem: `${file} is extra: the manifest does not list it; delete it` });
  }
  return problems;
}

/** Paths of all files, however deep, from the folder. */
async function filesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)).split(sep).join('/'));
}

export async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}
