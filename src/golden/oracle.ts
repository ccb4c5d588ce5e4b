/** Runs the Python oracle, which alone makes new values. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closest } from 'fastest-levenshtein';
import { InputError } from '../network/errors.ts';
import { isRecord } from '../network/json.ts';

/** Says which Python makes goldens, and where the original RepMLPNet's source is. */
export const PYTHON = 'FUSEPROOF_PYTHON';
export const REPMLPNET = 'FUSEPROOF_REPMLPNET';

export interface OracleOptions {
  readonly python: string;
  /** A copy of the original's repmlpnet.py. */
  readonly repmlpnet: string;
  /** Train the networks for digits, too. */
  readonly train?: boolean;
  /** Only these goldens. */
  readonly names?: readonly string[] | undefined;
  /** Told of each line that the oracle prints. */
  readonly onLine?: (line: string) => void;
  /** Ends Python; what it has made is deleted. */
  readonly signal?: AbortSignal;
}

/** How to get what makes goldens. `golden` is the folder of the goldens. */
function howToGet(golden: string, { python, repmlpnet }: OracleOptions, source: string | undefined): string {
  const requirements = join(golden, 'oracle', 'requirements.txt');
  const lines = [
    'python3 -m venv .venv',
    `.venv/bin/python -m pip install -r ${requirements}`,
    ...(source === undefined ? [] : [`curl -o .venv/repmlpnet.py \\`, `  ${source}`]),
  ];
  const others = `(${python} is taken from --python, else from ${PYTHON}, else .venv/bin/python; ${repmlpnet} from --repmlpnet, else from ${REPMLPNET}, else .venv/repmlpnet.py)`;
  return `To get it:\n${lines.map((line) => `  ${line}`).join('\n')}\n${others}`;
}

/** What the oracle can make. */
interface Catalogue {
  readonly names: Readonly<Record<string, readonly string[]>>;
  /** Of the original's source. */
  readonly source: string;
}

function isCatalogue(value: unknown): value is Catalogue {
  if (!isRecord(value) || !isRecord(value.names) || typeof value.source !== 'string') return false;
  return Object.values(value.names).every(
    (names) => Array.isArray(names) && names.every((name) => typeof name === 'string'),
  );
}

/** Runs Python; the lines of its output. */
function runPython(
  { python, signal }: OracleOptions,
  args: readonly string[],
  onLine: (line: string) => void = () => {},
): Promise<{ readonly code: number; readonly lines: readonly string[]; readonly errors: string }> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = spawn(python, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
    });
    const lines: string[] = [];
    let rest = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop()!;
      for (const line of parts) {
        lines.push(line);
        onLine(line);
      }
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    const end = () => child.kill('SIGKILL');
    signal?.addEventListener('abort', end);
    child.on('error', reject).on('close', (code) => {
      signal?.removeEventListener('abort', end);
      // Only now does it write no more.
      if (signal?.aborted) reject(signal.reason);
      else resolve({ code: code ?? 1, lines, errors });
    });
  });
}

/**
 * Makes goldens in a new folder, and hands it to `use`; the folder is deleted afterwards.
 * @throws InputError where Python, one of its packages or the original's source is absent, which says how to get it; where a
 * name is unknown; where the oracle fails
 * @throws whatever the signal's reason is, where it ends Python
 */
export async function withMadeGoldens<T>(
  golden: string,
  options: OracleOptions,
  use: (made: string) => Promise<T>,
): Promise<T> {
  const { repmlpnet, train, names = [], onLine } = options;
  const script = join(golden, 'oracle', 'make.py');
  const { source, names: known } = await catalogueOf(golden, script, options);
  const all = Object.values(known).flat();
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) {
    throw new InputError(`the oracle makes no golden ${unknown}; did you mean ${closest(unknown, all)}?`);
  }
  const made = await mkdtemp(join(tmpdir(), 'fuseproof-goldens-'));
  try {
    const args = [script, '--out', made, '--repmlpnet', repmlpnet, ...(train ? ['--train'] : []), ...names];
    const { code, errors } = await runPython(options, args, onLine);
    if (code === 0) return await use(made);
    const reason = errors.trim().split('\n').at(-1) ?? '';
    // The oracle ends with one line about its source; anything longer is a traceback.
    const about = reason.startsWith(repmlpnet) ? `\n${howToGet(golden, options, source)}` : '';
    throw new InputError(`the oracle failed: ${about === '' ? errors.trim() : reason}${about}`);
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

async function catalogueOf(golden: string, script: string, options: OracleOptions): Promise<Catalogue> {
  const { python } = options;
  const absent = (why: string) =>
    new InputError(
      `${python}: ${why}; new goldens are computed in PyTorch, and only that needs Python\n${howToGet(golden, options, undefined)}`,
    );
  let run: Awaited<ReturnType<typeof runPython>>;
  try {
    run = await runPython(options, [script, '--list']);
  } catch (error) {
    if (options.signal?.aborted || !(error instanceof Error && 'code' in error)) throw error;
    throw absent(error.code === 'ENOENT' ? 'no such program' : `cannot be run: ${error.message}`);
  }
  const { code, lines, errors } = run;
  if (code !== 0) throw absent(errors.trim().split('\n').at(-1) || `it ended with code ${code}`);
  try {
    const catalogue: unknown = JSON.parse(lines.join('\n'));
    if (isCatalogue(catalogue)) return catalogue;
  } catch {}
  throw absent('it does not run Python scripts');
}
