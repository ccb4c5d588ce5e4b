import { basename } from 'node:path';
import { InputError, MismatchError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import { type Model, resolveModel } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import type { Form } from '../reference/family.ts';
import { nameWeights, recognise, soleModel } from '../reference/recognise.ts';
import { checkWeights } from '../weights/check.ts';
import { type Checkpoint, readCheckpoint } from '../weights/checkpoint.ts';
import { FLOAT_BYTES } from '../weights/floats.ts';
import { type FileDigest, sha256 } from './artefact.ts';

/** A checkpoint under our keys. */
export interface NamedCheckpoint extends Omit<Checkpoint, 'files'> {
  /** The file, and those that it names. */
  readonly files: readonly FileDigest[];
  /** Undefined where the keys are of no family that is known. */
  readonly form: Form | undefined;
  /** Whose names the file's keys are. */
  readonly scheme: string;
  /** The key that a weight has in the files of the project that the checkpoint comes from. */
  readonly keyOf: (key: string) => string;
}

/** A train-form checkpoint, and the network that it is of. */
export interface TrainCheckpoint extends NamedCheckpoint {
  readonly model: Model;
}

/** What a user may say of a checkpoint. */
export interface CheckpointHints {
  /** A published name, a config file, or the network itself, where keys and shapes alone do not say. */
  readonly model?: string | Model;
  /** The state dict to read where the file holds several. */
  readonly entry?: string;
}

/** A file's name without what says its format. */
function nameOfFile(name: string): string {
  return name.replace(/(\.safetensors|\.pth|\.pt|\.bin|\.index|\.json)+$/, '') || name;
}

/** What is read, beside what the keys are. */
async function read(path: string, entry?: string, several?: string) {
  const { files, ...checkpoint } = await readCheckpoint(path, entry, several);
  const digests = [...files].map(
    ([name, content]): FileDigest => ({ name, bytes: content.length, sha256: sha256(content) }),
  );
  return { ...checkpoint, files: digests };
}

/**
 * Reads a checkpoint and finds out what network it is of.
 * @throws InputError where it cannot be read, is fused already, or fits no network or several
 */
export async function readTrainCheckpoint(
  path: string,
  { model, entry }: CheckpointHints = {},
): Promise<TrainCheckpoint> {
  const file = await read(path, entry);
  const subject = basename(path);
  if (model !== undefined) {
    const resolved = typeof model === 'string' ? await resolveModel(model) : model;
    return expectTrain({ ...named(file, resolved), model: resolved });
  }
  const recognised = await recognise(file.weights, nameOfFile(subject), subject);
  const { form, scheme, weights, restore } = recognised;
  const checkpoint = { ...file, form, scheme, weights, keyOf: restore };
  if (form !== 'train') expectTrain(checkpoint);
  return { ...checkpoint, model: soleModel(recognised, subject) };
}

function expectTrain<C extends NamedCheckpoint>(checkpoint: C): C {
  const { form, path } = checkpoint;
  if (form === undefined || form === 'train') return checkpoint;
  throw new InputError(
    `${basename(path)}: it is fused already (form ${form}); give the checkpoint that was trained, with its batch norms`,
  );
}

/**
 * Reads a checkpoint of a deploy form of the network.
 * @throws InputError where it cannot be read, or is not fused
 */
export async function readDeployCheckpoint(path: string, model: Model): Promise<NamedCheckpoint> {
  // --state-dict is of the reference.
  const several = 'the deploy file must hold one, or call it model or state_dict, so save it anew';
  const checkpoint = named(await read(path, undefined, several), model);
  if (checkpoint.form !== 'train') return checkpoint;
  throw new InputError(`${basename(path)}: holds the network as trained; give the fused checkpoint`);
}

/**
 * That a fused checkpoint holds the weights of this deploy form.
 * @throws MismatchError where it does not
 */
export function checkDeployWeights(network: Network, { weights, path, keyOf }: NamedCheckpoint): void {
  try {
    checkWeights(network, weights, basename(path), keyOf);
  } catch (error) {
    throw error instanceof InputError ? new MismatchError(error.message) : error;
  }
}

function named(file: Awaited<ReturnType<typeof read>>, model: Model): NamedCheckpoint {
  const found = nameWeights(familyOf(model.config), file.weights, basename(file.path));
  if (found === undefined) return { ...file, form: undefined, scheme: 'unknown', keyOf: (key) => key };
  const { form, scheme, weights, restore } = found;
  return { ...file, form, scheme, weights, keyOf: restore };
}

/** A file of weights, as a report names it: what was read, whose names its keys are, and in which types it holds its floats. */
export type WeightsFile = Pick<
  NamedCheckpoint,
  'path' | 'files' | 'format' | 'entry' | 'otherEntries' | 'scheme' | 'types'
>;

export function sourceOf({ path, files, format, entry, otherEntries, scheme, types }: NamedCheckpoint): WeightsFile {
  return { path, files, format, entry, otherEntries, scheme, types };
}

/** A sentence that says what a file of weights was found to be; of deploy weights also how they are compared. */
export function sourceLine(
  { path, format, entry, otherEntries, scheme, types }: WeightsFile,
  use: 'weights' | 'deploy',
): string {
  const parts = [`${format}, ${scheme} keys, ${types.join(' and ')}`];
  if (entry !== '') parts.push(`state dict ${entry}`);
  if (otherEntries.length > 0) {
    parts.push(`not read: ${otherEntries.join(', ')}${use === 'weights' ? ' (--state-dict)' : ''}`);
  }
  const halves = types.filter((type) => FLOAT_BYTES[type] < 4).join(' and ');
  if (halves !== '') parts.push(`${halves} widened to float32, exactly`);
  if (use === 'deploy' && halves !== '') parts.push('coarser than what a fusion is rounded to, float32');
  if (use === 'deploy' && types.includes('float64')) parts.push('float64 compared as rounded to float32');
  return `${basename(path)}: ${parts.join('; ')}`;
}
