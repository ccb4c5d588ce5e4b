import { Command, InvalidArgumentError, Option } from 'commander';
import type { BrokenFile } from '../evaluate/evaluate.ts';
import type { ClassOrder } from '../evaluate/folder.ts';
import type { DeployForm } from '../fused/forms.ts';
import type { Interpolation } from '../reference/family.ts';
import { collect, parseBatch, parseSize, parseThreads, type Size } from './options.ts';
import { EXIT, exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

const EXAMPLES = `
FOLDER holds a folder for each class, in the order of the network's classes, and
the images in them: FOLDER/<class>/<image>. Where it holds images alone, only
the agreement of both forms is counted. Images are resized, cropped and
normalised as timm's evaluation does, to the bit.

Exit codes: 1 where the forms disagree on an image by more than rounding
explains, 2 where an image cannot be used (unless --skip-broken).

Examples:
  fuseproof evaluate trained.pth --data imagenet/val
  fuseproof evaluate trained.pth --data imagenet/val --limit 1000 -e wasm
  fuseproof evaluate --reference trained.pth --deploy fused.onnx --data photos`;

interface Options {
  readonly data: string;
  readonly reference?: string;
  readonly deploy?: string;
  readonly model?: string;
  readonly stateDict?: string;
  readonly form?: DeployForm['name'];
  readonly engine?: string;
  readonly threads?: number;
  readonly batch?: number;
  readonly size?: Size;
  readonly limit?: number;
  readonly classMap?: string;
  readonly classOrder?: ClassOrder;
  readonly cropPct?: number;
  readonly interpolation?: Interpolation;
  readonly mean?: number[];
  readonly std?: number[];
  readonly skipBroken?: boolean;
  readonly json?: boolean;
}

/** Engines in the order in which they are tried, unless one is asked for. */
const DEFAULT_ENGINES = ['onnxruntime', 'wasm'];

/** Broken images named in a line each. */
const BROKEN_NAMED = 20;

async function runEvaluate(checkpoint: string | undefined, options: Options): Promise<void> {
  const [{ evaluate }, { InputError }, { openDefaultEngines }, { progressLine }, { shown }] = await Promise.all([
    import('../evaluate/evaluate.ts'),
    import('../network/errors.ts'),
    import('./subject.ts'),
    import('./progress-line.ts'),
    import('../report/evaluation-table.ts'),
  ]);
  const { data, deploy, model, stateDict, form, batch, size, limit, classMap, classOrder } = options;
  if (checkpoint !== undefined && options.reference !== undefined) {
    throw new InputError(`both ${checkpoint} and --reference name the trained file; give one of them`);
  }
  const reference = checkpoint ?? options.reference;
  if (reference === undefined) {
    throw new InputError('no network; give the trained checkpoint: fuseproof evaluate trained.pth --data FOLDER');
  }
  const asked = options.engine === undefined ? undefined : [options.engine];
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const [engine] = await openDefaultEngines(asked, DEFAULT_ENGINES, threads, note);
  if (engine === undefined) throw new InputError('no engine is here; fuseproof doctor says what would mend them');
  const { cropPct, interpolation, mean, std } = options;
  const line = await progressLine();
  let named = 0;
  const onBroken = ({ file, reason }: BrokenFile) => {
    if (named++ >= BROKEN_NAMED) return;
    line.clear();
    note(`${shown(file)}: ${reason}`);
  };
  const started = performance.now();
  const task = `evaluate ${data}`;
  const evaluation = await evaluate({
    data,
    reference,
    engine,
    ...(deploy !== undefined && { deploy }),
    ...(model !== undefined && { model }),
    ...(stateDict !== undefined && { entry: stateDict }),
    ...(form !== undefined && { form }),
    ...(batch !== undefined && { batch }),
    ...(size !== undefined && { size }),
    ...(limit !== undefined && { limit }),
    ...(classMap !== undefined && { classMap }),
    ...(classOrder !== undefined && { classOrder }),
    preprocessing: {
      ...(cropPct !== undefined && { cropPct }),
      ...(interpolation !== undefined && { interpolation }),
      ...(mean !== undefined && { mean }),
      ...(std !== undefined && { std }),
    },
    onFound: note,
    onBroken,
    onProgress: (done, total, what) => line.show({ task, done, total, what: shown(what) }),
  }).finally(() => line.clear());
  if (named > BROKEN_NAMED) note(`and ${named - BROKEN_NAMED} more images that cannot be used; --json lists all`);
  setExitCode(exitCodeOf(evaluation.verdict));
  if (evaluation.broken.length > 0 && !options.skipBroken) setExitCode(EXIT.usage);
  const seconds = (performance.now() - started) / 1000;
  if (options.json) {
    printJson({ ...evaluation, seconds });
    return;
  }
  const { evaluationTable } = await import('../report/evaluation-table.ts');
  print(evaluationTable(evaluation, seconds));
}

function parseLimit(text: string): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('It must be a whole number from 1.');
  return Number(text);
}

function parseDecimal(text: string): number {
  if (!/^-?(\d+\.?\d*|\.\d+)(e-?\d+)?$/i.test(text))
    throw new InvalidArgumentError('It must be a number, such as 0.5.');
  return Number(text);
}

function parseDecimals(text: string, before: readonly number[] | undefined): number[] {
  return [...(before ?? []), ...collect(text, undefined).map(parseDecimal)];
}

/** `fuseproof evaluate` */
export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('top-1 and top-5 of the train and the deploy form on a folder of images, and whether they agree')
    .argument('[checkpoint]', 'train-form checkpoint, which is fused here')
    .requiredOption('--data <folder>', 'FOLDER/<class>/<image>, or images alone')
    .option('--reference <file>', 'the trained file, where --deploy gives the fused one: checkpoint or ONNX')
    .option('--deploy <file>', 'the fused file, whoever fused it: checkpoint or ONNX')
    .option('-m, --model <name>', 'published network, or a config file (.json), where the checkpoint does not say')
    .option('--state-dict <name>', 'which state dict, where the checkpoint holds several (model_ema, say)')
    .addOption(
      new Option('--form <form>', 'deploy form that is fused here (default: deploy)').choices([
        'deploy-official',
        'deploy',
      ]),
    )
    .option('-e, --engine <name>', `engine that computes both (default: ${DEFAULT_ENGINES.join(', else ')})`)
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--batch <n>', 'images in one inference (default: 8)', parseBatch)
    .option('--limit <n>', 'only so many images, evenly spaced over the folder', parseLimit)
    .option('--class-map <file>', 'text file, as for timm: the folder of class 0 in line 1, and so on')
    .addOption(
      new Option(
        '--class-order <order>',
        'who sorted the folders, where that differs: torchvision (1, 10, 2) or timm (1, 2, 10)',
      ).choices(['torchvision', 'timm']),
    )
    .option('--size <n>', 'height and width of the input in pixels, or HxW (default: as published)', parseSize)
    .option(
      '--crop-pct <share>',
      "the input's share of the resized image (default: RepViT 0.95, RepMLPNet 1, else 0.875)",
      parseDecimal,
    )
    .addOption(
      new Option('--interpolation <name>', 'of resizing (default: bicubic, RepMLPNet bilinear)').choices([
        'bicubic',
        'bilinear',
      ]),
    )
    .option('--mean <values>', "for each channel, with commas between (default: ImageNet's)", parseDecimals)
    .option('--std <values>', "for each channel, with commas between (default: ImageNet's)", parseDecimals)
    .option('--skip-broken', 'images that cannot be used are left out, and are no error')
    .option('--json', 'print the evaluation as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runEvaluate);
}
