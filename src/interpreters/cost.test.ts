import { describe, expect, it } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import type { Network, Op } from '../network/ops.ts';
import { buildNetwork } from '../reference/config.ts';
import { buildRepVit } from '../reference/repvit.ts';
import { variants } from '../reference/variants.ts';
import { cost } from './cost.ts';

function published(name: string, distillation = true): Network {
  const variant = variants.find((candidate) => candidate.name === name);
  if (variant?.config.family !== 'repvit') throw new Error(`no RepViT is named ${name}`);
  const size = { batch: 1, height: variant.resolution, width: variant.resolution };
  return buildRepVit({ ...variant.config, distillation }, size, name);
}

const conv: Extract<Op, { kind: 'conv2d' }> = {
  kind: 'conv2d',
  outChannels: 6,
  kernel: [3, 2],
  stride: [2, 1],
  padding: [1, 0],
  dilation: [1, 1],
  groups: 2,
  bias: false,
};

describe('cost of single layers, against hand arithmetic', () => {
  const builder = new NetworkBuilder('hand');
  let x = builder.input('input', [1, 4, 5, 7]);
  x = builder.add('conv', conv, [x]); // [1, 6, 3, 6]
  x = builder.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [x]);
  x = builder.add('biased', { ...conv, kernel: [1, 1], stride: [1, 1], padding: [0, 0], groups: 6, bias: true }, [x]);
  x = builder.add('folded', { kind: 'batchNorm', eps: 1e-5 }, [x]);
  x = builder.add('sum', { kind: 'add' }, [x, x]);
  x = builder.add('kept', { kind: 'batchNorm', eps: 1e-5 }, [x]);
  x = builder.add('pool', { kind: 'globalAvgPool', keepDims: false }, [x]);
  x = builder.add('linear', { kind: 'linear', outFeatures: 5, bias: true }, [x]);
  const { layers, total } = cost(builder.build(x));
  const costOf = (name: string) => layers.find((layer) => layer.name === name)?.cost;
  const outputs = 6 * 3 * 6;

  it('counts a grouped, strided convolution with an oblong kernel', () => {
    const parameters = 6 * 2 * 3 * 2;
    const macs = outputs * 2 * 3 * 2;
    expect(costOf('conv')).toEqual({
      parameters,
      buffers: 0,
      macs,
      macsWithNorms: macs,
      activations: outputs,
      initialisers: parameters,
      weightBytes: 4 * parameters,
    });
  });

  it('counts a bias as a parameter and not as a multiply-accumulate', () => {
    expect(costOf('biased')).toMatchObject({ parameters: 6 + 6, macs: outputs, initialisers: 6 + 6 });
    expect(costOf('linear')).toMatchObject({ parameters: 6 * 5 + 5, macs: 6 * 5, activations: 5 });
  });

  it('counts the running statistics of a BN as buffers, and its outputs twice beside the MACs', () => {
    const norm = {
      parameters: 12,
      buffers: 12,
      macs: 0,
      macsWithNorms: 2 * outputs,
      activations: 0,
      weightBytes: 4 * 24,
    };
    expect(costOf('bn')).toEqual({ ...norm, initialisers: 6 });
    expect(costOf('folded')).toEqual({ ...norm, initialisers: 0 });
    expect(costOf('kept')).toEqual({ ...norm, initialisers: 24 });
  });

  it('counts nothing for what holds no weights', () => {
    const nothing = {
      parameters: 0,
      macs: 0,
      macsWithNorms: 0,
      activations: 0,
      initialisers: 0,
      weightBytes: 0,
      buffers: 0,
    };
    expect(costOf('sum')).toEqual(nothing);
    expect(costOf('pool')).toEqual(nothing);
  });

  it('counts a layer over windows for every window and share-set, its constants as parameters', () => {
    const maps = new NetworkBuilder('windows');
    const map = maps.input('input', [2, 6, 4, 6]);
    const cut = maps.add('cut', { kind: 'partition', window: [2, 3], sets: 3 }, [map]);
    const mixed = maps.add('mixed', { kind: 'setLinear', bias: true }, [cut]);
    const back = maps.add('back', { kind: 'departition', channels: 6, parts: [2, 2] }, [mixed]);
    const op = { kind: 'windowLinear', window: [2, 3], sets: 3 } as const;
    const plain = maps.add('plain', { ...op, bias: false, affine: false }, [back]);
    const whole = cost(maps.build(maps.add('affine', { ...op, bias: true, affine: true }, [plain])));
    const parts = new Map(whole.layers.map((layer) => [layer.name, layer.cost]));
    const [pixels, elementsOut] = [2 * 3, 2 * 6 * 4 * 6];
    const matrices = 3 * pixels * pixels;
    const common = {
      macs: elementsOut * pixels,
      macsWithNorms: elementsOut * pixels,
      activations: elementsOut,
      buffers: 0,
    };
    const counted = (parameters: number) => ({
      ...common,
      parameters,
      initialisers: parameters,
      weightBytes: 4 * parameters,
    });
    expect(parts.get('mixed')).toEqual(counted(matrices + 3 * pixels));
    expect(parts.get('plain')).toEqual(counted(matrices));
    // scale and shift for each channel, row_sum for each row.
    expect(parts.get('affine')).toEqual(counted(matrices + 3 * pixels + 2 * 6 + 3 * pixels));
    for (const name of ['cut', 'back'])
      expect(parts.get(name)).toMatchObject({ parameters: 0, macs: 0, activations: 0 });
  });

  it('adds the layers up', () => {
    expect(total.parameters).toBe(72 + 12 + 12 + 12 + 12 + 35);
    expect(total.macs).toBe(outputs * 12 + outputs + 30);
  });

  it('does not fold a BN into a convolution that something else reads', () => {
    const shared = new NetworkBuilder('shared');
    const read = shared.add('conv', conv, [shared.input('input', [1, 4, 5, 7])]);
    const norm = shared.add('bn', { kind: 'batchNorm', eps: 1e-5 }, [read]);
    const both = cost(shared.build(shared.add('sum', { kind: 'add' }, [read, norm])));
    expect(both.total.initialisers).toBe(72 + 24);
  });
});

describe('cost of the published networks, train form', () => {
  it.each([
    ['repvit_m0_6', 2_808_932],
    ['repvit_m0_9', 5_489_328],
    ['repvit_m1_0', 7_302_796],
    ['repvit_m1_1', 8_802_912],
    ['repvit_m1_5', 14_644_432],
    ['repvit_m2_3', 23_688_792],
    ['repvit_m1', 5_485_248],
    ['repvit_m2', 8_797_984],
    ['repvit_m3', 10_682_832],
  ])('%s has %d parameters with two heads', (name, parameters) => {
    expect(cost(published(name)).total.parameters).toBe(parameters);
  });

  it.each([
    ['repvit_m0_9', 5_103_560],
    ['repvit_m1_0', 6_852_900],
    ['repvit_m1_1', 8_288_888],
  ])('%s has %d parameters with one head', (name, parameters) => {
    expect(cost(published(name, false)).total.parameters).toBe(parameters);
  });

  it('gives what PyTorch tools measure for M0.9', () => {
    const { macs, macsWithNorms } = cost(published('repvit_m0_9')).total;
    // FlopCounterMode of PyTorch 2 (half of its 1,634,561,664 FLOPs), and fvcore 0.1.5.
    expect({ macs, macsWithNorms }).toEqual({ macs: 817_280_832, macsWithNorms: 832_165_824 });
  });

  it.each([
    ['repvit_m0_9', 5_479_608],
    ['repvit_m1', 5_463_288],
  ])('%s exports %d initialiser elements', (name, initialisers) => {
    // Counted in what torch.onnx.export of PyTorch 2.15 (TorchScript exporter, opset 11) writes for timm 1.0.31's model.
    expect(cost(published(name)).total.initialisers).toBe(initialisers);
  });

  it('scales with the batch where the input counts, and only there', () => {
    const variant = variants[0]!;
    const [one, three] = [1, 3].map(
      (batch) => cost(buildNetwork(variant.config, { batch, height: 64, width: 96 })).total,
    );
    expect(three).toEqual({
      ...one,
      macs: 3 * one!.macs,
      macsWithNorms: 3 * one!.macsWithNorms,
      activations: 3 * one!.activations,
    });
  });

  it('refuses counts that are not exact', () => {
    const builder = new NetworkBuilder('huge');
    const input = builder.input('input', [1, 2 ** 30, 1, 1]);
    const wide = builder.add(
      'conv',
      { ...conv, outChannels: 2 ** 30, kernel: [1, 1], stride: [1, 1], padding: [0, 0], groups: 1 },
      [input],
    );
    expect(() => cost(builder.build(wide))).toThrow(InputError);
    expect(() => cost(builder.build(wide))).toThrow(
      'huge: parameters of about 1.2e+18; exact counts end at 9007199254740991',
    );
  });
});
