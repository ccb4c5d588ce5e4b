import { Command } from 'commander';
import type { BenchProgress } from '../bench/run.ts';
import { collect, parseBatch, parseSeed, parseSize, parseThreads, type Size } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

interface Options {
  readonly model?: readonly string[];
  readonly quick?: boolean;
  readonly engine?: readonly string[];
  readonly threads: number;
  readonly batch: number;
  readonly size?: Size;
  readonly seed: number;
  readonly out: string;
  readonly json?: boolean;
}

const DEFAULT_MODELS = ['repvit_m0_9', 'repvit_m1_1'];
const QUICK_MODELS = ['repvit_m0_9'];

const EXAMPLES = `
Examples:
  fuseproof bench --quick
  fuseproof bench --model repmlpnet_t224 --engine onnxruntime
  fuseproof bench -m repvit_m1_5 my-network.json -e onnxruntime --threads 2

Exit codes: 0 all verified and timed, 1 a mismatch or a failed timing,
2 bad usage or input, 3 inconclusive.`;

async function runBenchCommand({ out, json, ...options }: Options): Promise<void> {
  const [{ runBench }, { verifyModel }, { progressText }, { openReportFolder, writeReport }, { resolveModels }] =
    await Promise.all([
      import('../bench/run.ts'),
      import('../bench/verify-model.ts'),
      import('../bench/progress.ts'),
      import('../bench/write-report.ts'),
      import('../reference/config.ts'),
    ]);
  const { progressLine } = await import('./progress-line.ts');
  const models = await resolveModels(options.model ?? (options.quick ? QUICK_MODELS : DEFAULT_MODELS));
  await openReportFolder(out);
  const { threads, batch, size, seed, quick = false } = options;
  const engines = options.engine && [...new Set(options.engine)];
  const line = await progressLine();
  const show = (event: BenchProgress) => line.show(progressText(event));
  const request = { models, engines, threads, batch, size, seed, quick };
  const report = await runBench(request, show, { verifyModel }).finally(line.clear);
  const paths = await writeReport(report, out);
  if (json) {
    printJson(report);
  } else {
    const { benchTable } = await import('../report/bench-table.ts');
    print(benchTable(report));
  }
  note(`Written: ${paths.join(', ')}`);
  setExitCode(exitCodeOf(report.verdict));
}

/** `fuseproof bench` */
export function benchCommand(): Command {
  return new Command('bench')
    .description('verify networks on every engine that is here, then time their forms and write a report')
    .option(
      '-m, --model <names...>',
      `published names, config files (.json), or all (default: ${DEFAULT_MODELS.join(', ')})`,
      collect,
    )
    .option('--quick', `a short run: ${QUICK_MODELS.join(', ')} unless --model is given, fewer samples`)
    .option(
      '-e, --engine <names...>',
      'only these engines; a named one may be slower (default: all that are here)',
      collect,
    )
    .option('--threads <n>', 'threads, for the engines that can be told', parseThreads, 1)
    .option('--batch <n>', 'images in one inference', parseBatch, 1)
    .option('--size <pixels>', 'input size, N or HxW (default: the one that the network was published at)', parseSize)
    .option('--seed <n>', 'seed of the weights, the input and the order of the samples', parseSeed, 1)
    .option('-o, --out <folder>', 'where latest.json and latest.md go', 'reports')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runBenchCommand);
}
