import { basename, dirname, join } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { Weights } from '../network/tensor.ts';
import { type Model, resolveModel } from '../reference/config.ts';
import { familyOf } from '../reference/families.ts';
import type { Form } from '../reference/family.ts';
import { nameWeights, recognise, soleModel } from '../reference/recognise.ts';
import { type CheckpointFormat, parseCheckpoint } from '../weights/checkpoint.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { type FileDigest, sha256 } from './artefact.ts';

/** A checkpoint under our keys. */
export interface NamedCheckpoint {
  readonly path: string;
  readonly format: CheckpointFormat;
  /** Where in the file the state dict lies; empty where the file is it. */
  readonly entry: string;
  /** The file, and those that it names. */
  readonly files: readonly FileDigest[];
  /** Undefined where the keys are of no family that is known. */
  readonly form: Form | undefined;
  /** Whose names the file's keys are. */
  readonly scheme: string;
  readonly weights: Weights;
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

/** What is read, beside what the keys are. */
async function read(path: string, entry: string | undefined) {
  const bytes = await readWholeFile(path, 'a checkpoint (.pth, .pt, .safetensors or its .index.json)');
  const checkpoint = await parseCheckpoint(bytes, path, entry);
  const files: FileDigest[] = [{ name: basename(path), bytes: bytes.length, sha256: sha256(bytes) }];
  if (checkpoint.format === 'sharded safetensors') {
    // The reader has seen that all of them lie in the index's folder.
    const { weight_map } = JSON.parse(bytes.toString()) as { readonly weight_map: Readonly<Record<string, string>> };
    for (const name of new Set(Object.values(weight_map))) {
      const shard = await readWholeFile(join(dirname(path), name), 'every shard that the index names');
      files.push({ name, bytes: shard.length, sha256: sha256(shard) });
    }
  }
  return { ...checkpoint, files };
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
  const recognised = await recognise(file.weights, subject.replace(/\.[^.]*$/, ''), subject);
  const { form, scheme, weights, restore } = recognised;
  const base = { path, format: file.format, entry: file.entry, files: file.files };
  const checkpoint = { ...base, form, scheme, weights, keyOf: restore };
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
 * @throws InputError where it cannot be read
 */
export async function readDeployCheckpoint(path: string, model: Model, entry?: string): Promise<NamedCheckpoint> {
  return named(await read(path, entry), model);
}

function named(file: Awaited<ReturnType<typeof read>>, model: Model): NamedCheckpoint {
  const { path, format, entry, files, weights } = file;
  const found = nameWeights(familyOf(model.config), weights, basename(path));
  const base = { path, format, entry, files };
  if (found === undefined) return { ...base, form: undefined, scheme: 'unknown', weights, keyOf: (key) => key };
  const { form, scheme, restore } = found;
  return { ...base, form, scheme, weights: found.weights, keyOf: restore };
}
