import { basename } from 'node:path';
import {
  checkDeployWeights,
  readDeployCheckpoint,
  readTrainCheckpoint,
  sourceOf,
  type WeightsFile,
} from '../certify/checkpoint.ts';
import type { Engine, EngineOptions } from '../engines/engine.ts';
import { type AbsentEngine, openAvailable } from '../engines/index.ts';
import { type DeployForm, deployForms } from '../fused/forms.ts';
import { type Fusion, roundWeights } from '../fused/fuse.ts';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { formatShape, type Shape, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import { buildNetwork, type Model } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import type { Form } from '../reference/family.ts';
import { checkWeights } from '../weights/check.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import type { Size } from './options.ts';

/** What a user may say about the network to work on. */
export interface SubjectOptions {
  readonly batch?: number;
  readonly size?: Size;
  readonly seed?: number;
  /** Train-form checkpoint. */
  readonly weights?: string;
  /** Which state dict of it, where it holds several. */
  readonly stateDict?: string;
  /** Safetensors file with a tensor `input` [N, C, H, W]. */
  readonly input?: string;
}

/** A network with weights and an input, checked against each other. */
export interface Subject {
  readonly model: Model;
  readonly reference: Network;
  /** Of the reference network. */
  readonly weights: Weights;
  /** Where they are from; undefined where they were generated. */
  readonly source: WeightsFile | undefined;
  /** As given: an engine takes it rounded to float32. */
  readonly input: Tensor;
  /** The images' classes, where the input's file holds them. */
  readonly labels?: readonly number[];
  readonly seed: number;
}

/** The seed of every generated weight and input, unless another is given. */
export const DEFAULT_SEED = 1;

/**
 * Builds the network in the size of the input file, or as asked; reads its weights, or generates them.
 * @throws InputError where a file, the weights or the size does not fit the network
 */
export async function loadSubject(model: Model, options: SubjectOptions): Promise<Subject> {
  const seed = options.seed ?? DEFAULT_SEED;
  const given = options.input === undefined ? undefined : await readInput(options.input);
  const size = given === undefined ? chosenSize(model, options) : sizeOf(given.input.shape, options);
  const reference = buildNetwork(model.config, size, model.name);
  const expected = reference.nodes.find(({ name }) => name === reference.inputs[0])!.shape;
  const input = given?.input ?? randomInput(expected, seed);
  if (input.shape[1] !== expected[1]) {
    throw new InputError(
      `${options.input}: input has the shape ${formatShape(input.shape)}, but ${model.name} takes ${formatShape(expected)}`,
    );
  }
  const generated = () => ({ weights: randomWeights(reference, seed), source: undefined });
  const { weights, source } =
    options.weights === undefined
      ? generated()
      : await loadTrained(model, reference, options.weights, options.stateDict);
  return { model, reference, weights, source, input, ...(given?.labels && { labels: given.labels }), seed };
}

/**
 * The network of a trained checkpoint; tells which it is.
 * @throws InputError where it is none that is known, or several fit
 */
export async function recogniseModel(
  path: string,
  stateDict: string | undefined,
  tell: (line: string) => void,
): Promise<Model> {
  const { model } = await readTrainCheckpoint(path, { ...(stateDict !== undefined && { entry: stateDict }) });
  const traits = Object.entries(familyOf(model.config).traits(model.config)).map(([name, value]) => `${name} ${value}`);
  tell(`${basename(path)}: recognised as ${model.name} (${model.config.family}; ${traits.join('; ')})`);
  return model;
}

/**
 * The deploy form of a fused checkpoint; undefined where its keys are not of the network's family.
 * @throws InputError where it is not fused
 */
export async function formOfFile(model: Model, path: string): Promise<Form | undefined> {
  return (await readDeployCheckpoint(path, model)).form;
}

async function loadTrained(model: Model, reference: Network, path: string, stateDict: string | undefined) {
  const checkpoint = await readTrainCheckpoint(path, { model, ...(stateDict !== undefined && { entry: stateDict }) });
  checkWeights(reference, checkpoint.weights, basename(path), checkpoint.keyOf);
  return { weights: checkpoint.weights, source: sourceOf(checkpoint) };
}

/**
 * The network's deploy forms: the one of this name, or all.
 * @throws InputError where the network has no form of this name
 */
export function chosenForms(reference: Network, name: string | undefined): readonly DeployForm[] {
  const forms = deployForms(reference);
  const chosen = forms.filter((form) => name === undefined || form.name === name);
  if (chosen.length === 0) {
    const names = forms.map((form) => form.name).join(', ');
    throw new InputError(`${reference.name} has no form ${name}; its deploy forms are: ${names}`);
  }
  return chosen;
}

/**
 * The deploy form's weights as somebody stored them, in float32.
 * @throws InputError where the file holds another form
 */
export async function loadDeployWeights(
  { model }: Subject,
  fusion: Fusion,
  needed: Form,
  path: string,
): Promise<{ readonly weights: Weights<Float32Array>; readonly source: WeightsFile }> {
  const checkpoint = await readDeployCheckpoint(path, model);
  const { form, weights } = checkpoint;
  if (form !== undefined && form !== needed) {
    throw new InputError(`${basename(path)}: holds form ${form}, not ${needed}; say --form ${form}`);
  }
  checkDeployWeights(fusion.network, checkpoint);
  return { weights: roundWeights(weights), source: sourceOf(checkpoint) };
}

/**
 * The tensor `input` of a safetensors file, and `labels` [N] where it has them.
 * @throws InputError where there is no input, or one of another rank, or not a label for each image
 */
export async function readInput(
  path: string,
): Promise<{ readonly input: Tensor; readonly labels?: readonly number[] }> {
  const tensors = await readSafetensors(path);
  const tensor = tensors.get('input');
  if (tensor === undefined) throw new InputError(`${path}: has no tensor named input; it needs one, [N, C, H, W]`);
  if (tensor.shape.length !== 4) {
    throw new InputError(`${path}: input has the shape ${formatShape(tensor.shape)}; [N, C, H, W] is needed`);
  }
  const labels = tensors.get('labels');
  if (labels === undefined) return { input: tensor };
  if (!sameShape(labels.shape, [tensor.shape[0] ?? 0])) {
    throw new InputError(
      `${path}: labels has the shape ${formatShape(labels.shape)}; one for each image is needed, [${tensor.shape[0]}]`,
    );
  }
  return { input: tensor, labels: [...labels.data] };
}

function chosenSize(model: Model, { batch = 1, size }: SubjectOptions) {
  const { height = model.resolution, width = model.resolution } = size ?? {};
  return { batch, height, width };
}

function sizeOf(shape: Shape, { batch, size }: SubjectOptions) {
  if (batch !== undefined || size !== undefined) {
    throw new InputError('the input file decides the batch and the size; leave --batch and --size out');
  }
  const [n = 0, , height = 0, width = 0] = shape;
  return { batch: n, height, width };
}

/** Opens the engines asked for, or all that are here; tells of each absent one in a line. */
export async function openEngines(
  names: readonly string[] | undefined,
  options: EngineOptions,
  tell: (line: string) => void,
): Promise<readonly Engine[]> {
  const { engines, absent } = await openAvailable(names, options);
  for (const engine of absent) tell(absentLine(engine));
  return engines;
}

/** Opens the engines asked for; where none are, those of `usual` that are here, and tells of the others. */
export async function openDefaultEngines(
  names: readonly string[] | undefined,
  usual: readonly string[],
  options: EngineOptions,
  tell: (line: string) => void,
): Promise<readonly Engine[]> {
  if (names !== undefined) return openEngines(names, options, tell);
  const { engines, absent } = await openAvailable(undefined, options, usual);
  for (const engine of absent) tell(absentLine(engine));
  return engines;
}

export function absentLine({ name, reason, fix }: AbsentEngine): string {
  return `${name} is not here: ${reason}. ${fix}`;
}
