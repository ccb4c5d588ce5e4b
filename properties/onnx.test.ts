/** Networks as PyTorch's exporters and other people's fusions wrote them, held against the checkpoint (golden/oracle/make_onnx.py). */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs/light.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseOnnxFile } from '../src/artefacts/onnx-file.ts';
import { onnxMessages } from '../src/artefacts/onnx-messages.ts';
import { networkOfOnnx } from '../src/artefacts/onnx-network.ts';
import { verifyFiles } from '../src/certify/verify-files.ts';
import { InputError, MismatchError } from '../src/network/errors.ts';
import type { Tier } from '../src/verify/verify.ts';

const FOLDER = join(import.meta.dirname, 'onnx');
const at = (name: string) => join(FOLDER, name);
const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.onnx'));
/** Without engines: what they compute of a network has tests of its own. */
const tiers: readonly Tier[] = ['structure', 'basis', 'algebra'];
const size = { height: 32, width: 32 };

function against(reference: string, deploy: string) {
  return verifyFiles({ reference, deploy, engines: [], tiers, size });
}

let place = '';
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'fuseproof onnx '));
});
afterAll(() => rm(place, { recursive: true }));

describe('exports of PyTorch, from opset 11 to 21, legacy and dynamo, fixed and open batch, with external data', () => {
  const fused = files.filter((name) => name.includes('.fused.') && !name.startsWith('kernel5'));
  test.each(fused)('%s: is the fused network, each weight as a fusion in float32 makes it', async (name) => {
    const [network] = name.split('.');
    const found = await against(at(`${network}.safetensors`), at(name));
    expect(found).toMatchObject({
      verdict: 'pass',
      form: network === 'repmlpnet' ? 'deploy-official, as exported' : 'deploy',
    });
    expect(found.layers.length).toBeGreaterThan(15);
    expect(found.layers.filter(({ ulps }) => ulps > 200)).toEqual([]);
  });

  const train = files.filter((name) => name.includes('.train.'));
  test.each(train)('%s: has the right weights, and is not fused', async (name) => {
    const [network] = name.split('.');
    const found = await against(at(`${network}.safetensors`), at(name));
    const verdicts = Object.fromEntries(found.tiers.map(({ tier, verdict }) => [tier, verdict]));
    expect(verdicts).toEqual({ canaries: 'pass', structure: 'fail', basis: 'pass', algebra: 'pass' });
    expect(found.problems[0]).toMatch(/still sums parallel affine branches/);
  });

  test('both kinds are there', () => expect([fused.length, train.length]).toEqual([21, 21]));

  test('an export as the reference: fused here, and held against the other exporter', async () => {
    const found = await against(at('repvit.train.dynamo18.onnx'), at('repvit.fused.legacy13.onnx'));
    // The exporter's own rounding of the batch norms that it folded stands between the two: single units, no more.
    expect(Math.max(...found.failures.map(({ comparison }) => comparison.worstRatio))).toBeLessThan(100);
    expect(found.found).toContainEqual(expect.stringMatching(/what the exporter of the reference folded/));
    expect(found.tiers.find(({ tier }) => tier === 'structure')?.verdict).toBe('pass');
  });
});

describe('wrong fusions are found', () => {
  test.each(['kernel5.fused.safetensors', 'kernel5.fused.onnx'])(
    "%s: timm's padding by one, whatever the kernel's size",
    async (name) => {
      const { verdict, layers } = await against(at('kernel5.safetensors'), at(name));
      expect(verdict).toBe('fail');
      const wrong = layers.filter((layer) => layer.verdict === 'fail').map(({ node }) => node);
      expect(wrong).toHaveLength(4);
      for (const node of wrong) expect(node).toMatch(/token_mixer$/);
    },
  );

  test('one weight of an ONNX file off by 2^-10: its layer is named', async () => {
    const bytes = await readFile(at('repvit.fused.legacy20.onnx'));
    const { constants } = await parseOnnxFile(bytes, at('repvit.fused.legacy20.onnx'));
    const { data } = constants.get('stages.1.blocks.0.token_mixer.weight')!;
    const stored = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const where = bytes.indexOf(stored) + 4 * 50;
    bytes.writeFloatLE(bytes.readFloatLE(where) * (1 + 2 ** -10), where);
    const path = join(place, 'altered.onnx');
    await writeFile(path, bytes);
    const { verdict, layers, failures } = await against(at('repvit.safetensors'), path);
    expect(verdict).toBe('fail');
    expect(layers.filter((layer) => layer.verdict === 'fail').map(({ node }) => node)).toEqual([
      'stages.1.blocks.0.token_mixer',
    ]);
    expect(failures[0]?.comparison.worst[0]?.index).toBe(50);
  });

  test.each<[what: string, from: string, to: string, says: RegExp]>([
    ['another activation', 'Sigmoid', 'Softmax', /\(Softmax\): is an op that no network here has/],
    ['an approximate GELU', 'none', 'tanh', /approximates GELU by tanh/],
    ['a ReLU for a sigmoid', 'Sigmoid', 'Relu\0\0\0', /op that no network here has/],
  ])('%s: the nodes are named', async (what, from, to, says) => {
    const source = 'repvit.fused.legacy20.onnx';
    const text = (await readFile(at(source))).toString('latin1').replaceAll(from, to);
    const path = join(place, `${what}.onnx`);
    await writeFile(path, Buffer.from(text, 'latin1'));
    const error = await against(at('repvit.safetensors'), path).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(says);
  });

  interface Model {
    opset_import: { version: number }[];
    graph: {
      node: { name: string; op_type: string; input: string[]; output: string[]; attribute: object[] }[];
      initializer: { name: string; dims: number[]; data_type: number; raw_data: Uint8Array; external_data: [] }[];
      input: { type: { tensor_type: { elem_type: number } } }[];
    };
  }

  /** Puts a node behind the first convolution. */
  function behind({ graph }: Model, op_type: string, attribute: object[], more: string[] = []) {
    const [first] = graph.node.filter((node) => node.op_type === 'Conv');
    const [output = ''] = first!.output;
    first!.output[0] = 'before';
    graph.node.splice(graph.node.indexOf(first!) + 1, 0, {
      name: 'planted',
      op_type,
      input: ['before', ...more],
      output: [output],
      attribute,
    });
  }

  /** Another number for the first constant that has this one. */
  function other({ graph }: Model, value: number, instead: number) {
    const tensors = graph.node.flatMap(({ attribute }) =>
      (attribute as { t?: { raw_data: Uint8Array } }[]).flatMap(({ t }) => t ?? []),
    );
    const one = tensors.find(
      ({ raw_data: b }) => b.length === 4 && Buffer.from(b).readFloatLE() === Math.fround(value),
    );
    one!.raw_data = new Uint8Array(Float32Array.of(instead).buffer);
  }

  const CAST_TO = 2; // AttributeProto.AttributeType.INT
  test.each<[what: string, alter: (model: Model) => void, says: RegExp]>([
    [
      'a GELU that halves by 0.5004',
      (model) => other(model, 0.5, 0.5004),
      /\(Mul\): is a part of a GELU that does not end as one/,
    ],
    ['a GELU of x / 1.4143', (model) => other(model, Math.SQRT2, 1.4143), /\(Erf\): is not of x \/ sqrt 2/],
    ['a GELU that adds 1.0009', (model) => other(model, 1, 1.0009), /\(Add\): adds a constant that is no bias/],
    [
      'a cast to float16',
      (model) => behind(model, 'Cast', [{ name: 'to', type: CAST_TO, i: 10 }]),
      /planted \(Cast\): casts to float16, which cannot hold every value/,
    ],
    [
      'a cast to whole numbers',
      (model) => behind(model, 'Cast', [{ name: 'to', type: CAST_TO, i: 7 }]),
      /planted \(Cast\): casts to int64/,
    ],
    [
      'a dropout in training',
      (model) => behind(model, 'Dropout', [], ['', 'training']),
      /planted \(Dropout\): may drop out/,
    ],
    [
      'an input of float16',
      ({ graph }) => {
        graph.input[0]!.type.tensor_type.elem_type = 10;
      },
      /input input of float16; float or double is needed/,
    ],
    [
      'an opset that is not known',
      ({ opset_import }) => {
        opset_import[0]!.version = 99;
      },
      /opset 99; 11 to 25 are read/,
    ],
    [
      'a bias for rows',
      ({ graph }) => {
        const bias = graph.node.find(({ op_type }) => op_type === 'Gemm')!.input[2];
        graph.initializer.find(({ name }) => name === bias)!.dims.push(1);
      },
      /\(Gemm\): adds \[5, 1\], which is no bias/,
    ],
  ])('%s: refused, by its name', async (what, alter, says) => {
    const type = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
    const model = type.decode(await readFile(at('repvit.fused.legacy13.onnx')));
    alter(model as unknown as Model);
    const path = join(place, `${what.replaceAll('/', 'by')}.onnx`);
    await writeFile(path, type.encode(model).finish());
    const error = await against(at('repvit.safetensors'), path).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(says);
  });

  test('another network: what stands where is said', async () => {
    const error = await against(at('repvit.safetensors'), at('repmlpnet.fused.legacy20.onnx')).catch((e: unknown) => e);
    expect((error as Error).message).toMatch(
      /it is no form of repvit; nearest to it is .*\n.* stands where .* is needed/,
    );
    expect(error).toBeInstanceOf(MismatchError);
  });

  test('an activation that is missing, deep in the network: its place is said, whatever is summed behind it', async () => {
    const type = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
    const model = type.decode(await readFile(at('repvit.fused.legacy13.onnx')));
    (model as unknown as Model).graph.node.find(({ op_type }) => op_type === 'Relu')!.op_type = 'Identity';
    const path = join(place, 'no ReLU.onnx');
    await writeFile(path, type.encode(model).finish());
    const error = await against(at('repvit.safetensors'), path).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MismatchError);
    const [, ...problems] = (error as Error).message.split('\n');
    expect(problems).toEqual([
      expect.stringMatching(/se\/fc1\/Conv \(conv2d.*stands where stages\.\d\.blocks\.\d\.se\.act \(relu/),
    ]);
  });
});

describe('graphs that would take any time or memory', () => {
  /** A field of a message that holds bytes or a message. */
  const field = (id: number, ...parts: Uint8Array[]) => {
    const content = Buffer.concat(parts);
    return Buffer.concat([
      protobuf.Writer.create()
        .uint32((id << 3) | 2)
        .uint32(content.length)
        .finish(),
      content,
    ]);
  };
  const model = (...graph: Uint8Array[]) =>
    Buffer.concat([Buffer.from([8, 8, 0x12, 1, 0x61]), field(7, ...graph), field(8, Buffer.from([0x10, 13]))]);
  const text = (id: number, value: string) => field(id, Buffer.from(value));
  const node = (op: string, inputs: string[], output: string) =>
    field(1, ...inputs.map((input) => text(1, input)), text(2, output), text(4, op));
  const sizes = field(5, Buffer.from([8, 2, 0x10, 7]), text(8, 's'), field(7, Buffer.from([1, 1])));
  const dim = (size: number) => field(1, Buffer.from([8, size]));
  const image = field(1, Buffer.from([8, 1]), field(2, dim(1), dim(3), dim(32), dim(32)));
  const ends = [field(11, text(1, 'input'), field(2, image)), field(12, text(1, 'output'))];

  test.each<[what: string, bytes: Buffer, says: RegExp]>([
    ['nodes without end', model(...Array(20_000).fill(field(1))), /more than 16384 nodes/],
    [
      'sizes without end',
      model(field(5, field(7, Buffer.alloc(2 ** 19)))),
      /more than 262144 values beside its weights/,
    ],
    ['dimensions without end', model(field(5, field(1, Buffer.alloc(2 ** 19)))), /more than 262144 values/],
    ['a string where a message is', model(Buffer.from([8, 1])), /wire type 0 of node/],
    [
      'sizes that double 40 times',
      model(
        sizes,
        ...Array.from({ length: 40 }, (_, i) => node('Concat', Array(2).fill(i === 0 ? 's' : `s${i - 1}`), `s${i}`)),
        node('Reshape', ['input', 's39'], 'output'),
        ...ends,
      ),
      /\(Concat\): takes 32 numbers for sizes; a tensor has at most 16 axes/,
    ],
    [
      'ten thousand transpositions, each of them read',
      model(
        ...Array.from({ length: 5000 }, (_, i) => [
          node('Transpose', [i === 0 ? 'input' : `x${i - 1}`], `x${i}`),
          node('Relu', [`x${i}`], `y${i}`),
        ]).flat(),
        node('Softmax', ['y4999'], 'output'),
        ...ends,
      ),
      /\(Softmax\): is an op that no network here has|in an order that no op here makes/,
    ],
  ])('%s: one error', async (what, bytes, says) => {
    const path = join(place, `${what}.onnx`);
    await writeFile(path, bytes);
    const read = async () => networkOfOnnx(await parseOnnxFile(bytes, path), what);
    await expect(read()).rejects.toThrow(says);
    await expect(read()).rejects.toThrow(InputError);
  });
});

describe("external data is read from the file's own folder alone", () => {
  const source = 'repvit.fused.dynamo20.onnx';
  const data = `${source}.data`;

  async function placed(name: string): Promise<string> {
    const folder = join(place, name);
    await mkdir(folder);
    await cp(at(source), join(folder, source));
    return folder;
  }

  async function refusal(folder: string): Promise<string> {
    const error = await against(at('repvit.safetensors'), join(folder, source)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    return (error as Error).message;
  }

  test('missing', async () => {
    expect(await refusal(await placed('missing'))).toMatch(/external data .*no such file/);
  });

  test('cut', async () => {
    const folder = await placed('cut');
    const bytes = await readFile(at(data));
    await writeFile(join(folder, data), bytes.subarray(0, bytes.length - 8));
    expect(await refusal(folder)).toMatch(/external data to byte \d+, but .* has \d+/);
  });

  test('a link out of the folder', async () => {
    const folder = await placed('linked');
    await symlink(at(data), join(folder, data));
    expect(await refusal(folder)).toMatch(/lies outside of the file's folder/);
  });

  test('the same bytes for many tensors', async () => {
    const folder = await placed('overlapping');
    await cp(at(data), join(folder, data));
    const type = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
    const model = type.decode(await readFile(at(source))) as unknown as {
      graph: { initializer: { name: string; data_location: number }[] };
    };
    const { initializer } = model.graph;
    const external = initializer.filter(({ data_location }) => data_location === 1);
    expect(external.length).toBeGreaterThan(0);
    for (let i = 0; i < 100; i++) initializer.push({ ...external[0]!, name: `again ${i}` });
    await writeFile(join(folder, source), type.encode(model).finish());
    expect(await refusal(folder)).toMatch(/tensors take \d+ bytes of external data .*, which has \d+; they overlap/);
  });

  test('a path out of the folder', async () => {
    const folder = await placed('above');
    await cp(at(data), join(place, data));
    const bytes = (await readFile(at(source))).toString('latin1');
    const climbing = `../${data}`.slice(0, data.length);
    await writeFile(join(folder, source), Buffer.from(bytes.replaceAll(data, climbing), 'latin1'));
    expect(await refusal(folder)).toMatch(/lies outside of the file's folder/);
  });
});

test('a graph is read back as the network that wrote it', async () => {
  const path = at('repvit.fused.legacy17_dynamic.onnx');
  const { network, weights } = networkOfOnnx(await parseOnnxFile(await readFile(path), path), 'x', {
    ...size,
    batch: 2,
  });
  expect(network.nodes[0]?.shape).toEqual([2, 3, 32, 32]);
  expect(network.nodes.find(({ name }) => name === network.output)?.shape).toEqual([2, 5]);
  expect(weights.get('stem.conv1.weight')?.shape).toEqual([4, 3, 3, 3]);
});
