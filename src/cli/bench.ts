import { Command } from 'commander';
import type { BenchProgress } from '../bench/run.ts';
import { collect, each, parseBatch, parseSeed, parseSize, parseStreams, parseThreads, type Size } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

interface Options {
  readonly model?: readonly string[];
  readonly quick?: boolean;
  readonly engine?: readonly string[];
  readonly threads?: readonly number[];
  readonly batch?: readonly number[];
  readonly size?: Size;
  readonly seed: number;
  readonly streams?: readonly number[] | true;
  readonly profile?: boolean;
  readonly out: string;
  readonly baseline?: string;
  readonly updateBaseline?: boolean;
  readonly json?: boolean;
}

const DEFAULT_MODELS = ['repvit_m0_9'];

/** Streams where no number is given. */
const STREAMS: readonly number[] = [1, 2, 4, 8];

function streamsOf(given: Options['streams']): number[] {
  if (given === undefined) return [];
  return [...new Set(given === true ? STREAMS : given)].sort((a, b) => a - b);
}

const EXAMPLES = `
Examples:
  fuseproof bench --quick
  fuseproof bench --model repmlpnet_t224 --engine onnxruntime
  fuseproof bench -m repvit_m1_5 my-network.json -e onnxruntime --threads 1 2
  fuseproof bench --quick --engine onnxruntime --streams --profile
  fuseproof bench --baseline reports/baseline.json

Exit codes: 0 all verified and timed, 1 a mismatch, a failed timing or a
baseline not reached, 2 bad usage or input, 3 inconclusive, 130 interrupted:
what was complete by then is written and marked partial.`;

async function runBenchCommand({ out, json, baseline, updateBaseline, ...options }: Options): Promise<void> {
  const [
    { runBench },
    { verifyModel },
    { progressText },
    { appendJobSummary, openReportFolder, writeReport },
    { resolveModels },
    { benchMarkdown },
    { openGate },
  ] = await Promise.all([
    import('../bench/run.ts'),
    import('../bench/verify-model.ts'),
    import('../bench/progress.ts'),
    import('../bench/write-report.ts'),
    import('../reference/config.ts'),
    import('../report/markdown.ts'),
    import('./gate.ts'),
  ]);
  const { progressLine } = await import('./progress-line.ts');
  const models = await resolveModels(options.model ?? DEFAULT_MODELS);
  const gate = await openGate({ baseline, updateBaseline, out });
  await openReportFolder(out);
  const { size, seed, quick = false } = options;
  const request = {
    models,
    engines: options.engine && [...new Set(options.engine)],
    threads: [...new Set(options.threads ?? [1])],
    batches: [...new Set(options.batch ?? [1])],
    size,
    seed,
    quick,
    streams: streamsOf(options.streams),
    profile: options.profile === true,
  };
  const line = await progressLine();
  const show = (event: BenchProgress) => line.show(progressText(event));
  const { signal, release } = interruption();
  const report = await runBench(request, show, { verifyModel, signal }).finally(line.clear);
  const judged = gate.judge(report);
  const paths = await writeReport(report, out, judged?.result);
  const updated = await gate.update(report);
  await appendJobSummary([...(judged === undefined ? [] : [judged.markdown]), benchMarkdown(report)].join('\n\n'));
  release();
  if (json) {
    printJson(report);
  } else {
    const { benchTable } = await import('../report/bench-table.ts');
    print(benchTable(report));
  }
  const { wrap } = await import('../report/text.ts');
  for (const said of judged?.lines ?? []) note(wrap(said, '', '  '));
  for (const said of updated) note(said);
  note(`Written: ${paths.join(', ')}${report.partial ? '; partial, for the run was interrupted' : ''}`);
  setExitCode(report.partial ? INTERRUPTED : exitCodeOf(report.verdict));
  if (judged !== undefined && !report.partial) setExitCode(exitCodeOf(judged.result.verdict));
}

/** As a shell gives it: 128 and the number of SIGINT. */
const INTERRUPTED = 130;

/** One ctrl-C may arrive twice, from the terminal and from npm; a signal after so many milliseconds asks again. */
const SAME_SIGNAL_MS = 1000;

/** The first ctrl-C ends the run and keeps what is complete; the second one ends the process. */
function interruption(): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  let since = 0;
  const interrupt = () => {
    if (controller.signal.aborted) {
      if (performance.now() - since > SAME_SIGNAL_MS) process.exit(INTERRUPTED);
      return;
    }
    since = performance.now();
    note('Interrupted: writing what is complete. Again ends at once.');
    controller.abort();
  };
  process.on('SIGINT', interrupt);
  return { signal: controller.signal, release: () => process.off('SIGINT', interrupt) };
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
    .option('--quick', 'a short run: half of the time, and wider intervals')
    .option(
      '-e, --engine <names...>',
      'only these engines; a named one may be slower (default: all that are here)',
      collect,
    )
    .option('--threads <n...>', 'threads, for the engines that can be told (default: 1)', each(parseThreads))
    .option('--batch <n...>', 'images in one inference (default: 1)', each(parseBatch))
    .option('--size <pixels>', 'input size, N or HxW (default: the one that the network was published at)', parseSize)
    .option('--seed <n>', 'seed of the weights, the input and the order of the samples', parseSeed, 1)
    .option(
      '--streams [n...]',
      `throughput, too, with so many streams at once (without a number: ${STREAMS.join(', ')})`,
      each(parseStreams),
    )
    .option('--profile', 'say where the time of each form goes, node by node')
    .option('-o, --out <folder>', 'where latest.json, .md, .html and .junit.xml go', 'reports')
    .option('--baseline <file>', 'fail where a ratio lies wholly under 0.97 of its own, or a count differs')
    .option('--update-baseline', 'write the baseline of later runs (to --baseline, or baseline.json in --out)')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runBenchCommand);
}
