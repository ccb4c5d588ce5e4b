import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse } from '../src/fused/fuse.ts';
import type { Match, Rule } from '../src/fused/rule.ts';
import { convBatchNorm } from '../src/fused/rules/conv-batch-norm.ts';
import { localityInjection } from '../src/fused/rules/locality-injection.ts';
import { repVggDw } from '../src/fused/rules/repvggdw.ts';
import { isKind, type Network } from '../src/network/ops.ts';
import { buildRepMlpNet, completeRepMlpNetConfig } from '../src/reference/repmlpnet.ts';
import { buildRepVit, completeRepVitConfig } from '../src/reference/repvit.ts';
import { faulty, mapped } from '../src/verify/faults/mistake.ts';
import { values } from './arbitraries.ts';
import { verifyDrawn } from './check.ts';
import { inCompleteForm, type NetworkDraw, networks, regions } from './networks.ts';

/** The rule with the first weight wrong, where this holds of what it matches. */
function wrongWhere(rule: Rule, where: (match: Match) => boolean): Rule {
  return faulty('num-one-weight', rule, {
    where,
    fused: (field, _match, right) => ({
      ...right,
      weight: mapped(field, right.weight!, (w, i) => (i === 0 ? field.add(w, field.of(1)) : w)),
    }),
  }).rule;
}

/** The smallest draw that fast-check finds on which a faulty rule is seen. */
async function smallest(draws: fc.Arbitrary<NetworkDraw>, rule: Rule, seed: number): Promise<Network | undefined> {
  const { counterexample } = await fc.check(
    fc.asyncProperty(draws, async (draw) => {
      const right = inCompleteForm(draw);
      const rules = right.form.rules.map((each) => (each.name === rule.name ? rule : each));
      const fusion = fuse(draw.network, rules, right.form.keeps);
      return (await verifyDrawn({ ...right, fusion })).verdict !== 'fail';
    }),
    { seed, numRuns: 200 },
  );
  return counterexample?.[0].network;
}

const felt = { styles: ['drawn'], values: values('balanced') } as const;

describe.each([1])('a counterexample shrinks to the smallest that shows the fault, from seed %i', (seed) => {
  test('to one stage of one RepVGGDW, of the smallest kernel, on the smallest map', async () => {
    const rule = wrongWhere(repVggDw, ({ op }) => op.kind === 'conv2d' && op.kernel[0] >= 5);
    const config = completeRepVitConfig({
      embed_dim: [2],
      depth: [1],
      kernel_size: 5,
      mlp_ratio: 1,
      in_chans: 1,
      num_classes: 1,
      distillation: false,
    });
    const expected = buildRepVit(config, { batch: 1, height: 3, width: 3 });
    expect(await smallest(networks(felt), rule, seed)).toEqual(expected);
  });

  test('to one stage of one RepMLPNet unit, of two share-sets of one channel, on one window', async () => {
    const rule = wrongWhere(localityInjection, ({ replaced }) => replaced.at(-1)!.shape[1]! >= 2);
    const config = completeRepMlpNetConfig({
      channels: [2],
      sharesets_nums: [2],
      hs: [1],
      ws: [1],
      num_blocks: [1],
      reparam_conv_k: [1],
      patch_size: [1, 1],
      in_channels: 1,
      num_class: 1,
      globalperceptron_reduce: 1,
    });
    const expected = buildRepMlpNet(config, { batch: 1, height: 1, width: 1 });
    expect(await smallest(networks(felt), rule, seed)).toEqual(expected);
  });

  test('to one convolution of two groups, on one pixel', async () => {
    const rule = wrongWhere(convBatchNorm, ({ op }) => op.kind === 'conv2d' && op.groups >= 2);
    const network = await smallest(regions(felt), rule, seed);
    // Which batch norms stand around it is chance.
    const convolution = network?.nodes.find((node) => isKind(node, 'conv2d'));
    const one = [1, 1];
    expect(network?.nodes[0]?.shape).toEqual([1, 2, 1, 1]);
    expect(convolution?.op).toEqual({
      kind: 'conv2d',
      outChannels: 2,
      kernel: one,
      stride: one,
      dilation: one,
      groups: 2,
      bias: false,
      padding: [0, 0],
    });
  });
});
