import { Command } from 'commander';
import type { Finding, Verification } from '../verify/verify.ts';
import { collect, parseBatch, parseSeed, parseSize, parseThreads } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';
import type { SubjectOptions } from './subject.ts';

const EXAMPLES = `
Examples:
  fuseproof verify --model repvit_m0_9
  fuseproof verify --model all --engine onnxruntime,wasm
  fuseproof verify --model my-config.json --weights trained.safetensors --deploy fused.safetensors`;

interface Options extends SubjectOptions {
  readonly model?: string[];
  readonly engine?: string[];
  readonly threads?: number;
  readonly deploy?: string;
  readonly region?: string;
  readonly json?: boolean;
}

/** One model's verification, as `--json` prints it. */
interface ModelReport extends Omit<Verification, 'logits'> {
  readonly seconds: number;
  readonly seed: number;
  /** Of the input, [N, C, H, W]. */
  readonly input: readonly number[];
}

async function runVerify(options: Options): Promise<void> {
  const [{ resolveModels }, { InputError }, { openEngines }] = await Promise.all([
    import('../reference/config.ts'),
    import('../network/errors.ts'),
    import('./subject.ts'),
  ]);
  const models = await resolveModels(options.model ?? ['repvit_m0_9']);
  const single = (['weights', 'input', 'deploy', 'region'] as const).find((name) => options[name] !== undefined);
  if (models.length > 1 && single !== undefined) {
    throw new InputError(`--${single} fits one network, but ${models.length} are asked for; name one with --model`);
  }
  const engines = await openEngines(options.engine, { ...(options.threads && { threads: options.threads }) }, note);
  const started = performance.now();
  const reports: ModelReport[] = [];
  for (const model of models) {
    const report = await verifyModel(model, engines, options);
    reports.push(report);
    if (!options.json) await printReport(report, options);
    setExitCode(exitCodeOf(report.verdict));
  }
  const seconds = (performance.now() - started) / 1000;
  if (options.json) printJson({ verifications: reports, seconds });
  else if (models.length > 1) {
    const passed = reports.filter(({ verdict }) => verdict === 'pass').length;
    print(`${passed} of ${reports.length} networks pass, in ${seconds.toFixed(1)} s`);
  }
}

type Parameters_ = Parameters<typeof import('./subject.ts').loadSubject>[0];
type Engines = Awaited<ReturnType<typeof import('./subject.ts').openEngines>>;

async function verifyModel(model: Parameters_, engines: Engines, options: Options): Promise<ModelReport> {
  const [{ verify }, { randomInput }, { loadSubject, loadDeployWeights }, { progressLine }] = await Promise.all([
    import('../verify/verify.ts'),
    import('../weights/random.ts'),
    import('./subject.ts'),
    import('./progress-line.ts'),
  ]);
  const started = performance.now();
  const { fusion, weights, input, seed } = await loadSubject(model, options);
  const line = await progressLine();
  try {
    const { logits: _, ...verification } = await verify({
      fusion,
      weights,
      input,
      engines,
      probe: (shape, name) => randomInput(shape, seed, name),
      onProgress: (done, total, what) => line.show(`verify ${model.name}`, done, total, what),
      ...(options.deploy === undefined ? {} : { deployWeights: await loadDeployWeights(fusion, options.deploy) }),
      ...(options.region === undefined ? {} : { only: options.region }),
    });
    return { ...verification, seconds: (performance.now() - started) / 1000, seed, input: input.shape };
  } finally {
    line.clear();
  }
}

async function printReport(report: ModelReport, options: Options): Promise<void> {
  const { verificationTable } = await import('../report/verification-table.ts');
  print(verificationTable(report, (finding) => replay(report, finding, options)));
}

/** The command that checks the failing region alone, on the same weights and input. */
function replay({ model, seed, input }: ModelReport, { piece, engine }: Finding, options: Options): string {
  const [batch, , height, width] = input;
  const source = options.model?.[0] ?? model;
  const of = options.input === undefined ? ` --batch ${batch} --size ${height}x${width}` : ` --input ${options.input}`;
  const files = (['weights', 'deploy'] as const).map((name) =>
    options[name] === undefined ? '' : ` --${name} ${options[name]}`,
  );
  const named = source.endsWith('.json') ? source : model;
  const threads = options.threads === undefined ? '' : ` --threads ${options.threads}`;
  const on = engine === undefined ? '' : ` --engine ${engine}${threads}`;
  return `fuseproof verify --model ${named}${of} --seed ${seed}${files.join('')}${on} --region ${piece}`;
}

/** `fuseproof verify` */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('prove the deploy form equal to its train form, region by region, on every engine that is here')
    .option('--model <name>', 'published network, config file, or all; may be repeated (default: repvit_m0_9)', collect)
    .option('--engine <name>', 'only this engine; may be repeated (default: all that are here)', collect)
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--batch <n>', 'images (default: 1)', parseBatch)
    .option('--size <n>', 'height and width of the input in pixels, or HxW (default: as published)', parseSize)
    .option('--seed <n>', 'of the generated weights and input (default: 1)', parseSeed)
    .option('--weights <file>', 'train-form state dict (.safetensors), instead of generated weights')
    .option('--deploy <file>', 'deploy weights as stored (.safetensors): are they what the fuser makes?')
    .option('--input <file>', 'tensor input [N, C, H, W] (.safetensors), instead of a generated one')
    .option('--region <node>', 'only the region that this deploy node replaces')
    .option('--json', 'print the report as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runVerify);
}
