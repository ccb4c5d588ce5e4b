/** The harness against what a PyTorch user does: two processes, alternately, from start to exit. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { InputError } from '../network/errors.ts';
import { hodgesLehmannInterval, type Interval, median, quadLogRatio } from './estimate.ts';

const FUSEPROOF = fileURLToPath(new URL('../../bin/fuseproof.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('../../golden/oracle/time_pytorch.py', import.meta.url));

/** Tiers that answer the user's question for every input and, at full size, for one. */
const TIERS = 'structure,basis,weights,algebra';

/** What is kept of an error output, for the message. */
const STDERR_KEPT = 500;

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
}

/** Seconds of a process and of those that it started. */
export interface ProcessTime {
  /** From start to exit. */
  readonly wall: number;
  /** Of all cores together; null where the system does not say. */
  readonly cpu: number | null;
}

export interface Comparison {
  readonly subject: string;
  readonly pytorch: readonly ProcessTime[];
  readonly fuseproof: readonly ProcessTime[];
  /** Wall time of PyTorch over that of fuseproof, on the log scale. */
  readonly logRatio: Interval;
}

/** The two commands for the same networks. */
export function commandsFor(
  names: readonly string[],
  python: string,
  repMlpNet: string | undefined,
): { readonly pytorch: Command; readonly fuseproof: Command } {
  const source = repMlpNet === undefined ? [] : ['--repmlpnet', repMlpNet];
  return {
    pytorch: { file: python, args: [SCRIPT, ...names, ...source] },
    fuseproof: {
      file: process.execPath,
      args: [FUSEPROOF, 'verify', '--json', '--model', names.join(','), '--tier', TIERS],
    },
  };
}

/** Clock ticks that ended children have taken: cutime and cstime of proc(5), 100 a second on every Linux. */
async function childrenSeconds(): Promise<number | null> {
  const stat = await readFile('/proc/self/stat', 'utf8').catch(() => undefined);
  if (stat === undefined) return null;
  // The second field, the name in brackets, may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/**
 * Runs a command to its end.
 * @throws InputError where it cannot be started; Error where it fails
 */
export async function timeProcess({ file, args }: Command): Promise<ProcessTime> {
  const before = await childrenSeconds();
  const started = performance.now();
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT);
  });
  const [code, signal] = await once(child, 'close').catch((error: Error) => {
    throw new InputError(
      `${file} cannot be started (${error.message}); give the path of a Python that has torch and timm`,
    );
  });
  const wall = (performance.now() - started) / 1000;
  if (code !== 0) {
    const end = signal === null ? `ended with code ${code}` : `was killed (${signal})`;
    throw new Error(`${[file, ...args].join(' ')} ${end}: ${stderr.trim()}`);
  }
  const after = await childrenSeconds();
  return { wall, cpu: before === null || after === null ? null : after - before };
}

/**
 * Times both alternately, in quads ABBA; one run of each before them, for the system's caches, is not counted.
 * @param subject names the networks
 */
export async function timeAgainst(
  subject: string,
  { pytorch, fuseproof }: ReturnType<typeof commandsFor>,
  quads: number,
  time: (command: Command) => Promise<ProcessTime> = timeProcess,
): Promise<Comparison> {
  await time(pytorch);
  await time(fuseproof);
  const a: ProcessTime[] = [];
  const b: ProcessTime[] = [];
  const logRatios: number[] = [];
  for (let quad = 0; quad < quads; quad++) {
    const [a1, b1, b2, a2] = [await time(pytorch), await time(fuseproof), await time(fuseproof), await time(pytorch)];
    a.push(a1, a2);
    b.push(b1, b2);
    logRatios.push(quadLogRatio([a1.wall, a2.wall], [b1.wall, b2.wall]));
  }
  return { subject, pytorch: a, fuseproof: b, logRatio: hodgesLehmannInterval(logRatios) };
}

/** @throws InputError where the script is not here, as in an installed package */
export async function expectScript(): Promise<void> {
  await access(SCRIPT).catch(() => {
    throw new InputError(`${SCRIPT}: no such file; --against needs a checkout of the repository`);
  });
}

export function medianSeconds(times: readonly ProcessTime[], clock: 'wall' | 'cpu'): number | null {
  const seconds = times.map((time) => time[clock]).filter((value) => value !== null);
  return seconds.length === 0 ? null : median(seconds);
}
