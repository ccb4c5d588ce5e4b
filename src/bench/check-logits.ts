import { inspect } from 'node:util';
import type { Arm } from './prepare.ts';

/**
 * A benchmark of a wrong network is an error: the logits of a timed run must be, bit for bit, those that were verified.
 * @throws Error naming the first element that is not
 */
export function checkLogits(arm: Arm, actual: Float32Array, expected: Float32Array = new Float32Array(0)): void {
  const subject = `the ${arm} form's logits in the timed run are not those that were verified`;
  if (actual.length !== expected.length || expected.length === 0) {
    throw new Error(`${subject}: ${actual.length} elements, ${expected.length} verified`);
  }
  const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
  const [actualBits, expectedBits] = [bits(actual), bits(expected)];
  const at = actualBits.findIndex((word, index) => word !== expectedBits[index]);
  // inspect tells -0 from 0.
  if (at >= 0) {
    throw new Error(`${subject}: element ${at} is ${inspect(actual[at])} instead of ${inspect(expected[at])}`);
  }
}
