import { availableParallelism } from 'node:os';
import { formatShape, type Tensor } from '../network/tensor.ts';
import { type Arrays, NEW_ARRAYS } from './workspace.ts';

/**
 * Products of float64 matrices: a [G, M, K] times b [N, G, K, P] is [N, G, M, P], the sum over K in any order.
 * The operands are not changed and may be used again at once.
 */
export type MatMul = (
  a: Tensor<Float64Array>,
  b: Tensor<Float64Array>,
  arrays?: Arrays,
) => Promise<Tensor<Float64Array>>;

interface Dimensions {
  readonly n: number;
  readonly g: number;
  readonly m: number;
  readonly k: number;
  readonly p: number;
}

function dimensions(a: Tensor<Float64Array>, b: Tensor<Float64Array>): Dimensions {
  const [g, m, k] = a.shape;
  const [n, gOfB, kOfB, p] = b.shape;
  const complete = g !== undefined && m !== undefined && k !== undefined && n !== undefined && p !== undefined;
  if (!complete || a.shape.length !== 3 || b.shape.length !== 4 || g !== gOfB || k !== kOfB) {
    throw new Error(
      `matmul: ${formatShape(a.shape)} times ${formatShape(b.shape)}; [G, M, K] times [N, G, K, P] needed`,
    );
  }
  return { n, g, m, k, p };
}

/** The definition: one sum over K an element, from the first term on. */
export const plainMatMul: MatMul = async (a, b) => {
  const { n, g, m, k, p } = dimensions(a, b);
  const out = new Float64Array(n * g * m * p); // [N, G, M, P]
  for (let matrix = 0; matrix < n * g; matrix++) {
    for (let row = 0; row < m; row++) {
      for (let column = 0; column < p; column++) {
        let sum = 0;
        for (let term = 0; term < k; term++) {
          sum += a.data[((matrix % g) * m + row) * k + term]! * b.data[(matrix * k + term) * p + column]!;
        }
        out[(matrix * m + row) * p + column] = sum;
      }
    }
  }
  return { shape: [n, g, m, p], data: out };
};

/** A row of the product, starting at `out[to]`, gains row [K] of a times matrix [K, P] of b, four terms at a time. */
function addRow(
  out: Float64Array,
  to: number,
  a: Float64Array,
  aFrom: number,
  b: Float64Array,
  bFrom: number,
  { k, p }: Dimensions,
): void {
  const whole = k - (k % 4);
  for (let term = 0; term < whole; term += 4) {
    const x0 = a[aFrom + term]!;
    const x1 = a[aFrom + term + 1]!;
    const x2 = a[aFrom + term + 2]!;
    const x3 = a[aFrom + term + 3]!;
    const b0 = bFrom + term * p;
    const b1 = b0 + p;
    const b2 = b1 + p;
    const b3 = b2 + p;
    for (let column = 0; column < p; column++) {
      const sum = out[to + column]!;
      out[to + column] =
        sum + x0 * b[b0 + column]! + x1 * b[b1 + column]! + x2 * b[b2 + column]! + x3 * b[b3 + column]!;
    }
  }
  for (let term = whole; term < k; term++) {
    const x = a[aFrom + term]!;
    const from = bFrom + term * p;
    for (let column = 0; column < p; column++) out[to + column]! += x * b[from + column]!;
  }
}

/** In plain JavaScript, reading memory in its order; sums in the order of {@link plainMatMul}, so its very bits. */
export const blockedMatMul: MatMul = async (a, b, arrays = NEW_ARRAYS) => {
  const size = dimensions(a, b);
  const { n, g, m, k, p } = size;
  const out = arrays.take(n * g * m * p).fill(0); // [N, G, M, P]
  for (let matrix = 0; matrix < n * g; matrix++) {
    for (let row = 0; row < m; row++) {
      const aFrom = ((matrix % g) * m + row) * k;
      addRow(out, (matrix * m + row) * p, a.data, aFrom, b.data, matrix * k * p, size);
    }
  }
  return { shape: [n, g, m, p], data: out };
};

type Runtime = typeof import('onnxruntime-node');

/**
 * An output that is asked for before the product. The binding copies every output into a new array, even one whose memory
 * it was given (js/node/src/tensor_helper.cc of ONNX Runtime, OrtValueToNapiValue); that takes longer than many a product,
 * and sets off the garbage collector. It does so output by output when all are computed, and hands over no sequence: at
 * this one it stops, and leaves the product where it was written.
 */
const STOP = 'stop';

/** What the binding says there. */
const STOPPED = /^Non tensor type/;

/** An ONNX model of one MatMul of doubles, and of {@link STOP}; the names are those of the dimensions, all free. */
async function matMulModel(): Promise<Uint8Array> {
  const { elementType, onnxMessages, valueInfo } = await import('../artefacts/onnx-messages.ts');
  const { default: protobuf } = await import('protobufjs/light.js');
  const model = {
    ir_version: 7, // MatMul has been as it is since opset 13, which came with this IR version
    producer_name: 'fuseproof',
    opset_import: [{ domain: '', version: 13 }],
    graph: {
      name: 'product',
      node: [
        { op_type: 'MatMul', name: 'y', input: ['a', 'b'], output: ['y'] },
        { op_type: 'SequenceEmpty', name: STOP, input: [], output: [STOP] },
      ],
      input: [
        valueInfo('a', elementType.double, ['G', 'M', 'K']),
        valueInfo('b', elementType.double, ['N', 'G', 'K', 'P']),
      ],
      output: [
        { name: STOP, type: { sequence_type: { elem_type: { tensor_type: { elem_type: elementType.float } } } } },
        valueInfo('y', elementType.double, ['N', 'G', 'M', 'P']),
      ],
    },
  };
  return protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto').encode(model).finish();
}

async function openRuntimeMatMul(runtime: Runtime, threads: number): Promise<MatMul> {
  const session = await runtime.InferenceSession.create(await matMulModel(), {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3, // errors only
    // Between two products there is other work, which threads that spin would take the cores from.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const tensor = ({ data, shape }: Tensor<Float64Array>) => new runtime.Tensor('float64', data, shape);
  const multiply =
    (first: { readonly [STOP]?: null }): MatMul =>
    async (a, b, arrays = NEW_ARRAYS) => {
      const { n, g, m, p } = dimensions(a, b);
      const product = { shape: [n, g, m, p], data: arrays.take(n * g * m * p) };
      try {
        await session.run({ a: tensor(a), b: tensor(b) }, { ...first, y: tensor(product) });
      } catch (error) {
        if (!(error instanceof Error && STOPPED.test(error.message))) throw error;
      }
      return product;
    };
  const stopping = multiply({ [STOP]: null });
  return (await isRight(stopping)) ? stopping : multiply({});
}

/** Whether 2 * 3 is 6: a binding that stops before the product is no use. */
async function isRight(matmul: MatMul): Promise<boolean> {
  const two = { shape: [1, 1, 1], data: Float64Array.of(2) };
  const three = { shape: [1, 1, 1, 1], data: Float64Array.of(3) };
  return (await matmul(two, three)).data[0] === 6;
}

export interface OpenedMatMul {
  /** What computes it, for reports. */
  readonly name: string;
  readonly matmul: MatMul;
}

/** Says how many threads products may take, where several processes share the cores. */
export const MATMUL_THREADS = 'FUSEPROOF_MATMUL_THREADS';

async function open(threads: number): Promise<OpenedMatMul> {
  let runtime: Runtime;
  try {
    runtime = await import('onnxruntime-node');
  } catch {
    return { name: 'plain JavaScript', matmul: blockedMatMul };
  }
  const name = `ONNX Runtime ${runtime.env.versions.node ?? ''}, float64 MatMul, ${threads} threads`;
  return { name, matmul: await openRuntimeMatMul(runtime, threads) };
}

const opened = new Map<number, Promise<OpenedMatMul>>();

/**
 * The fastest float64 product here, opened once in the process for each number of threads: ONNX Runtime's, by default on
 * all cores or as many threads as {@link MATMUL_THREADS} says; where onnxruntime-node does not load, {@link blockedMatMul}.
 */
export function openMatMul(
  threads = Number(process.env[MATMUL_THREADS] ?? availableParallelism()),
): Promise<OpenedMatMul> {
  let product = opened.get(threads);
  if (product === undefined) {
    product = open(threads);
    opened.set(threads, product);
  }
  return product;
}
