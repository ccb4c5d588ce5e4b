import { basename, dirname, relative, resolve, sep } from 'node:path';
import type { Engine } from '../engines/engine.ts';
import { type DeployForm, deployForms } from '../fused/forms.ts';
import { buildNetwork } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import {
  type ArtefactOptions,
  checkOutput,
  digests,
  encodeArtefact,
  type Files,
  type Format,
  holdsGraph,
  writeArtefact,
} from './artefact.ts';
import { type Certificate, certificateText, claimOf, ownVersion, sealed, tierRow } from './certificate.ts';
import { readTrainCheckpoint, type TrainCheckpoint } from './checkpoint.ts';
import { fuseModel, type Proof, prove } from './proof.ts';
import { readBack } from './read-back.ts';
import { quoted } from './shell.ts';

export interface FuseFileRequest {
  /** The train-form checkpoint. */
  readonly input: string;
  /** A file, or a folder for TensorFlow.js. */
  readonly output: string;
  readonly format: Format;
  /** A published name or a config file, where the checkpoint's keys and shapes alone do not say. */
  readonly model?: string;
  /** The state dict to read where the checkpoint holds several. */
  readonly entry?: string;
  /** By default what PyTorch code loads for weights, and the complete form for graphs. */
  readonly form?: DeployForm['name'];
  /** Of the graph's input; one image at the network's own resolution by default. */
  readonly size?: Partial<InputSize>;
  readonly options: ArtefactOptions;
  readonly seed?: number;
  readonly force?: boolean;
  readonly engines: readonly Engine[];
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

export interface FusedFile {
  readonly proof: Proof;
  /** None where the proof does not pass: then nothing is written. */
  readonly certificate?: Certificate;
  readonly certificatePath: string;
  readonly files: Files;
}

/** The certificate that belongs to an output. */
export function certificatePathOf(output: string): string {
  return `${output.replace(/\/+$/, '')}.certificate.json`;
}

/**
 * Fuses a checkpoint, proves the result as it is read back, and writes both: the output and its certificate, or nothing.
 * @throws InputError where an input is bad, or an output cannot be written
 */
export async function fuseFile(request: FuseFileRequest): Promise<FusedFile> {
  const { output, format, force = false, input } = request;
  const certificatePath = certificatePathOf(output);
  await checkOutput(output, format, force, [input]);
  await checkOutput(certificatePath, 'safetensors', force, [input]);
  const { model, entry } = request;
  const hints = { ...(model !== undefined && { model }), ...(entry !== undefined && { entry }) };
  const checkpoint = await readTrainCheckpoint(input, hints);
  const made = await fuseAndProve(checkpoint, request);
  if (made.certificate === undefined) return { ...made, certificatePath };
  await writeArtefact(output, made.files, [[certificatePath, certificateText(made.certificate)]]);
  return { ...made, certificatePath };
}

/** All but writing: the same files and the same certificate for the same request. */
export async function fuseAndProve(
  checkpoint: TrainCheckpoint,
  request: FuseFileRequest,
): Promise<Pick<FusedFile, 'proof' | 'certificate' | 'files'>> {
  const { format, options, engines, output } = request;
  const { model, weights, keyOf, path } = checkpoint;
  const { batch = 1, height = model.resolution, width = model.resolution } = request.size ?? {};
  const size = { batch, height, width };
  // PyTorch code that loads weights knows the original's own deploy form; a graph brings the network along.
  const forms = deployForms(buildNetwork(model.config, size, model.name));
  const form = request.form ?? (holdsGraph(format) ? forms.at(-1)! : forms[0]!).name;
  const fused = fuseModel(model, weights, form, size);
  const { network } = fused.fusion;
  const files = await encodeArtefact(format, network, fused.deployWeights, options, keyOf);
  const proof = await prove(fused, {
    engines,
    stored: await readBack(format, files, network, fused.deployWeights, keyOf),
    ...(request.seed !== undefined && { seed: request.seed }),
    ...(request.onProgress && { onProgress: request.onProgress }),
  });
  const { verification, regions, seed } = proof;
  if (verification.verdict !== 'pass') return { proof, files };
  const folder = dirname(resolve(output));
  const inputFile = relative(folder, resolve(path)).split(sep).join('/');
  const outputFile = basename(resolve(output));
  const certificate = sealed({
    claim: claimOf(model.name, inputFile, outputFile, verification.tiers),
    model,
    form,
    input: {
      file: inputFile,
      entry: checkpoint.entry,
      ...(request.model !== undefined && { model: request.model }),
      files: checkpoint.files,
    },
    output: { file: outputFile, format, options },
    files: digests(files),
    tried: { seed, input: fused.fusion.reference.nodes[0]!.shape },
    tiers: verification.tiers.map(tierRow),
    regions,
    versions: {
      fuseproof: ownVersion(),
      ...Object.fromEntries(engines.map(({ info }) => [info.name, info.version])),
    },
    replay: [
      `npx fuseproof check ${quoted(`${outputFile}.certificate.json`)}`,
      fuseCommand({ ...request, entry: checkpoint.entry }, inputFile, outputFile, form, size, seed),
    ],
  });
  return { proof, files, certificate };
}

/** The command that makes the same files again, in the certificate's folder. */
function fuseCommand(
  { model, entry, format, options, engines }: FuseFileRequest & { readonly entry: string },
  input: string,
  output: string,
  form: string,
  { batch, height, width }: InputSize,
  seed: number,
): string {
  const { opset, dynamicBatch, inputName, outputName } = options;
  return [
    `npx fuseproof fuse ${quoted(input)} -o ${quoted(output)} --format ${format}`,
    ...(model === undefined ? [] : [`--model ${quoted(model)}`]),
    ...(entry === '' ? [] : [`--state-dict ${quoted(entry)}`]),
    `--form ${form} --batch ${batch} --size ${height}x${width} --seed ${seed}`,
    ...(opset === undefined ? [] : [`--opset ${opset}`]),
    ...(dynamicBatch ? ['--dynamic-batch'] : []),
    ...(inputName === undefined ? [] : [`--input-name ${quoted(inputName)}`]),
    ...(outputName === undefined ? [] : [`--output-name ${quoted(outputName)}`]),
    ...(engines.length === 0 ? [] : [`--engine ${engines.map(({ info }) => info.name).join(',')}`]),
  ].join(' ');
}
