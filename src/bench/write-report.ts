import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
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
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new InputError(`${folder} is a file; give --out a folder`);
    }
    throw new InputError(`${folder}: ${messageOfSystemError(error, 'write')}; give --out a folder that can be written`);
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
