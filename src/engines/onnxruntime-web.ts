import { availableParallelism } from 'node:os';
import {
  checkThreads,
  type Engine,
  type EngineOptions,
  type EngineProvider,
  EngineUnavailable,
  TakenInProcess,
} from './engine.ts';
import { ortEngine } from './ort.ts';

type Runtime = typeof import('onnxruntime-web');

const NAME = 'onnxruntime-web';

/** Its threads are started once in a process. */
let startedThreads: number | undefined;

async function loadRuntime(threads: number): Promise<Runtime> {
  let runtime: Runtime;
  try {
    runtime = await import('onnxruntime-web');
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new EngineUnavailable(`${NAME} does not load: ${reason}`, `npm install ${NAME}`);
  }
  if (startedThreads !== undefined && startedThreads !== threads) {
    throw new TakenInProcess(
      `it runs in this process with ${startedThreads} for its number of threads and cannot change to ${threads}`,
      'use a run of its own',
    );
  }
  startedThreads = threads;
  runtime.env.wasm.numThreads = threads;
  runtime.env.logLevel = 'error';
  return runtime;
}

/**
 * ONNX Runtime as WebAssembly, as browsers run it; its threads are workers.
 * @throws EngineUnavailable where onnxruntime-web does not load
 * @throws TakenInProcess where it runs in this process with other threads
 * @throws InputError where `threads` is not a whole number of at least 1
 */
export async function openOnnxruntimeWeb({ threads, optimise = true }: EngineOptions = {}): Promise<Engine> {
  const used = threads ?? startedThreads ?? availableParallelism();
  checkThreads(used, NAME);
  const runtime = await loadRuntime(used);
  const version = runtime.env.versions.web ?? 'unknown';
  const info = { name: NAME, version, device: 'CPU (WebAssembly SIMD)', threads: used };
  return ortEngine({ runtime, info, optimise, executionProvider: 'wasm' });
}

/** ONNX Runtime on WebAssembly; optional. */
export const onnxruntimeWeb: EngineProvider = {
  name: NAME,
  summary: 'ONNX Runtime on WebAssembly SIMD, as browsers run it; optional',
  open: openOnnxruntimeWeb,
};
