import { availableParallelism } from 'node:os';
import { checkThreads, type Engine, type EngineOptions, type EngineProvider, EngineUnavailable } from './engine.ts';
import { ortEngine } from './ort.ts';

type Runtime = typeof import('onnxruntime-node');

async function loadRuntime(): Promise<Runtime> {
  try {
    return await import('onnxruntime-node');
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new EngineUnavailable(`onnxruntime-node does not load: ${reason}`, 'npm install onnxruntime-node');
  }
}

export interface OnnxruntimeOptions extends EngineOptions {
  /** An ONNX model that runs in place of every network: to hold another project's graph against ours. */
  readonly model?: Uint8Array;
}

/**
 * ONNX Runtime on the CPU, by default on all cores; its info says which threads and graph optimisation are in use.
 * @throws EngineUnavailable where onnxruntime-node or its library does not load
 * @throws InputError where `threads` is not a whole number of at least 1
 */
export async function openOnnxruntime(options: OnnxruntimeOptions = {}): Promise<Engine> {
  const { threads, optimise = true, model } = options;
  const used = threads ?? availableParallelism();
  checkThreads(used, 'onnxruntime');
  const runtime = await loadRuntime();
  const version = runtime.env.versions.node ?? 'unknown';
  const info = { name: 'onnxruntime', version, device: 'CPU', threads: used };
  return ortEngine({ runtime, info, optimise, executionProvider: 'cpu', ...(model && { model }) });
}

export const onnxruntime: EngineProvider = {
  name: 'onnxruntime',
  summary: 'ONNX Runtime on the CPU',
  open: openOnnxruntime,
};
