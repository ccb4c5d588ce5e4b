import { basename } from 'node:path';
import { writeOnnx } from '../artefacts/onnx.ts';
import { looksLikeOnnx, type OnnxFile, parseOnnxFile } from '../artefacts/onnx-file.ts';
import { networkOfOnnx, type OnnxNetwork } from '../artefacts/onnx-network.ts';
import type { Engine } from '../engines/engine.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuse, fuseAndRound, type Keeps, roundWeights } from '../fused/fuse.ts';
import type { Rule } from '../fused/rule.ts';
import { convBatchNorm } from '../fused/rules/conv-batch-norm.ts';
import { localityInjection } from '../fused/rules/locality-injection.ts';
import { setLinearBatchNorm } from '../fused/rules/set-linear-batch-norm.ts';
import { InputError, MismatchError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { buildMiniature, buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import { type Finding, TIERS, type Tier, type Verification, verify } from '../verify/verify.ts';
import { checkWeights } from '../weights/check.ts';
import { randomInput } from '../weights/random.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { align, alignedWeights } from './align.ts';
import { checkDeployWeights, readDeployCheckpoint, readTrainCheckpoint, sourceLine } from './checkpoint.ts';

/** Two files that are held against each other. */
export interface VerifyFilesRequest {
  /** The network as trained: a checkpoint, or an ONNX file. */
  readonly reference: string;
  /** The network as fused, by whomever. */
  readonly deploy: string;
  /** A published name or a config file, where the reference's keys and shapes alone do not say. */
  readonly model?: string;
  /** The state dict to read where the reference holds several. */
  readonly entry?: string;
  /** Of the input; by default what an ONNX file says, or one image at the network's own resolution. */
  readonly size?: Partial<InputSize>;
  /** Instead of a generated input, [N, C, H, W]. */
  readonly input?: Tensor;
  readonly engines: readonly Engine[];
  /** By default all but `weights`: whoever fused the deploy file need not have rounded as we do. */
  readonly tiers?: readonly Tier[];
  readonly seed?: number;
  /** Only the region that this deploy node replaces. */
  readonly only?: string;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** What was found of the weights of one deploy node. */
export interface Layer {
  readonly node: string;
  /** The deploy file's own name of it, where that is another. */
  readonly given?: string;
  readonly verdict: Finding['comparison']['verdict'];
  /** Largest distance from the exact value, in units in the last place of float32. */
  readonly ulps: number;
  /** Entries that are the exact value, correctly rounded, and those that are not. */
  readonly correctly: number;
  readonly otherwise: number;
}

export interface FilesVerification extends Verification {
  /** Node by node, in topological order. */
  readonly layers: readonly Layer[];
  /** What the two files were found to be, in a sentence each. */
  readonly found: readonly string[];
  /** Of the input, [N, C, H, W]. */
  readonly input: readonly number[];
  readonly seed: number;
}

const NEEDED = 'a checkpoint (.pth, .pt, .safetensors or its .index.json) or an ONNX file';

/** What the reference is verified against by default. */
export const DEFAULT_TIERS: readonly Tier[] = TIERS.filter((tier) => tier !== 'weights');

/** A form that a file may hold: how the reference becomes it. */
export interface Candidate {
  readonly name: string;
  readonly fusion: (reference: Network) => Fusion;
}

/** Batch norms that an exporter folds into the convolutions before them; it leaves the others. */
const EXPORTED: Keeps = () => true;

function exported(name: string, rules: readonly Rule[]): Candidate {
  return { name, fusion: (reference) => fuse(reference, rules, EXPORTED) };
}

/** Forms in which PyTorch's exporters may have written a network, the most fused first. */
function candidates(reference: Network): readonly Candidate[] {
  const forms = [...deployForms(reference)].reverse();
  return [
    ...forms.map((form): Candidate => ({ name: form.name, fusion: (network) => fuseTo(form, network) })),
    ...(forms.length > 1
      ? [exported('deploy-official, as exported', [setLinearBatchNorm, localityInjection, convBatchNorm])]
      : []),
    exported('train, as exported', [convBatchNorm]),
    exported('train', []),
  ];
}

async function readOnnx(
  path: string,
  size: Partial<InputSize>,
): Promise<(OnnxNetwork & { readonly about: string }) | undefined> {
  const bytes = await readWholeFile(path, NEEDED);
  if (!looksLikeOnnx(bytes)) return undefined;
  const file = await parseOnnxFile(bytes, path);
  const about = `${basename(path)}: ONNX by ${file.producer || 'nobody named'}, opset ${file.opset}, ${file.nodes.length} nodes`;
  return { ...networkOfOnnx(file, basename(path), size), about };
}

function inputShape({ nodes }: Network): readonly number[] {
  return nodes[0]!.shape;
}

/**
 * Holds two files against each other, whoever fused: structure, weights layer by layer, then engines and the whole.
 * @throws InputError where a file cannot be read; MismatchError where the two do not fit each other: it names the nodes
 */
export async function verifyFiles(request: VerifyFilesRequest): Promise<FilesVerification> {
  const { engines, seed = 1, onProgress, only } = request;
  const given = request.input?.shape;
  const size = {
    ...request.size,
    ...(given !== undefined && { batch: given[0]!, height: given[2]!, width: given[3]! }),
  };
  const read = await readFiles({ ...request, size });
  const { trained, deployed: deploy } = read;
  const { reference, weights } = trained;
  const found = [...read.found];

  const input = toFloat32(request.input ?? randomInput(inputShape(reference), seed));
  const findings: Finding[] = [];
  const isKnown = trained.model !== undefined;
  const wanted = request.tiers ?? DEFAULT_TIERS;
  // The exact tier needs a small network of the same make.
  const tiers = isKnown ? wanted : wanted.filter((tier) => tier !== 'exact');
  if (!isKnown) {
    found.push(
      'what the exporter of the reference folded, it rounded: single units may be its own; a checkpoint has none',
    );
  }
  if (!isKnown && wanted.includes('exact'))
    found.push('the exact tier is left out: an ONNX file names no network to make a small one of');
  const miniature =
    trained.model === undefined ? undefined : deploy.candidate.fusion(buildMiniature(trained.model.config));
  const verification = await verify({
    fusion: deploy.fusion,
    form: deploy.candidate.name,
    weights,
    deployWeights: deploy.weights,
    input,
    engines,
    seed,
    tiers,
    probe: (shape, name) => randomInput(shape, seed, name),
    onFinding: (finding) => {
      if (finding.tier === 'basis') findings.push(finding);
    },
    ...(miniature && { miniature }),
    ...(only !== undefined && { only }),
    ...(onProgress && { onProgress }),
  });
  const layers = layersOf(findings, deploy.givenName);
  return { ...verification, layers, found, input: input.shape, seed };
}

/** Both files, and what they were found to be, in a sentence each. */
export interface ReadFiles {
  readonly trained: Trained;
  readonly deployed: Deployed;
  readonly found: readonly string[];
}

/**
 * Reads two files of one network.
 * @throws InputError as {@link verifyFiles}
 */
export async function readFiles(
  request: Pick<VerifyFilesRequest, 'reference' | 'deploy' | 'model' | 'entry' | 'size'>,
): Promise<ReadFiles> {
  const size = request.size ?? {};
  const trained = await readReference(request, size);
  const deployed = await readDeploy(request.deploy, trained, size);
  return { trained, deployed, found: [trained.about, deployed.about] };
}

export interface Trained {
  readonly reference: Network;
  readonly weights: Weights;
  readonly model?: Model;
  readonly about: string;
}

async function readReference(
  { reference: path, deploy, model: named, entry }: Parameters<typeof readFiles>[0],
  size: Partial<InputSize>,
): Promise<Trained> {
  const onnx = await readOnnx(path, size);
  if (onnx !== undefined) return { reference: onnx.network, weights: onnx.weights, about: onnx.about };
  const checkpoint = await readTrainCheckpoint(path, {
    ...(named !== undefined && { model: named }),
    ...(entry !== undefined && { entry }),
  });
  const { model, weights, keyOf } = checkpoint;
  // A graph has a size of its own.
  const graph = await graphSize(deploy);
  const whole = (axis: number, otherwise: number) => {
    const length = graph[axis];
    return typeof length === 'number' ? length : otherwise;
  };
  const [batch, height, width] = [whole(0, 1), whole(2, model.resolution), whole(3, model.resolution)];
  const reference = buildNetwork(model.config, { batch, height, width, ...size }, model.name);
  checkWeights(reference, weights, basename(path), keyOf);
  return { reference, weights, model, about: `${sourceLine(checkpoint, 'weights')}; ${model.name}` };
}

/** The dimensions that an ONNX file gives its input; none of a checkpoint. */
async function graphSize(path: string): Promise<readonly (number | string | undefined)[]> {
  const bytes = await readWholeFile(path, NEEDED);
  return looksLikeOnnx(bytes) ? (await parseOnnxFile(bytes, path)).input.shape : [];
}

export interface Deployed {
  readonly candidate: Candidate;
  readonly fusion: Fusion;
  readonly weights: Weights<Float32Array>;
  readonly about: string;
  /** The file's own name of a deploy node. */
  readonly givenName: (node: string) => string | undefined;
}

async function readDeploy(path: string, trained: Trained, size: Partial<InputSize>): Promise<Deployed> {
  const [batch = 1, , height = 1, width = 1] = inputShape(trained.reference);
  const own = await ownExport(path, trained);
  if (own !== undefined) return own;
  const onnx = await readOnnx(path, { batch, height, width, ...size });
  if (onnx !== undefined) return alignDeploy(onnx, trained, path);
  if (trained.model === undefined) {
    throw new InputError(
      `${basename(path)}: a checkpoint against an ONNX reference; give the trained checkpoint as the reference, or an ONNX file here`,
    );
  }
  const checkpoint = await readDeployCheckpoint(path, trained.model);
  const { form, weights } = checkpoint;
  const known = candidates(trained.reference);
  const candidate = known.find(({ name }) => name === (form ?? 'deploy'));
  if (candidate === undefined)
    throw new InputError(`${basename(path)}: holds the form ${form}, which ${trained.model.name} has not`);
  const fusion = candidate.fusion(trained.reference);
  checkDeployWeights(fusion.network, checkpoint);
  const about = `${sourceLine(checkpoint, 'deploy')}; form ${candidate.name}`;
  return { candidate, fusion, weights: roundWeights(weights), about, givenName: () => undefined };
}

/**
 * A file that fuseproof itself wrote of a RepMLPNet holds constants that several weights went into: it is not read back, but
 * written again from the reference, and must be the same to the byte.
 */
async function ownExport(path: string, { reference, weights, model }: Trained): Promise<Deployed | undefined> {
  const bytes = await readWholeFile(path, NEEDED);
  const hasWindows = reference.nodes.some(({ op }) => op.kind === 'setLinear');
  if (model === undefined || !hasWindows || !looksLikeOnnx(bytes)) return undefined;
  const given = await parseOnnxFile(bytes, path);
  const { producer, opset, input, output } = given;
  if (producer !== 'fuseproof') return undefined;
  const options = {
    opset,
    dynamicBatch: typeof input.shape[0] !== 'number',
    inputName: input.name,
    outputName: output,
  };
  let other = 'its graph is another';
  for (const form of deployForms(reference)) {
    const fusion = fuseTo(form, reference);
    const deployWeights = fuseAndRound(fusion, weights);
    const made = writeOnnx(fusion.network, deployWeights, options);
    if (!bytes.equals(made)) {
      other = otherConstants(given, await parseOnnxFile(made, path)) ?? other;
      continue;
    }
    const about = `${basename(path)}: ONNX by fuseproof, opset ${opset}, form ${form.name}; the very bytes that the reference gives`;
    const candidate: Candidate = { name: form.name, fusion: (network) => fuseTo(form, network) };
    return { candidate, fusion, weights: deployWeights, about, givenName: () => undefined };
  }
  throw new MismatchError(
    `${basename(path)}: fuseproof wrote it, but not from this reference: ${other}\nFuse it again, or give the reference that it is of.`,
  );
}

/** Lines of a message on constants that differ. */
const SHOWN = 5;

/** In which constants two files of the same graph differ, a line each; undefined where they differ otherwise. */
function otherConstants(given: OnnxFile, made: OnnxFile): string | undefined {
  const graphs = [given, made].map(({ nodes }) =>
    JSON.stringify(nodes.map(({ attributes, ...node }) => [node, [...attributes]])),
  );
  if (graphs[0] !== graphs[1]) return undefined;
  const lines: string[] = [];
  for (const [name, { data }] of made.constants) {
    const found = given.constants.get(name)?.data;
    if (found?.length !== data.length) return undefined;
    const distances = Float64Array.from(data as ArrayLike<unknown>, (value, i) =>
      Math.abs(Number(found[i]) - Number(value)),
    );
    const count = distances.reduce((sum, distance) => sum + (distance > 0 ? 1 : 0), 0);
    if (count === 0) continue;
    const worst = distances.indexOf(distances.reduce((most, distance) => Math.max(most, distance)));
    lines.push(
      `  ${name}: ${count} of ${data.length} elements, the worst at ${worst}: ${found[worst]} for ${data[worst]}`,
    );
  }
  if (lines.length === 0) return undefined;
  const rest = lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more`] : [];
  return [`${lines.length} of ${made.constants.size} constants differ`, ...lines.slice(0, SHOWN), ...rest].join('\n');
}

/** Finds the form that an ONNX file holds, by its structure. */
function alignDeploy(
  { network, weights, names, about }: OnnxNetwork & { readonly about: string },
  { reference }: Trained,
  path: string,
): Deployed {
  const nameOf = (name: string) => names.get(name) ?? name;
  let nearest: { readonly name: string; readonly matched: number; readonly problems: readonly string[] } | undefined;
  for (const candidate of candidates(reference)) {
    const fusion = candidate.fusion(reference);
    const alignment = align(fusion.network, network, nameOf);
    if (alignment.problems.length === 0) {
      const aligned = alignedWeights(fusion.network, network, weights, alignment);
      if (aligned.problems.length === 0) {
        const givenName = (node: string) => {
          const name = nameOf(alignment.nodes.get(node) ?? node);
          return name === node ? undefined : name;
        };
        const rounded = roundWeights(aligned.weights);
        return { candidate, fusion, weights: rounded, about: `${about}, form ${candidate.name}`, givenName };
      }
      nearest ??= { name: candidate.name, matched: alignment.nodes.size, problems: aligned.problems };
      continue;
    }
    const matched = alignment.nodes.size;
    if (nearest === undefined || matched > nearest.matched)
      nearest = { name: candidate.name, matched, problems: alignment.problems };
  }
  throw new MismatchError(
    [
      `${basename(path)}: it is no form of ${reference.name}; nearest to it is ${nearest?.name}, but`,
      ...(nearest?.problems ?? []).map((problem) => `  ${problem}`),
    ].join('\n'),
  );
}

function layersOf(findings: readonly Finding[], givenName: (node: string) => string | undefined): readonly Layer[] {
  const byNode = new Map<string, Finding[]>();
  for (const finding of findings) byNode.set(finding.piece, [...(byNode.get(finding.piece) ?? []), finding]);
  return [...byNode].map(([node, of]) => {
    const roundings = of.flatMap(({ rounding }) => rounding ?? []);
    const given = givenName(node);
    const sum = (count: (rounding: (typeof roundings)[number]) => number) =>
      roundings.reduce((total, rounding) => total + count(rounding), 0);
    return {
      node,
      ...(given !== undefined && { given }),
      verdict: of.some(({ comparison }) => comparison.verdict === 'fail') ? 'fail' : of[0]!.comparison.verdict,
      ulps: Math.max(
        ...roundings.map(({ worstUlps }) => worstUlps),
        ...of.map(({ comparison }) => (comparison.worstRatio > 1 ? comparison.worstRatio / 2 : 0)),
      ),
      correctly: sum(({ correctly }) => correctly),
      otherwise: sum(({ inFloat32 }) => inFloat32),
    };
  });
}
