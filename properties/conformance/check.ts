import type { Engine } from '../../src/engines/engine.ts';
import { evaluateFloat64 } from '../../src/interpreters/float64.ts';
import { runtimeBound } from '../../src/verify/bounds.ts';
import { type Comparison, compare } from '../../src/verify/compare.ts';
import type { ConformanceCase } from './cases.ts';

/** Runs the case on the engine and compares with the float64 definition. */
export async function checkCase(engine: Engine, { network, weights, inputs }: ConformanceCase): Promise<Comparison> {
  const loaded = await engine.load(network, weights);
  try {
    const actual = await loaded.run(inputs);
    const values = await evaluateFloat64(network, weights, inputs, { kernels: 'definition' });
    const { bound } = await runtimeBound(network, weights, inputs, engine.info.precision!);
    return compare(actual.data, values.get(network.output)!.data, bound);
  } finally {
    await loaded.dispose();
  }
}
