/** `bench --baseline` and `--update-baseline`: what is read before the run, and said and written after it. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { Baseline } from '../report/baseline-types.ts';
import { baselineOf, type GateResult, gateLines, isKnown, judge } from '../report/gate.ts';
import { counted } from '../report/text.ts';
import type { Report } from '../report/types.ts';
import { parseBaseline } from '../report/validate.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { messageOfSystemError, remedyOf } from '../weights/system-error.ts';
import { writeFileAtomically } from '../weights/write-file.ts';

interface GateOptions {
  readonly baseline: string | undefined;
  readonly updateBaseline: boolean | undefined;
  /** Folder of the reports. */
  readonly out: string;
}

interface Judged {
  readonly result: GateResult;
  readonly lines: readonly string[];
  readonly markdown: string;
}

export interface Gate {
  /** Undefined where no baseline was given, or it is written anew. */
  readonly judge: (report: Report) => Judged | undefined;
  /** Writes the baseline where that was asked for; says what it did. */
  readonly update: (report: Report) => Promise<readonly string[]>;
}

async function readBaseline(path: string): Promise<Baseline> {
  const needed = 'a baseline that fuseproof bench --update-baseline wrote';
  return parseBaseline((await readWholeFile(path, needed)).toString('utf8'), path);
}

/** The baseline that is there, or undefined where there is none yet. */
async function existing(path: string): Promise<Baseline | undefined> {
  const { stat } = await import('node:fs/promises');
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? undefined : readBaseline(path);
}

/**
 * What a run ends with must not fail then.
 * @param out which the run makes with the folders above it
 * @throws InputError where the file's folder is missing or cannot be written to
 */
async function checkWritable(path: string, out: string): Promise<void> {
  const folder = dirname(resolve(path));
  try {
    await access(`${folder}${sep}`, constants.W_OK); // so that a file in its place is none
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (isMissing && `${resolve(out)}${sep}`.startsWith(`${folder}${sep}`)) return;
    throw new InputError(`${path}: ${messageOfSystemError(error, 'write')}; ${remedyOf(error)}`);
  }
}

/**
 * Reads the baseline before anything takes time.
 * @throws InputError where it cannot be read or is none, or the one to be written cannot be
 */
export async function openGate({ baseline: path, updateBaseline, out }: GateOptions): Promise<Gate> {
  if (path === '') throw new InputError('--baseline is empty; give it a file');
  if (updateBaseline) {
    const target = path ?? join(out, 'baseline.json');
    const before = await existing(target);
    await checkWritable(target, out);
    return {
      judge: () => undefined,
      update: async (report) => {
        // What did not pass must not become what later runs are held against.
        if (report.verdict !== 'pass' || report.partial) {
          const why = report.partial ? 'was interrupted' : `is ${report.verdict}`;
          return [`${target}: not written, for the run ${why}`];
        }
        await writeFileAtomically(target, `${JSON.stringify(baselineOf(report, before), null, 2)}\n`);
        const unknown = report.speedups.filter((row) => !isKnown(row)).length;
        const leftOut = `; not in it: ${counted(unknown, 'ratio')} not known to within 3 %`;
        return [`Baseline written: ${target}${unknown === 0 ? '' : leftOut}`];
      },
    };
  }
  const before = path === undefined ? undefined : await readBaseline(path);
  return {
    judge: (report) => {
      if (before === undefined) return undefined;
      const result = judge(report, before);
      const lines = gateLines(result);
      const [first, ...rest] = lines;
      return { result, lines, markdown: [`**${first}**`, '', ...rest.map((line) => `- ${line}`)].join('\n') };
    },
    update: async () => [],
  };
}
