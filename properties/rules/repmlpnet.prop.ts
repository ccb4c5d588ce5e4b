import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deployForms, fuseTo } from '../../src/fused/forms.ts';
import { weightShapesByKey } from '../../src/network/graph.ts';
import { isKind, type Network } from '../../src/network/ops.ts';
import type { Shape } from '../../src/network/tensor.ts';
import { buildRepMlpNet } from '../../src/reference/repmlpnet.ts';
import { verify } from '../../src/verify/verify.ts';
import { randomInput, randomWeights } from '../../src/weights/random.ts';
import { propertyOptions, seed } from '../check.ts';
import { type RepMlpNetDraw, repMlpNets } from '../networks.ts';

const seeds = fc.nat(2 ** 32 - 1);

/** What the draws must have shown at least once, for the property to be about it. */
function traitsOf({ config, size }: RepMlpNetDraw, network: Network): string[] {
  const blocks = network.nodes.filter((node) => isKind(node, 'departition'));
  const several = blocks.filter(({ op }) => op.parts[0] * op.parts[1] > 1);
  const sets = new Map(network.nodes.filter((node) => isKind(node, 'partition')).map((node) => [node.name, node.op]));
  const traits: Readonly<Record<string, boolean>> = {
    'four stages': config.channels.length === 4,
    'oblong windows': config.hs.some((h, stage) => h !== config.ws[stage]),
    'oblong input': size.height !== size.width,
    'several share-sets': config.sharesets_nums.some((number) => number > 1),
    'windows that change places': several.some(
      ({ name, op }) => op.channels > (sets.get(name.replace('departition', 'partition'))?.sets ?? op.channels),
    ),
    'no local perceptron': config.reparam_conv_k.length === 0,
    'one branch': config.reparam_conv_k.length === 1,
    'three branches': config.reparam_conv_k.length === 3,
    'a stage without a unit': config.num_blocks.includes(0),
  };
  return Object.entries(traits).flatMap(([trait, has]) => (has ? [trait] : []));
}

const TRAITS = 9;

describe(`RepMLPNet, seed ${seed}`, () => {
  test('both deploy forms are the train form, whatever the config', async () => {
    const traits = new Set<string>();
    await fc.assert(
      fc.asyncProperty(repMlpNets, seeds, async (draw, drawn) => {
        const network = buildRepMlpNet(draw.config, draw.size);
        for (const trait of traitsOf(draw, network)) traits.add(trait);
        const weights = randomWeights(network, drawn);
        const input = randomInput(network.nodes[0]!.shape, drawn);
        for (const form of deployForms(network)) {
          const fusion = fuseTo(form, network);
          const {
            verdict,
            failures,
            problems,
            tiers,
            network: rows,
          } = await verify({
            fusion,
            weights,
            input,
            engines: [],
            probe: (shape, name) => randomInput(shape, drawn, name),
            tiers: ['structure', 'basis', 'weights', 'algebra', 'network'],
          });
          expect(failures).toEqual([]);
          expect({ verdict, problems }).toEqual({ verdict: 'pass', problems: [] });
          expect(new Set(tiers.map(({ tier }) => tier))).toEqual(
            new Set(['canaries', 'structure', 'basis', 'weights', 'algebra', 'network']),
          );
          expect(tiers.find(({ tier }) => tier === 'algebra')?.pieces).toBeGreaterThanOrEqual(fusion.regions.length);
          expect(rows.map(({ logits }) => logits.finite)).toEqual([true, true]);
        }
      }),
      propertyOptions(25),
    );
    expect([...traits].toSorted()).toHaveLength(TRAITS);
  });

  test('deploy has no batch norm; deploy-official has the keys and shapes of locality_injection()', () => {
    fc.assert(
      fc.property(repMlpNets, ({ config, size }) => {
        const network = buildRepMlpNet(config, size);
        const [official, complete] = deployForms(network).map((form) => ({
          name: form.name,
          network: fuseTo(form, network).network,
        }));
        expect([official?.name, complete?.name]).toEqual(['deploy-official', 'deploy']);
        const kinds = complete!.network.nodes.map(({ op }): string => op.kind);
        expect(kinds).toContain('windowLinear');
        const unfused = ['batchNorm', 'partition', 'departition', 'setLinear'];
        expect(kinds.filter((kind) => unfused.includes(kind))).toEqual([]);
        expect(sorted(weightShapesByKey(official!.network))).toEqual(sorted(injected(weightShapesByKey(network))));
      }),
      propertyOptions(50),
    );
  });
});

const sorted = (shapes: ReadonlyMap<string, Shape>) => [...shapes].sort(([a], [b]) => (a < b ? -1 : 1));

/** fc3_bn and the branches are gone, fc3 has got a bias; everything else is as it was. */
function injected(train: ReadonlyMap<string, Shape>): ReadonlyMap<string, Shape> {
  const stay = [...train].filter(([key]) => !/\.(fc3_bn|repconv\d+\.(conv|bn))\./.test(key));
  const biases = stay.flatMap(([key, [rows = 0]]): [string, Shape][] =>
    key.endsWith('.fc3.weight') ? [[key.replace(/weight$/, 'bias'), [rows]]] : [],
  );
  return new Map([...stay, ...biases]);
}
