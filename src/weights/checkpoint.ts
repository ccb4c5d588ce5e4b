/** A user's own files of weights, told apart by their content, never by their name. */
import { basename } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { Weights } from '../network/tensor.ts';
import type { FloatType } from './floats.ts';
import { withoutWrapper } from './naming.ts';
import { readWholeFile } from './read-file.ts';
import { parseTypedSafetensors } from './safetensors.ts';

export type CheckpointFormat = 'safetensors' | 'sharded safetensors' | 'PyTorch' | 'PyTorch (legacy)';

/** The weights of a file. */
export interface Checkpoint {
  /** As given. */
  readonly path: string;
  /** The file, and the shards that it names, by their paths from its folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly format: CheckpointFormat;
  /** Where in the file they lie: `model_ema`, say; empty where the file is the state dict. */
  readonly entry: string;
  /** Other state dicts in the file. */
  readonly otherEntries: readonly string[];
  /** Keys without prefixes of wrapped models (`module.`). Every value is finite; float16 and bfloat16 are widened exactly. */
  readonly weights: Weights;
  /** The types that the file holds them in. */
  readonly types: readonly FloatType[];
}

const NEEDED = 'a checkpoint (.pth, .pt, .safetensors or its .index.json)';

/** Entries of a checkpoint that hold the state dict, in the order in which training scripts mean them. */
const ENTRIES = ['model', 'state_dict', 'model_state_dict', 'net', 'network', 'module', 'weights'];

/** What to do where none of several state dicts is the trained model's. */
const SEVERAL = 'say which with --state-dict';

/** State dicts that a message lists. */
const SHOWN = 10;

type Kind = 'zip' | 'pickle' | 'safetensors' | 'json' | 'tar' | 'onnx' | 'unknown';

/** The first file of a tar archive of PyTorch's. */
const TAR_NAMES = ['sys_info', 'pickle', 'storages', 'tensors'];

/** What a file is, by its first bytes. */
function kindOf(bytes: Uint8Array): Kind {
  const at = (index: number) => bytes[index] ?? 0;
  if (at(0) === 0x50 && at(1) === 0x4b) return 'zip';
  // The upper bytes of the header's length, then the header; its lower bytes may look like anything.
  if (at(5) + at(6) + at(7) === 0 && at(8) === 0x7b) return 'safetensors';
  if (at(0) === 0x80 && at(1) >= 2 && at(1) <= 5) return 'pickle';
  if (at(0) === 0x7b) return 'json';
  // A protobuf that begins with its version, a small number.
  if (at(0) === 0x08 && at(1) > 0 && at(1) < 64) return 'onnx';
  const begin = String.fromCharCode(...bytes.subarray(0, 100));
  return TAR_NAMES.includes(begin.replace(/\0.*$/s, '')) ? 'tar' : 'unknown';
}

/**
 * Reads a checkpoint: safetensors, in one file or in shards with their index, or PyTorch's, zip or legacy.
 * @param entry the state dict to read where the file holds several; the trained model's by default
 * @param several what a message says to do where the file holds several and none is usual
 * @throws InputError where the file cannot be read, is malformed, or holds anything that would have to be executed
 */
export async function readCheckpoint(path: string, entry?: string, several = SEVERAL): Promise<Checkpoint> {
  return parseCheckpoint(await readWholeFile(path, NEEDED), path, entry, several);
}

/** The same of a file's content. Shards are read from the folder of `path`. */
export async function parseCheckpoint(
  bytes: Uint8Array,
  path: string,
  entry?: string,
  several = SEVERAL,
): Promise<Checkpoint> {
  const kind = kindOf(bytes);
  if (kind === 'zip' || kind === 'pickle') {
    return readTorch(bytes, path, kind === 'zip', (entries) => chosenEntry(entries, entry, several, path));
  }
  if (kind === 'tar') {
    throw new InputError(`${path}: is a tar archive of PyTorch before 0.2; load it there and save it again`);
  }
  if (kind === 'onnx') {
    throw new InputError(
      `${path}: looks like an ONNX file; those are read only in pairs: verify or evaluate --reference TRAINED --deploy FUSED`,
    );
  }
  if (kind === 'unknown') {
    throw new InputError(
      `${path}: is neither PyTorch's zip archive or pickle nor safetensors or its index, or it is damaged; give ${NEEDED}`,
    );
  }
  if (entry !== undefined) {
    throw new InputError(`${path}: has no state dict ${JSON.stringify(entry)}; only PyTorch's files hold several`);
  }
  const isIndex = kind === 'json';
  const { weights, types, shards } = isIndex
    ? await (await import('./safetensors-index.ts')).readShards(bytes, path)
    : { ...parseTypedSafetensors(bytes, path), shards: [] };
  return {
    path,
    files: new Map([[basename(path), bytes], ...shards]),
    format: isIndex ? 'sharded safetensors' : 'safetensors',
    entry: '',
    otherEntries: [],
    weights: withoutWrapper(weights),
    types: [...types],
  };
}

async function readTorch(
  bytes: Uint8Array,
  path: string,
  isZip: boolean,
  choose: (entries: readonly string[]) => string,
): Promise<Checkpoint> {
  const { stateDictsOf, readTensors } = await import('./torch-tensors.ts');
  const { value, bytesOf } = isZip
    ? await (await import('./torch-zip.ts')).readTorchZip(bytes, path)
    : (await import('./torch-legacy.ts')).readTorchLegacy(bytes, path);
  const found = stateDictsOf(value);
  const entry = choose([...found.keys()]);
  const { weights, types } = readTensors(found.get(entry)!, bytesOf, bytes.length, path);
  return {
    path,
    files: new Map([[basename(path), bytes]]),
    format: isZip ? 'PyTorch' : 'PyTorch (legacy)',
    entry,
    otherEntries: [...found.keys()].filter((other) => other !== entry),
    weights: withoutWrapper(weights),
    types: [...types],
  };
}

function chosenEntry(entries: readonly string[], asked: string | undefined, several: string, path: string): string {
  if (entries.length === 0) {
    throw new InputError(`${path}: holds no state dict, a dict of tensors by name; save model.state_dict()`);
  }
  const shown = entries.slice(0, SHOWN).map((name) => name || 'the file itself');
  const names = `${shown.join(', ')}${entries.length > SHOWN ? ` and ${entries.length - SHOWN} more` : ''}`;
  if (asked !== undefined) {
    if (entries.includes(asked)) return asked;
    throw new InputError(`${path}: has no state dict ${JSON.stringify(asked)}; it has: ${names}`);
  }
  const usual = ENTRIES.find((name) => entries.includes(name));
  if (usual !== undefined) return usual;
  if (entries.length === 1) return entries[0]!;
  throw new InputError(`${path}: holds several state dicts: ${names}; ${several}`);
}
