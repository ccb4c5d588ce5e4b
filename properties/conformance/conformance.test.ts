import { describe, expect, it } from 'vitest';
import { UnsupportedOp } from '../../src/engines/engine.ts';
import { openAvailable } from '../../src/engines/index.ts';
import { cases, mixedCase, outputElements } from './cases.ts';
import { checkCase } from './check.ts';
import { skips } from './skips.ts';

const { engines, absent } = await openAvailable(undefined);

for (const { name, reason, fix } of absent) process.stdout.write(`conformance: no ${name}: ${reason}; ${fix}\n`);

describe.each(engines.map((engine) => [engine.info.name, engine] as const))('%s', (engineName, engine) => {
  const own = skips.filter((skip) => skip.engine === engineName);
  const skipOf = (name: string) => own.find((skip) => skip.cases.test(name));
  for (const { cases: pattern, how, reason } of own) {
    const count = cases.filter(({ name }) => pattern.test(name)).length;
    process.stdout.write(`conformance: ${engineName} skips ${count} cases (${how}): ${reason}\n`);
    it(`has a case for the skip ${pattern}`, () => expect(count).toBeGreaterThan(0));
  }

  for (const conformanceCase of cases) {
    const skip = skipOf(conformanceCase.name);
    if (skip?.how === 'refused') {
      it(`refuses ${conformanceCase.name}`, async () => {
        await expect(checkCase(engine, conformanceCase)).rejects.toThrow(UnsupportedOp);
      });
      continue;
    }
    const verdict = skip === undefined ? 'pass' : 'fail';
    it(`${conformanceCase.name}: ${verdict} on ${outputElements(conformanceCase)} elements`, async () => {
      const comparison = await checkCase(engine, conformanceCase);
      expect(comparison, `worst: ${JSON.stringify(comparison.worst[0])}`).toMatchObject({
        verdict,
        compared: outputElements(conformanceCase),
      });
      expect(comparison.compared).toBeGreaterThan(0);
    });
  }

  it('gives the same bits twice and leaves its inputs and weights alone', async () => {
    const { network, weights, inputs } = mixedCase;
    const before = structuredClone([weights, inputs]);
    const loaded = await engine.load(network, weights);
    const [first, second] = [await loaded.run(inputs), await loaded.run(inputs)];
    await loaded.dispose();
    expect(first.data).toHaveLength(outputElements(mixedCase));
    expect(second).toEqual(first);
    expect([weights, inputs]).toEqual(before);
  });

  it('holds no tensor more after a network was loaded, run and disposed', async () => {
    const { network, weights, inputs } = mixedCase;
    const before = engine.liveTensors();
    const loaded = await engine.load(network, weights);
    const held = engine.liveTensors();
    for (let i = 0; i < 3; i++) await loaded.run(inputs);
    expect(engine.liveTensors()).toBe(held);
    await loaded.dispose();
    expect(engine.liveTensors()).toBe(before);
  });
});
