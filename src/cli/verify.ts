import { basename } from 'node:path';
import { Command } from 'commander';
import { quoted } from '../certify/shell.ts';
import { InputError } from '../network/errors.ts';
import type { Model } from '../reference/config.ts';
import type { Finding, Tier } from '../verify/verify.ts';
import { CHECKPOINT, collect, parseBatch, parseSeed, parseSize, parseThreads } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';
import type { Job, ModelReport, Tell, VerifyOptions } from './verify-job.ts';

const EXAMPLES = `
Examples:
  fuseproof verify --model repvit_m0_9
  fuseproof verify --model all --engine onnxruntime,wasm
  fuseproof verify --reference trained.pth --deploy fused.onnx
  fuseproof verify -m my.json --weights w.safetensors --deploy fused.safetensors`;

interface Options extends VerifyOptions {
  readonly reference?: string;
  readonly model?: string[];
  readonly engine?: string[];
  readonly form?: string;
  readonly tier?: string[];
  readonly explain?: boolean;
  readonly json?: boolean;
}

async function runVerify(options: Options): Promise<void> {
  if (options.reference !== undefined) {
    await verifyTwoFiles({ ...options, reference: options.reference });
    return;
  }
  const models = await chosenModels(options);
  const single = (['weights', 'input', 'deploy', 'region'] as const).find((name) => options[name] !== undefined);
  if (models.length > 1 && single !== undefined) {
    throw new InputError(`--${single} fits one network, but ${models.length} are asked for; name one with --model`);
  }
  const tiers = options.tier === undefined ? undefined : await chosenTiers(options.tier);
  const engines = await chosenEngines(options, tiers, models.length);
  const jobs = await jobsOf(models, engines, tiers, options);
  const started = performance.now();
  const reports: ModelReport[] = [];
  for await (const report of runAll(jobs)) {
    reports.push(report);
    if (!options.json) await printReport(report, options);
    setExitCode(exitCodeOf(report.verdict));
  }
  const seconds = (performance.now() - started) / 1000;
  if (options.json) printJson({ verifications: reports, seconds });
  else if (reports.length > 1) {
    const passed = reports.filter(({ verdict }) => verdict === 'pass').length;
    print(`${passed} of ${reports.length} deploy forms pass, in ${seconds.toFixed(1)} s`);
  }
}

/** Whoever fused them: one file against the other. */
async function verifyTwoFiles(options: Options & { readonly reference: string }): Promise<void> {
  const { deploy, model, weights, form, reference } = options;
  if (deploy === undefined) {
    throw new InputError(
      `--reference ${reference}: give the fused file, too, with --deploy; one is held against the other`,
    );
  }
  if (weights !== undefined)
    throw new InputError('--weights and --reference both name the trained file; give one of them');
  if (form !== undefined)
    throw new InputError('--form with --reference: the deploy file says which form it is; leave it out');
  if (model !== undefined && model.length !== 1) {
    throw new InputError(`--reference fits one network, but ${model.length} are named; name one with --model`);
  }
  const tiers = options.tier === undefined ? undefined : await chosenTiers(options.tier);
  const { runVerifyFiles } = await import('./verify-files.ts');
  const { model: _, ...rest } = options;
  await runVerifyFiles({ ...rest, deploy, ...(model?.[0] !== undefined && { model: model[0] }) }, tiers);
}

/** The networks asked for by name, or the one that the weights are of. */
async function chosenModels({ model: names, weights, deploy, stateDict }: Options): Promise<readonly Model[]> {
  if (names === undefined && weights !== undefined) {
    const { recogniseModel } = await import('./subject.ts');
    return [await recogniseModel(weights, stateDict, note)];
  }
  if (names === undefined && deploy !== undefined) {
    throw new InputError(
      `--deploy ${deploy}: give the trained checkpoint, too, with --weights; one can only be compared with the other`,
    );
  }
  if (stateDict !== undefined && weights === undefined) {
    throw new InputError(
      `--state-dict ${stateDict}: it says what of --weights or --reference is read; give that file, too`,
    );
  }
  const { resolveModels } = await import('../reference/config.ts');
  return resolveModels(names ?? ['repvit_m0_9']);
}

/** Every form asked for of every network. */
async function jobsOf(
  models: readonly Model[],
  engines: readonly string[],
  tiers: readonly Tier[] | undefined,
  { model: _m, engine: _e, form, tier: _t, explain: _x, json: _j, ...options }: Options,
): Promise<readonly Job[]> {
  const [{ buildNetwork }, { weightShapesByKey }, { elements }, { chosenForms, formOfFile }] = await Promise.all([
    import('../reference/config.ts'),
    import('../network/graph.ts'),
    import('../network/tensor.ts'),
    import('./subject.ts'),
  ]);
  /** A fused checkpoint says which form it is. */
  const formOfDeploy = async (model: Model) =>
    options.deploy === undefined ? undefined : formOfFile(model, options.deploy);
  const jobs: Job[] = [];
  for (const model of models) {
    const size = { batch: 1, height: model.resolution, width: model.resolution };
    const reference = buildNetwork(model.config, size, model.name);
    const forms = chosenForms(reference, form ?? (await formOfDeploy(model))).map(({ name }) => name);
    const single = (['deploy', 'region'] as const).find((name) => options[name] !== undefined);
    if (forms.length > 1 && single !== undefined) {
      throw new InputError(
        `--${single} fits one deploy form of ${model.name}; say which with --form ${forms.join(' or ')}`,
      );
    }
    const weightCount = [...weightShapesByKey(reference).values()].reduce((sum, shape) => sum + elements(shape), 0);
    jobs.push(...forms.map((name): Job => ({ model, weightCount, form: name, engines, tiers, options })));
  }
  return jobs;
}

/** One after another here, or side by side in processes of their own where there are several jobs and cores. */
async function* runAll(jobs: readonly Job[]): AsyncGenerator<ModelReport> {
  const [{ jobRunner, processesFor }, { progressLine }, { tuneV8 }] = await Promise.all([
    import('./verify-job.ts'),
    import('./progress-line.ts'),
    import('./tune-v8.ts'),
  ]);
  const line = await progressLine();
  const processes = processesFor(jobs);
  const shares = jobs.map(() => 0);
  const taskOf = ({ model, form, engines }: Job) =>
    `verify ${model.name}, ${form}${engines.length === 0 ? '' : `, on ${engines.join(', ')}`}`;
  try {
    if (processes === 1) {
      tuneV8();
      const runJob = jobRunner();
      for (const job of jobs) {
        const progress: Tell['progress'] = (done, total, what) => line.show({ task: taskOf(job), done, total, what });
        const report = await runJob(job, { progress, note });
        line.clear();
        yield report;
      }
      return;
    }
    const { runJobs } = await import('./verify-pool.ts');
    const task = `verify ${jobs.length} forms in ${processes} processes`;
    const tell = (index: number): Tell => ({
      note,
      progress: (done, total, what) => {
        shares[index] = done / total;
        const { model, form } = jobs[index]!;
        const finished = shares.reduce((sum, share) => sum + share, 0);
        line.show({ task, done: finished, total: jobs.length, what: `${model.name}, ${form}, ${what}` });
      },
    });
    for await (const report of runJobs(jobs, processes, tell)) {
      line.clear();
      yield report;
    }
  } finally {
    line.clear();
  }
}

/** Tiers that run on an engine, or show what one computes. */
const ON_ENGINES: readonly Tier[] = ['dyadic', 'runtime', 'network'];

async function chosenTiers(names: readonly string[]): Promise<readonly Tier[]> {
  const { TIERS } = await import('../verify/verify.ts');
  return names.map((name) => {
    const tier = TIERS.find((known) => known === name);
    if (tier === undefined)
      throw new InputError(`--tier ${name}: there is no such tier; there are: ${TIERS.join(', ')}`);
    return tier;
  });
}

/** Networks up to which an engine in plain JavaScript is worth its minutes, unless it is asked for by name. */
const SLOW_ENGINE_MODELS = 2;
const SLOW_ENGINE = 'cpu';

/** Names of the engines that are here and asked for; none where no tier runs on one. */
async function chosenEngines(
  { engine, threads, tier }: Options,
  tiers: readonly Tier[] | undefined,
  models: number,
): Promise<readonly string[]> {
  if (tiers !== undefined && !tiers.some((name) => ON_ENGINES.includes(name))) {
    if (engine === undefined) return [];
    throw new InputError(`--engine with --tier ${tier?.join(',')}: none of these tiers runs on an engine`);
  }
  const { openEngines } = await import('./subject.ts');
  const names = (await openEngines(engine, { ...(threads && { threads }) }, note)).map(({ info }) => info.name);
  if (engine !== undefined || models <= SLOW_ENGINE_MODELS) return names;
  note(`${SLOW_ENGINE} is left out: it takes minutes for so many networks; --engine ${SLOW_ENGINE} asks for it`);
  return names.filter((name) => name !== SLOW_ENGINE);
}

async function printReport(report: ModelReport, options: Options): Promise<void> {
  const [{ verificationTable }, { sourceLine }] = await Promise.all([
    import('../report/verification-table.ts'),
    import('../certify/checkpoint.ts'),
  ]);
  const sources = (['weights', 'deploy'] as const).flatMap((use) => {
    const file = report.files[use];
    return file === undefined ? [] : [sourceLine(file, use)];
  });
  print(verificationTable(report, (finding) => replay(report, finding, options), sources));
  if (options.explain) {
    const { explanation } = await import('../report/explanation.ts');
    print(`\n${explanation(report)}\n`);
  }
}

/** The command that checks the failing region alone, on the same weights and input. */
function replay({ model, form, seed, input }: ModelReport, finding: Finding, options: Options): string {
  const { tier, piece, engine } = finding;
  const [batch, , height, width] = input;
  const parts = ['npx fuseproof verify'];
  // A network that was recognised is so again.
  if (options.model !== undefined || options.weights === undefined) {
    const source = options.model?.find((given) => basename(given, '.json') === model) ?? model;
    parts.push(`--model ${quoted(source)}`);
  }
  if (options.input === undefined) parts.push(`--batch ${batch}`, `--size ${height}x${width}`);
  for (const name of ['input', 'weights', 'deploy'] as const) {
    const file = options[name];
    if (file !== undefined) parts.push(`--${name} ${quoted(file)}`);
  }
  if (options.stateDict !== undefined) parts.push(`--state-dict ${quoted(options.stateDict)}`);
  parts.push(`--seed ${seed}`, `--form ${form}`);
  if (engine !== undefined) parts.push(`--engine ${engine}`);
  if (engine !== undefined && options.threads !== undefined) parts.push(`--threads ${options.threads}`);
  // The exact tier's regions are those of a small network of the same make.
  return [...parts, `--tier ${tier}`, ...(tier === 'exact' ? [] : [`--region ${piece}`])].join(' ');
}

/** `fuseproof verify` */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('prove the deploy form equal to its train form, region by region, on every engine that is here')
    .option(
      '-m, --model <names...>',
      'published names, config files (.json), or all (default: that of --weights, or repvit_m0_9)',
      collect,
    )
    .option(
      '-e, --engine <names...>',
      'only these engines (default: all that are here; without cpu for more than two networks)',
      collect,
    )
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--batch <n>', 'images (default: 1)', parseBatch)
    .option('--size <n>', 'height and width of the input in pixels, or HxW (default: as published)', parseSize)
    .option('--seed <n>', 'of the generated weights and input (default: 1)', parseSeed)
    .option(
      '--reference <file>',
      `the trained network: ${CHECKPOINT}, or ONNX; held against --deploy, whoever fused that`,
    )
    .option('--weights <file>', `trained ${CHECKPOINT}; default: generated from the seed`)
    .option('--state-dict <name>', 'which one of --weights or --reference, where it holds several: model_ema, say')
    .option('--deploy <file>', 'fused checkpoint, of any of these formats: are its weights what the fuser makes?')
    .option('--input <file>', 'tensor input [N, C, H, W] (.safetensors), instead of a generated one')
    .option('--form <form>', 'only this deploy form (default: every one that the network has)')
    .option('--tier <names...>', 'only these tiers (default: all), of exact, basis, algebra, ...', collect)
    .option('--explain', 'say for a non-specialist what each tier asked, found and is worth')
    .option('--region <node>', 'only the region that this deploy node replaces')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runVerify);
}
