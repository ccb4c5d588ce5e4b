/**
 * The arithmetic that a fusion rule is written in. One rule, several fields: float64 makes the deploy weights, the
 * counting field says how many roundings lie on the way to each.
 */
export interface Field<T> {
  readonly name: string;
  of(value: number): T;
  add(a: T, b: T): T;
  sub(a: T, b: T): T;
  mul(a: T, b: T): T;
  div(a: T, b: T): T;
  sqrt(a: T): T;
  /** An array of zeros. */
  array(length: number): { [index: number]: T; readonly length: number };
}

export const float64Field: Field<number> = {
  name: 'float64',
  of: (value) => value,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
  array: (length) => new Float64Array(length),
};

/** Magnitudes: what a value would be if nothing cancelled; every minus is a plus. */
export const magnitudeField: Field<number> = {
  name: 'magnitude',
  of: Math.abs,
  add: (a, b) => a + b,
  sub: (a, b) => a + b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  sqrt: Math.sqrt,
  array: (length) => new Float64Array(length),
};

/**
 * Counts roundings on the longest path to a value: what gamma_K of that value's magnitude is taken for. A given weight
 * has none; a sum takes over its terms' counts, a product adds its factors' (Higham, lemma 3.3).
 */
export const roundingsField: Field<number> = {
  name: 'roundings',
  of: () => 0,
  add: (a, b) => Math.max(a, b) + 1,
  sub: (a, b) => Math.max(a, b) + 1,
  mul: (a, b) => a + b + 1,
  div: (a, b) => a + b + 1,
  sqrt: (a) => a + 1,
  array: (length) => new Float64Array(length),
};
