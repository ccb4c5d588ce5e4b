import { describe, expect, it } from 'vitest';
import cases from '../../golden/fixtures/conventions.json' with { type: 'json' };
import { deployForms, fuseTo } from '../fused/forms.ts';
import type { Network } from '../network/ops.ts';
import { buildNetwork, parseConfig, resolveModels } from '../reference/config.ts';
import { familyOf, type ModelConfig } from '../reference/families.ts';
import { auditConventions, conventionNames, conventionOf, conventions, countBy, countLayersBy } from './conventions.ts';

type Case = (typeof cases)[number];

/** The network that the tools counted: one or two heads, as trained or in the original's own fused form. */
async function networkOf({ config, height, width, name }: Case, { form, heads }: Case['forms'][number]) {
  const own = await parseConfig(config, name);
  const trained: ModelConfig = own.family === 'repvit' ? { ...own, distillation: heads === 2 } : own;
  const reference = buildNetwork(trained, { batch: 1, height, width }, name);
  const deploy = deployForms(reference).find((candidate) => candidate.name === form);
  const network: Network = deploy === undefined ? reference : fuseTo(deploy, reference).network;
  return { network, callOf: familyOf(own).callOf };
}

describe('conventions', () => {
  it.each(cases)('counts $name as every tool does, in each form', async (one) => {
    for (const form of one.forms) {
      const { network, callOf } = await networkOf(one, form);
      const { form: _form, heads: _heads, ...expected } = form;
      const counted = countBy(conventions, network, callOf).map(({ convention, total }) => [convention, total]);
      expect(Object.fromEntries(counted)).toEqual(expected);
    }
    expect(one.forms.length).toBeGreaterThan(0);
  });

  it('is held against all seventeen published networks, and against small ones', () => {
    expect(cases.length).toBe(21 + 10 + 4);
    expect(Object.keys(cases[0]!.forms[0]!).slice(2)).toEqual(conventionNames);
  });

  it.each(conventions)('adds up the terms and the layers of $name to its total', async (convention) => {
    for (const one of cases.filter(({ name }) => name.includes('tiny'))) {
      for (const form of one.forms) {
        const { network, callOf } = await networkOf(one, form);
        const [count] = countBy([convention], network, callOf);
        const layers = [...countLayersBy(convention, network, callOf).values()];
        expect(count!.terms.reduce((sum, term) => sum + term.count, 0)).toBe(count!.total);
        expect(layers.reduce<number>((sum, layer) => sum + layer!, 0)).toBe(count!.total);
      }
    }
  });

  it('has no count of a form that no PyTorch code exists of, but for what its ONNX file stores', async () => {
    const rows = auditConventions(await resolveModels(['repmlpnet_t224']), conventions);
    const deploy = rows.find(({ form }) => form === 'deploy');
    const known = deploy!.counts.filter(({ total }) => total !== null).map(({ convention }) => convention);
    expect(known).toEqual(['onnx']);
    expect(
      rows.filter(({ form }) => form !== 'deploy').every(({ counts }) => counts.every((c) => c.total !== null)),
    ).toBe(true);
  });

  it('says that by some tools fusing makes M0.9 cost more', async () => {
    const names = ['ptflops-aten', 'torchinfo', 'fvcore'] as const;
    const rows = auditConventions(await resolveModels(['repvit_m0_9']), names.map(conventionOf));
    const totals = (form: string) =>
      rows.find((row) => row.form === form && row.heads === 1)!.counts.map(({ total }) => total!);
    const [train, deploy] = [totals('train'), totals('deploy')];
    expect(deploy.map((total, tool) => Math.sign(total - train[tool]!))).toEqual([1, 1, -1]);
  });
});
