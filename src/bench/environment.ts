import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Environment, LoadAverage } from '../report/types.ts';

/** fuseproof's own folder: above both src/ and dist/. */
const ROOT = new URL('../../', import.meta.url);

/** Clock ticks of all CPUs since boot, and those of them that the hypervisor took. */
interface CpuTicks {
  readonly total: number;
  readonly steal: number;
}

/** Parses /proc/stat; its first line is `cpu user nice system idle iowait irq softirq steal guest guest_nice` (proc(5)). */
export function parseCpuTicks(stat: string): CpuTicks | undefined {
  const [label, ...fields] = (stat.split('\n', 1)[0] ?? '').trim().split(/\s+/);
  // Guest time is in user time already.
  const ticks = fields.slice(0, 8).map(Number);
  const steal = ticks[7];
  if (label !== 'cpu' || steal === undefined || ticks.some((value) => !Number.isFinite(value))) return undefined;
  return { total: ticks.reduce((sum, value) => sum + value, 0), steal };
}

/** Share of the CPU time between two readings that the hypervisor took; null where the system does not say. */
export function stealPercent(before: CpuTicks | undefined, after: CpuTicks | undefined): number | null {
  if (before === undefined || after === undefined || after.total <= before.total) return null;
  return Math.min(100, Math.max(0, (100 * (after.steal - before.steal)) / (after.total - before.total)));
}

/** Only Linux has the file. */
async function cpuTicks(): Promise<CpuTicks | undefined> {
  return parseCpuTicks(await readFile('/proc/stat', 'utf8').catch(() => ''));
}

/** Commit of fuseproof's checkout; null where it is installed without one, or inside somebody else's. */
async function commit(): Promise<string | null> {
  const root = fileURLToPath(ROOT);
  const git = async (...args: string[]) => (await promisify(execFile)('git', ['-C', root, ...args])).stdout.trim();
  try {
    if ((await git('rev-parse', '--show-prefix')) !== '') return null;
    const [hash, changes] = [
      await git('rev-parse', 'HEAD'),
      await git('status', '--porcelain', '--untracked-files=no'),
    ];
    return changes === '' ? hash : `${hash}-dirty`;
  } catch {
    return null;
  }
}

function loadAverage(): LoadAverage {
  const [one = 0, five = 0, fifteen = 0] = os.loadavg();
  return [one, five, fifteen];
}

/** What the machine is, and how busy it was: read once at the start and once at the end. */
export type Machine = Pick<
  Environment,
  | 'date'
  | 'elapsedSeconds'
  | 'fuseproof'
  | 'commit'
  | 'node'
  | 'platform'
  | 'cpu'
  | 'cores'
  | 'memoryBytes'
  | 'loadAverageBefore'
  | 'loadAverageAfter'
  | 'stealPercent'
>;

/** Reads the machine's state now; the function returned reads it again and gives both. */
export async function watchMachine(): Promise<() => Promise<Machine>> {
  const started = new Date();
  const ticksBefore = await cpuTicks();
  const loadAverageBefore = loadAverage();
  return async () => {
    const manifest: { version: string } = JSON.parse(await readFile(new URL('package.json', ROOT), 'utf8'));
    return {
      date: started.toISOString(),
      elapsedSeconds: (Date.now() - started.getTime()) / 1000,
      fuseproof: manifest.version,
      commit: await commit(),
      node: process.version,
      platform: `${os.type()} ${os.release()} ${os.arch()}`,
      cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
      cores: os.availableParallelism(),
      memoryBytes: os.totalmem(),
      loadAverageBefore,
      loadAverageAfter: loadAverage(),
      stealPercent: stealPercent(ticksBefore, await cpuTicks()),
    };
  };
}
