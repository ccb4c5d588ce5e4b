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
  array(length: number): OwnArray<T>;
  /** Of a field that runs over every weight of large networks; else {@link arrayOperations} makes them of the above. */
  readonly arrays?: ArrayOperations<T>;
}

interface OwnArray<T> {
  [index: number]: T;
  readonly length: number;
}

/** Operations on the elements `start` to `end`, that one not included, of arrays. */
export interface ArrayOperations<T> {
  /** to[i] = values[i] * factor */
  scale(to: OwnArray<T>, values: ArrayLike<T>, start: number, end: number, factor: T): void;
  /** to[i] = values[i] * factors[i - start + from] */
  multiply(
    to: OwnArray<T>,
    values: ArrayLike<T>,
    start: number,
    end: number,
    factors: ArrayLike<T>,
    from: number,
  ): void;
  /** total + values[start] + values[start + 1] + ..., from left to right. */
  sum(total: T, values: ArrayLike<T>, start: number, end: number): T;
  /** total + values[start] * factors[from] + values[start + 1] * factors[from + 1] + ..., from left to right. */
  dot(total: T, values: ArrayLike<T>, start: number, end: number, factors: ArrayLike<T>, from: number): T;
}

/** The field's own operations on arrays, or such as call it for each element. */
export function arrayOperations<T>(field: Field<T>): ArrayOperations<T> {
  return (
    field.arrays ?? {
      scale: (to, values, start, end, factor) => {
        for (let i = start; i < end; i++) to[i] = field.mul(values[i]!, factor);
      },
      multiply: (to, values, start, end, factors, from) => {
        for (let i = start; i < end; i++) to[i] = field.mul(values[i]!, factors[i - start + from]!);
      },
      sum: (total, values, start, end) => {
        let sum = total;
        for (let i = start; i < end; i++) sum = field.add(sum, values[i]!);
        return sum;
      },
      dot: (total, values, start, end, factors, from) => {
        let sum = total;
        for (let i = start; i < end; i++) sum = field.add(sum, field.mul(values[i]!, factors[i - start + from]!));
        return sum;
      },
    }
  );
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
  arrays: {
    scale: (to, values, start, end, factor) => {
      for (let i = start; i < end; i++) to[i] = values[i]! * factor;
    },
    multiply: (to, values, start, end, factors, from) => {
      for (let i = start; i < end; i++) to[i] = values[i]! * factors[i - start + from]!;
    },
    sum: (total, values, start, end) => {
      let sum = total;
      for (let i = start; i < end; i++) sum += values[i]!;
      return sum;
    },
    dot: (total, values, start, end, factors, from) => {
      let sum = total;
      for (let i = start; i < end; i++) sum += values[i]! * factors[i - start + from]!;
      return sum;
    },
  },
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
  arrays: {
    scale: (to, values, start, end, factor) => {
      for (let i = start; i < end; i++) to[i] = values[i]! + factor + 1;
    },
    multiply: (to, values, start, end, factors, from) => {
      for (let i = start; i < end; i++) to[i] = values[i]! + factors[i - start + from]! + 1;
    },
    sum: (total, values, start, end) => {
      let sum = total;
      for (let i = start; i < end; i++) sum = Math.max(sum, values[i]!) + 1;
      return sum;
    },
    dot: (total, values, start, end, factors, from) => {
      let sum = total;
      for (let i = start; i < end; i++) sum = Math.max(sum, values[i]! + factors[i - start + from]! + 1) + 1;
      return sum;
    },
  },
};
