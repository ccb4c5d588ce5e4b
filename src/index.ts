/**
 * fuseproof as a library: `import { fuse, verify, evaluate, audit } from 'fuseproof'`. Nothing heavy is loaded before it is needed:
 * engines when they are opened, writers and readers of a format when that format is met.
 *
 * Bad input throws {@link InputError}, whose message says what to do. Paths are those of the file system; nothing is
 * written but by {@link fuse} with an `output`.
 */
import type { AuditReport } from './audit/audit.ts';
import type { ArtefactOptions, Format } from './certify/artefact.ts';
import type { Certificate } from './certify/certificate.ts';
import type { CertificateCheck } from './certify/check-file.ts';
import type { Proof } from './certify/proof.ts';
import type { FilesVerification, VerifyFilesRequest } from './certify/verify-files.ts';
import type { Engine } from './engines/engine.ts';
import type { EvaluateRequest, Evaluation } from './evaluate/evaluate.ts';
import type { DeployForm } from './fused/forms.ts';
import type { InputSize } from './reference/size.ts';

export type { AuditReport, AuditRow } from './audit/audit.ts';
export type { ArtefactOptions, FileDigest, Format } from './certify/artefact.ts';
export type { Certificate, TierRow } from './certify/certificate.ts';
export type { CertificateCheck, CheckedItem } from './certify/check-file.ts';
export { type Fused, fuseModel, type Proof, type ProofOptions, prove, type RegionVerdicts } from './certify/proof.ts';
export type { FilesVerification, Layer } from './certify/verify-files.ts';
export type { Engine, EngineInfo, EngineInputs, EngineProvider, LoadedNetwork } from './engines/engine.ts';
export type { BrokenFile, Evaluation } from './evaluate/evaluate.ts';
export type { ClassOrder } from './evaluate/folder.ts';
export type { Accuracy, Answer, Disagreement, Statistics } from './evaluate/statistics.ts';
export type { DeployForm } from './fused/forms.ts';
export type { Fusion, Region } from './fused/fuse.ts';
export { InputError, MismatchError } from './network/errors.ts';
export type { Network, Node, Op } from './network/ops.ts';
export type { FloatArray, Shape, Tensor, Weights } from './network/tensor.ts';
export { buildNetwork, type Model, parseConfig, resolveModel } from './reference/config.ts';
export type { ModelConfig } from './reference/families.ts';
export type { Interpolation, Preprocessing } from './reference/family.ts';
export type { InputSize } from './reference/size.ts';
export type { Finding, NetworkRow, Tier, TierSummary, Verdict, Verification } from './verify/verify.ts';
export { type Checkpoint, readCheckpoint } from './weights/checkpoint.ts';
export { encodeSafetensors } from './weights/safetensors.ts';

/** Engines that a proof runs on unless others are asked for: those of them that are here. */
export const DEFAULT_ENGINES: readonly string[] = ['onnxruntime', 'wasm'];

export interface EngineChoice {
  /** Names of engines; {@link DEFAULT_ENGINES} where they are here, by default. An empty list is none. */
  readonly engines?: readonly string[];
  /** Threads of an engine that can use several. */
  readonly threads?: number;
}

export interface FuseOptions extends ArtefactOptions, EngineChoice {
  /** A file, or a folder for TensorFlow.js; nothing is written where it is left out. */
  readonly output?: string;
  /** By default what the output's name says; `safetensors` without one. */
  readonly format?: Format;
  /** A published name or a config file, where the checkpoint's keys and shapes alone do not say. */
  readonly model?: string;
  /** The state dict to read where the checkpoint holds several. */
  readonly entry?: string;
  /** By default what PyTorch code loads for weights, and the complete form for graphs. */
  readonly form?: DeployForm['name'];
  /** Of the graph's input; one image at the network's own resolution by default. */
  readonly size?: Partial<InputSize>;
  /** Of the input that the engines are tried on; 1 by default. */
  readonly seed?: number;
  /** Replaces an output that is there. */
  readonly force?: boolean;
}

export interface FuseResult {
  readonly proof: Proof;
  /** None where the proof does not pass: then nothing is written. */
  readonly certificate?: Certificate;
  /** The output's bytes: under '' where it is one file, under their names where it is a folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/**
 * Fuses a trained checkpoint and proves the result; writes it, and its certificate beside it, where there is an `output`.
 * @param checkpoint path of a .pth, .pt, .safetensors or its .index.json
 * @throws InputError where the checkpoint or an option is bad, or the output cannot be written
 */
export async function fuse(checkpoint: string, options: FuseOptions = {}): Promise<FuseResult> {
  const [{ fuseAndProve, fuseFile }, { formatOf }, { readTrainCheckpoint }] = await Promise.all([
    import('./certify/fuse-file.ts'),
    import('./certify/artefact.ts'),
    import('./certify/checkpoint.ts'),
  ]);
  const { output, engines: names, threads, format, opset, dynamicBatch, inputName, outputName, ...rest } = options;
  const request = {
    ...rest,
    input: checkpoint,
    output: output ?? `${checkpoint}.fused`,
    format: format ?? (output === undefined ? ('safetensors' as const) : formatOf(output)),
    options: defined({ opset, dynamicBatch, inputName, outputName }),
    engines: await open(names, threads),
  };
  if (output !== undefined) return fuseFile(request);
  return fuseAndProve(
    await readTrainCheckpoint(checkpoint, defined({ model: rest.model, entry: rest.entry })),
    request,
  );
}

export interface VerifyOptions extends Omit<VerifyFilesRequest, 'engines' | 'reference' | 'deploy'>, EngineChoice {}

/**
 * Whether two files hold the same network: structure, weights layer by layer, then engines and the whole.
 * @param reference path of the trained network: a checkpoint or ONNX
 * @param deploy path of the fused one, whoever fused it: a checkpoint or ONNX
 * @throws InputError where a file is bad, or the two do not fit each other: then naming the nodes
 */
export async function verify(
  reference: string,
  deploy: string,
  { engines: names, threads, ...rest }: VerifyOptions = {},
): Promise<FilesVerification> {
  const { verifyFiles } = await import('./certify/verify-files.ts');
  return verifyFiles({ ...rest, reference, deploy, engines: await open(names, threads) });
}

export interface EvaluateOptions
  extends Omit<EvaluateRequest, 'engine' | 'reference' | 'data'>,
    Pick<EngineChoice, 'threads'> {
  /** Name of the engine that computes both forms; the first of {@link DEFAULT_ENGINES} that is here, by default. */
  readonly engine?: string;
}

/**
 * Accuracy of the trained network and of its deploy form on a folder of images, and whether both name the same classes.
 * Images are decoded by sharp, an optional dependency, and resized, cropped and normalised as timm's evaluation does.
 * @param reference path of the trained network: a checkpoint, or with `deploy` also ONNX
 * @param data folder of FOLDER/<class>/<image>, or of images alone: then accuracy is not known
 * @throws InputError where a file is bad, the folder's classes are not the network's, no image can be used, or sharp is absent;
 * a single image that cannot be used is listed under `broken`
 */
export async function evaluate(
  reference: string,
  data: string,
  { engine: name, threads, ...rest }: EvaluateOptions = {},
): Promise<Evaluation> {
  const [{ evaluate: run }, { InputError }] = await Promise.all([
    import('./evaluate/evaluate.ts'),
    import('./network/errors.ts'),
  ]);
  const [engine] = await open(name === undefined ? undefined : [name], threads);
  if (engine === undefined) throw new InputError(`none of the engines ${DEFAULT_ENGINES.join(', ')} is here`);
  return run({ ...rest, reference, data, engine });
}

/**
 * Tries a certificate again from the files that it is of: hashes, bytes, and the whole proof.
 * @param certificate path of an `OUT.certificate.json`
 * @throws InputError where a file is missing or is no certificate
 */
export async function check(
  certificate: string,
  { threads }: Pick<EngineChoice, 'threads'> = {},
): Promise<CertificateCheck> {
  const { checkFile } = await import('./certify/check-file.ts');
  return checkFile({ certificate, openEngines: (names) => open(undefined, threads, names) });
}

/**
 * Counts every form of networks, and holds published figures against them.
 * @param models published names, config files (.json), or all; all by default
 * @throws InputError where a name is unknown or a config is bad
 */
export async function audit(models?: readonly string[]): Promise<AuditReport> {
  const [{ audit: count }, { resolveModels }] = await Promise.all([
    import('./audit/audit.ts'),
    import('./reference/config.ts'),
  ]);
  return count(await resolveModels(models));
}

async function open(
  names: readonly string[] | undefined,
  threads: number | undefined,
  usual: readonly string[] = DEFAULT_ENGINES,
): Promise<readonly Engine[]> {
  if (names?.length === 0) return [];
  const { openAvailable } = await import('./engines/index.ts');
  return (await openAvailable(names, defined({ threads }), usual)).engines;
}

/** The fields that are given: none of them undefined. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
