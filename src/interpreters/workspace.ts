import type { FloatArray } from '../network/tensor.ts';

/** Where an interpreter takes its arrays from, and gives back those that it is done with. */
export interface Arrays {
  /** An array of this length that holds anything: every element is to be written. */
  take(length: number): Float64Array<ArrayBuffer>;
  /** Nobody reads this array any more. One that was not taken here is left alone. */
  release(array: Float64Array): void;
}

/** New arrays each time. */
export const NEW_ARRAYS: Arrays = {
  take: (length) => new Float64Array(length),
  release: () => {},
};

/** The values in float64: a copy, unless they are that already. */
export function widen(data: FloatArray, arrays: Arrays): Float64Array {
  if (data instanceof Float64Array) return data;
  const wide = arrays.take(data.length);
  wide.set(data);
  return wide;
}

/** A free buffer is used for no less than this share of its length, so that small arrays do not hold large ones. */
const LEAST_USE = 0.5;

/**
 * Arrays that are used again. Those of megabytes cost more to allocate than to fill: the system zeroes their pages, and the
 * garbage collector runs for each few.
 */
export class Workspace implements Arrays {
  /** Last released first: it may still be in the processor's cache. */
  readonly #free: ArrayBuffer[] = [];
  #taken = new Set<ArrayBufferLike>();

  take(length: number): Float64Array<ArrayBuffer> {
    const bytes = length * Float64Array.BYTES_PER_ELEMENT;
    const at = this.#free.findLastIndex(({ byteLength }) => byteLength >= bytes && byteLength * LEAST_USE <= bytes);
    const buffer = at < 0 ? new ArrayBuffer(bytes) : this.#free.splice(at, 1)[0]!;
    this.#taken.add(buffer);
    return new Float64Array(buffer, 0, length);
  }

  release({ buffer }: Float64Array): void {
    if (buffer instanceof ArrayBuffer && this.#taken.delete(buffer)) this.#free.push(buffer);
  }

  /** Takes back every array but those that are kept: no other that was taken before may be read any more. */
  reset(kept: Iterable<FloatArray> = []): void {
    const buffers = new Set(Array.from(kept, ({ buffer }) => buffer).filter((buffer) => this.#taken.delete(buffer)));
    for (const buffer of this.#taken) if (buffer instanceof ArrayBuffer) this.#free.push(buffer);
    this.#taken = buffers;
  }
}
