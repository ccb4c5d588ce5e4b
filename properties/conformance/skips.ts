/** Cases that an engine does not compute as defined. The suite asserts that each one really is so. */
export interface Skip {
  readonly engine: string;
  /** Matches names of cases. */
  readonly cases: RegExp;
  /** `refused`: loading throws UnsupportedOp. `out of bound`: it computes something else. */
  readonly how: 'refused' | 'out of bound';
  readonly reason: string;
}

const tfjsEngines = ['wasm', 'cpu', 'webgpu', 'tfjs-node-gpu', 'tfjs-node'];

export const skips: readonly Skip[] = tfjsEngines.map((engine) => ({
  engine,
  cases: /stride 2x2, padding 2x2, dilation 2x2/,
  how: 'refused',
  reason: 'tfjs convolves with a stride or a dilation above 1, not both',
}));
