import { basename } from 'node:path';
import { Command } from 'commander';
import type { Engine } from '../engines/engine.ts';
import { InputError } from '../network/errors.ts';
import { toFloat32 } from '../network/tensor.ts';
import type { Model } from '../reference/config.ts';
import type { Finding, Tier, Verification } from '../verify/verify.ts';
import { collect, parseBatch, parseSeed, parseSize, parseThreads } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';
import type { SubjectOptions } from './subject.ts';

const EXAMPLES = `
Examples:
  fuseproof verify --model repvit_m0_9
  fuseproof verify --model all --engine onnxruntime,wasm
  fuseproof verify -m my.json --weights w.safetensors --deploy fused.safetensors`;

interface Options extends SubjectOptions {
  readonly model?: string[];
  readonly engine?: string[];
  readonly threads?: number;
  readonly deploy?: string;
  readonly form?: string;
  readonly region?: string;
  readonly tier?: string[];
  readonly explain?: boolean;
  readonly json?: boolean;
}

/** One model's verification, as `--json` prints it. */
interface ModelReport extends Omit<Verification, 'logits'> {
  readonly seconds: number;
  /** Of the process, so far. */
  readonly peakMemoryBytes: number;
  readonly seed: number;
  /** Of the input, [N, C, H, W]. */
  readonly input: readonly number[];
}

async function runVerify(options: Options): Promise<void> {
  const [{ resolveModels }, { openEngines }] = await Promise.all([
    import('../reference/config.ts'),
    import('./subject.ts'),
  ]);
  const models = await resolveModels(options.model ?? ['repvit_m0_9']);
  const single = (['weights', 'input', 'deploy', 'region'] as const).find((name) => options[name] !== undefined);
  if (models.length > 1 && single !== undefined) {
    throw new InputError(`--${single} fits one network, but ${models.length} are asked for; name one with --model`);
  }
  const tiers = options.tier === undefined ? undefined : await chosenTiers(options.tier);
  const needsEngine = tiers === undefined || tiers.some((tier) => ON_ENGINES.includes(tier));
  const opened = !needsEngine
    ? []
    : await openEngines(options.engine, { ...(options.threads && { threads: options.threads }) }, note);
  const engines = options.engine === undefined && models.length > SLOW_ENGINE_MODELS ? withoutSlow(opened) : opened;
  if (!needsEngine && options.engine !== undefined) {
    throw new InputError(`--engine with --tier ${options.tier?.join(',')}: none of these tiers runs on an engine`);
  }
  const started = performance.now();
  const reports: ModelReport[] = [];
  for (const model of models) {
    for await (const report of verifyModel(model, engines, tiers, options)) {
      reports.push(report);
      if (!options.json) await printReport(report, options);
      setExitCode(exitCodeOf(report.verdict));
    }
  }
  const seconds = (performance.now() - started) / 1000;
  if (options.json) printJson({ verifications: reports, seconds });
  else if (reports.length > 1) {
    const passed = reports.filter(({ verdict }) => verdict === 'pass').length;
    print(`${passed} of ${reports.length} deploy forms pass, in ${seconds.toFixed(1)} s`);
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

function withoutSlow(engines: readonly Engine[]): readonly Engine[] {
  note(`${SLOW_ENGINE} is left out: it takes minutes for so many networks; --engine ${SLOW_ENGINE} asks for it`);
  return engines.filter(({ info }) => info.name !== SLOW_ENGINE);
}

/** Each deploy form of the network against its train form, one after another. */
async function* verifyModel(
  model: Model,
  engines: readonly Engine[],
  tiers: readonly Tier[] | undefined,
  options: Options,
): AsyncGenerator<ModelReport> {
  const [{ verify }, { fuseTo }, { buildMiniature }, { randomInput }, subject, { progressLine }] = await Promise.all([
    import('../verify/verify.ts'),
    import('../fused/forms.ts'),
    import('../reference/config.ts'),
    import('../weights/random.ts'),
    import('./subject.ts'),
    import('./progress-line.ts'),
  ]);
  const { reference, weights, input, seed } = await subject.loadSubject(model, options);
  const forms = subject.chosenForms(reference, options.form);
  const single = (['deploy', 'region'] as const).find((name) => options[name] !== undefined);
  if (forms.length > 1 && single !== undefined) {
    const names = forms.map(({ name }) => name).join(' or ');
    throw new InputError(`--${single} fits one deploy form of ${model.name}; say which with --form ${names}`);
  }
  for (const form of forms) {
    const started = performance.now();
    const on = engines.length === 0 ? '' : `, on ${engines.map(({ info }) => info.name).join(', ')}`;
    const task = `verify ${model.name}, ${form.name}${on}`;
    const fusion = fuseTo(form, reference);
    const stored =
      options.deploy === undefined
        ? {}
        : { deployWeights: await subject.loadDeployWeights(fusion, options.deploy, note) };
    const line = await progressLine();
    try {
      const { logits: _, ...verification } = await verify({
        fusion,
        form: form.name,
        weights,
        input: toFloat32(input),
        engines,
        miniature: fuseTo(form, buildMiniature(model.config)),
        seed,
        ...(tiers === undefined ? {} : { tiers }),
        probe: (shape, name) => randomInput(shape, seed, name),
        onProgress: (done, total, what) => line.show({ task, done, total, what }),
        ...stored,
        ...(options.region === undefined ? {} : { only: options.region }),
      });
      const seconds = (performance.now() - started) / 1000;
      const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
      yield { ...verification, seconds, peakMemoryBytes, seed, input: input.shape };
    } finally {
      line.clear();
    }
  }
}

async function printReport(report: ModelReport, options: Options): Promise<void> {
  const { verificationTable } = await import('../report/verification-table.ts');
  print(verificationTable(report, (finding) => replay(report, finding, options)));
  if (options.explain) {
    const { explanation } = await import('../report/explanation.ts');
    print(`\n${explanation(report)}\n`);
  }
}

/** The command that checks the failing region alone, on the same weights and input. */
function replay({ model, form, seed, input }: ModelReport, finding: Finding, options: Options): string {
  const { tier, piece, engine } = finding;
  const [batch, , height, width] = input;
  const source = options.model?.find((given) => basename(given, '.json') === model) ?? model;
  const parts = ['npx fuseproof verify', `--model ${quoted(source)}`];
  if (options.input === undefined) parts.push(`--batch ${batch}`, `--size ${height}x${width}`);
  for (const name of ['input', 'weights', 'deploy'] as const) {
    const file = options[name];
    if (file !== undefined) parts.push(`--${name} ${quoted(file)}`);
  }
  parts.push(`--seed ${seed}`, `--form ${form}`);
  if (engine !== undefined) parts.push(`--engine ${engine}`);
  if (engine !== undefined && options.threads !== undefined) parts.push(`--threads ${options.threads}`);
  // The exact tier's regions are those of a small network of the same make.
  return [...parts, `--tier ${tier}`, ...(tier === 'exact' ? [] : [`--region ${piece}`])].join(' ');
}

/** As a shell takes it. */
function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** `fuseproof verify` */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('prove the deploy form equal to its train form, region by region, on every engine that is here')
    .option('-m, --model <names...>', 'published names, config files (.json), or all (default: repvit_m0_9)', collect)
    .option(
      '-e, --engine <names...>',
      'only these engines (default: all that are here; without cpu for more than two networks)',
      collect,
    )
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--batch <n>', 'images (default: 1)', parseBatch)
    .option('--size <n>', 'height and width of the input in pixels, or HxW (default: as published)', parseSize)
    .option('--seed <n>', 'of the generated weights and input (default: 1)', parseSeed)
    .option('--weights <file>', 'train-form state dict (.safetensors), instead of generated weights')
    .option('--deploy <file>', 'deploy weights as stored (.safetensors): are they what the fuser makes?')
    .option('--input <file>', 'tensor input [N, C, H, W] (.safetensors), instead of a generated one')
    .option('--form <form>', 'only this deploy form (default: every one that the network has)')
    .option('--tier <names...>', 'only these tiers (default: all), of exact, basis, algebra, ...', collect)
    .option('--explain', 'say for a non-specialist what each tier asked, found and is worth')
    .option('--region <node>', 'only the region that this deploy node replaces')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runVerify);
}
