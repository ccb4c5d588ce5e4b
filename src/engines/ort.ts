/** What the engines on ONNX Runtime share: its native build and its WebAssembly one have one interface. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { InputError } from '../network/errors.ts';
import type { Network, Node } from '../network/ops.ts';
import { FLOAT32 } from '../network/precision.ts';
import { formatShape, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import type { Engine, EngineInfo, EngineInputs, Precision, StepTimes } from './engine.ts';

/** What is used of onnxruntime-node, and of onnxruntime-web. */
export interface OrtRuntime {
  readonly InferenceSession: typeof InferenceSession;
  readonly Tensor: typeof OrtTensor;
}

/**
 * Its erf is a polynomial. Over 8.4 million points in [-32, 32], Gelu was off by at most 2.21e-7 * |x| / 2 with all of its
 * rounding (version 1.30, AVX-512); the next power of two leaves room for machines without a fused multiply-add.
 */
const ERF_ERROR = 2 ** -22;

/** Its kernels on CPUs compute in float32 throughout, and keep subnormals unless a session asks otherwise. */
export const ortPrecision: Precision = { ...FLOAT32, underflow: 2 ** -149, erf: ERF_ERROR };

const ERRORS_ONLY = 3; // as logSeverityLevel: its warnings are about speed

/** The input that the node stands for, as ONNX Runtime's tensor: it reads the data where it lies. */
function feed(runtime: OrtRuntime, { name, shape }: Node, inputs: EngineInputs) {
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
  runtime: OrtRuntime,
  session: InferenceSession,
  network: Network,
  inputs: EngineInputs,
): Promise<Tensor<Float32Array>> {
  const nodes = network.nodes.filter((node) => node.op.kind === 'input');
  // By position: a model of another project has names of its own.
  const feeds = Object.fromEntries(nodes.map((node, i) => [session.inputNames[i]!, feed(runtime, node, inputs)]));
  const output = (await session.run(feeds))[session.outputNames[0]!];
  if (!(output?.data instanceof Float32Array)) {
    throw new Error(`ONNX Runtime gave no float32 output ${network.output}`);
  }
  return { shape: output.dims, data: output.data };
}

/** What differs between the builds. */
export interface OrtBuild {
  readonly runtime: OrtRuntime;
  readonly info: Pick<EngineInfo, 'name' | 'version' | 'device' | 'threads'>;
  /** Whether it may rewrite graphs: it folds batch norms into convolutions on its own. */
  readonly optimise: boolean;
  /** The only one registered, so no node can run elsewhere. */
  readonly executionProvider: 'cpu' | 'wasm';
  /** An ONNX model that runs in place of every network: one input, one output. */
  readonly model?: Uint8Array;
}

/** An engine on a build of ONNX Runtime. */
export async function ortEngine({ runtime, info, optimise, executionProvider, model }: OrtBuild): Promise<Engine> {
  const { writeOnnx } = await import('../artefacts/onnx.ts');
  const options: InferenceSession.SessionOptions = {
    executionProviders: [executionProvider],
    intraOpNumThreads: info.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: optimise ? 'all' : 'disabled',
    logSeverityLevel: ERRORS_ONLY,
  };
  return {
    info: {
      ...info,
      name: optimise ? info.name : `${info.name} (graph optimisation off)`,
      ...(optimise && { optimisation: 'graph optimisation: all' }),
      precision: ortPrecision,
    },
    async load(network, weights) {
      const session = await runtime.InferenceSession.create(model ?? writeOnnx(network, weights), options);
      return {
        run: (inputs) => run(runtime, session, network, inputs),
        dispose: () => session.release(),
      };
    },
    liveTensors: () => undefined,
    // The build for browsers writes its profile into a file system of its own.
    ...(executionProvider === 'cpu' && { profile }),
  };

  async function profile(
    network: Network,
    weights: Weights,
    inputs: EngineInputs,
    inferences: number,
  ): Promise<readonly StepTimes[]> {
    const folder = await mkdtemp(join(tmpdir(), 'fuseproof-profile-'));
    try {
      const session = await runtime.InferenceSession.create(writeOnnx(network, weights), {
        ...options,
        enableProfiling: true,
        profileFilePrefix: join(folder, 'profile'),
      });
      for (let inference = 0; inference <= inferences; inference++) await run(runtime, session, network, inputs);
      session.endProfiling();
      await session.release();
      const [file = ''] = await readdir(folder);
      return parseProfile(await readFile(join(folder, file), 'utf8'));
    } finally {
      await rm(folder, { recursive: true });
    }
  }
}

/** An event of ONNX Runtime's profile, in Chrome's trace format; `dur` in microseconds. */
interface TraceEvent {
  readonly cat: string;
  readonly name: string;
  readonly dur: number;
  readonly args: { readonly op_name?: string };
}

const KERNEL = '_kernel_time';

/** The kernels' times, by node, in the order of their first execution; the first inference is left out. */
export function parseProfile(text: string): readonly StepTimes[] {
  const events: readonly TraceEvent[] = JSON.parse(text);
  const steps = new Map<string, { op: string; milliseconds: number[] }>();
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || !name.endsWith(KERNEL)) continue;
    const node = name.slice(0, -KERNEL.length);
    const step = steps.get(node) ?? { op: args.op_name ?? '', milliseconds: [] };
    step.milliseconds.push(dur / 1000);
    steps.set(node, step);
  }
  return [...steps].map(([name, { op, milliseconds }]) => ({ name, op, milliseconds: milliseconds.slice(1) }));
}
