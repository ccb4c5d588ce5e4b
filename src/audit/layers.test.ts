import { describe, expect, it } from 'vitest';
import { resolveModels } from '../reference/config.ts';
import { layerTable } from '../report/layer-table.ts';
import { audit } from './audit.ts';
import { conventionOf } from './conventions.ts';
import { auditLayers } from './layers.ts';

describe('auditLayers', () => {
  it('adds up to the audit of every form of all seventeen', async () => {
    const models = await resolveModels(['all']);
    const { rows } = audit(models);
    const reports = auditLayers(models, undefined, []);
    expect(reports.length).toBe(rows.length);
    for (const [index, { layers, ...report }] of reports.entries()) {
      const sum = (key: 'parameters' | 'macs' | 'activations') =>
        layers.reduce((total, layer) => total + layer[key], 0);
      expect({
        ...report,
        nodes: layers.length,
        parameters: sum('parameters'),
        macs: sum('macs'),
        activations: sum('activations'),
      }).toEqual(Object.fromEntries(Object.entries(rows[index]!).filter(([key]) => KEPT.has(key))));
    }
  });

  it('gives one form only, with a tool beside it', async () => {
    const models = await resolveModels(['repvit_m0_9']);
    const reports = auditLayers(models, 'deploy', [conventionOf('torchinfo')]);
    expect(reports.map(({ form }) => form)).toEqual(['deploy']);
    expect(reports[0]!.layers[0]).toEqual({
      name: 'stem.conv1',
      kind: 'conv2d',
      shape: [1, 24, 112, 112],
      kernel: [3, 3],
      parameters: 672,
      macs: 8_128_512,
      activations: 301_056,
      counts: { torchinfo: 8_128_512 + 301_056 },
    });
  });
});

describe('layerTable', () => {
  it('fits a terminal of 80 columns, names every layer, and ends in the totals', async () => {
    const reports = auditLayers(await resolveModels(['all']), undefined, []);
    const lines = layerTable(reports).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
    // Title, column titles, total and an empty line for each form; layers; blocks and names too long have lines of their own.
    const layers = reports.reduce((sum, report) => sum + report.layers.length, 0);
    expect(lines.length).toBeGreaterThan(layers + 4 * reports.length);
    const deploy = layerTable(auditLayers(await resolveModels(['repvit_m0_9']), 'deploy', [])).replace(/ +/g, ' ');
    expect(deploy).toContain('repvit_m0_9 at 224x224, deploy, 1 head: 198 layers');
    expect(deploy).toContain('stages.1.downsample.pre_block\n token_mixer conv2d 3x3 48x56x56 480 1,354,752 150,528');
    expect(deploy).toContain('head linear 1000 385,000 384,000 1,000\n total 5,067,056 815,617,344 6,165,584');
  });
});

const KEPT = new Set(['model', 'form', 'heads', 'resolution', 'nodes', 'parameters', 'macs', 'activations']);
