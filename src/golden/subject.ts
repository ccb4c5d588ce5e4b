import { join } from 'node:path';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuseWeights } from '../fused/fuse.ts';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { elements, type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { buildNetwork, parseConfig } from '../reference/config.ts';
import type { ModelConfig } from '../reference/families.ts';
import { variants } from '../reference/variants.ts';
import { checkWeights } from '../weights/check.ts';
import { randomInput, randomWeights } from '../weights/random.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import type { Golden } from './manifest.ts';

/** A golden's network as it is built here, on the golden's weights and input. */
export interface Subject {
  readonly golden: Golden;
  /** The published network's own config where the golden is of one, else the golden's. */
  readonly config: ModelConfig;
  /** Train form, on the golden's input. */
  readonly network: Network;
  readonly weights: Weights;
  readonly input: Tensor<Float32Array>;
}

/**
 * @throws InputError where the network cannot be built, or the stored weights are not its own
 */
export async function loadSubject(golden: Golden, folder: string): Promise<Subject> {
  const { stored, seed, input: size, name } = golden;
  const config = await configOf(golden);
  const network = buildNetwork(config, size, golden.model ?? name);
  if (stored === undefined) {
    if (seed === undefined) throw new InputError(`${name}: the manifest gives neither a seed nor stored weights`);
    const shape = network.nodes.find((node) => node.name === network.inputs[0])!.shape;
    return { golden, config, network, weights: randomWeights(network, seed), input: randomInput(shape, seed) };
  }
  const weights = await readSafetensors(join(folder, stored.weights));
  checkWeights(network, weights, stored.weights);
  const input = (await readSafetensors(join(folder, stored.images))).get('input');
  if (input === undefined) throw new InputError(`${stored.images}: has no tensor named input`);
  return { golden, config, network, weights, input: toFloat32(input) };
}

/**
 * The config that the network has here. A golden of a published network is of whatever this version publishes under its name.
 * @throws InputError where nothing is published under it, or the golden's is no config
 */
export async function configOf({ name, model, config }: Golden): Promise<ModelConfig> {
  if (model === undefined) return parseConfig(config, name);
  const variant = variants.find((published) => published.name === model);
  if (variant === undefined) throw new InputError(`${name}: no network is published as ${model} any more`);
  return variant.config;
}

/** One form of the network. */
export interface Form {
  readonly name: 'train' | ReturnType<typeof deployForms>[number]['name'];
  readonly network: Network;
  /** In float64 where they were fused. */
  readonly weights: Weights;
  /** What the other project calls this form. */
  readonly theirs: 'train' | 'deploy';
  /** How the form came from the train form, unless it is that. */
  readonly fusion?: Fusion;
}

/**
 * The train form, then each deploy form, one after another: the weights of several would fill the memory.
 * @param hasDeploy whether the other project has a fused form of it
 * @param names only these; all by default
 */
export function* formsOf(
  { network, weights }: Subject,
  hasDeploy: boolean,
  names?: readonly Form['name'][],
): Generator<Form> {
  if (names?.includes('train') ?? true) yield { name: 'train', network, weights, theirs: 'train' };
  for (const form of deployForms(network).filter(({ name }) => names?.includes(name) ?? true)) {
    const fusion = fuseTo(form, network);
    // timm fuses kernels of 3x3 only: for others its train form is the golden of both our forms.
    const theirs = hasDeploy ? 'deploy' : 'train';
    yield { name: form.name, network: fusion.network, weights: fuseWeights(fusion, weights), theirs, fusion };
  }
}

/** The nodes whose values leave each stage, by the stage's name. */
export function stagesOf(train: Network, { fusion }: Pick<Form, 'fusion'>): ReadonlyMap<string, string> {
  const last = new Map<string, string>();
  for (const { name } of train.nodes) {
    const stage = /^stages\.\d+(?=\.)/.exec(name)?.[0];
    if (stage !== undefined) last.set(stage, name);
  }
  if (fusion === undefined) return last;
  const deploy = new Map([...fusion.sameValue].map(([node, reference]) => [reference, node]));
  return new Map([...last].flatMap(([stage, node]) => (deploy.has(node) ? [[stage, deploy.get(node)!]] : [])));
}

/** The network and its input with the golden's first image before and behind another: batch 3. */
export function amongOthers({ golden, config, network, input }: Subject): {
  network: Network;
  input: Tensor<Float32Array>;
} {
  const { height, width } = golden.input;
  const size = elements(input.shape.slice(1));
  const first = input.data.subarray(0, size);
  const data = new Float32Array(3 * size);
  data.set(first, 0);
  // Of the same range, and another image.
  for (let i = 0; i < size; i++) data[size + i] = first[size - 1 - i]!;
  data.set(first, 2 * size);
  const shape = [3, ...input.shape.slice(1)];
  return { network: buildNetwork(config, { batch: 3, height, width }, network.name), input: { shape, data } };
}

/** The tensor of one image of several. */
export function image({ shape, data }: Tensor, index: number): Tensor {
  const size = elements(shape.slice(1));
  return { shape: [1, ...shape.slice(1)], data: data.subarray(index * size, (index + 1) * size) };
}
