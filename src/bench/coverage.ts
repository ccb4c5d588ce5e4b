/**
 * Entry of `npm run bench:coverage`: is the method right? One form is loaded twice and timed against itself, in many
 * sessions, so the truth is known: 1.
 */
import { join } from 'node:path';
import { Command } from 'commander';
import { openEngine } from '../engines/index.ts';
import { resolveModel } from '../reference/config.ts';
import { writeFileAtomically } from '../weights/write-file.ts';
import { type CoverageFigures, coverageMarkdown, coverageOf } from './coverage-figures.ts';
import { note, parseCount, parseSeed, parseThreads, runEntry } from './entry.ts';
import { watchMachine } from './environment.ts';
import { runSession } from './parent.ts';
import { prepareArms } from './prepare.ts';
import { INPUT, type SessionSpec } from './session.ts';
import { openReportFolder } from './write-report.ts';

const ARM = 'deploy';
const QUADS = 24;

interface Options {
  readonly model: string;
  readonly engine: string;
  readonly threads: number;
  readonly seed: number;
  readonly runs: number;
  readonly sessions: number;
  readonly budget: number;
  readonly out: string;
}

/** The request of one session: the null control and nothing else. */
async function nullSession({ model: name, engine: engineName, threads, seed, budget }: Options): Promise<SessionSpec> {
  const model = await resolveModel(name);
  const identity = { model, size: { batch: 1, height: model.resolution, width: model.resolution }, seed };
  const { forms, input } = prepareArms(identity, [ARM]);
  const { network, weights } = forms.get(ARM)!;
  const engine = await openEngine(engineName, { threads });
  const loaded = await engine.load(network, weights);
  const { data } = await loaded.run(new Map([[INPUT, input]]));
  await loaded.dispose();
  return {
    ...identity,
    pairs: [{ baseline: ARM, arm: ARM }],
    engine: engineName,
    threads,
    session: 1,
    quads: QUADS,
    budgetMs: budget,
    longestMs: 60_000,
    expected: { [ARM]: data },
  };
}

async function run(options: Options): Promise<void> {
  const { model, engine, threads, seed, runs, sessions, out } = options;
  await openReportFolder(out);
  const readMachine = await watchMachine();
  const spec = await nullSession(options);
  const logRatios: number[][][] = [];
  let device = '';
  for (let number = 1; number <= runs; number++) {
    const own: number[][] = [];
    for (let nth = 1; nth <= sessions; nth++) {
      // A number of its own, so that each session has its own order of loading and of quads.
      const session = (number - 1) * sessions + nth;
      const result = await runSession({ ...spec, session }, () => {});
      if (result.kind !== 'timed') throw new Error(`${engine} is too slow for ${model}`);
      own.push([...result.pairs[0]!.logRatios]);
      device = result.info.device;
    }
    logRatios.push(own);
    note(`run ${number} of ${runs}`);
  }
  const {
    date,
    elapsedSeconds,
    cpu,
    cores,
    node,
    commit,
    fuseproof,
    loadAverageBefore,
    loadAverageAfter,
    stealPercent,
  } = await readMachine();
  const figures: CoverageFigures = {
    ...{ model, engine, device, threads, seed, sessions, quads: QUADS },
    ...{ date, elapsedSeconds, cpu, cores, node, fuseproof, commit, loadAverageBefore, loadAverageAfter, stealPercent },
    ...coverageOf(logRatios, seed),
    logRatios,
  };
  const text = coverageMarkdown(figures);
  await writeFileAtomically(join(out, 'coverage.json'), `${JSON.stringify(figures)}\n`);
  await writeFileAtomically(join(out, 'coverage.md'), text);
  process.stdout.write(text);
  note(`Written: ${join(out, 'coverage.json')}, ${join(out, 'coverage.md')}`);
}

const command = new Command('bench:coverage')
  .description(
    'time one form against itself in many sessions: the spread of the ratio, and how often its interval holds 1',
  )
  .option('-m, --model <name>', 'a published name or a config file', 'repvit_m0_9')
  .option('-e, --engine <name>', 'engine', 'onnxruntime')
  .option('--threads <n>', 'threads', parseThreads, 1)
  .option('--seed <n>', 'seed of weights, input and orders', parseSeed, 1)
  .option('--runs <n>', 'runs of which each gives one ratio', parseCount, 10)
  .option('--sessions <n>', 'sessions, fresh processes, of each run', parseCount, 5)
  .option('--budget <ms>', 'time of one session', parseCount, 4000)
  .option('-o, --out <folder>', 'where coverage.json and coverage.md go', 'reports')
  .action(run);

await runEntry(command);
