import { Command, Option } from 'commander';
import type { DeployForm } from '../fused/forms.ts';
import type { Network } from '../network/ops.ts';
import { type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { CHECKPOINT, parseBatch, parseSeed, parseSize, parseThreads } from './options.ts';
import { EXIT, note, print, printJson, setExitCode } from './output.ts';
import type { Subject, SubjectOptions } from './subject.ts';

const EXAMPLES = `
Examples:
  fuseproof run -m repvit_m0_9 --weights w.safetensors --input x.safetensors
  fuseproof run -m my-config.json --form deploy -e onnxruntime -o y.safetensors`;

interface Options extends SubjectOptions {
  readonly model?: string;
  readonly form: 'train' | DeployForm['name'];
  readonly engine: string;
  readonly threads?: number;
  readonly unrounded?: boolean;
  readonly output?: string;
  readonly json?: boolean;
}

/** The oracle's name among the engines. */
const ORACLE = 'float64';

/** Classes that the summary shows, best first. */
const BEST = 5;

/** Images whose classes it shows. */
const IMAGES_SHOWN = 20;

async function runRun(options: Options): Promise<void> {
  const [{ resolveModel }, { InputError }, { loadSubject, recogniseModel }, { sourceLine }] = await Promise.all([
    import('../reference/config.ts'),
    import('../network/errors.ts'),
    import('./subject.ts'),
    import('../certify/checkpoint.ts'),
  ]);
  const { model: given, weights, stateDict } = options;
  if (given === undefined && weights === undefined) {
    throw new InputError('neither a network nor weights; give --model, or --weights of a network that is recognised');
  }
  const model = given === undefined ? await recogniseModel(weights!, stateDict, note) : await resolveModel(given);
  if (options.unrounded && (options.engine !== ORACLE || options.form === 'train')) {
    throw new InputError(
      `--unrounded with --form ${options.form} --engine ${options.engine}: only a deploy form on ${ORACLE} keeps weights in float64`,
    );
  }
  const subject = await loadSubject(model, options);
  if (subject.source !== undefined) note(sourceLine(subject.source, 'weights'));
  const logits = await computeLogits(subject, options);
  if (options.output !== undefined) await writeLogits(logits, options.output);
  const { name } = subject.model;
  if (!logits.data.every(Number.isFinite)) {
    note(`${name}: not all logits are finite; check the scale of the weights and of the input`);
    setExitCode(EXIT.inconclusive);
  }
  const [images = 0, classes = 0] = logits.shape;
  const perImage = Array.from({ length: images }, (_, image) => [
    ...logits.data.subarray(image * classes, (image + 1) * classes),
  ]);
  const ranked = perImage.map((row) => row.map((_, index) => index).sort((a, b) => row[b]! - row[a]! || a - b));
  const { labels } = subject;
  const right = labels?.filter((label, image) => ranked[image]?.[0] === label).length;
  const accuracy = right === undefined ? {} : { right, accuracy: right / images };
  if (options.json) {
    const { form, engine } = options;
    printJson({ model: name, form, engine, shape: logits.shape, ...accuracy, logits: perImage });
    return;
  }
  print(`${name}, ${options.form} form, ${options.engine}: logits [${logits.shape.join(', ')}]`);
  for (const [image, order] of ranked.slice(0, IMAGES_SHOWN).entries()) {
    const best = order.slice(0, BEST).map((index) => `class ${index} ${perImage[image]![index]!.toPrecision(6)}`);
    print(`  image ${image}: ${best.join(', ')}`);
  }
  if (images > IMAGES_SHOWN) print(`  and ${images - IMAGES_SHOWN} more images; --json lists all`);
  if (right !== undefined)
    print(`  ${right} of ${images} images are of their label: ${((100 * right) / images).toFixed(2)} %`);
  if (options.output !== undefined) note(`Written: ${options.output}`);
}

async function computeLogits(subject: Subject, options: Options): Promise<Tensor> {
  const { input } = subject;
  const { network, weights } = await networkOf(subject, options);
  if (options.engine === ORACLE) {
    const inputs = new Map(network.inputs.map((name) => [name, input]));
    const { evaluateFloat64 } = await import('../interpreters/float64.ts');
    return (await evaluateFloat64(network, weights, inputs)).get(network.output)!;
  }
  const { openEngines } = await import('./subject.ts');
  const [engine] = await openEngines([options.engine], { ...(options.threads && { threads: options.threads }) }, note);
  const loaded = await engine!.load(network, weights);
  try {
    return await loaded.run(new Map(network.inputs.map((name) => [name, toFloat32(input)])));
  } finally {
    await loaded.dispose();
  }
}

/** The form that is asked for, with its weights. */
async function networkOf(
  { reference, weights }: Subject,
  { form: name, unrounded }: Options,
): Promise<{ readonly network: Network; readonly weights: Weights }> {
  if (name === 'train') return { network: reference, weights };
  const [{ fuseTo }, { fuseAndRound, fuseWeights }, { chosenForms }] = await Promise.all([
    import('../fused/forms.ts'),
    import('../fused/fuse.ts'),
    import('./subject.ts'),
  ]);
  const fusion = fuseTo(chosenForms(reference, name)[0]!, reference);
  return { network: fusion.network, weights: unrounded ? fuseWeights(fusion, weights) : fuseAndRound(fusion, weights) };
}

async function writeLogits(logits: Tensor, path: string): Promise<void> {
  const [{ encodeSafetensors }, { writeFileAtomically }] = await Promise.all([
    import('../weights/safetensors.ts'),
    import('../weights/write-file.ts'),
  ]);
  await writeFileAtomically(path, encodeSafetensors(new Map([['logits', logits]])));
}

/** `fuseproof run` */
export function runCommand(): Command {
  return new Command('run')
    .description('compute logits of the train or the deploy form on your own weights and input')
    .option('-m, --model <name>', 'published network, or a config file (.json); default: the one of the weights')
    .option('--weights <file>', `${CHECKPOINT}; default: generated from the seed`)
    .option('--state-dict <name>', 'which one of the weights file, where it holds several: model_ema, say')
    .option(
      '--input <file>',
      'tensor input [N, C, H, W] (.safetensors), and labels [N] if you like; default: generated',
    )
    .addOption(
      new Option('--form <form>', 'form of the network; deploy-official is RepMLPNet after locality_injection()')
        .choices(['train', 'deploy-official', 'deploy'])
        .default('train'),
    )
    .option('-e, --engine <name>', `${ORACLE} (the oracle) or an engine that doctor lists`, ORACLE)
    .option(
      '--unrounded',
      `keep the deploy weights in float64 (${ORACLE} only); as shipped they are rounded to float32`,
    )
    .option('-o, --output <file>', 'write tensor logits [N, classes] (.safetensors)')
    .option('--threads <n>', 'threads of an engine that can use several', parseThreads)
    .option('--batch <n>', 'images of a generated input (default: 1)', parseBatch)
    .option('--size <n>', 'height and width of a generated input in pixels, or HxW', parseSize)
    .option('--seed <n>', 'of what is generated (default: 1)', parseSeed)
    .option('--json', 'print the logits as JSON')
    .addHelpText('after', EXAMPLES)
    .action(runRun);
}
