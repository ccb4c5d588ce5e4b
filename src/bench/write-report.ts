import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { InputError } from '../network/errors.ts';
import { benchMarkdown } from '../report/markdown.ts';
import type { Report } from '../report/types.ts';
import { validateReport } from '../report/validate.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import { writeFileAtomically } from '../weights/write-file.ts';

/**
 * Makes the folder of the reports where it is missing. Called before a run, so that minutes of timing are not lost.
 * @throws InputError where it cannot be made or written to
 */
export async function openReportFolder(folder: string): Promise<void> {
  if (folder === '') throw new InputError('--out is empty; give it a folder');
  const missing: string[] = [];
  let existing = resolve(folder);
  try {
    while (!(await exists(existing))) {
      missing.unshift(existing);
      existing = dirname(existing);
    }
    if (!(await stat(existing)).isDirectory()) throw new InputError(`${existing} is a file; give --out a folder`);
    await access(existing, constants.W_OK);
    // Level by level: Node's recursive mkdir never returns where the system answers ENOENT, as below /proc.
    for (const level of missing) await mkdir(level);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${folder}: ${messageOfSystemError(error, 'write')}; give --out a folder that can be written`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Writes `latest.json` and `latest.md`, once the report fits its schema; returns their paths.
 * @throws InputError where they cannot be written
 */
export async function writeReport(report: Report, folder: string): Promise<readonly string[]> {
  const valid = await validateReport(report);
  const files = [
    [join(folder, 'latest.json'), `${JSON.stringify(valid, null, 2)}\n`],
    [join(folder, 'latest.md'), benchMarkdown(valid)],
  ] as const;
  for (const [path, text] of files) await writeFileAtomically(path, text);
  return files.map(([path]) => path);
}
