import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputError } from '../src/network/errors.ts';
import { elements, type FloatArray, type Tensor, type Weights } from '../src/network/tensor.ts';
import { encodeSafetensors, parseSafetensors } from '../src/weights/safetensors.ts';
import { propertyOptions, seed } from './check.ts';

const RUNS = 500;

const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
const finite = { noNaN: true, noDefaultInfinity: true };

const tensor: fc.Arbitrary<Tensor> = shape.chain((dimensions) => {
  const length = { minLength: elements(dimensions), maxLength: elements(dimensions) };
  const data: fc.Arbitrary<FloatArray> = fc.oneof(
    fc.float32Array({ ...finite, ...length }),
    fc.float64Array({ ...finite, ...length }),
  );
  return data.map((values) => ({ shape: dimensions, data: values }));
});

const name = fc.string({ unit: 'binary' }).filter((text) => text !== '__metadata__');
const weights: fc.Arbitrary<Weights> = fc
  .array(fc.tuple(name, tensor), { maxLength: 6 })
  .map((entries) => new Map(entries));

/** Dtype, shape and bits: tells -0 from 0. */
function bitsByName(map: Weights): ReadonlyMap<string, unknown> {
  return new Map(
    [...map].map(([key, { shape: dimensions, data }]) => [
      key,
      [data.constructor.name, dimensions, [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]],
    ]),
  );
}

/** Parses; an InputError is an answer, any other error a fault. */
function parsedOrRefused(bytes: Uint8Array): Weights | InputError {
  try {
    return parseSafetensors(bytes, 'm.safetensors');
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
}

describe(`safetensors, seed ${seed}`, () => {
  test('what is encoded is parsed, bit for bit', () => {
    fc.assert(
      fc.property(weights, fc.option(fc.dictionary(fc.string(), fc.string()), { nil: undefined }), (map, metadata) => {
        const parsed = parseSafetensors(encodeSafetensors(map, metadata), 'm.safetensors');
        expect(bitsByName(parsed)).toEqual(bitsByName(map));
      }),
      propertyOptions(RUNS),
    );
  });

  test('every truncation is refused', () => {
    fc.assert(
      fc.property(weights, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (map, fraction) => {
        const file = encodeSafetensors(map);
        const cut = file.subarray(0, Math.floor(fraction * file.length));
        expect(parsedOrRefused(cut)).toBeInstanceOf(InputError);
      }),
      propertyOptions(RUNS),
    );
  });

  test('a damaged header is read or refused with an InputError, never anything else', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(weights, damage, (map, changes) => {
        const file = encodeSafetensors(map);
        const headerEnd = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
        for (const [position, byte] of changes) file[position % headerEnd] = byte;
        const result = parsedOrRefused(file);
        if (!(result instanceof InputError)) {
          for (const { shape: dimensions, data } of result.values()) expect(data).toHaveLength(elements(dimensions));
        }
      }),
      propertyOptions(3000),
    );
  });

  test('any JSON for a header is read or refused with an InputError', () => {
    const field = fc.oneof(fc.constantFrom('F32', 'F64', 'I64', [], [1], [2, 3], [0, 4], [0, 0]), fc.jsonValue());
    const entry = fc.oneof(fc.record({ dtype: field, shape: field, data_offsets: field }), fc.jsonValue());
    fc.assert(
      fc.property(fc.oneof(fc.dictionary(fc.string(), entry), fc.jsonValue()), (header) => {
        const text = new TextEncoder().encode(JSON.stringify(header));
        const file = new Uint8Array(8 + text.length);
        new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
        file.set(text, 8);
        parsedOrRefused(file);
      }),
      propertyOptions(3000),
    );
  });
});
