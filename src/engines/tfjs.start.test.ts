import { expect, it } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { cpu } from './tfjs-cpu.ts';
import { wasm } from './tfjs-wasm.ts';

// In a file of its own: a backend starts once in a process.
it('starts backends that are opened at once', async () => {
  const builder = new NetworkBuilder('relu');
  const network = builder.build(builder.add('relu', { kind: 'relu' }, [builder.input('x', [1, 2])]));
  const inputs = new Map([['x', { shape: [1, 2], data: Float32Array.of(-1, 2) }]]);
  const engines = await Promise.all([wasm, cpu, wasm].map((provider) => provider.open({})));
  for (const engine of engines) {
    const loaded = await engine.load(network, new Map());
    expect(await loaded.run(inputs)).toEqual({ shape: [1, 2], data: Float32Array.of(0, 2) });
    await loaded.dispose();
  }
  expect(engines.map(({ info }) => info.name)).toEqual(['wasm', 'cpu', 'wasm']);
});
