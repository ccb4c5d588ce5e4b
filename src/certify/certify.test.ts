import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Engine } from '../engines/engine.ts';
import { openEngine } from '../engines/index.ts';
import { InputError, MismatchError } from '../network/errors.ts';
import { readCheckpoint } from '../weights/checkpoint.ts';
import { encodeSafetensors, readSafetensors } from '../weights/safetensors.ts';
import { FORMATS, type Format, formatOf } from './artefact.ts';
import { certificateText, parseCertificate, sealed } from './certificate.ts';
import { checkFile } from './check-file.ts';
import { certificatePathOf, type FuseFileRequest, fuseFile } from './fuse-file.ts';
import { verifyFiles } from './verify-files.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../golden/examples');
const OUTPUTS: Readonly<Record<Format, string>> = {
  safetensors: 'fused.safetensors',
  pth: 'fused.pth',
  onnx: 'fused.onnx',
  tfjs: 'fused',
};

let folder = '';
let engines: readonly Engine[] = [];
beforeAll(async () => {
  engines = [await openEngine('onnxruntime', { threads: 1 })];
  folder = await mkdtemp(join(tmpdir(), 'fuseproof certify '));
});
afterAll(() => rm(folder, { recursive: true }));

/** A folder of its own with an example's checkpoint and config. */
async function workplace(name: string, example = 'repvit_two_heads'): Promise<string> {
  const place = join(folder, name);
  await mkdir(place, { recursive: true });
  for (const part of ['json', 'weights.safetensors']) {
    await cp(join(EXAMPLES, `${example}.${part}`), join(place, `trained.${part}`));
  }
  return place;
}

function request(place: string, format: Format, rest: Partial<FuseFileRequest> = {}): FuseFileRequest {
  return {
    input: join(place, 'trained.weights.safetensors'),
    output: join(place, OUTPUTS[format]),
    format,
    model: join(place, 'trained.json'),
    options: {},
    // Small, and one that the windows of RepMLPNet's example divide.
    size: { height: 32, width: 64 },
    engines,
    ...rest,
  };
}

const check = (certificate: string) => checkFile({ certificate, openEngines: async () => engines });

/** All files of a folder and those below it, by name. */
async function contents(place: string): Promise<Record<string, string>> {
  const names = await readdir(place, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const texts = files.map(async (file) => [file.slice(place.length + 1), (await readFile(file)).toString('latin1')]);
  return Object.fromEntries(await Promise.all(texts));
}

/** The bytes with one of them changed. */
function altered(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= 1;
  return copy;
}

describe('fuse, then check', () => {
  test.each([
    ['repvit_two_heads', 'safetensors'],
    ['repvit_legacy', 'pth'],
    ['repvit_two_heads', 'tfjs'],
    ['repmlpnet', 'onnx'],
  ] as const)('%s as %s: passes, and the same bytes twice', async (example, format) => {
    const places = await Promise.all(
      ['first', 'second'].map((name) => workplace(`${example} ${format} ${name}`, example)),
    );
    for (const place of places) {
      const { certificate } = await fuseFile(request(place, format));
      expect(certificate?.regions.length).toBeGreaterThan(5);
    }
    const [first, second] = await Promise.all(places.map(contents));
    // The command that replays it names the config file by its own path.
    const withoutPlace = (files: Record<string, string>, place: string) =>
      Object.entries(files).map(([name, text]) => [name, text.replaceAll(place, '').replace(/"seal": "\w+"/, '')]);
    expect(withoutPlace(first!, places[0]!)).toEqual(withoutPlace(second!, places[1]!));
    const checked = await check(certificatePathOf(join(places[0]!, OUTPUTS[format])));
    expect(checked.items.filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
    expect(checked).toMatchObject({ verdict: 'pass' });
    if (format === 'tfjs') return;
    const { input: reference, output: deploy, model } = request(places[0]!, format);
    const tiers = ['structure', 'basis'] as const;
    const verified = await verifyFiles({
      reference,
      deploy,
      engines: [],
      tiers,
      ...(model !== undefined && { model }),
    });
    expect(verified.verdict).toBe('pass');
    expect(Math.max(...verified.layers.map(({ ulps }) => ulps))).toBe(0.5);
  });

  test('a RepMLPNet that fuseproof wrote, of other weights: the constants that differ are named', async () => {
    const place = await workplace('other weights', 'repmlpnet');
    const { input, output, model } = request(place, 'onnx');
    await fuseFile(request(place, 'onnx'));
    const { weights } = await readCheckpoint(input);
    const key = 'stages.1.0.repmlp_block.gp.fc2.weight';
    const { shape, data } = weights.get(key)!;
    const other = { shape, data: data.map((value, i) => (i === 7 ? value + 1 : value)) };
    await writeFile(input, encodeSafetensors(new Map([...weights, [key, other]])));
    const verified = verifyFiles({ reference: input, deploy: output, engines: [], model: model! });
    await expect(verified).rejects.toThrow(MismatchError);
    await expect(verified).rejects.toThrow(
      /: 1 of \d+ constants differ\n {2}stages\.1\.0\.repmlp_block\.gp\.fc2\.weight: 1 of \d+ elements, the worst at 7: /,
    );
  });

  test('the deploy weights are those that the certificate claims, under the keys of timm', async () => {
    const place = await workplace('keys');
    const { certificate } = await fuseFile(request(place, 'safetensors'));
    const weights = await readSafetensors(join(place, 'fused.safetensors'));
    expect(weights.get('stages.0.blocks.0.token_mixer.weight')?.shape).toEqual([12, 1, 3, 3]);
    expect(weights.has('head.weight')).toBe(true);
    expect(certificate?.claim).toMatch(
      /^For every input and in exact arithmetic, fused\.safetensors computes what trained\.weights\.safetensors, the trained trained, computes with each effective weight changed by at most half a unit in the last place of float32: [\d,]+ of them were compared\.$/,
    );
    const verdicts = new Set(certificate?.regions.flatMap((region) => Object.values(region.verdicts)));
    expect([...verdicts]).toEqual(['pass']);
  });

  test('any altered byte of input, output or certificate is found', async () => {
    const place = await workplace('altered');
    await fuseFile(request(place, 'onnx'));
    const path = certificatePathOf(join(place, 'fused.onnx'));
    const certificate = await readFile(path);
    let found = 0;
    for (let at = 0; at < certificate.length; at += 61) {
      const other = await parseCertificate(altered(certificate, at), 'c').catch((error: unknown) => {
        if (!(error instanceof InputError)) throw error;
        return undefined;
      });
      if (other === undefined) found++;
    }
    expect(found).toBe(Math.ceil(certificate.length / 61));
    for (const name of ['fused.onnx', 'trained.weights.safetensors']) {
      const bytes = await readFile(join(place, name));
      await writeFile(join(place, name), altered(bytes, bytes.length - 3));
      const { verdict, items } = await check(path);
      expect(verdict).toBe('fail');
      expect(items.filter((item) => item.verdict === 'fail').map(({ what }) => what)).toContain(name);
      await writeFile(join(place, name), bytes);
    }
    expect((await check(path)).verdict).toBe('pass');
  });

  test('a certificate that was altered and sealed anew is found by what it says', async () => {
    const place = await workplace('forged');
    const { certificate } = await fuseFile(request(place, 'safetensors'));
    const path = certificatePathOf(join(place, 'fused.safetensors'));
    const { seal: _s, format: _f, version: _v, verdict: _d, ...content } = certificate!;
    const regions = content.regions.map((region, i) => (i === 3 ? { ...region, ulps: 0.25 } : region));
    await writeFile(path, certificateText(sealed({ ...content, regions })));
    const { verdict, items } = await check(path);
    expect(verdict).toBe('fail');
    expect(items.at(-1)?.problem).toBe('another run finds other regions');
    const replay = [content.replay[0]!, content.replay[1]!.replace('--seed 1', '--seed 2')];
    await writeFile(path, certificateText(sealed({ ...content, replay })));
    expect((await check(path)).items.at(-1)?.problem).toBe('another run finds other replay');
    // Another deploy file, of the right hash.
    const fused = await readFile(join(place, 'fused.safetensors'));
    const forged = altered(fused, fused.length - 2);
    await writeFile(join(place, 'fused.safetensors'), forged);
    const { sha256 } = await import('./artefact.ts');
    const files = content.files.map((file) => ({ ...file, sha256: sha256(forged) }));
    await writeFile(path, certificateText(sealed({ ...content, files })));
    const again = await check(path);
    expect(again.verdict).toBe('fail');
    expect(again.items.find(({ what }) => what.startsWith('output made'))?.problem).toMatch(/other bytes/);
  });
});

test('batch norms that scale beyond float32: the fused weight is named, and nothing is written', async () => {
  const place = await workplace('overflow');
  const { input } = request(place, 'onnx');
  const { weights } = await readCheckpoint(input);
  const large = [...weights].map(([key, { shape, data }]) => {
    return [
      key,
      {
        shape,
        data: data.map((value) =>
          key === 'stem.conv2.bn.weight' ? 3e38 : key === 'stem.conv2.bn.running_var' ? 1e-9 : value,
        ),
      },
    ] as const;
  });
  await writeFile(input, encodeSafetensors(new Map(large)));
  const before = await contents(place);
  await expect(fuseFile(request(place, 'onnx'))).rejects.toThrow(
    /^the weights, fused into float32: tensor "stem\.conv2\.weight": -?Infinity at index \d+; every value must be finite/,
  );
  expect(await contents(place)).toEqual(before);
});

describe('nothing is lost', () => {
  test('what is there is kept, unless it is to be replaced', async () => {
    const place = await workplace('kept');
    await fuseFile(request(place, 'tfjs'));
    const before = await contents(place);
    await expect(fuseFile(request(place, 'tfjs', { seed: 2 }))).rejects.toThrow(/it is there already; .* --force/);
    expect(await contents(place)).toEqual(before);
    await fuseFile(request(place, 'tfjs', { options: { inputName: 'image' }, force: true }));
    expect(Object.keys(await contents(place)).sort()).toEqual(Object.keys(before).sort());
    expect((await contents(place))['fused/model.json']).toContain('"image"');
  });

  test.each<[what: string, rest: (place: string) => Partial<FuseFileRequest>, says: RegExp]>([
    [
      'the input itself',
      (place) => ({ output: join(place, 'trained.weights.safetensors'), force: true }),
      /the input itself/,
    ],
    [
      'a folder that is missing',
      (place) => ({ output: join(place, 'none', 'x.safetensors') }),
      /no such file or folder/,
    ],
    [
      'a file where a folder is to be',
      (place) => ({ output: join(place, 'trained.json'), format: 'tfjs' }),
      /it is a file/,
    ],
    ['a folder of something else', (place) => ({ output: place, format: 'tfjs', force: true }), /holds no model\.json/],
    ['an opset for weights', () => ({ options: { opset: 17 } }), /only ONNX has opsets/],
    ['an opset that there is not', () => ({ format: 'onnx', options: { opset: 3 } }), /opset 3 is not one/],
    ['an open batch of weights', () => ({ options: { dynamicBatch: true } }), /holds weights alone/],
    ['a missing input', (place) => ({ input: join(place, 'none.safetensors') }), /no such file/],
    ['a form that there is not', () => ({ form: 'deploy-official' }), /no form deploy-official/],
  ])('%s is one error, and nothing is written', async (what, rest, says) => {
    const place = await workplace(`refused ${what}`);
    const before = await contents(place);
    const asked = request(place, 'safetensors');
    await expect(fuseFile({ ...asked, ...rest(place) })).rejects.toThrow(says);
    await expect(fuseFile({ ...asked, ...rest(place) })).rejects.toThrow(InputError);
    expect(await contents(place)).toEqual(before);
  });
});

test('a path says its format', () => {
  expect(['a.safetensors', 'b.pth', 'c.pt', 'd/e.onnx', 'f', 'g.h/'].map(formatOf)).toEqual([
    ...['safetensors', 'pth', 'pth', 'onnx'],
    ...['tfjs', 'tfjs'],
  ]);
  expect(new Set(FORMATS)).toEqual(new Set(['safetensors', 'pth', 'onnx', 'tfjs']));
  expect(() => formatOf('a.bin')).toThrow(/a\.bin: \.bin says no format/);
  expect(() => formatOf('')).toThrow(InputError);
});
