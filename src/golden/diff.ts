import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { InputError } from '../network/errors.ts';
import { isRecord, parseJson } from '../network/json.ts';
import { sameShape, type Tensor } from '../network/tensor.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import { PENDING } from './folder.ts';
import type { Entry } from './manifest.ts';
import { type Change, cutShort, isThere, placeOf } from './pending.ts';

/** Elements that a difference shows. */
const WORST_SHOWN = 3;

export interface ElementDifference {
  /** Flat, row-major. */
  readonly index: number;
  readonly accepted: number;
  readonly pending: number;
}

/** |pending - accepted| of a map as a picture: the largest over all channels, of the image that differs most. */
export interface Picture {
  readonly image: number;
  readonly rows: number;
  readonly columns: number;
  /** Row-major. */
  readonly values: Float64Array;
}

/** A tensor that both sides have in one shape. */
export interface ComparedTensor {
  readonly key: string;
  readonly kind: 'changed' | 'same';
  readonly shape: readonly number[];
  /** Elements that differ. */
  readonly differing: number;
  readonly elements: number;
  readonly maxAbsolute: number;
  /** Over the largest accepted value. */
  readonly relative: number;
  readonly worst: readonly ElementDifference[];
  /** Of maps. */
  readonly picture?: Picture;
}

/** One tensor, number by number. */
export type TensorDifference =
  | ComparedTensor
  | { readonly key: string; readonly kind: 'new' | 'removed'; readonly shape: readonly number[] }
  | {
      readonly key: string;
      readonly kind: 'reshaped';
      readonly before: readonly number[];
      readonly shape: readonly number[];
    };

/** What a pending golden changes. */
export interface GoldenDifference {
  readonly name: string;
  readonly kind: Change['kind'];
  readonly file: string;
  /** Seed, config, versions of tools: what the manifest says otherwise than before. */
  readonly facts: readonly { readonly field: string; readonly before: string; readonly after: string }[];
  readonly tensors: readonly TensorDifference[];
  /** Of JSON, the values that change, by their paths; of other text, the lines that do; of anything else, its length. */
  readonly lines: readonly string[];
}

/**
 * What changes, and by how much.
 * @throws InputError where a file cannot be read, is not what the pending manifest says, or is accepted already in part
 */
export async function differenceOf(folder: string, change: Change): Promise<GoldenDifference> {
  const { name, kind } = change;
  if (kind !== 'removed' && (await placeOf(folder, change.pending)) === 'accepted') {
    throw cutShort(folder, change.pending);
  }
  if (kind === 'new')
    return { name, kind, file: change.pending.file, facts: [], ...(await contents(folder, undefined, change.pending)) };
  if (kind === 'removed') return { name, kind, file: change.accepted.file, facts: [], tensors: [], lines: [] };
  const { accepted, pending } = change;
  const path = join(folder, accepted.file);
  if (!(await isThere(path, accepted.sha256))) {
    throw new InputError(`${path} is missing, or was altered since it was accepted; restore it from the repository`);
  }
  return {
    name,
    kind,
    file: pending.file,
    facts: factsOf(accepted, pending),
    ...(await contents(folder, accepted, pending)),
  };
}

function factsOf(accepted: Entry, pending: Entry): GoldenDifference['facts'] {
  const flat = ({ made_by, sha256: _, config, ...rest }: Entry): Readonly<Record<string, unknown>> => ({
    ...rest,
    ...config,
    ...made_by,
  });
  const [before, after] = [flat(accepted), flat(pending)];
  const shown = (value: unknown) => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing'));
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((field) => !isDeepStrictEqual(before[field], after[field]))
    .map((field) => ({ field, before: shown(before[field]), after: shown(after[field]) }));
}

async function contents(
  folder: string,
  accepted: Entry | undefined,
  pending: Entry,
): Promise<Pick<GoldenDifference, 'tensors' | 'lines'>> {
  if (accepted?.sha256 === pending.sha256) return { tensors: [], lines: ['the same bytes'] };
  const after = join(folder, PENDING, pending.file);
  const before = accepted === undefined ? undefined : join(folder, accepted.file);
  if (!/\.(safetensors|txt|json)$/.test(pending.file)) {
    const bytesOf = async (path: string | undefined) => (path === undefined ? 'none' : (await stat(path)).size);
    return { tensors: [], lines: [`bytes: ${await bytesOf(before)} -> ${await bytesOf(after)}`] };
  }
  if (!pending.file.endsWith('.safetensors')) {
    const textOf = async (path: string | undefined) => (path === undefined ? undefined : readFile(path, 'utf8'));
    const [old, now] = await Promise.all([textOf(before), readFile(after, 'utf8')]);
    const lines = pending.file.endsWith('.json') ? jsonLines(pending.file, old, now) : textLines(old ?? '', now);
    return { tensors: [], lines: lines.length > 0 ? lines : ['the order of lines, or white space, alone'] };
  }
  const [old, now] = await Promise.all([
    before === undefined ? new Map<string, Tensor>() : readSafetensors(before),
    readSafetensors(after),
  ]);
  const keys = [...new Set([...old.keys(), ...now.keys()])].sort((a, b) => depthOf(a) - depthOf(b));
  return { tensors: keys.map((key) => tensorDifference(key, old.get(key), now.get(key))), lines: [] };
}

/** Lines that one side has more often than the other. */
function textLines(old: string, now: string): readonly string[] {
  const surplus = (text: string, other: string, sign: string) => {
    const left = new Map<string, number>();
    for (const line of other.split('\n')) left.set(line, (left.get(line) ?? 0) + 1);
    return text.split('\n').flatMap((line) => {
      const count = left.get(line) ?? 0;
      left.set(line, count - 1);
      return count > 0 ? [] : [`${sign} ${line}`];
    });
  };
  return [...surplus(old, now, '-'), ...surplus(now, old, '+')];
}

function jsonLines(file: string, old: string | undefined, now: string): readonly string[] {
  const [before, after] = [old, now].map(
    (text) => new Map(text === undefined ? [] : leavesOf(parseJson(text, file, 'restore it, or make it again'), '')),
  );
  return [...new Set([...before!.keys(), ...after!.keys()])].flatMap((path) => {
    const [was, is] = [before!.get(path), after!.get(path)];
    return was === is ? [] : [`${path}: ${was ?? 'nothing'} -> ${is ?? 'nothing'}`];
  });
}

/** Each value that holds no others, by its path; the names of a list's items, where each has its own, stand for their places. */
function leavesOf(value: unknown, path: string): readonly (readonly [path: string, value: string])[] {
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0) {
    return [[path, JSON.stringify(value)]];
  }
  const entries = Object.entries(value);
  const names = Array.isArray(value) ? value.map((item) => (isRecord(item) ? item.name : undefined)) : [];
  const isNaming = new Set(names.filter((name) => typeof name === 'string')).size === entries.length;
  return entries.flatMap(([key, item], i) => {
    const name = isNaming ? String(names[i]) : key;
    return leavesOf(item, path === '' ? name : `${path}.${name}`);
  });
}

/** A tensor's place in the order train form before deploy form, and in each its stages before its logits. */
function depthOf(key: string): number {
  const [, form = '', stage = '99'] = /^(train|deploy)(?:\.stages\.(\d+).*)?$/.exec(key) ?? [];
  return Number(stage) + (form === 'deploy' ? 100 : 0);
}

function tensorDifference(key: string, accepted: Tensor | undefined, pending: Tensor | undefined): TensorDifference {
  if (accepted === undefined) return { key, kind: 'new', shape: pending!.shape };
  const { shape } = accepted;
  if (pending === undefined) return { key, kind: 'removed', shape };
  if (!sameShape(shape, pending.shape)) return { key, kind: 'reshaped', before: shape, shape: pending.shape };
  const errors = Float64Array.from(accepted.data, (value, i) => Math.abs(pending.data[i]! - value));
  let largest = 0;
  for (const value of accepted.data) largest = Math.max(largest, Math.abs(value));
  const order = [...errors.keys()].filter((i) => errors[i]! > 0).sort((a, b) => errors[b]! - errors[a]!);
  const [most] = order;
  const maxAbsolute = most === undefined ? 0 : errors[most]!;
  const common = {
    key,
    shape,
    differing: order.length,
    elements: errors.length,
    maxAbsolute,
    relative: maxAbsolute / largest,
  };
  if (most === undefined) return { ...common, kind: 'same', relative: 0, worst: [] };
  const worst = order
    .slice(0, WORST_SHOWN)
    .map((index) => ({ index, accepted: accepted.data[index]!, pending: pending.data[index]! }));
  const picture = pictureOf(shape, errors, most);
  return { ...common, kind: 'changed', worst, ...(picture && { picture }) };
}

/** Of a map [N, C, H, W], or of block sums [N, rows, columns]; undefined for anything else. */
function pictureOf(shape: readonly number[], errors: Float64Array, most: number): Picture | undefined {
  if (shape.length !== 3 && shape.length !== 4) return undefined;
  const [rows, columns] = shape.slice(-2) as [number, number];
  const channels = shape.length === 4 ? shape[1]! : 1;
  const plane = rows * columns;
  if (plane < 2) return undefined;
  const image = Math.floor(most / (channels * plane));
  const values = new Float64Array(plane);
  for (let channel = 0; channel < channels; channel++) {
    const from = (image * channels + channel) * plane;
    for (let i = 0; i < plane; i++) values[i] = Math.max(values[i]!, errors[from + i]!);
  }
  return { image, rows, columns, values };
}
