import { FLOAT32 } from '../network/precision.ts';
import type { EngineProvider, Precision } from './engine.ts';
import { startBackend, tfjsEngine } from './tfjs.ts';

/** WebAssembly arithmetic is IEEE 754 binary32 with subnormals. */
const precision: Precision = {
  ...FLOAT32,
  // XNNPACK's sigmoid alone flushes results below 2^-126 to zero.
  underflow: 2 ** -126,
  // C's erff as in musl: below one unit in the last place, which is 2^-24 at most (measured 5.4e-8).
  erf: 2 ** -24,
};

/** tfjs on WebAssembly (XNNPACK): in every installation. */
export const wasm: EngineProvider = {
  name: 'wasm',
  summary: 'tfjs on WebAssembly (XNNPACK), one thread; always there',
  async open() {
    const tf = await import('@tensorflow/tfjs-core');
    // Production mode is what silences tfjs' advertisement for tfjs-node.
    tf.enableProdMode();
    const { getThreadsCount, version_wasm } = await import('@tensorflow/tfjs-backend-wasm');
    await startBackend(tf, 'wasm'); // before it is asked how many threads it has
    const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
    const threaded = await tf.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT');
    return tfjsEngine({
      tf,
      backend: 'wasm',
      info: {
        name: 'wasm',
        version: `tfjs ${version_wasm}`,
        device: `CPU (WebAssembly${simd ? ' SIMD' : ''})`,
        // Without its threaded build (which Node cannot load) the backend ignores the count.
        threads: threaded ? getThreadsCount() : 1,
        precision,
      },
    });
  },
};
