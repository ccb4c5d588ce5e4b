import { type EngineProvider, EngineUnavailable, TakenInProcess } from './engine.ts';
import { startTensorflow, tensorflowEngine } from './tensorflow.ts';

const GPU_FIX = 'run on a machine with an NVIDIA GPU, its driver, CUDA 11 and cuDNN 8';

/** TensorFlow's C library on an NVIDIA GPU. */
export const tfjsNodeGpu: EngineProvider = {
  name: 'tfjs-node-gpu',
  summary: "TensorFlow's C library on an NVIDIA GPU; optional",
  async open(options) {
    const tensorflow = await startTensorflow(
      {
        packages: ['@tensorflow/tfjs-node-gpu'],
        hidesGpus: false,
        fix: 'npm install @tensorflow/tfjs-node-gpu',
      },
      options,
    );
    if (tensorflow.hidesGpus || tensorflow.package !== '@tensorflow/tfjs-node-gpu') {
      throw new TakenInProcess(
        `TensorFlow runs on the CPU in this process (${tensorflow.package}), and starts once in a process`,
        'name tfjs-node-gpu without tfjs-node',
      );
    }
    if (!tensorflow.usesGpu) throw new EngineUnavailable('found no GPU; TensorFlow would run on the CPU', GPU_FIX);
    return tensorflowEngine('tfjs-node-gpu', tensorflow);
  },
};
