import { FLOAT32 } from '../network/precision.ts';
import type { EngineProvider, Precision } from './engine.ts';
import { tfjsEngine } from './tfjs.ts';

/** JavaScript numbers between loads and stores of binary32, so never worse than float32. */
const precision: Precision = {
  ...FLOAT32,
  underflow: 2 ** -149,
  // Abramowitz and Stegun 7.1.26: |error| <= 1.5e-7.
  erf: 1.5e-7,
};

/** tfjs in plain JavaScript: slow, a second opinion. */
export const cpu: EngineProvider = {
  name: 'cpu',
  summary: 'tfjs in plain JavaScript, one thread; slow, a second opinion',
  async open() {
    const tf = await import('@tensorflow/tfjs-core');
    // Production mode is what silences tfjs' advertisement for tfjs-node.
    tf.enableProdMode();
    const { version_cpu } = await import('@tensorflow/tfjs-backend-cpu');
    return tfjsEngine({
      tf,
      backend: 'cpu',
      info: { name: 'cpu', version: `tfjs ${version_cpu}`, device: 'CPU (JavaScript)', threads: 1, precision },
    });
  },
};
