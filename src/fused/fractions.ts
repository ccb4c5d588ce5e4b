import { createRequire } from 'node:module';
import type { Fraction } from 'mathjs';
import { InputError } from '../network/errors.ts';
import type { Field } from './field.ts';

/**
 * Exact fractions: mathjs's, of whole numbers without limit. A constant is taken as the decimal that it is written as, so
 * that 1e-5 is 1/100000 and not the nearest float64. A root must be rational.
 * @throws Error, from its operations, at a division by zero and at a root that is no fraction
 */
export async function openFractionField(): Promise<Field<Fraction>> {
  const { Fraction } = loadMathjs();
  const zero = new Fraction(0n);
  return {
    name: 'fractions',
    of: (value) => {
      const [numerator, denominator] = decimal(value);
      return new Fraction(numerator, denominator);
    },
    add: (a, b) => a.add(b),
    sub: (a, b) => a.sub(b),
    mul: (a, b) => a.mul(b),
    div: (a, b) => a.div(b),
    sqrt: (a) => {
      // Null, which its type leaves out, where the root is not rational.
      const root: Fraction | null = a.pow(1, 2);
      if (root === null) throw new Error(`${a.toFraction()} has no rational square root`);
      return root;
    },
    array: (length) => new Array<Fraction>(length).fill(zero),
  };
}

/** mathjs in one file, as it ships it for browsers: its two thousand modules take a second to load. */
function loadMathjs(): typeof import('mathjs') {
  return createRequire(import.meta.url)('mathjs/lib/browser/math.js');
}

/** The number's shortest decimal as numerator and denominator. */
function decimal(value: number): readonly [numerator: bigint, denominator: bigint] {
  if (!Number.isFinite(value)) throw new InputError(`${value} is no fraction; give a finite number`);
  const [digits = '', exponent = ''] = value.toExponential().split('e');
  const places = digits.split('.')[1]?.length ?? 0;
  const numerator = BigInt(digits.replace('.', ''));
  const power = 10n ** BigInt(Math.abs(Number(exponent) - places));
  return Number(exponent) < places ? [numerator, power] : [numerator * power, 1n];
}
