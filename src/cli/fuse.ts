import { Command, InvalidArgumentError, Option } from 'commander';
import type { ArtefactOptions, Format } from '../certify/artefact.ts';
import type { FusedFile } from '../certify/fuse-file.ts';
import { quoted } from '../certify/shell.ts';
import type { DeployForm } from '../fused/forms.ts';
import type { Finding } from '../verify/verify.ts';
import { collect, parseBatch, parseSeed, parseSize, parseThreads, type Size } from './options.ts';
import { exitCodeOf, note, print, printJson, setExitCode } from './output.ts';

const EXAMPLES = `
The output's name says its format: .safetensors, .pth or .pt (weights, under the
keys of timm's and the originals' own fused models), .onnx, or a folder without
extension (TensorFlow.js graph model, input [N, H, W, C]). Beside it stands
OUT.certificate.json, which "fuseproof check" tries again. Nothing is written
unless every tier passes.

Examples:
  fuseproof fuse trained.pth -o fused.safetensors
  fuseproof fuse trained.pth -o fused.onnx --opset 17 --dynamic-batch
  fuseproof fuse trained.safetensors -o web-model --model my-config.json`;

interface Options extends ArtefactOptions {
  readonly output: string;
  readonly format?: Format;
  readonly model?: string;
  readonly stateDict?: string;
  readonly form?: DeployForm['name'];
  readonly batch?: number;
  readonly size?: Size;
  readonly seed?: number;
  readonly engine?: string[];
  readonly threads?: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Engines that try the deploy form unless others are asked for; those of them that are here. */
const DEFAULT_ENGINES = ['onnxruntime', 'wasm'];

async function runFuse(input: string, options: Options): Promise<void> {
  const [{ fuseFile, certificatePathOf }, { formatOf }, { progressLine }, { openDefaultEngines }] = await Promise.all([
    import('../certify/fuse-file.ts'),
    import('../certify/artefact.ts'),
    import('./progress-line.ts'),
    import('./subject.ts'),
  ]);
  const { output, model, form, batch, size, seed, force, opset, dynamicBatch, inputName, outputName } = options;
  const format = options.format ?? formatOf(output);
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const engines = await openDefaultEngines(options.engine, DEFAULT_ENGINES, threads, note);
  const line = await progressLine();
  const started = performance.now();
  const task = `fuse ${input}`;
  const made = await fuseFile({
    input,
    output,
    format,
    engines,
    size: { ...(batch !== undefined && { batch }), ...size },
    options: {
      ...(opset !== undefined && { opset }),
      ...(dynamicBatch !== undefined && { dynamicBatch }),
      ...(inputName !== undefined && { inputName }),
      ...(outputName !== undefined && { outputName }),
    },
    ...(model !== undefined && { model }),
    ...(options.stateDict !== undefined && { entry: options.stateDict }),
    ...(form !== undefined && { form }),
    ...(seed !== undefined && { seed }),
    ...(force !== undefined && { force }),
    onProgress: (done, total, what) => line.show({ task, done, total, what }),
  }).finally(() => line.clear());
  const { verification } = made.proof;
  setExitCode(exitCodeOf(verification.verdict));
  const { logits: _, ...report } = verification;
  if (options.json) {
    printJson(made.certificate ?? report);
  } else {
    const { verificationTable } = await import('../report/verification-table.ts');
    const seconds = (performance.now() - started) / 1000;
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
    print(
      verificationTable({ ...report, seconds, peakMemoryBytes }, (finding) => replay(input, made, finding, options)),
    );
    if (made.certificate !== undefined) {
      const { wrap } = await import('../report/text.ts');
      print(wrap(made.certificate.claim, '  claim: ', '    '));
    }
  }
  if (made.certificate === undefined) note('nothing is written: not every tier passes');
  else note(`Written: ${output}, ${certificatePathOf(output)}`);
}

/** The command that checks the failing region alone, of the same weights and input; nothing was written that could be tried. */
function replay(input: string, { proof }: FusedFile, { tier, piece, engine }: Finding, options: Options): string {
  const { model, stateDict } = options;
  const [batch, , height, width] = proof.input;
  return [
    `npx fuseproof verify --weights ${quoted(input)}`,
    ...(model === undefined ? [] : [`--model ${quoted(model)}`]),
    ...(stateDict === undefined ? [] : [`--state-dict ${quoted(stateDict)}`]),
    `--batch ${batch} --size ${height}x${width} --seed ${proof.seed} --form ${proof.form}`,
    ...(engine === undefined ? [] : [`--engine ${engine}`]),
    ...(engine === undefined || options.threads === undefined ? [] : [`--threads ${options.threads}`]),
    // The exact tier's regions are those of a small network of the same make.
    `--tier ${tier}${tier === 'exact' ? '' : ` --region ${piece}`}`,
  ].join(' ');
}

function parseOpset(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError('It must be a whole number, such as 17.');
  return Number(text);
}

/** `fuseproof fuse` */
export function fuseCommand(): Command {
  return new Command('fuse')
    .description('fuse a training checkpoint, prove the result, and write both: the deploy file and its certificate')
    .argument('<in>', 'train-form checkpoint')
    .requiredOption('-o, --output <out>', 'the deploy file, or a folder for TensorFlow.js')
    .option('-m, --model <name>', 'published network, or a config file (.json), where the checkpoint does not say')
    .option('--state-dict <name>', 'which state dict, where the checkpoint holds several (model_ema, say)')
    .addOption(
      new Option('--format <format>', 'where the name of the output does not say').choices([
        'safetensors',
        'pth',
        'onnx',
        'tfjs',
      ]),
    )
    .addOption(
      new Option(
        '--form <form>',
        'deploy form; default: deploy, but for RepMLPNet in .safetensors or .pth deploy-official, which PyTorch code loads',
      ).choices(['deploy-official', 'deploy']),
    )
    .option('--opset <n>', 'ONNX: version of the operator set, 13 to 23 (default: 20)', parseOpset)
    .option('--dynamic-batch', 'graphs: leave the number of images open')
    .option('--input-name <name>', 'graphs: name of the input (default: input)')
    .option('--output-name <name>', 'graphs: name of the output (default: logits)')
    .option('--batch <n>', 'images of a graph whose batch is fixed (default: 1)', parseBatch)
    .option('--size <n>', "height and width of a graph's input in pixels, or HxW (default: as published)", parseSize)
    .option(
      '-e, --engine <names...>',
      `engines that try the result (default: ${DEFAULT_ENGINES.join(', ')}, where they are here)`,
      collect,
    )
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--seed <n>', 'of the input that engines are tried on (default: 1)', parseSeed)
    .option('--force', 'replace what is there')
    .option('--json', 'print the certificate as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runFuse);
}
