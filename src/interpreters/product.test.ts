import { afterEach, describe, expect, test, vi } from 'vitest';
import { elements, type Shape, type Tensor } from '../network/tensor.ts';
import { blockedMatMul, type MatMul, openMatMul, plainMatMul } from './product.ts';

function tensor(shape: Shape, data: readonly number[]): Tensor<Float64Array> {
  expect(data.length).toBe(elements(shape));
  return { shape, data: Float64Array.from(data) };
}

/** Of whole numbers with the period 17, so that no two rows are alike. */
function whole(shape: Shape): Tensor<Float64Array> {
  return tensor(
    shape,
    Array.from({ length: elements(shape) }, (_, index) => ((index * index + 5) % 17) - 8),
  );
}

const products: readonly [string, MatMul][] = [
  ['plainMatMul', plainMatMul],
  ['blockedMatMul', blockedMatMul],
  ['openMatMul', async (a, b) => (await openMatMul()).matmul(a, b)],
];

afterEach(() => {
  vi.doUnmock('onnxruntime-node');
  vi.resetModules();
});

describe.each(products)('%s', (_name, matmul) => {
  test('multiplies by hand', async () => {
    const a = tensor([1, 2, 3], [1, 2, 3, 4, 5, 6]);
    const b = tensor([1, 1, 3, 2], [7, 8, 9, 10, 11, 12]);
    expect(await matmul(a, b)).toEqual(tensor([1, 1, 2, 2], [58, 64, 139, 154]));
  });

  test('gives each group its own matrix, in every item of the batch', async () => {
    const a = tensor([2, 1, 1], [10, 100]);
    const b = tensor([3, 2, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const expected = [10, 20, 300, 400, 50, 60, 700, 800, 90, 100, 1100, 1200];
    expect(await matmul(a, b)).toEqual(tensor([3, 2, 1, 2], expected));
  });

  test.each([
    { n: 1, g: 1, m: 1, k: 1, p: 1 },
    { n: 1, g: 1, m: 7, k: 13, p: 5 },
    { n: 2, g: 3, m: 5, k: 9, p: 11 },
    { n: 1, g: 16, m: 1, k: 9, p: 49 },
    { n: 3, g: 1, m: 48, k: 96, p: 67 },
  ])('is the definition on whole numbers, $n x $g products $m x $k x $p', async ({ n, g, m, k, p }) => {
    const a = whole([g, m, k]);
    const b = whole([n, g, k, p]);
    expect(await matmul(a, b)).toEqual(await plainMatMul(a, b));
  });

  test('takes views, and leaves its operands as they are', async () => {
    const shared = Float64Array.of(9, 2, 3, 9);
    const a = { shape: [1, 1, 2], data: shared.subarray(1, 3) };
    const b = tensor([1, 1, 2, 1], [5, 7]);
    expect((await matmul(a, b)).data).toEqual(Float64Array.of(31));
    expect([...shared, ...b.data]).toEqual([9, 2, 3, 9, 5, 7]);
  });

  test.each<[Shape, Shape]>([
    [
      [1, 2, 3],
      [1, 1, 2, 2],
    ],
    [
      [2, 2, 3],
      [1, 1, 3, 2],
    ],
    [
      [2, 3],
      [1, 1, 3, 2],
    ],
  ])('refuses %j times %j', async (a, b) => {
    await expect(matmul(whole(a), whole(b))).rejects.toThrow(/^matmul: \[.*\] times \[.*\]; \[G, M, K\] times/);
  });
});

describe('openMatMul', () => {
  test('opens ONNX Runtime once', async () => {
    const first = await openMatMul();
    expect(first.name).toMatch(/^ONNX Runtime \d+\.\d+\.\d+, float64 MatMul, \d+ threads$/);
    expect(await openMatMul()).toBe(first);
  });

  test('leaves the product where it was written, and makes no copy of it', async () => {
    const { matmul } = await openMatMul();
    const side = 512;
    const whole = { shape: [1, side, side], data: new Float64Array(side * side).fill(2) };
    const room = new Float64Array(side * side);
    await matmul(whole, { ...whole, shape: [1, ...whole.shape] }, { take: () => room, release: () => {} });
    const before = process.memoryUsage().arrayBuffers;
    const { data } = await matmul(
      whole,
      { ...whole, shape: [1, ...whole.shape] },
      { take: () => room, release: () => {} },
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(room.byteLength);
    expect(data).toBe(room);
    expect(new Set(data)).toEqual(new Set([4 * side]));
  });

  test('falls back to plain JavaScript, and says so', async () => {
    vi.doMock('onnxruntime-node', () => {
      throw new Error('libonnxruntime.so.1: cannot open shared object file');
    });
    vi.resetModules();
    const fresh = await import('./product.ts');
    expect(await fresh.openMatMul()).toEqual({ name: 'plain JavaScript', matmul: fresh.blockedMatMul });
  });
});
