import { availableParallelism } from 'node:os';
import type { InferenceSession } from 'onnxruntime-node';
import { InputError } from '../network/errors.ts';
import type { Network, Node } from '../network/ops.ts';
import { FLOAT32 } from '../network/precision.ts';
import { formatShape, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import {
  type Engine,
  type EngineInputs,
  type EngineOptions,
  type EngineProvider,
  EngineUnavailable,
  type LoadedNetwork,
  type Precision,
} from './engine.ts';

type Runtime = typeof import('onnxruntime-node');

/**
 * Its erf is a polynomial. Over 8.4 million points in [-32, 32], Gelu was off by at most 2.21e-7 * |x| / 2 with all of its
 * rounding (version 1.30, AVX-512); the next power of two leaves room for machines without a fused multiply-add.
 */
const ERF_ERROR = 2 ** -22;

/** Its CPU kernels compute in float32 throughout, and keep subnormals unless a session asks otherwise. */
const precision: Precision = { ...FLOAT32, underflow: 2 ** -149, erf: ERF_ERROR };

const ERRORS_ONLY = 3; // as logSeverityLevel: its warnings are about speed

async function loadRuntime(): Promise<Runtime> {
  try {
    return await import('onnxruntime-node');
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new EngineUnavailable(`onnxruntime-node does not load: ${reason}`, 'npm install onnxruntime-node');
  }
}

/** The input that the node stands for, as ONNX Runtime's tensor: it reads the data where it lies. */
function feed(runtime: Runtime, { name, shape }: Node, inputs: EngineInputs) {
  const tensor = inputs.get(name);
  if (tensor === undefined) {
    throw new InputError(`${name}: no input of that name is given; give a tensor of shape ${formatShape(shape)}`);
  }
  if (!sameShape(tensor.shape, shape)) {
    throw new InputError(
      `${name}: input of shape ${formatShape(tensor.shape)}; the network was built for ${formatShape(shape)}`,
    );
  }
  return new runtime.Tensor('float32', tensor.data, tensor.shape);
}

async function run(
  runtime: Runtime,
  session: InferenceSession,
  network: Network,
  inputs: EngineInputs,
): Promise<Tensor<Float32Array>> {
  const nodes = network.nodes.filter((node) => node.op.kind === 'input');
  const feeds = Object.fromEntries(nodes.map((node) => [node.name, feed(runtime, node, inputs)]));
  const output = (await session.run(feeds))[network.output];
  if (!(output?.data instanceof Float32Array)) {
    throw new Error(`ONNX Runtime gave no float32 output ${network.output}`);
  }
  return { shape: output.dims, data: output.data };
}

/**
 * ONNX Runtime on the CPU, by default on all cores; its info says which threads and graph optimisation are in use. It folds
 * batch norms into convolutions on its own, unless it is told to run the network as it stands.
 * @throws EngineUnavailable where onnxruntime-node or its library does not load
 * @throws InputError where `threads` is not a whole number of at least 1
 */
export async function openOnnxruntime(options: EngineOptions = {}): Promise<Engine> {
  const threads = options.threads ?? availableParallelism();
  if (!Number.isSafeInteger(threads) || threads < 1) {
    throw new InputError(`threads ${threads} for onnxruntime; a whole number of at least 1 is needed`);
  }
  const runtime = await loadRuntime();
  const { writeOnnx } = await import('../artefacts/onnx.ts');
  const { optimise = true } = options;
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: ['cpu'], // the only one registered, so no node can run elsewhere
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: optimise ? 'all' : 'disabled',
    logSeverityLevel: ERRORS_ONLY,
  };
  return {
    info: {
      name: optimise ? 'onnxruntime' : 'onnxruntime (graph optimisation off)',
      ...(optimise && { optimisation: 'graph optimisation: all' }),
      version: runtime.env.versions.node ?? 'unknown',
      device: 'CPU',
      threads,
      precision,
    },
    async load(network: Network, weights: Weights): Promise<LoadedNetwork> {
      const session = await runtime.InferenceSession.create(writeOnnx(network, weights), sessionOptions);
      return {
        run: (inputs) => run(runtime, session, network, inputs),
        dispose: () => session.release(),
      };
    },
    liveTensors: () => undefined,
  };
}

export const onnxruntime: EngineProvider = {
  name: 'onnxruntime',
  summary: 'ONNX Runtime on the CPU',
  open: openOnnxruntime,
};
