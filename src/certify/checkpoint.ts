import { basename } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { Weights } from '../network/tensor.ts';
import { type Model, resolveModel } from '../reference/config.ts';
import { withoutWrapper } from '../weights/naming.ts';
import { readSafetensors } from '../weights/safetensors.ts';

/** A train-form checkpoint, and the network that it is of. */
export interface Checkpoint {
  readonly path: string;
  readonly model: Model;
  /** Under our keys. */
  readonly weights: Weights;
  /** The key that a weight of the deploy form has in the files of the project that the checkpoint comes from. */
  readonly keyOf: (key: string) => string;
}

/**
 * Reads a checkpoint and finds out what network it is of.
 * @param named a published name, a config file, or the network itself, where the keys and shapes alone do not say
 * @throws InputError where it cannot be read, or fits no network or several
 */
export async function readTrainCheckpoint(path: string, named?: string | Model): Promise<Checkpoint> {
  if (named === undefined) throw new InputError(`${basename(path)}: name its network with --model`);
  const model = typeof named === 'string' ? await resolveModel(named) : named;
  return { path, model, weights: withoutWrapper(await readSafetensors(path)), keyOf: (key) => key };
}
