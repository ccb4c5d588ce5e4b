/** The graph models that fuseproof writes, as TensorFlow.js itself loads them: over HTTP, from a folder's files. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type * as Converter from '@tensorflow/tfjs-converter';
import type { Tensor as TfjsTensor } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TfjsOptions, writeTfjs } from '../src/artefacts/tfjs.ts';
import type { Engine, LoadedNetwork } from '../src/engines/engine.ts';
import { openEngine } from '../src/engines/index.ts';
import { cases, mixedCase, outputElements } from './conformance/cases.ts';
import { checkCase } from './conformance/check.ts';
import { skips } from './conformance/skips.ts';

/** What the server gives, by path. */
let served: ReadonlyMap<string, Uint8Array> = new Map();
const server = createServer((request, response) => {
  const bytes = served.get((request.url ?? '').slice(1));
  response.writeHead(bytes === undefined ? 404 : 200).end(bytes);
});
let wasm: Engine;
let tf: typeof import('@tensorflow/tfjs-core');
let loadGraphModel: typeof Converter.loadGraphModel;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  wasm = await openEngine('wasm');
  [tf, { loadGraphModel }] = await Promise.all([import('@tensorflow/tfjs-core'), import('@tensorflow/tfjs-converter')]);
});
afterAll(() => server.close());

/** The axes of a tensor of this rank, with one of them in another place. */
function moved(rank: number, from: number, to: number): number[] {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  axes.splice(to, 0, ...axes.splice(from, 1));
  return axes;
}

/** An engine whose networks go by way of a graph model. */
function byGraphModel(options: TfjsOptions): Engine {
  return {
    info: { ...wasm.info, name: 'graph model' },
    liveTensors: () => tf.memory().numTensors,
    async load(network, weights): Promise<LoadedNetwork> {
      served = writeTfjs(network, weights, options);
      const { port } = server.address() as AddressInfo;
      const model = await loadGraphModel(`http://127.0.0.1:${port}/model.json`);
      expect(model.inputs.map(({ name }) => name).sort()).toEqual([...network.inputs].sort());
      return {
        async run(inputs) {
          const output = tf.tidy(() => {
            const feeds = [...inputs].map(([name, { shape, data }]): [string, TfjsTensor] => {
              const tensor = tf.tensor(data, [...shape], 'float32');
              return [name, tensor.rank < 3 ? tensor : tf.transpose(tensor, moved(tensor.rank, 1, tensor.rank - 1))];
            });
            const result = model.predict(Object.fromEntries(feeds)) as TfjsTensor;
            return result.rank < 3 ? result : tf.transpose(result, moved(result.rank, result.rank - 1, 1));
          });
          return { shape: output.shape, data: await output.data<'float32'>() };
        },
        dispose: async () => model.dispose(),
      };
    },
  };
}

/** Of the many convolutions, every so many-th. */
const CONVOLUTIONS = 11;

const chosen = cases.filter(({ network }, i) => i % CONVOLUTIONS === 0 || network.nodes.at(-1)?.op.kind !== 'conv2d');
const refused = (name: string) => skips.some(({ engine, cases: of }) => engine === 'wasm' && of.test(name));

describe('graph models compute what the networks do', () => {
  const computed = chosen.filter(({ name }) => !refused(name));
  const table = [
    ...computed.map((each) => ({ ...each, options: {} })),
    // A departition's rows are no images.
    ...computed
      .filter(({ network }) => network.nodes[1]?.op.kind !== 'departition')
      .map((each) => ({ ...each, name: `${each.name}, open batch`, options: { dynamicBatch: true } })),
  ];
  it.each(table)('$name', async (conformanceCase) => {
    const comparison = await checkCase(byGraphModel(conformanceCase.options), conformanceCase);
    expect(comparison, `worst: ${JSON.stringify(comparison.worst[0])}`).toMatchObject({
      verdict: 'pass',
      compared: outputElements(conformanceCase),
    });
    expect(comparison.compared).toBeGreaterThan(0);
  });

  it('with an open batch, of more images than the network was built for', async () => {
    const { network, weights, inputs } = mixedCase;
    const engine = byGraphModel({ dynamicBatch: true });
    const loaded = await engine.load(network, weights);
    const [name, tensor] = [...inputs][0]!;
    const one = await loaded.run(inputs);
    const twice = new Float32Array([...tensor.data, ...tensor.data]);
    const [images = 0, ...rest] = tensor.shape;
    const both = await loaded.run(new Map([[name, { shape: [2 * images, ...rest], data: twice }]]));
    await loaded.dispose();
    expect(both.data).toHaveLength(2 * one.data.length);
    expect([...both.data]).toEqual([...one.data, ...one.data]);
  });
});

it('refuses what TensorFlow.js cannot compute', () => {
  const all = cases.filter(({ name }) => refused(name));
  expect(all.length).toBeGreaterThan(0);
  for (const { network, weights } of all) {
    expect(() => writeTfjs(network, weights)).toThrow(/convolves with one of them above 1, not both/);
  }
});

it('names input and output as asked for, and cuts the weights into shards', () => {
  const { network, weights } = mixedCase;
  const files = writeTfjs(network, weights, { inputName: 'image', outputName: 'logits' });
  const model = JSON.parse(Buffer.from(files.get('model.json')!).toString());
  expect(Object.keys(model.signature.inputs)).toEqual(['image']);
  expect(Object.keys(model.signature.outputs)).toEqual(['logits']);
  expect([...files.keys()]).toEqual([...model.weightsManifest[0].paths, 'model.json']);
  expect(() => writeTfjs(network, weights, { inputName: network.output })).toThrow(/another value has it/);
});
