import { erf } from 'mathjs';
import { expect, it } from 'vitest';
import { openAvailable } from '../../src/engines/index.ts';
import { tfjsEngine, tfjsRules } from '../../src/engines/tfjs.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';

const BACKENDS = new Map([
  ['wasm', 'wasm'],
  ['cpu', 'cpu'],
  ['webgpu', 'webgpu'],
  ['tfjs-node', 'tensorflow'],
  ['tfjs-node-gpu', 'tensorflow'],
]);

const POINTS = 200_001;
const REACH = 5; // beyond it every float32 erf is 1

const { engines } = await openAvailable(undefined);
const onTfjs = engines.filter(({ info }) => BACKENDS.has(info.name)).map(({ info }) => [info.name, info] as const);

it.each(onTfjs)(`has on %s the erf that its precision states, on ${POINTS} points`, async (name, info) => {
  const tf = await import('@tensorflow/tfjs-core');
  const backend = BACKENDS.get(name)!;
  const builder = new NetworkBuilder('erf');
  const network = builder.build(builder.add('erf', { kind: 'gelu' }, [builder.input('x', [1, POINTS])]));
  const engine = await tfjsEngine({
    tf,
    backend,
    info,
    rules: { ...tfjsRules, gelu: () => (inputs) => tf.erf(inputs[0]!) },
  });
  const x = Float32Array.from({ length: POINTS }, (_, i) => REACH * ((2 * i) / (POINTS - 1) - 1));
  const loaded = await engine.load(network, new Map());
  const { data } = await loaded.run(new Map([['x', { shape: [1, POINTS], data: x }]]));
  await loaded.dispose();
  expect(data).toHaveLength(POINTS);

  const { unitRoundoff, erf: stated } = info.precision!;
  const exact = Float64Array.from(x, (value) => erf(value));
  const errors = exact.map((value, i) => Math.abs(data[i]! - value));
  const beyondRounding = errors.reduce(
    (worst, error, i) => Math.max(worst, error - unitRoundoff * Math.abs(exact[i]!)),
    0,
  );
  expect(beyondRounding).toBeLessThanOrEqual(stated);
  // Nor is the statement so loose that it would hide another erf.
  expect(stated).toBeLessThan(2 * errors.reduce((worst, error) => Math.max(worst, error), 0));
});
