/**
 * The safetensors format, https://github.com/huggingface/safetensors: 8 bytes with the length of the header (little
 * endian), the header in JSON, then the tensors' data, row-major and little endian, without holes or overlaps.
 */
import { readFile } from 'node:fs/promises';
import { InputError } from '../network/errors.ts';
import { elements, type FloatArray, formatShape, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { messageOfSystemError } from './system-error.ts';

/** The format's own limit: its reference reader refuses a longer header. */
export const MAX_HEADER_BYTES = 100_000_000;

const LENGTH_BYTES = 8;

/** Longest value of a damaged header that a message repeats. */
const MAX_SHOWN = 80;

/** Bytes of one element. */
const FLOAT_BYTES: ReadonlyMap<string, number> = new Map([
  ['F64', 8],
  ['F32', 4],
  ['F16', 2],
  ['BF16', 2],
]);
const INTEGER_BYTES: ReadonlyMap<string, number> = new Map([
  ['I64', 8],
  ['U64', 8],
  ['I32', 4],
  ['U32', 4],
  ['I16', 2],
  ['U16', 2],
  ['I8', 1],
  ['U8', 1],
]);

/** Whether a key is PyTorch's count of a batch norm's training steps, an integer that nothing reads in eval mode. */
export function isStepCounter(key: string): boolean {
  return /(^|\.)num_batches_tracked$/.test(key);
}

interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads the float tensors of a file; see {@link parseSafetensors}.
 * @throws InputError where the file cannot be read or is malformed
 */
export async function readSafetensors(path: string): Promise<Weights> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw new InputError(`${path}: ${messageOfSystemError(error, 'read')}; give a safetensors file`);
  });
  return parseSafetensors(bytes, path);
}

/**
 * The float tensors of a safetensors file. F64 and F32 are views on `bytes` where they are aligned there; F16 and BF16
 * are widened to float32, exactly. Integer tensors are refused, but for PyTorch's `num_batches_tracked`, left out.
 * @param subject names the file in messages
 * @throws InputError where the file is malformed, or a weight is not finite
 */
export function parseSafetensors(bytes: Uint8Array, subject: string): Weights {
  const headerBytes = headerLength(bytes, subject);
  const text = headerText(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + headerBytes), subject);
  const entries = parseHeader(text, subject);
  const data = bytes.subarray(LENGTH_BYTES + headerBytes);
  checkLayout(entries, data.length, subject);

  const weights = new Map<string, Tensor>();
  for (const entry of entries) {
    if (!FLOAT_BYTES.has(entry.dtype)) continue;
    const tensor = { shape: entry.shape, data: decode(data.subarray(entry.begin, entry.end), entry, subject) };
    checkFinite(tensor, entry.name, subject);
    weights.set(entry.name, tensor);
  }
  return weights;
}

function headerLength(bytes: Uint8Array, subject: string): number {
  if (bytes.length < LENGTH_BYTES) {
    throw new InputError(
      `${subject}: ${bytes.length} bytes; a safetensors file has at least ${LENGTH_BYTES}, so it is truncated or something else`,
    );
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new InputError(
      `${subject}: header of ${length} bytes; the format allows ${MAX_HEADER_BYTES}, so this is no safetensors file`,
    );
  }
  const rest = bytes.length - LENGTH_BYTES;
  if (length > rest) {
    throw new InputError(
      `${subject}: header of ${length} bytes, but only ${rest} follow its length; the file is truncated, so copy it again`,
    );
  }
  return Number(length);
}

function headerText(bytes: Uint8Array, subject: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new InputError(`${subject}: the header is not UTF-8; this is no safetensors file, or it is damaged`);
  }
}

function parseHeader(text: string, subject: string): readonly Entry[] {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw new InputError(
      `${subject}: the header is not JSON (${error instanceof Error ? error.message : error}); this is no safetensors file, or it is damaged`,
    );
  }
  if (!isRecord(header)) {
    throw new InputError(
      `${subject}: the header is ${typeName(header)}; an object from tensor name to entry is needed`,
    );
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) {
    throw new InputError(
      `${subject}: key ${JSON.stringify(duplicate)} stands twice in one object of the header; write the file again`,
    );
  }
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => parseEntry(name, value, subject));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function typeName(value: unknown): string {
  if (value === null || value === undefined) return `${value}`;
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** The first key that an object of this valid JSON text holds twice: JSON.parse would keep the last without a word. */
function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{') open.push(new Set());
    else if (character === '}') open.pop();
    else if (character === '"') {
      const start = i;
      do i = text.indexOf('"', i + 1);
      while (isEscaped(text, i));
      if (!isFollowedByColon(text, i)) continue;
      const key = String(JSON.parse(text.slice(start, i + 1)));
      if (open.at(-1)?.has(key)) return key;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}

/** Whether an odd number of backslashes stands before the character. */
function isEscaped(text: string, index: number): boolean {
  let start = index;
  while (text[start - 1] === '\\') start--;
  return (index - start) % 2 === 1;
}

function isFollowedByColon(text: string, index: number): boolean {
  let next = index + 1;
  while (' \t\n\r'.includes(text[next] ?? ':')) next++;
  return text[next] === ':';
}

/** A value of the header for a message: whole where it is short and flat, else its type. */
function shown(value: unknown): string {
  const flat = Array.isArray(value) ? value.every((item) => typeof item !== 'object') : typeof value !== 'object';
  const text = flat ? JSON.stringify(value) : undefined;
  return text !== undefined && text.length <= MAX_SHOWN ? text : typeName(value);
}

function parseEntry(name: string, value: unknown, subject: string): Entry {
  const where = `${subject}: tensor ${JSON.stringify(name)}`;
  if (!isRecord(value)) throw new InputError(`${where}: its entry is ${typeName(value)}; an object is needed`);
  const { dtype, shape, data_offsets: offsets } = value;
  const elementBytes = typeof dtype === 'string' ? bytesOf(dtype, name) : undefined;
  if (typeof dtype !== 'string' || elementBytes === undefined) {
    throw new InputError(`${where}: dtype ${shown(dtype)}; F64, F32, F16 or BF16 is needed, so convert it`);
  }
  if (!isCountArray(shape)) {
    throw new InputError(`${where}: shape ${shown(shape)}; a list of whole numbers of at least 0 is needed`);
  }
  const byteCount = elements(shape) * elementBytes;
  if (!Number.isSafeInteger(byteCount)) {
    throw new InputError(
      `${where}: shape ${formatShape(shape)} has too many elements; at most 2^53 bytes can be counted`,
    );
  }
  if (!isCountArray(offsets) || offsets.length !== 2) {
    throw new InputError(
      `${where}: data_offsets ${shown(offsets)}; [begin, end] is needed, whole numbers of at least 0`,
    );
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) {
    throw new InputError(`${where}: data_offsets [${begin}, ${end}] are reversed; begin must not exceed end`);
  }
  if (end - begin !== byteCount) {
    throw new InputError(
      `${where}: data_offsets [${begin}, ${end}] hold ${end - begin} bytes; ${dtype} of shape ${formatShape(shape)} needs ${byteCount}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/** Bytes of one element, or undefined where a tensor of this name cannot have the dtype. */
function bytesOf(dtype: string, name: string): number | undefined {
  return FLOAT_BYTES.get(dtype) ?? (isStepCounter(name) ? INTEGER_BYTES.get(dtype) : undefined);
}

function isCountArray(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
}

/** The tensors must tile the data: each inside it, no overlap, no hole, nothing behind the last. */
function checkLayout(entries: readonly Entry[], dataBytes: number, subject: string): void {
  const where = ({ name, begin, end }: Entry) =>
    `${subject}: tensor ${JSON.stringify(name)}: data_offsets [${begin}, ${end}]`;
  const outside = entries.find(({ end }) => end > dataBytes);
  if (outside !== undefined) {
    throw new InputError(
      `${where(outside)} reach beyond the ${dataBytes} bytes of data; the file is truncated or damaged, so copy it again`,
    );
  }
  const inOrder = entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end);
  const pairs = inOrder.slice(1).map((entry, index) => [inOrder[index]!, entry] as const);
  const overlap = pairs.find(([before, entry]) => entry.begin < before.end);
  if (overlap !== undefined) {
    const [before, entry] = overlap;
    throw new InputError(
      `${where(entry)} overlap tensor ${JSON.stringify(before.name)}, which ends at ${before.end}; write the file again`,
    );
  }
  const hole = [[undefined, inOrder[0]] as const, ...pairs].find(
    ([before, entry]) => entry !== undefined && entry.begin > (before?.end ?? 0),
  );
  if (hole?.[1] !== undefined) {
    const from = hole[0]?.end ?? 0;
    throw new InputError(
      `${where(hole[1])} leave a hole from byte ${from}; the format forbids it, so write the file again`,
    );
  }
  const filled = inOrder.at(-1)?.end ?? 0;
  if (filled < dataBytes) {
    throw new InputError(
      `${subject}: ${dataBytes - filled} bytes behind the last tensor, which ends at ${filled}; the format forbids it, so write the file again`,
    );
  }
}

function decode(bytes: Uint8Array, { dtype, name }: Entry, subject: string): FloatArray {
  switch (dtype) {
    case 'F64':
      return new Float64Array(...aligned(bytes, 8));
    case 'F32':
      return new Float32Array(...aligned(bytes, 4));
    case 'F16':
      return Float32Array.from(new Uint16Array(...aligned(bytes, 2)), float16Value);
    case 'BF16':
      return new Float32Array(Uint32Array.from(new Uint16Array(...aligned(bytes, 2)), (bits) => bits << 16).buffer);
    default:
      throw new Error(`${subject}: tensor ${name}: no decoder for ${dtype}`);
  }
}

/** What a typed array's constructor takes to view these bytes; they are copied only where they are not aligned. */
function aligned(bytes: Uint8Array, elementBytes: number): [ArrayBufferLike, number, number] {
  const { buffer, byteOffset } = bytes.byteOffset % elementBytes === 0 ? bytes : new Uint8Array(bytes);
  return [buffer, byteOffset, bytes.length / elementBytes];
}

/** The value of IEEE 754 binary16 bits: 1 sign, 5 exponent, 10 fraction bits. */
function float16Value(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function checkFinite({ data }: Tensor, name: string, subject: string): void {
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) {
      throw new InputError(
        `${subject}: tensor ${JSON.stringify(name)}: ${data[i]} at index ${i}; every value must be finite, so repair it`,
      );
    }
  }
}

/**
 * A safetensors file of float32 and float64 tensors. As the format's reference writer does, the header is padded with
 * spaces to 8 bytes and the float64 tensors come first, so that every tensor is aligned.
 * @param metadata free text, under the header's `__metadata__`
 */
export function encodeSafetensors(weights: Weights, metadata?: Readonly<Record<string, string>>): Uint8Array {
  const inFileOrder = [...weights].sort(([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  const ends = new Map<string, number>();
  let dataBytes = 0;
  for (const [name, { shape, data }] of inFileOrder) {
    if (elements(shape) !== data.length) {
      throw new Error(`${name}: ${data.length} elements do not fill the shape ${formatShape(shape)}`);
    }
    dataBytes += data.byteLength;
    ends.set(name, dataBytes);
  }

  // Written by hand, as an object would reorder keys that look like indices.
  const members = metadata === undefined ? [] : [`"__metadata__":${JSON.stringify(metadata)}`];
  for (const [name, { shape, data }] of weights) {
    if (name === '__metadata__') throw new Error('a tensor cannot be named __metadata__');
    const end = ends.get(name) ?? 0;
    const dtype = data instanceof Float64Array ? 'F64' : 'F32';
    const entry = { dtype, shape, data_offsets: [end - data.byteLength, end] };
    members.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  const header = new TextEncoder().encode(`{${members.join(',')}}`);
  const headerBytes = Math.ceil(header.length / 8) * 8;

  const dataStart = LENGTH_BYTES + headerBytes;
  const file = new Uint8Array(dataStart + dataBytes).fill(0x20, LENGTH_BYTES, dataStart);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(header, LENGTH_BYTES);
  for (const [name, { data }] of weights) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    file.set(bytes, dataStart + (ends.get(name) ?? 0) - data.byteLength);
  }
  return file;
}
