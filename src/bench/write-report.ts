import { constants } from 'node:fs';
import { access, appendFile, mkdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { GateResult } from '../report/gate.ts';
import { benchMarkdown } from '../report/markdown.ts';
import type { Report } from '../report/types.ts';
import { validateReport } from '../report/validate.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import { writeFilesAtomically } from '../weights/write-file.ts';

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
 * Writes `latest.json`, `.md`, `.html` and `.junit.xml`, once the report fits its schema; returns their paths.
 * @throws InputError where they cannot be written
 */
export async function writeReport(report: Report, folder: string, gate?: GateResult): Promise<readonly string[]> {
  const valid = await validateReport(report);
  const [{ htmlReport }, { junitXml }] = await Promise.all([
    import('../report/html/page.ts'),
    import('../report/junit.ts'),
  ]);
  const { cpu, cores } = valid.environment;
  return writeAll(folder, {
    'latest.json': `${JSON.stringify(valid, null, 2)}\n`,
    'latest.md': benchMarkdown(valid),
    'latest.html': await htmlReport([{ label: `${cpu}, ${cores} cores`, report: valid }]),
    'latest.junit.xml': junitXml(valid, gate),
  });
}

/**
 * Writes files that belong together into a folder that is there; returns their paths.
 * @throws InputError where they cannot be written
 */
export async function writeAll(folder: string, files: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const named = Object.entries(files).map(([name, text]) => [join(folder, name), text] as const);
  await writeFilesAtomically(named);
  return named.map(([path]) => path);
}

/** GitHub shows no summary of a step that is longer than this. */
const SUMMARY_LIMIT = 2 ** 20;

/** Appends Markdown to the summary of a GitHub job, where the environment says that there is one. */
export async function appendJobSummary(
  markdown: string,
  path: string | undefined = process.env.GITHUB_STEP_SUMMARY,
): Promise<boolean> {
  if (path === undefined || path === '') return false;
  const fits = Buffer.byteLength(markdown) < SUMMARY_LIMIT;
  const text = fits
    ? markdown
    : `${markdown.split('\n## ')[0]}\n\nThe whole report is too long for a summary; see its files.\n`;
  try {
    await appendFile(path, `${text}\n`);
  } catch (error) {
    throw new InputError(
      `${path}: ${messageOfSystemError(error, 'write')}; GITHUB_STEP_SUMMARY must name a file that can be written, or be unset`,
    );
  }
  return true;
}
