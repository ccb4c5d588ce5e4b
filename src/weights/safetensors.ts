/**
 * The safetensors format, https://github.com/huggingface/safetensors: 8 bytes with the length of the header (little
 * endian), the header in JSON, then the tensors' data, row-major and little endian, without holes or overlaps.
 */
import { InputError } from '../network/errors.ts';
import { isRecord, parseJson, typeName } from '../network/json.ts';
import { elements, formatShape, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { byteCountOf, checkFinite, decodeFloats, FLOAT_BYTES, type FloatType, isStepCounter } from './floats.ts';
import { readWholeFile } from './read-file.ts';

/**
 * A tensor takes about 100 bytes of the header, and JSON up to 30 times its bytes in memory. The format itself allows
 * 100 MB, for networks of a hundred thousand tensors and more.
 */
export const MAX_HEADER_BYTES = 2 ** 23;

const LENGTH_BYTES = 8;

/** Longest value of a damaged header that a message repeats. */
const MAX_SHOWN = 80;

const FLOAT_TYPES: ReadonlyMap<string, FloatType> = new Map([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
]);
/** Bytes of one element. */
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

/** Tensors that are data, not weights, and may be of 8-bit pixels: images, and their class numbers. */
const DATA_TENSORS: readonly string[] = ['input', 'labels'];

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
  return parseSafetensors(await readWholeFile(path, 'a safetensors file'), path);
}

/**
 * The float tensors of a safetensors file. F64 and F32 are views on `bytes` where they are aligned there; F16 and BF16
 * are widened to float32, exactly, as are U8 tensors named `input` or `labels`. Other integer tensors are refused, but for
 * PyTorch's `num_batches_tracked`, left out.
 * @param subject names the file in messages
 * @throws InputError where the file is malformed, or a weight is not finite
 */
export function parseSafetensors(bytes: Uint8Array, subject: string): Weights {
  return parseTypedSafetensors(bytes, subject).weights;
}

/** The same, with the types that the file holds its floats in. */
export function parseTypedSafetensors(
  bytes: Uint8Array,
  subject: string,
): { readonly weights: Weights; readonly types: ReadonlySet<FloatType> } {
  const headerBytes = headerLength(bytes, subject);
  const text = headerText(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + headerBytes), subject);
  const entries = parseHeader(text, subject);
  const data = bytes.subarray(LENGTH_BYTES + headerBytes);
  checkLayout(entries, data.length, subject);

  const weights = new Map<string, Tensor>();
  const types = new Set<FloatType>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const type = FLOAT_TYPES.get(dtype);
    if (isBytes(dtype, name)) weights.set(name, { shape, data: Float32Array.from(data.subarray(begin, end)) });
    if (type === undefined) continue;
    const values = decodeFloats(data.subarray(begin, end), type);
    checkFinite(values, name, subject);
    weights.set(name, { shape, data: values });
    types.add(type);
  }
  return { weights, types };
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
      `${subject}: header of ${length} bytes; at most ${MAX_HEADER_BYTES} are read, so this is no safetensors file of a network`,
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
  const header = parseJson(text, `${subject}: the header`, 'this is no safetensors file, or it is damaged');
  if (!isRecord(header)) {
    throw new InputError(
      `${subject}: the header is ${typeName(header)}; an object from tensor name to entry is needed`,
    );
  }
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => parseEntry(name, value, subject));
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
  const byteCount = byteCountOf(shape, elementBytes, where);
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
  const type = FLOAT_TYPES.get(dtype);
  if (type !== undefined) return FLOAT_BYTES[type];
  return isStepCounter(name) || isBytes(dtype, name) ? INTEGER_BYTES.get(dtype) : undefined;
}

function isBytes(dtype: string, name: string): boolean {
  return dtype === 'U8' && DATA_TENSORS.includes(name);
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
