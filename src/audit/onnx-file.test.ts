import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeOnnx } from '../artefacts/onnx.ts';
import { fuse, fuseAndRound } from '../fused/fuse.ts';
import { cost } from '../interpreters/cost.ts';
import { InputError } from '../network/errors.ts';
import { buildNetwork, resolveModel } from '../reference/config.ts';
import { onnxTable } from '../report/onnx-table.ts';
import { randomWeights } from '../weights/random.ts';
import { auditOnnx } from './onnx-file.ts';

const EXPORTED = fileURLToPath(new URL('../../golden/fixtures/tiny_one_stage.onnx', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fuseproof-onnx-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(name: string, bytes: Uint8Array): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, bytes);
  return file;
}

describe('auditOnnx', () => {
  it("counts the initialisers of PyTorch's own export, and not its Constant nodes", async () => {
    expect(await auditOnnx(EXPORTED)).toMatchObject({
      producer: 'pytorch',
      opsets: { 'ai.onnx': 11 },
      initialisers: { tensors: 54, elements: 3777 },
      types: [{ type: 'float32', tensors: 54, elements: 3777, bytes: 4 * 3777 }],
      constants: { tensors: 12, elements: 12 },
      operations: { Conv: 18, BatchNormalization: 4 },
      matches: [],
    });
  });

  it('names the form of a published network that stores as much', async () => {
    const { config, resolution } = await resolveModel('repvit_m0_6');
    const reference = buildNetwork(config, { batch: 1, height: resolution, width: resolution });
    const { total } = cost(reference);
    const weights = randomWeights(reference, 1);
    const fusion = fuse(reference);
    const deployFile = writeOnnx(fusion.network, fuseAndRound(fusion, weights));
    const deploy = await auditOnnx(await written('deploy.onnx', deployFile));
    expect(deploy.matches).toEqual([expect.objectContaining({ model: 'repvit_m0_6', form: 'deploy', heads: 1 })]);
    expect(deploy.operations.BatchNormalization).toBe(undefined);
    const train = await auditOnnx(await written('train.onnx', writeOnnx(reference, weights)));
    expect(train.matches).toEqual([
      { model: 'repvit_m0_6', form: 'train', heads: 2, batchNorms: 'kept', elements: total.parameters + total.buffers },
    ]);
    const text = onnxTable([deploy, train]);
    expect(Math.max(...text.split('\n').map((line) => line.length - folder.length))).toBeLessThanOrEqual(80);
    expect(text).toContain('no batch norm is left');
    expect(text).toContain('as many weights as repvit_m0_6, train, 2 heads, batch norms kept');
  });

  it('refuses a tensor of less than nothing', async () => {
    // ModelProto: opset_import with version 11, and a graph with one initialiser whose one dimension is -1.
    const minusOne = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    const graph = [0x2a, minusOne.length, ...minusOne];
    const model = [0x42, 2, 0x10, 11, 0x3a, graph.length, ...graph];
    await expect(auditOnnx(await written('negative.onnx', Buffer.from(model)))).rejects.toThrow('dimensions [-1]');
  });

  it.each([
    ['missing.onnx', undefined, 'cannot read it'],
    ['text.onnx', Buffer.from('not protobuf'), 'not an ONNX model'],
    ['empty.onnx', Buffer.alloc(0), 'holds no graph'],
  ])('refuses %s', async (name, bytes, message) => {
    const file = bytes === undefined ? join(folder, name) : await written(name, bytes);
    const failure = await auditOnnx(file).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(InputError);
    expect(String(failure)).toContain(message);
  });
});
