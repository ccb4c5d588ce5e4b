/**
 * safetensors in shards: `model.safetensors.index.json` says in which file beside it each tensor lies. See
 * https://huggingface.co/docs/transformers/big_models.
 */
import { InputError } from '../network/errors.ts';
import { isRecord, parseJson, typeName } from '../network/json.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { type FloatType, isStepCounter } from './floats.ts';
import { insideFolder } from './inside-folder.ts';
import { MAX_FILE_BYTES, readWholeFile } from './read-file.ts';
import { parseTypedSafetensors } from './safetensors.ts';

/** Shards: they exist to keep a file under some gigabytes, which all of them together are here. */
export const MAX_SHARDS = 1024;

/** An index names a tensor in about 100 bytes; JSON takes up to 30 times its bytes in memory. */
export const MAX_INDEX_BYTES = 2 ** 23;

/**
 * Reads every shard. Each tensor must lie where the index says, and nowhere else.
 * @param bytes the index
 * @param path of the index; the shards lie beside it or below
 * @throws InputError where the index or a shard is malformed, or a shard lies outside of the index's folder
 */
export async function readShards(
  bytes: Uint8Array,
  path: string,
): Promise<{
  readonly weights: Weights;
  readonly types: ReadonlySet<FloatType>;
  readonly shards: ReadonlyMap<string, Uint8Array>;
}> {
  const files = shardOfTensors(bytes, path);
  const names = new Set(files.values());
  if (names.size > MAX_SHARDS) {
    throw new InputError(`${path}: names ${names.size} shards; at most ${MAX_SHARDS} are read`);
  }
  const weights = new Map<string, Tensor>();
  const types = new Set<FloatType>();
  let total = 0;
  const shards = new Map<string, Uint8Array>();
  for (const shard of names) {
    const shardPath = await insideFolder(shard, path, `${path}: shard`);
    const content = await readWholeFile(shardPath, 'every shard that the index names');
    shards.set(shard, content);
    total += content.length;
    if (total > MAX_FILE_BYTES) {
      throw new InputError(
        `${path}: its shards have more than ${MAX_FILE_BYTES} bytes together; so many cannot be read`,
      );
    }
    const read = parseTypedSafetensors(content, shardPath);
    for (const [name, tensor] of read.weights) {
      if (files.get(name) !== shard) {
        throw new InputError(
          `${path}: tensor ${JSON.stringify(name)} lies in ${shard}, but ${files.has(name) ? `${files.get(name)} by the index` : 'is not in the index'}; write the files again`,
        );
      }
      weights.set(name, tensor);
    }
    for (const type of read.types) types.add(type);
  }
  const missing = [...files.keys()].find((name) => !weights.has(name) && !isStepCounter(name));
  if (missing !== undefined) {
    throw new InputError(
      `${path}: tensor ${JSON.stringify(missing)} is not in ${files.get(missing)}; write the files again`,
    );
  }
  return { weights, types, shards };
}

/** The index's map from tensor to file. */
function shardOfTensors(bytes: Uint8Array, path: string): ReadonlyMap<string, string> {
  if (bytes.length > MAX_INDEX_BYTES) {
    throw new InputError(`${path}: an index of ${bytes.length} bytes; at most ${MAX_INDEX_BYTES} are read`);
  }
  const index = parseJson(new TextDecoder().decode(bytes), path, 'give the index of a sharded safetensors checkpoint');
  const map = isRecord(index) ? index.weight_map : undefined;
  if (!isRecord(map)) {
    throw new InputError(
      `${path}: weight_map is ${typeName(map)}; an object from tensor name to file is needed, as in model.safetensors.index.json`,
    );
  }
  return new Map(
    Object.entries(map).map(([name, file]) => {
      if (typeof file === 'string') return [name, file];
      throw new InputError(
        `${path}: weight_map has ${typeName(file)} for ${JSON.stringify(name)}; a file name is needed`,
      );
    }),
  );
}
