import { describe, expect, test } from 'vitest';
import { type HarnessFigures, harnessTable } from './harness-table.ts';

const figures: HarnessFigures = {
  product: 'ONNX Runtime 1.30.0, float64 MatMul, 2 threads',
  repeats: 3,
  engine: 'onnxruntime',
  networks: [
    {
      model: 'repmlpnet_t224',
      oracleGflops: 12.34,
      generateSeconds: 0.1234,
      fuseSeconds: 1.5,
      tierSeconds: {
        structure: 0,
        exact: 0.5,
        basis: 12.34,
        weights: 0.01,
        algebra: 2,
        dyadic: 3,
        runtime: 4,
        network: 5,
      },
    },
  ],
  draws: [{ model: 'repvit_m0_9', draws: 300, regions: 1500, seconds: 3 }],
  peakMemoryBytes: 1.5 * 2 ** 30,
  against: [
    {
      subject: 'RepMLPNet T224',
      pytorch: [
        { wall: 8, cpu: 12 },
        { wall: 10, cpu: 14 },
      ],
      fuseproof: [
        { wall: 4, cpu: null },
        { wall: 5, cpu: null },
      ],
      logRatio: { estimate: Math.log(2), low: Math.log(1.5), high: Math.log(2.5), level: 0.75 },
    },
  ],
};

/** Words of a line, its columns. */
const words = (text: string, start: string) =>
  text
    .split('\n')
    .find((line) => line.startsWith(start))!
    .split(/\s+/);

describe('the table of the harness', () => {
  const text = harnessTable(figures);

  test('is at most 80 columns wide, with nothing at the ends of lines', () => {
    const lines = text.split('\n');
    expect(lines.length).toBeGreaterThan(10);
    expect(lines.filter((line) => line.length > 80 || line !== line.trimEnd())).toEqual([]);
  });

  test('has every tier under its name', () => {
    expect(words(text, '                 ').slice(1)).toEqual([
      'GFLOP/s',
      'make',
      'fuse',
      'struct',
      'exact',
      'basis',
      'weights',
      'algebra',
    ]);
    expect(words(text, 'repmlpnet_t224')).toEqual([
      'repmlpnet_t224',
      '12.3',
      '0.123',
      '1.50',
      '0.000',
      '0.500',
      '12.3',
      '0.010',
      '2.00',
    ]);
    const onEngine = text.slice(text.indexOf('on onnxruntime'));
    expect(words(onEngine, 'on onnxruntime')).toEqual(['on', 'onnxruntime', 'dyadic', 'runtime', 'network']);
    expect(words(onEngine, 'repmlpnet_t224')).toEqual(['repmlpnet_t224', '3.00', '4.00', '5.00']);
  });

  test('gives draws and regions for one second', () => {
    expect(text).toContain('100 networks with 500 regions a second');
  });

  test('gives medians of both, and the ratio with its interval and level', () => {
    expect(words(text, '  PyTorch')).toEqual(['', 'PyTorch', '9.00', '13.0', '2']);
    expect(words(text, '  fuseproof')).toEqual(['', 'fuseproof', '4.50', '-', '2']);
    expect(text).toContain('PyTorch / fuseproof, wall time: 2.00 (1.50 to 2.50, 75 % interval)');
  });

  test('of a comparison alone has no table of networks', () => {
    const alone = harnessTable({ ...figures, networks: [], draws: [] });
    expect(alone).not.toContain('GFLOP/s');
    expect(alone).not.toContain('peak memory');
    expect(alone).toContain('RepMLPNet T224');
  });
});
