/** Entry of `npm run bench:harness`: how fast the harness itself is. */
import { Command } from 'commander';
import { openEngine } from '../engines/index.ts';
import { openMatMul } from '../interpreters/product.ts';
import { InputError } from '../network/errors.ts';
import { resolveModel, resolveModels } from '../reference/config.ts';
import { note, parseCount, runEntry } from './entry.ts';
import { commandsFor, expectScript, timeAgainst } from './harness-against.ts';
import { measureDraws, measureNetwork } from './harness-measure.ts';
import { type HarnessFigures, harnessTable } from './harness-table.ts';

/** timm's RepViT: those that it publishes weights or a name for. */
const TIMM = [
  'repvit_m1',
  'repvit_m2',
  'repvit_m3',
  'repvit_m0_9',
  'repvit_m1_0',
  'repvit_m1_1',
  'repvit_m1_5',
  'repvit_m2_3',
];
const REPMLPNET = 'repmlpnet_t224';

/** Seconds of draws for each family. */
const DRAW_SECONDS = 3;

interface Options {
  readonly model?: readonly string[];
  readonly engine?: string;
  readonly repeats: number;
  readonly against?: string;
  readonly repmlpnet?: string;
  readonly quads: number;
  readonly tiers: boolean;
  readonly json?: boolean;
}

async function measure(options: Options): Promise<Pick<HarnessFigures, 'networks' | 'draws'>> {
  const models = await resolveModels(options.model ?? [...TIMM, REPMLPNET]);
  const engines = options.engine === undefined ? [] : [await openEngine(options.engine)];
  const networks = [];
  for (const model of models) {
    note(`${model.name}: oracle and tiers, ${options.repeats} runs each`);
    networks.push(await measureNetwork(model, engines, options.repeats));
  }
  const draws = [];
  for (const name of ['repvit_m0_9', REPMLPNET]) {
    note(`${name} in small: draws for ${DRAW_SECONDS} s`);
    draws.push(await measureDraws(await resolveModel(name), DRAW_SECONDS));
  }
  return { networks, draws };
}

async function compare({ against, repmlpnet, quads }: Options): Promise<HarnessFigures['against']> {
  if (against === undefined) return [];
  await expectScript();
  const subjects = [
    { subject: "timm's eight RepViT", names: TIMM },
    ...(repmlpnet === undefined ? [] : [{ subject: 'RepMLPNet T224', names: [REPMLPNET] }]),
  ];
  const comparisons = [];
  for (const { subject, names } of subjects) {
    note(`${subject}: ${quads} quads of PyTorch and fuseproof, alternately`);
    comparisons.push(await timeAgainst(subject, commandsFor(names, against, repmlpnet), quads));
  }
  return comparisons;
}

async function run(options: Options): Promise<void> {
  if (options.repmlpnet !== undefined && options.against === undefined) {
    throw new InputError('--repmlpnet is for --against; give that, too, or leave it out');
  }
  const { name: product } = await openMatMul();
  const measured = options.tiers ? await measure(options) : { networks: [], draws: [] };
  const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
  const { repeats, engine = null } = options;
  const figures = { product, repeats, engine, ...measured, peakMemoryBytes, against: await compare(options) };
  process.stdout.write(options.json === true ? `${JSON.stringify(figures, null, 2)}\n` : harnessTable(figures));
}

const command = new Command('bench:harness')
  .description('time the harness itself: oracle, tiers, draws; and against what a PyTorch user does')
  .option('-m, --model <names...>', "published names (default: timm's eight RepViT and repmlpnet_t224)")
  .option('-e, --engine <name>', 'time the tiers on this engine, too')
  .option('--repeats <n>', 'runs of each, of which the median counts', parseCount, 3)
  .option('--against <python>', 'a Python with torch and timm: time golden/oracle/time_pytorch.py alternately')
  .option('--repmlpnet <file>', "the original's repmlpnet.py: compare RepMLPNet T224, too")
  .option('--quads <n>', 'quads ABBA of the comparison', parseCount, 3)
  .option('--no-tiers', 'only the comparison')
  .option('--json', 'print JSON')
  .action(run);

await runEntry(command);
