import { beforeAll, describe, expect, it } from 'vitest';
import { type Model, parseConfig, resolveModel, resolveModels } from '../reference/config.ts';
import { type AuditReport, audit } from './audit.ts';
import { listModels } from './models.ts';
import { figureValue, fits, publishedFigures } from './published.ts';

let all: AuditReport;
beforeAll(async () => {
  all = audit(await resolveModels(['all']));
});

function row(model: string, form: 'train' | 'deploy', heads: 1 | 2) {
  return all.rows.find((found) => found.model === model && found.form === form && found.heads === heads);
}

function figure(model: string, source: string, kind: string) {
  const found = all.figures.filter((one) => one.model === model && one.source.includes(source) && one.kind === kind);
  if (found.length !== 1) throw new Error(`${found.length} figures of ${model} in ${source}`);
  return found[0]!;
}

/** The forms that a figure fits, as text. */
function fitting(model: string, source: string, kind: string): readonly string[] {
  return figure(model, source, kind).fits.map(
    ({ form, heads, flavour, counting }) => `${form} ${heads} ${flavour} ${counting}`,
  );
}

describe('rows', () => {
  it('has train forms and the deploy form of all eleven', () => {
    const forms = all.rows.map(({ model, form, heads }) => `${model} ${form} ${heads}`);
    expect(forms.length).toBe(9 * 3 + 2 * 2);
    expect(new Set(forms).size).toBe(forms.length);
    expect(row('repvit_m0_9_cifar100', 'train', 2)).toBe(undefined);
  });

  // Parameters with two heads, of the deploy form, and MACs of the deploy form, as timm's models have them.
  it.each([
    ['repvit_m0_6', 2_808_932, 2_468_072, 385_065_120],
    ['repvit_m0_9', 5_489_328, 5_067_056, 815_617_344],
    ['repvit_m1_0', 7_302_796, 6_810_312, 1_106_136_864],
    ['repvit_m1_1', 8_802_912, 8_244_312, 1_337_124_608],
    ['repvit_m1_5', 14_644_432, 14_049_992, 2_273_596_160],
    ['repvit_m2_3', 23_688_792, 22_926_792, 4_515_958_720],
    ['repvit_m1', 5_485_248, 5_067_056, 815_617_344],
    ['repvit_m2', 8_797_984, 8_244_312, 1_337_124_608],
    ['repvit_m3', 10_682_832, 10_115_720, 1_859_163_904],
  ])('%s: %d -> %d parameters, %d MACs', (model, trained, deployed, macs) => {
    expect(row(model, 'train', 2)?.parameters).toBe(trained);
    expect(row(model, 'deploy', 1)).toMatchObject({ parameters: deployed, macs, fvcore: macs, buffers: 0 });
  });

  it('splits the parameters that fusing removes from M0.9', () => {
    const [two, one, deploy] = [
      row('repvit_m0_9', 'train', 2)!,
      row('repvit_m0_9', 'train', 1)!,
      row('repvit_m0_9', 'deploy', 1)!,
    ];
    expect(two.parameters - one.parameters).toBe(385_768);
    expect(one.parameters - deploy.parameters).toBe(36_504);
    expect(((100 * (one.macs - deploy.macs)) / one.macs).toFixed(2)).toBe('0.16');
    expect(((100 * (one.activations - deploy.activations)) / one.activations).toFixed(0)).toBe('17');
  });

  it('gives the other flavour the same deploy form', () => {
    const { parameters, macs, activations, nodes } = row('repvit_m1', 'deploy', 1)!;
    expect(row('repvit_m0_9', 'deploy', 1)).toMatchObject({ parameters, macs, activations, nodes });
  });

  it('names the published figures that a row explains', () => {
    expect(row('repvit_m1_0', 'deploy', 1)?.published).toContainEqual({
      source: 'THU-MIG/RepViT README.md',
      kind: 'parameters',
      printed: '6.8',
      unit: 'M',
      counting: 'parameters',
    });
    const trained = row('repvit_m1_0', 'train', 2)!.published;
    expect(trained.filter(({ source }) => source.includes('README'))).toEqual([
      expect.objectContaining({ kind: 'macs', printed: '1.1' }),
      expect.objectContaining({ kind: 'macs', printed: '1.1', counting: 'fvcore' }),
    ]);
  });
});

describe('published figures', () => {
  it("explains every figure of timm's: unfused is two heads with BN counted, fused is the deploy form", () => {
    const timm = all.figures.filter(({ source }) => source.startsWith('timm'));
    expect(timm.length).toBe(8 * 3 * 2);
    const counting = { parameters: 'parameters', macs: 'fvcore', activations: 'activations', initialisers: '' };
    const unexplained = timm.filter(({ assumed, kind, fits: found }) => {
      const expected =
        assumed.form === 'deploy'
          ? { form: 'deploy', heads: 1, counting: kind }
          : { form: 'train', heads: 2, counting: counting[kind] };
      return !found.some(
        (fit) => fit.form === expected.form && fit.heads === expected.heads && fit.counting === expected.counting,
      );
    });
    expect(unexplained).toEqual([]);
  });

  it.each([
    // The other flavour with one head has 7,298,036 - 449,896 = 6,848,140.
    ['repvit_m1_0', ['deploy 1 current parameters', 'train 1 legacy parameters']],
    ['repvit_m1_1', ['deploy 1 current parameters']],
    ['repvit_m1_5', ['deploy 1 current parameters']],
    ['repvit_m2_3', ['deploy 1 current parameters']],
    // 5.1 is too coarse to tell one head from deploy.
    ['repvit_m0_9', ['train 1 current parameters', 'deploy 1 current parameters', 'train 1 legacy parameters']],
  ])('README.md counts the parameters of the deploy form of %s', (model, expected) => {
    expect(fitting(model, 'THU-MIG/RepViT README.md', 'parameters')).toEqual(expected);
  });

  it('README.md counts MACs so coarsely that M0.9 fits every form', () => {
    expect(fitting('repvit_m0_9', 'THU-MIG/RepViT README.md', 'macs').length).toBe(9);
  });

  it.each([
    ['repvit_m1_0', '300', 7_298_036],
    ['repvit_m1_0', '450', 7_298_036],
    ['repvit_m1_1', '300', 8_797_984],
    ['repvit_m1_5', '300', 14_635_024],
    ['repvit_m2_3', '300', 23_674_632],
    ['repvit_m2_3', '450', 23_674_632],
  ])('the log of %s, %s epochs, is of the legacy block', (model, epochs, parameters) => {
    const found = figure(model, `logs, ${epochs}`, 'parameters');
    expect(figureValue(found)).toBe(parameters);
    expect(found.fits.map(({ flavour, form, heads }) => [flavour, form, heads])).toEqual([['legacy', 'train', 2]]);
  });

  it.each([
    ['repvit_m0_9', '300', 5_489_328],
    ['repvit_m0_9', '450', 5_489_328],
    ['repvit_m1_1', '450', 8_802_912],
    ['repvit_m1_5', '450', 14_644_432],
  ])('the log of %s, %s epochs, is of the current block', (model, epochs, parameters) => {
    const found = figure(model, `logs, ${epochs}`, 'parameters');
    expect(figureValue(found)).toBe(parameters);
    expect(found.fits.map(({ flavour, form, heads }) => [flavour, form, heads])).toEqual([['current', 'train', 2]]);
  });

  it.each([
    ['repvit_m1', 5_484_240, 5_485_248],
    ['repvit_m3', 10_681_488, 10_682_832],
  ])('the log of %s fits no form', (model, printed, nearest) => {
    const found = figure(model, 'logs, 300', 'parameters');
    expect([figureValue(found), found.fits, found.nearest.count]).toEqual([printed, [], nearest]);
  });

  it('the first README mixed forms: M2 is the trained network, M3 the deployed one', () => {
    expect(fitting('repvit_m2', 'first RepViT', 'parameters')).toEqual([
      'train 2 legacy parameters',
      'train 2 current parameters',
    ]);
    expect(fitting('repvit_m2', 'corrected RepViT', 'parameters')).toEqual(['deploy 1 legacy parameters']);
    expect(fitting('repvit_m3', 'first RepViT', 'parameters')).toEqual(['deploy 1 legacy parameters']);
  });

  it('the RDK X5 table is not what its export script counts', () => {
    const found = figure('repvit_m1_1', 'RDK X5', 'initialisers');
    expect(found.assumedCount).toBe(8_790_976);
    expect(found.fits.map(({ form }) => form)).toEqual(['deploy']);
  });
});

describe('audit of other networks', () => {
  const tiny = { family: 'repvit', embed_dim: [16, 24], depth: [1, 1], distillation: false };

  async function auditOf(config: object, resolution = 224): Promise<AuditReport> {
    const model: Model = { name: 'mine', config: await parseConfig(config, 'mine'), resolution };
    return audit([model]);
  }

  it('has no figures for a network of the user', async () => {
    const { rows, figures } = await auditOf(tiny, 32);
    expect(rows.map(({ form, heads, resolution, published }) => [form, heads, resolution, published])).toEqual([
      ['train', 1, 32, []],
      ['deploy', 1, 32, []],
    ]);
    expect(figures).toEqual([]);
  });

  it('knows a published network under another name', async () => {
    const { config } = await resolveModel('repvit_m0_9');
    const { figures } = await auditOf(config);
    expect(figures.length).toBe(publishedFigures('repvit_m0_9').length);
    expect(new Set(figures.map(({ model }) => model))).toEqual(new Set(['mine']));
  });

  it('compares at another resolution only what does not depend on it', async () => {
    const { config } = await resolveModel('repvit_m0_9');
    const { figures } = await auditOf(config, 256);
    expect(new Set(figures.map(({ kind }) => kind))).toEqual(new Set(['parameters', 'initialisers']));
  });

  it('refuses a resolution that is too small', async () => {
    await expect(auditOf(tiny, 4)).rejects.toThrow('mine: size 4x4 is too small');
  });
});

describe('fits', () => {
  it.each([
    ['5.07', 'M', 5_065_000, true],
    ['5.07', 'M', 5_064_999, false],
    ['5.07', 'M', 5_075_000, true],
    ['5.07', 'M', 5_075_001, false],
    ['14.0', 'M', 14_049_992, true],
    ['14.0', 'M', 14_050_001, false],
    ['15.70', 'M', 15_706_000, false],
    ['1.3', 'G', 1_337_124_608, true],
    ['1.3', 'G', 1_358_085_376, false],
    ['7298036', '', 7_298_036, true],
    ['7298036', '', 7_298_037, false],
  ] as const)('%s %s for %d: %s', (printed, unit, count, expected) => {
    expect(fits({ printed, unit }, count)).toBe(expected);
  });
});

describe('listModels', () => {
  it('lists every network with the size of its deploy form', () => {
    const listed = listModels().map(({ name, deployParameters }) => [name, deployParameters]);
    expect(listed).toEqual(
      all.rows.filter(({ form }) => form === 'deploy').map(({ model, parameters }) => [model, parameters]),
    );
  });
});
