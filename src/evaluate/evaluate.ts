/** Accuracy of the train and the deploy form on a folder of images, and whether they agree. */
import { basename } from 'node:path';
import { readTrainCheckpoint, sourceLine } from '../certify/checkpoint.ts';
import { fuseModel } from '../certify/proof.ts';
import { readFiles } from '../certify/verify-files.ts';
import { type Engine, type LoadedNetwork, UnsupportedOp } from '../engines/engine.ts';
import type { DeployForm } from '../fused/forms.ts';
import { roundWeights } from '../fused/fuse.ts';
import { operationsOf } from '../interpreters/magnitude.ts';
import { InputError } from '../network/errors.ts';
import { withBatch } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { gamma } from '../network/precision.ts';
import { formatShape, type Tensor, type Weights } from '../network/tensor.ts';
import { buildNetwork } from '../reference/config.ts';
import type { ModelConfig } from '../reference/families.ts';
import type { Preprocessing } from '../reference/family.ts';
import type { InputSize } from '../reference/size.ts';
import type { Verdict } from '../verify/compare.ts';
import { checkWeights } from '../weights/check.ts';
import { BrokenImage, openDecoder } from './decode.ts';
import { type FolderOptions, type LabelledImage, readImageFolder } from './folder.ts';
import { prefetch } from './prefetch.ts';
import { completePreprocessing, fitToInput, normalise } from './preprocess.ts';
import { type FormName, isNearTie, type Statistics, Tally } from './statistics.ts';

/** Images in one inference, unless another number is asked for. */
export const DEFAULT_BATCH = 8;

/** Images that may be ready ahead of the engine, at least and at most. */
const AHEAD = { least: 8, most: 64 };

export interface EvaluateRequest extends Omit<FolderOptions, 'classes'> {
  /** FOLDER/<class>/<image>, or images alone: then only agreement is counted. */
  readonly data: string;
  /** The network as trained: a checkpoint; with `deploy` also an ONNX file. */
  readonly reference: string;
  /** The network as fused, by whomever; fused here by default. */
  readonly deploy?: string;
  /** A published name or a config file, where the reference's keys and shapes alone do not say. */
  readonly model?: string;
  /** The state dict to read where the reference holds several. */
  readonly entry?: string;
  /** The deploy form that is fused here; the complete one by default. */
  readonly form?: DeployForm['name'];
  readonly engine: Engine;
  /** Images in one inference; {@link DEFAULT_BATCH} by default. */
  readonly batch?: number;
  /** Of the network's input, in pixels; by default what an ONNX file says, or the network's own resolution. */
  readonly size?: Pick<InputSize, 'height' | 'width'>;
  /** Where it differs from what the family's accuracies were published with. */
  readonly preprocessing?: Partial<Preprocessing>;
  /** Only so many images, evenly spaced over the folder. */
  readonly limit?: number;
  /** Told of what the files and the folder were found to be, before the work begins. */
  readonly onFound?: (line: string) => void;
  /** Told of each image that cannot be used. */
  readonly onBroken?: (broken: BrokenFile) => void;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** An image that cannot be used, and why. */
export interface BrokenFile {
  readonly file: string;
  readonly reason: string;
}

export interface Evaluation extends Statistics {
  readonly model: string;
  readonly form: string;
  readonly engine: { readonly name: string; readonly version: string; readonly device: string };
  readonly decoder: string;
  readonly data: string;
  /** Images in the folder, before `limit`. */
  readonly found: number;
  /** The class folders' names by index; undefined where the images are unlabelled. */
  readonly classNames: readonly string[] | undefined;
  readonly classes: number;
  /** Of the network's input, [N, C, H, W]. */
  readonly input: readonly number[];
  readonly preprocessing: Preprocessing;
  readonly broken: readonly BrokenFile[];
  /**
   * pass: the forms agree, but for near-ties that rounding explains. fail: they do not. inconclusive: no logit of the train
   * form is to be had for an image, or a disagreement cannot be judged.
   */
  readonly verdict: Verdict;
}

/**
 * Evaluates both forms.
 * @throws InputError where a file is bad, the folder's classes are not the network's, or no image can be read
 */
export async function evaluate(request: EvaluateRequest): Promise<Evaluation> {
  const { data, engine, limit, onProgress, onFound } = request;
  const decoder = await openDecoder();
  const forms = await readForms(request);
  for (const line of forms.found) onFound?.(line);
  const [, channels = 0, height = 0, width = 0] = inputShape(forms.train.network);
  if (channels !== 1 && channels !== 3) {
    throw new InputError(
      `${forms.model}: takes ${formatShape(inputShape(forms.train.network))}; images have 3 channels, or 1`,
    );
  }
  const preprocessing = completePreprocessing(forms.family, channels, request.preprocessing);
  const output = forms.train.network.nodes.find(({ name }) => name === forms.train.network.output)!;
  const classes = output.shape[1] ?? 0;
  const folder = await readImageFolder(data, { ...request, classes });
  if (folder.leftOut.length > 0) {
    onFound?.(`${data}: ${folder.leftOut.length} folders are not in the class map, and are left out`);
  }
  if (folder.classNames === undefined) {
    onFound?.(`${data}: images without class folders, so without labels: agreement is counted, accuracy is not`);
  }
  const images = spread(folder.images, limit);
  const batch = Math.min(request.batch ?? DEFAULT_BATCH, images.length);

  const tally = new Tally(allowanceOf(forms, engine));
  const broken: BrokenFile[] = [];
  const runs = await loadForms(engine, forms, batch);
  try {
    const size = channels * height * width;
    const input = { shape: [batch, channels, height, width], data: new Float32Array(batch * size) };
    let waiting: LabelledImage[] = [];
    const flush = async () => {
      if (waiting.length === 0) return;
      input.data.fill(0, waiting.length * size);
      // One after the other: each may use all cores.
      const rows = { train: await runs.train(input), deploy: await runs.deploy(input) };
      for (const [i, image] of waiting.entries()) {
        const of = (form: FormName) => rows[form].data.subarray(i * classes, (i + 1) * classes);
        tally.add(image, { train: of('train'), deploy: of('deploy') });
      }
      waiting = [];
    };
    const ahead = Math.min(AHEAD.most, Math.max(AHEAD.least, batch));
    const fit = (pixels: Parameters<typeof fitToInput>[0]) => fitToInput(pixels, { height, width }, preprocessing);
    let done = 0;
    onProgress?.(done, images.length, 'decoding');
    for await (const { image, pixels } of prefetch(images, decoder, channels, fit, ahead)) {
      done++;
      if (pixels instanceof BrokenImage) {
        const entry = { file: image.file, reason: pixels.message };
        broken.push(entry);
        request.onBroken?.(entry);
      } else {
        normalise(pixels, preprocessing, input.data, waiting.length * size);
        waiting.push(image);
        if (waiting.length === batch) await flush();
      }
      onProgress?.(done, images.length, image.file);
    }
    await flush();
  } finally {
    await runs.dispose();
  }
  const statistics = tally.result();
  if (statistics.images === 0) {
    const [{ file, reason } = { file: '', reason: '' }] = broken;
    throw new InputError(`${data}: none of ${images.length} images can be used; ${file}: ${reason}`);
  }
  const { name, version, device } = engine.info;
  return {
    model: forms.model,
    form: forms.form,
    engine: { name, version, device },
    decoder: decoder.name,
    data,
    found: folder.images.length,
    classNames: folder.classNames,
    classes,
    input: [batch, channels, height, width],
    preprocessing,
    broken,
    ...statistics,
    verdict: verdictOf(statistics),
  };
}

/** One form, with its weights in float32. */
interface EvaluatedForm {
  readonly network: Network;
  readonly weights: Weights<Float32Array>;
}

interface Forms extends Readonly<Record<FormName, EvaluatedForm>> {
  readonly model: string;
  readonly family: ModelConfig['family'] | undefined;
  readonly form: string;
  readonly found: readonly string[];
}

async function readForms({ reference, deploy, model, entry, form, size }: EvaluateRequest): Promise<Forms> {
  const hints = { ...(model !== undefined && { model }), ...(entry !== undefined && { entry }) };
  if (deploy !== undefined) {
    if (form !== undefined)
      throw new InputError(`form ${form}: the deploy file says which form it holds; leave it out`);
    const { trained, deployed, found } = await readFiles({ reference, deploy, ...hints, ...(size && { size }) });
    return {
      model: trained.model?.name ?? basename(reference),
      family: trained.model?.config.family,
      form: deployed.candidate.name,
      train: { network: trained.reference, weights: roundWeights(trained.weights) },
      deploy: { network: deployed.fusion.network, weights: deployed.weights },
      found,
    };
  }
  const checkpoint = await readTrainCheckpoint(reference, hints);
  const { name, config, resolution } = checkpoint.model;
  const { height, width } = size ?? { height: resolution, width: resolution };
  const input = { batch: 1, height, width };
  checkWeights(buildNetwork(config, input, name), checkpoint.weights, basename(reference), checkpoint.keyOf);
  const { fusion, weights, deployWeights, form: fused } = fuseModel(checkpoint.model, checkpoint.weights, form, input);
  return {
    model: name,
    family: config.family,
    form: fused,
    train: { network: fusion.reference, weights: roundWeights(weights) },
    deploy: { network: fusion.network, weights: deployWeights },
    found: [`${sourceLine(checkpoint, 'weights')}; ${name}`],
  };
}

function inputShape({ nodes, inputs }: Network): readonly number[] {
  return nodes.find(({ name }) => name === inputs[0])!.shape;
}

/** So many of them, evenly spaced: the first ones would be of the first classes. */
function spread(images: readonly LabelledImage[], limit: number | undefined): readonly LabelledImage[] {
  if (limit === undefined || limit >= images.length) return images;
  return Array.from({ length: limit }, (_, i) => images[Math.floor((i * images.length) / limit)]!);
}

/**
 * How far rounding may move the difference of two logits from one form to the other, as a share of the largest logit. Each
 * of the four logits is off by gamma_K of it, K being the rounded operations on the way: in first order, and as long as the
 * network makes no relative error larger. It tells near-ties from wrong fusions; proof is what verify gives.
 */
function allowanceOf({ train, deploy }: Forms, { info }: Engine): number | undefined {
  if (info.precision === undefined) return undefined;
  const { unitRoundoff } = info.precision;
  const [a, b] = [train, deploy].map(({ network }) => gamma(operationsOf(network), unitRoundoff));
  return 2 * (a! + b!);
}

type Run = (input: Tensor<Float32Array>) => ReturnType<LoadedNetwork['run']>;

async function loadForms(
  engine: Engine,
  forms: Forms,
  batch: number,
): Promise<Readonly<Record<FormName, Run>> & { readonly dispose: () => Promise<void> }> {
  const loaded: LoadedNetwork[] = [];
  const dispose = async () => {
    for (const each of loaded) await each.dispose();
  };
  const load = async ({ network, weights }: EvaluatedForm): Promise<Run> => {
    const sized = withBatch(network, batch);
    const run = await engine.load(sized, weights);
    loaded.push(run);
    return (input) => run.run(new Map(sized.inputs.map((name) => [name, input])));
  };
  try {
    return { train: await load(forms.train), deploy: await load(forms.deploy), dispose };
  } catch (error) {
    await dispose();
    if (!(error instanceof UnsupportedOp)) throw error;
    throw new InputError(`engine ${engine.info.name}: ${error.message}; give another engine`);
  }
}

function verdictOf({ disagreements, notFinite }: Statistics): Verdict {
  const hidden = new Set(notFinite.train);
  const judged = disagreements.map(isNearTie);
  if (judged.includes(false) || notFinite.deploy.some((file) => !hidden.has(file))) return 'fail';
  return judged.includes(undefined) || hidden.size > 0 ? 'inconclusive' : 'pass';
}
