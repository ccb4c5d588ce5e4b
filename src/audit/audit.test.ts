import { beforeAll, describe, expect, it } from 'vitest';
import { type Model, parseConfig, resolveModel, resolveModels } from '../reference/config.ts';
import { type AuditReport, audit } from './audit.ts';
import { listModels } from './models.ts';
import { type Form, figureValue, fits, publishedFigures } from './published.ts';

let all: AuditReport;
beforeAll(async () => {
  all = audit(await resolveModels(['all']));
});

function row(model: string, form: Form['form'], heads: 1 | 2) {
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
  it('has the train forms and the deploy forms of all seventeen', () => {
    const forms = all.rows.map(({ model, form, heads }) => `${model} ${form} ${heads}`);
    expect(forms.length).toBe(9 * 3 + 2 * 2 + 6 * 3);
    expect(new Set(forms).size).toBe(forms.length);
    expect(row('repvit_m0_9_cifar100', 'train', 2)).toBe(undefined);
    expect(forms.filter((form) => form.startsWith('repmlpnet_t224'))).toEqual([
      'repmlpnet_t224 train 1',
      'repmlpnet_t224 deploy-official 1',
      'repmlpnet_t224 deploy 1',
    ]);
  });

  // Parameters before and after the original's locality_injection(), and MACs in thousand millions.
  it.each([
    ['repmlpnet_t224', 38_293_608, 38_331_720, '2.808', '2.798'],
    ['repmlpnet_t256', 58_687_848, 58_739_400, '4.258', '4.246'],
    ['repmlpnet_b224', 68_242_712, 68_332_664, '6.676', '6.657'],
    ['repmlpnet_b256', 96_447_512, 96_568_184, '9.640', '9.616'],
    ['repmlpnet_d256', 86_887_648, 86_985_280, '8.636', '8.611'],
    ['repmlpnet_l256', 117_641_560, 117_820_600, '11.609', '11.579'],
  ])('%s: %d -> %d parameters, %s -> %s GMACs by locality injection', (model, trained, injected, ...giga) => {
    const [train, official] = [row(model, 'train', 1)!, row(model, 'deploy-official', 1)!];
    expect([train.parameters, official.parameters]).toEqual([trained, injected]);
    expect([train.macs, official.macs].map((macs) => (macs / 1e9).toFixed(3))).toEqual(giga);
  });

  it('counts T224 exactly, as PyTorch does with convolutions and linear layers only', () => {
    expect(row('repmlpnet_t224', 'train', 1)?.macs).toBe(2_807_987_200);
    expect(row('repmlpnet_t224', 'deploy-official', 1)?.macs).toBe(2_798_453_760);
  });

  it.each(['t224', 't256', 'b224', 'b256', 'd256', 'l256'])(
    'the complete deploy form of RepMLPNet %s has no BN and as many MACs, in fewer operations',
    (size) => {
      const [official, deploy] = [
        row(`repmlpnet_${size}`, 'deploy-official', 1)!,
        row(`repmlpnet_${size}`, 'deploy', 1)!,
      ];
      expect(official.buffers).toBeGreaterThan(0);
      expect([deploy.buffers, deploy.macs, deploy.macsWithNorms]).toEqual([0, official.macs, official.macs]);
      expect(deploy.fvcore).toBe(null);
      expect(deploy.nodes).toBeLessThan(official.nodes);
    },
  );

  it('completes T224 by bias and batch norms', () => {
    // Units, and of each the width C, the share-sets S times the window's pixels P, the width R of the global perceptron.
    const units = [
      [2, 64, 1 * 56 * 56],
      [2, 128, 4 * 28 * 28],
      [6, 256, 16 * 14 * 14],
      [2, 512, 128 * 7 * 7],
    ] as const;
    // Of the official form: gone are the affine parameters of prebn1, prebn2 and the BNs behind both FFN convolutions
    // (4C and C); new are those convolutions' biases, and the scale, shift and row sums behind fc3.
    const change = units.reduce(
      (sum, [blocks, c, pixels]) => sum + blocks * (-2 * (c + c + 4 * c + c) + (4 * c + c) + (2 * c + pixels)),
      0,
    );
    // The four embeddings' BNs become biases, head_norm goes into the head.
    const embeddings = 64 + 128 + 256 + 512;
    expect(row('repmlpnet_t224', 'deploy', 1)!.parameters).toBe(
      row('repmlpnet_t224', 'deploy-official', 1)!.parameters + change - embeddings - 2 * 512,
    );
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

  it.each([
    ['repmlpnet_t224', 'parameters', ['train 1 null parameters', 'deploy-official 1 null parameters']],
    ['repmlpnet_t256', 'parameters', ['train 1 null parameters', 'deploy-official 1 null parameters']],
    ['repmlpnet_b224', 'parameters', ['train 1 null parameters']],
    ['repmlpnet_b256', 'parameters', []],
    ['repmlpnet_d256', 'parameters', ['train 1 null parameters']],
    ['repmlpnet_l256', 'parameters', []],
    ['repmlpnet_t256', 'macs', ['deploy-official 1 null macs']],
    ['repmlpnet_l256', 'macs', []],
  ])('the README of RepMLP mixes forms: %s, %s', (model, kind, expected) => {
    expect(fitting(model, 'DingXiaoH/RepMLP', kind)).toEqual(expected);
  });

  it.each(['t224', 'b224', 'b256', 'd256'])('the README of RepMLP counts the MACs of both forms of %s', (size) => {
    expect(fitting(`repmlpnet_${size}`, 'DingXiaoH/RepMLP', 'macs')).toEqual(
      expect.arrayContaining(['train 1 null macs', 'deploy-official 1 null macs']),
    );
  });

  it('names the nearest count of a figure that fits no form of L256', () => {
    const { nearest } = figure('repmlpnet_l256', 'DingXiaoH/RepMLP', 'macs');
    expect(nearest).toMatchObject({ form: 'deploy-official', counting: 'macs', count: 11_579_010_048 });
  });

  it.each(['repmlpnet_b224', 'repmlpnet_b256'])('mmpretrain counts %s as trained, BN too but not pooling', (model) => {
    expect(fitting(model, 'mmpretrain', 'parameters')).toEqual(['train 1 null parameters']);
    expect(fitting(model, 'mmpretrain', 'macs')).toContain('train 1 null macsWithNorms');
  });

  it("holds no figure against a form that is fuseproof's own", () => {
    const official = new Set(all.rows.filter(({ form }) => form === 'deploy-official').map(({ model }) => model));
    const complete = all.rows.filter(({ model, form }) => form === 'deploy' && official.has(model));
    expect(complete.map(({ published }) => published)).toEqual([[], [], [], [], [], []]);
    const described = all.figures.filter(({ model }) => official.has(model)).flatMap(({ fits: found }) => found);
    expect(new Set(described.map(({ form }) => form))).toEqual(new Set(['train', 'deploy-official']));
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

  it('compares RepMLPNet at its own resolution, not at 224', async () => {
    const { config } = await resolveModel('repmlpnet_t256');
    const kinds = async (resolution: number) =>
      (await auditOf(config, resolution)).figures.map(({ kind, resolution: at }) => [kind, at]);
    expect(await kinds(256)).toEqual([
      ['parameters', 256],
      ['macs', 256],
    ]);
    expect(await kinds(512)).toEqual([['parameters', 256]]);
  });

  it('refuses a resolution that the windows of RepMLPNet do not divide', async () => {
    const { config } = await resolveModel('repmlpnet_t256');
    await expect(auditOf(config, 224)).rejects.toThrow('mine: height 224 gives stage 0 a map of height 56');
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
