import { InputError } from '../network/errors.ts';
import { type FloatArray, formatShape, type Shape } from '../network/tensor.ts';

/** Floating-point types that a file may hold, by PyTorch's names. */
export type FloatType = 'float64' | 'float32' | 'float16' | 'bfloat16';

/** Bytes of one element. */
export const FLOAT_BYTES: Readonly<Record<FloatType, number>> = { float64: 8, float32: 4, float16: 2, bfloat16: 2 };

/** Whether a key is PyTorch's count of a batch norm's training steps, an integer that nothing reads in eval mode. */
export function isStepCounter(key: string): boolean {
  return /(^|\.)num_batches_tracked$/.test(key);
}

/**
 * The values of little-endian bytes: float64 and float32 as views where they are aligned, float16 and bfloat16 widened to
 * float32, exactly.
 */
export function decodeFloats(bytes: Uint8Array, type: FloatType): FloatArray {
  switch (type) {
    case 'float64':
      return new Float64Array(...aligned(bytes, 8));
    case 'float32':
      return new Float32Array(...aligned(bytes, 4));
    case 'float16':
      return widened(bytes, float16Values());
    case 'bfloat16':
      return widened(bytes, undefined);
  }
}

/** Bytes that {@link decodeFloats} allocates, where it makes no view. */
export function decodedBytes(count: number, type: FloatType): number {
  return count * (type === 'float64' ? 8 : 4);
}

/** What a typed array's constructor takes to view these bytes; they are copied only where they are not aligned. */
function aligned(bytes: Uint8Array, elementBytes: number): [ArrayBufferLike, number, number] {
  const { buffer, byteOffset } = bytes.byteOffset % elementBytes === 0 ? bytes : new Uint8Array(bytes);
  return [buffer, byteOffset, bytes.length / elementBytes];
}

/** By a table of float32 bits; without one as bfloat16, which is a float32's upper half. */
function widened(bytes: Uint8Array, table: Uint32Array | undefined): Float32Array {
  const halves = new Uint16Array(...aligned(bytes, 2));
  const bits = new Uint32Array(halves.length);
  if (table === undefined) for (let i = 0; i < bits.length; i++) bits[i] = halves[i]! << 16;
  else for (let i = 0; i < bits.length; i++) bits[i] = table[halves[i]!]!;
  return new Float32Array(bits.buffer);
}

let float16Table: Uint32Array | undefined;

/** The float32 bits of each of the 2^16 values of binary16. */
function float16Values(): Uint32Array {
  float16Table ??= new Uint32Array(Float32Array.from({ length: 2 ** 16 }, (_, bits) => float16Value(bits)).buffer);
  return float16Table;
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

/** @throws InputError naming the first value that is not finite */
export function checkFinite(data: FloatArray, name: string, subject: string): void {
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i])) {
      throw new InputError(
        `${subject}: tensor ${JSON.stringify(name)}: ${data[i]} at index ${i}; every value must be finite, so repair it`,
      );
    }
  }
}

/** Axes of a tensor: PyTorch and NumPy compute with at most so many. */
export const MAX_AXES = 64;

/** Bytes of a dense tensor. @throws InputError where they cannot be counted, or it has too many axes */
export function byteCountOf(shape: Shape, elementBytes: number, where: string): number {
  if (shape.length > MAX_AXES) {
    throw new InputError(`${where}: a shape of ${shape.length} axes; at most ${MAX_AXES} are read`);
  }
  // Zeros last: the product of the others must be countable, too, or PyTorch could not hold the shape.
  const bytes = shape.reduce((product, dimension) => product * Math.max(1, dimension), elementBytes);
  if (!Number.isSafeInteger(bytes)) {
    throw new InputError(
      `${where}: shape ${formatShape(shape)} has too many elements; at most 2^53 bytes can be counted`,
    );
  }
  return shape.includes(0) ? 0 : bytes;
}
