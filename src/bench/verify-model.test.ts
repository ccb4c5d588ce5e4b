import { expect, test } from 'vitest';
import { type Engine, UnsupportedOp } from '../engines/engine.ts';
import { openEngine } from '../engines/index.ts';
import { completeRepMlpNetConfig } from '../reference/repmlpnet.ts';
import { type Arm, prepareForm, prepareModel } from './prepare.ts';
import { verifyModel } from './verify-model.ts';

const prepared = prepareModel({
  model: {
    name: 'mlp',
    config: completeRepMlpNetConfig({
      num_blocks: [1],
      channels: [8],
      // Too many weights for exact fractions: that tier has to take a miniature.
      hs: [8],
      ws: [8],
      sharesets_nums: [2],
      num_class: 4,
    }),
    resolution: 32,
  },
  size: { batch: 2, height: 32, width: 32 },
  seed: 5,
});

test('verifies every deploy form and gives the logits of every form', async () => {
  const engine = await openEngine('cpu');
  const forms: Arm[] = [];
  const { rows, logits } = await verifyModel(prepared, [engine], (form) => forms.push(form));
  expect(rows.map(({ model, engine: name, form, verdict }) => [model, name, form, verdict])).toEqual([
    ['mlp', 'cpu', 'deploy-official', 'pass'],
    ['mlp', 'cpu', 'deploy', 'pass'],
  ]);
  expect([...new Set(forms)]).toEqual(['deploy-official', 'deploy']);
  for (const arm of ['reference', 'deploy-official', 'deploy'] as const) {
    const { network, weights } = prepareForm(prepared, arm);
    const loaded = await engine.load(network, weights);
    expect(logits.get('cpu')?.[arm]).toEqual((await loaded.run(new Map([['input', prepared.input]]))).data);
    await loaded.dispose();
  }
});

test("an engine that refuses one form has that form's row only marked, and no logits of it", async () => {
  const cpu = await openEngine('cpu');
  const picky: Engine = {
    ...cpu,
    info: { ...cpu.info, name: 'picky' },
    load: (network, weights) => {
      const refused = network.nodes.find(({ op }) => op.kind === 'windowLinear');
      if (refused !== undefined) throw new UnsupportedOp(`${refused.name}: no windows here`);
      return cpu.load(network, weights);
    },
  };
  const { rows, logits } = await verifyModel(prepared, [cpu, picky], () => {});
  expect(rows.map(({ engine, form, verdict }) => `${form} on ${engine}: ${verdict}`)).toEqual([
    'deploy-official on cpu: pass',
    'deploy-official on picky: pass',
    'deploy on cpu: pass',
    'deploy on picky: inconclusive',
  ]);
  expect(Object.keys(logits.get('picky') ?? {}).sort()).toEqual(['deploy-official', 'reference']);
});
