import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import { Command } from 'commander';
import type { DoctorReport } from '../report/doctor-table.ts';
import { parseThreads } from './options.ts';
import { print, printJson } from './output.ts';

const EXAMPLES = `
Examples:
  fuseproof doctor
  fuseproof doctor --threads 1 --json`;

async function diagnose(threads: number | undefined): Promise<DoctorReport> {
  const [{ openAvailable }, { openMatMul }] = await Promise.all([
    import('../engines/index.ts'),
    import('../interpreters/product.ts'),
  ]);
  const { engines, absent } = await openAvailable(undefined, { ...(threads && { threads }) });
  return {
    node: process.version,
    platform: `${platform()} ${release()} ${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Number((totalmem() / 2 ** 30).toFixed(1)),
    oracle: (await openMatMul()).name,
    engines: engines.map(({ info }) => info),
    absent,
  };
}

async function runDoctor(options: { threads?: number; json?: boolean }): Promise<void> {
  const diagnosis = await diagnose(options.threads);
  if (options.json) {
    printJson(diagnosis);
    return;
  }
  const { doctorTable } = await import('../report/doctor-table.ts');
  print(doctorTable(diagnosis));
}

/** `fuseproof doctor` */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say which engines are here, on which device they really run, and what would mend the others')
    .option('--threads <n>', 'threads to open the engines with', parseThreads)
    .option('--json', 'print the diagnosis as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runDoctor);
}
