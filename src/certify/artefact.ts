import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, readdir, realpath, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { InputError } from '../network/errors.ts';
import type { Network } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { encodeSafetensors } from '../weights/safetensors.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import { fileOfTemporary, removeLeft, writeFilesAtomically } from '../weights/write-file.ts';

/** What a deploy form is written as: weights for PyTorch, or a graph with its weights. */
export const FORMATS = ['safetensors', 'pth', 'onnx', 'tfjs'] as const;
export type Format = (typeof FORMATS)[number];

/** What a user may say about how a deploy form is written. */
export interface ArtefactOptions {
  /** ONNX only: version of the operator set. */
  readonly opset?: number;
  /** Graphs only: the number of images is left open. */
  readonly dynamicBatch?: boolean;
  /** Graphs only. */
  readonly inputName?: string;
  /** Graphs only. */
  readonly outputName?: string;
}

/** What is written, by name: one file named '' for a file, several for a folder. The last one makes the others valid. */
export type Files = ReadonlyMap<string, Uint8Array>;

const EXTENSIONS: Readonly<Record<string, Format>> = {
  '.safetensors': 'safetensors',
  '.pth': 'pth',
  '.pt': 'pth',
  '.onnx': 'onnx',
  '': 'tfjs',
};

/**
 * The format that a path asks for.
 * @throws InputError where its name says none
 */
export function formatOf(path: string): Format {
  const extension = path.endsWith('/') ? '' : extname(path);
  const format = EXTENSIONS[extension];
  if (basename(path) !== '' && format !== undefined) return format;
  throw new InputError(
    `${path}: ${extension || 'its name'} says no format; end it in .safetensors, .pth, .pt or .onnx, name a folder without extension for TensorFlow.js, or give --format ${FORMATS.join(' or ')}`,
  );
}

/** Whether a format holds the graph, or only the weights of a network that its reader builds. */
export function holdsGraph(format: Format): boolean {
  return format === 'onnx' || format === 'tfjs';
}

/** What the input and the output of a graph are called, unless something else is asked for. */
export const VALUE_NAMES = { inputName: 'input', outputName: 'logits' } as const;

/**
 * The deploy form's files. The same arguments give the same bytes.
 * @param keyOf the key that a weight has in a file of weights
 * @throws InputError where the format cannot hold the network, or an option does not fit the format
 */
export async function encodeArtefact(
  format: Format,
  network: Network,
  weights: Weights<Float32Array>,
  options: ArtefactOptions,
  keyOf: (key: string) => string = (key) => key,
): Promise<Files> {
  const { opset, ...graph } = options;
  if (format !== 'onnx' && opset !== undefined) throw new InputError(`--opset ${opset}: only ONNX has opsets`);
  if (!holdsGraph(format)) {
    const given = Object.keys(graph).length;
    if (given > 0) throw new InputError(`names and an open batch are a graph's; ${format} holds weights alone`);
    const named = new Map([...weights].map(([key, tensor]) => [keyOf(key), tensor]));
    if (format === 'pth') return single((await import('../artefacts/pth.ts')).encodePth(named));
    // As PyTorch's writer does: some readers refuse files that do not say so.
    return single(encodeSafetensors(named, { format: 'pt' }));
  }
  const names = { ...VALUE_NAMES, ...graph };
  if (format === 'onnx') {
    const { writeOnnx } = await import('../artefacts/onnx.ts');
    return single(writeOnnx(network, weights, { ...names, ...(opset !== undefined && { opset }) }));
  }
  const { writeTfjs } = await import('../artefacts/tfjs.ts');
  return writeTfjs(network, weights, names);
}

function single(bytes: Uint8Array): Files {
  return new Map([['', bytes]]);
}

/** Where a file of an artefact lies. */
function pathIn(path: string, name: string): string {
  return name === '' ? path : join(path, name);
}

async function checkFolder(folder: string): Promise<void> {
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new InputError(`${folder}: ${messageOfSystemError(error, 'write')}; give a folder that can be written`);
  });
}

/** Whether something is at a path. */
async function kindAt(path: string): Promise<'file' | 'folder' | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
      return undefined;
    }
    throw new InputError(`${path}: ${messageOfSystemError(error, 'read')}; give another output`);
  }
}

/**
 * Before any work: that the output may be written.
 * @param inputs files that must not be replaced
 * @throws InputError where something stands in its place, or where it is an input
 */
export async function checkOutput(
  path: string,
  format: Format,
  force: boolean,
  inputs: readonly string[],
): Promise<void> {
  const kind = await kindAt(path);
  if (kind === undefined) return checkFolder(dirname(resolve(path)));
  const wanted = format === 'tfjs' ? 'folder' : 'file';
  if (kind !== wanted)
    throw new InputError(`${path}: it is a ${kind}, and ${format} is a ${wanted}; give another output`);
  const real = await realpath(path);
  for (const input of inputs) {
    if ((await realpath(input).catch(() => undefined)) === real) {
      throw new InputError(`${path}: it is the input itself; give another output`);
    }
  }
  if (!force) throw new InputError(`${path}: it is there already; give another output, or --force to replace it`);
  // A file is replaced by a new one of its name.
  await checkFolder(format === 'tfjs' ? path : dirname(resolve(path)));
  if (format !== 'tfjs') return;
  // A run that was killed may have left weights alone.
  const names = await readdir(path);
  const isForeign = !names.includes('model.json') && !names.every((name) => isOfGraph(fileOfTemporary(name) ?? name));
  if (isForeign) {
    throw new InputError(`${path}: this folder holds no model.json, so it is not replaced; give another output`);
  }
}

/** Weights of a graph model that fuseproof wrote. */
const SHARD = /^weights-[0-9a-f]{16}-shard\d+of\d+\.bin$/;

function isOfGraph(name: string): boolean {
  return name === 'model.json' || SHARD.test(name);
}

/**
 * Writes the files so that a reader finds the old ones or the new ones, whole. A folder's weights have names of their own
 * content: they stand beside the old ones until the last file, which names them, takes its place.
 * @param beside files that belong to it, replaced together with the last one
 * @throws InputError where it cannot be written
 */
export async function writeArtefact(
  path: string,
  files: Files,
  beside: readonly (readonly [path: string, data: string])[] = [],
): Promise<void> {
  const isFolder = !files.has('');
  const isNew = isFolder && (await kindAt(path)) === undefined;
  if (isNew) {
    await mkdir(path).catch((error: unknown) => {
      throw new InputError(
        `${path}: ${messageOfSystemError(error, 'write')}; give a folder in one that can be written`,
      );
    });
  }
  try {
    const named = [...files].map(([name, bytes]) => [pathIn(path, name), bytes] as const);
    await writeFilesAtomically([...named, ...beside]);
  } catch (error) {
    if (isNew) await rmdir(path).catch(() => undefined);
    throw error;
  }
  if (!isFolder) return;
  await removeLeft(path, isOfGraph);
  for (const name of await readdir(path)) {
    if (SHARD.test(name) && !files.has(name)) await rm(join(path, name), { force: true });
  }
}

/** One file of an artefact, as a certificate holds it. */
export interface FileDigest {
  /** '' for an artefact of one file. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function digests(files: Files): readonly FileDigest[] {
  return [...files].map(([name, bytes]) => ({ name, bytes: bytes.length, sha256: sha256(bytes) }));
}

/**
 * The bytes of an artefact's file.
 * @throws InputError where it cannot be read
 */
export async function readArtefactFile(path: string, name: string): Promise<Uint8Array> {
  return readWholeFile(pathIn(path, name), 'the file that the certificate is of');
}
