import { type EngineProvider, TakenInProcess } from './engine.ts';
import { startTensorflow, tensorflowEngine } from './tensorflow.ts';

/** TensorFlow's C library on its CPU kernels. */
export const tfjsNode: EngineProvider = {
  name: 'tfjs-node',
  summary: "TensorFlow's C library on the CPU; optional",
  async open(options) {
    const tensorflow = await startTensorflow(
      {
        packages: ['@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu'],
        hidesGpus: true, // tfjs-node-gpu would take the GPU where it finds one
        fix: 'npm run tensorflow (or npm install @tensorflow/tfjs-node-gpu)',
      },
      options,
    );
    if (tensorflow.usesGpu) {
      throw new TakenInProcess(
        'TensorFlow runs on the GPU in this process, and starts once in a process',
        'name tfjs-node without tfjs-node-gpu',
      );
    }
    return tensorflowEngine('tfjs-node', tensorflow);
  },
};
