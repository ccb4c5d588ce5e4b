import { availableParallelism } from 'node:os';
import util from 'node:util';
import { FLOAT32 } from '../network/precision.ts';
import {
  checkThreads,
  type Engine,
  type EngineOptions,
  EngineUnavailable,
  type Precision,
  TakenInProcess,
} from './engine.ts';
import { oneAtATime, startBackend, type Tfjs, tfjsEngine } from './tfjs.ts';

/** The npm packages of TensorFlow's C library for Node. Both are optional. */
export type TensorflowPackage = '@tensorflow/tfjs-node' | '@tensorflow/tfjs-node-gpu';

/** TensorFlow as it was started in this process: it starts once, by one package. */
export interface StartedTensorflow {
  readonly tf: Tfjs;
  readonly package: TensorflowPackage;
  /** Whether GPUs were hidden from it, so that it runs on the CPU for certain. */
  readonly hidesGpus: boolean;
  readonly usesGpu: boolean;
  /** Version of the C library. */
  readonly library: string;
  readonly threads: number;
}

const BACKEND = 'tensorflow';

let started: Promise<StartedTensorflow> | undefined;

export interface TensorflowStart {
  /** Tried in this order. */
  readonly packages: readonly TensorflowPackage[];
  readonly hidesGpus: boolean;
  /** What to do where none of the packages loads. */
  readonly fix: string;
}

/**
 * Starts TensorFlow with the first of the packages that loads; later calls get what the first one started.
 * @throws EngineUnavailable where none loads
 * @throws TakenInProcess where TensorFlow runs in this process already, with other threads
 * @throws InputError where the threads are not a whole number of at least 1
 */
export async function startTensorflow(how: TensorflowStart, options: EngineOptions): Promise<StartedTensorflow> {
  const threads = options.threads ?? availableParallelism();
  checkThreads(threads, 'TensorFlow');
  started ??= start(how, threads).catch((error: unknown) => {
    started = undefined;
    throw error;
  });
  const tensorflow = await started;
  if (options.threads !== undefined && tensorflow.threads !== options.threads) {
    throw new TakenInProcess(
      `TensorFlow runs in this process with ${tensorflow.threads} for its number of threads and cannot change to ${options.threads}`,
      'use a run of its own',
    );
  }
  return tensorflow;
}

async function start({ packages, hidesGpus, fix }: TensorflowStart, threads: number): Promise<StartedTensorflow> {
  const visibleGpus = process.env.CUDA_VISIBLE_DEVICES;
  // TensorFlow reads its environment once, when its library loads.
  Object.assign(process.env, {
    TF_CPP_MIN_LOG_LEVEL: '2',
    TF_NUM_INTRAOP_THREADS: String(threads),
    TF_NUM_INTEROP_THREADS: '1',
    // Its default depends on the CPU; without oneDNN, depthwise kernels lack dilation and unequal strides.
    TF_ENABLE_ONEDNN_OPTS: process.env.TF_ENABLE_ONEDNN_OPTS ?? '1',
    // Float32 is promised: no TensorFloat-32, no non-fused Winograd.
    NVIDIA_TF32_OVERRIDE: '0',
    TF_ENABLE_WINOGRAD_NONFUSED: '0',
  });
  // tfjs-node 4.22 calls it; Node 23 removed it.
  if (!('isNullOrUndefined' in util)) {
    Object.assign(util, { isNullOrUndefined: (value: unknown) => value === null || value === undefined });
  }
  const tf = await import('@tensorflow/tfjs-core');
  tf.enableProdMode();
  const reasons: string[] = [];
  for (const name of packages) {
    try {
      if (hidesGpus) process.env.CUDA_VISIBLE_DEVICES = '-1';
      // A name that TypeScript does not follow: the packages are optional and so are their types.
      await oneAtATime(() => import(name as string));
      return { tf, package: name, hidesGpus, threads, ...libraryOf(await startBackend(tf, BACKEND)) };
    } catch (error) {
      reasons.push(`${name}: ${reasonOf(error)}`);
    } finally {
      // Child processes may want the GPU.
      if (visibleGpus === undefined) delete process.env.CUDA_VISIBLE_DEVICES;
      else process.env.CUDA_VISIBLE_DEVICES = visibleGpus;
    }
  }
  throw new EngineUnavailable(`TensorFlow does not load (${reasons.join('; ')})`, fix);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && error.code === 'ERR_MODULE_NOT_FOUND') return 'not installed';
  if (error.message.includes('native addon module')) return 'installed without its native library';
  return error.message.split('\n')[0] ?? '';
}

/** What the backend says of itself: the only proof of a GPU is `isUsingGpuDevice`. */
function libraryOf(backend: object): { usesGpu: boolean; library: string } {
  const binding: unknown = 'binding' in backend ? backend.binding : undefined;
  const library =
    typeof binding === 'object' && binding !== null && 'TF_Version' in binding ? String(binding.TF_Version) : 'unknown';
  return { usesGpu: 'isUsingGpuDevice' in backend && backend.isUsingGpuDevice === true, library };
}

/** TensorFlow's kernels in float32. */
const precision: Precision = {
  ...FLOAT32,
  // Its worker threads flush subnormals to zero.
  underflow: 2 ** -126,
  // Eigen's rational approximation: 4.21e-7 at worst on 2e6 points of [-5, 5].
  erf: 2 ** -21,
};

/** An engine on TensorFlow as it runs. */
export function tensorflowEngine(name: string, { tf, library, threads, usesGpu }: StartedTensorflow): Promise<Engine> {
  return tfjsEngine({
    tf,
    backend: BACKEND,
    isSynchronous: !usesGpu,
    info: {
      name,
      version: `tfjs ${tf.version_core}, TensorFlow ${library}`,
      device: usesGpu ? 'GPU (TensorFlow, CUDA)' : 'CPU (TensorFlow)',
      threads,
      precision,
    },
  });
}
