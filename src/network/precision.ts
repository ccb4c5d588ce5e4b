/** What an arithmetic promises: the constants that error bounds are made of. */
export interface Precision {
  /** Unit roundoff u of multiply and add: 2^-24 for float32, 2^-53 for float64. */
  readonly unitRoundoff: number;
  /** Absolute error of one operation that underflows: 2^-149 for float32, 2^-126 where subnormals are flushed to zero. */
  readonly underflow: number;
  /** Its largest finite number: what may pass it on the way has no bound. */
  readonly largest: number;
  /** Largest absolute error of its erf, beyond rounding. */
  readonly erf: number;
}

export const FLOAT64: Precision = {
  unitRoundoff: 2 ** -53,
  underflow: 2 ** -1074,
  largest: Number.MAX_VALUE,
  erf: 0,
};

/** What every engine in float32 has in common. */
export const FLOAT32 = { unitRoundoff: 2 ** -24, largest: (2 - 2 ** -23) * 2 ** 127 } as const;

/** gamma_K = K u / (1 - K u): the relative error that K rounded operations can add up to. Infinite from K u = 1 on. */
export function gamma(operations: number, unitRoundoff: number): number {
  const product = operations * unitRoundoff;
  return product < 1 ? product / (1 - product) : Number.POSITIVE_INFINITY;
}

/** Why nothing can be said of a result that was computed without a stated precision. */
export const NO_PRECISION = 'the engine states no precision, so there is no bound';
