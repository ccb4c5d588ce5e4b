/** The built command as a user runs it: exit codes, what goes to stdout and to stderr, what is written. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FLOAT64_AGREEMENT } from '../golden/goldens.ts';
import { deployForms, fuseTo } from '../src/fused/forms.ts';
import { fuseAndRound } from '../src/fused/fuse.ts';
import { type Tensor, toFloat64 } from '../src/network/tensor.ts';
import { buildNetwork, loadConfig } from '../src/reference/config.ts';
import { readCheckpoint } from '../src/weights/checkpoint.ts';
import { encodeSafetensors, readSafetensors } from '../src/weights/safetensors.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const EXAMPLES = join(PROJECT, 'golden', 'examples');
const example = (name: string, part: string) => join(EXAMPLES, `${name}.${part}`);

const checkpoint = (name: string) => join(PROJECT, 'properties', 'checkpoints', name);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fuseproof cli '));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A file in the test's own folder, whose name holds a space. */
function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function run(...arguments_: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/fuseproof.js', ...arguments_], {
    cwd: PROJECT,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const CONFIG = { family: 'repvit', embed_dim: [16, 24, 40], depth: [1, 2, 1], num_classes: 7 };

describe('bad usage and bad input end with exit code 2 and one clear error', () => {
  const weights = ['run', '-m', example('repvit_legacy', 'json'), '--weights'];
  test.each<[what: string, says: RegExp, ...arguments_: string[]]>([
    ['an unknown command', /unknown command 'verfy'[\s\S]*Did you mean verify/, 'verfy'],
    ['an unknown model', /unknown model "repvit_m09"; did you mean repvit_m0_9\?/, 'verify', '-m', 'repvit_m09'],
    ['an unknown engine', /engine onnx is unknown; did you mean/, 'verify', '-e', 'onnx'],
    ['no model at all', /It must be a name/, 'bench', '-m', ''],
    ['a size that is too small', /size 8x8 is too small/, 'verify', '--size', '8', '-e', 'wasm'],
    ['batch 0', /argument '0' is invalid\. It must be a whole number from 1/, 'bench', '--batch', '0'],
    [
      'windows that do not fit',
      /width 300 gives stage 0 a map of width 75, .* windows' 56; the nearest that fit are 224 and 448/,
      'run',
      '-m',
      'repmlpnet_t224',
      '--size',
      '224x300',
    ],
    [
      'a form that the network has not',
      /no form deploy-official/,
      'run',
      '-m',
      'repvit_m0_6',
      '--form',
      'deploy-official',
    ],
    ['weights of another network', /99 keys missing/, ...weights, example('repvit_two_heads', 'weights.safetensors')],
    ['a missing file', /no such file/, ...weights, '/nowhere/w.safetensors'],
    [
      'a fused network for a trained one',
      /it is fused already \(form deploy\)/,
      'verify',
      '--weights',
      checkpoint('timm_fused.pth'),
    ],
    [
      'a trained network for a fused one',
      /holds the network as trained; give the fused checkpoint/,
      ...['verify', '--weights', checkpoint('trainer.pth'), '--deploy', checkpoint('trainer.pth')],
    ],
    [
      'a fused network of another form',
      /holds form deploy-official, not deploy; say --form deploy-official/,
      ...['verify', '--weights', checkpoint('repmlpnet.pth'), '--form', 'deploy', '--tier', 'basis'],
      ...['--deploy', checkpoint('repmlpnet_injected.pth')],
    ],
    ['a fused network alone', /give the trained checkpoint, too/, 'verify', '--deploy', checkpoint('timm_fused.pth')],
    [
      'windows that are no squares',
      /leave open hs and ws \(stage 0: .*4x8, 8x4.*Say which with --model/,
      ...['run', '--weights', example('repmlpnet', 'weights.safetensors')],
    ],
    ['a program', /is a TorchScript archive/, 'run', '--weights', checkpoint('refused_torchscript.pt')],
    [
      'a state dict that is not there',
      /it has: model, model_ema/,
      'run',
      '--weights',
      checkpoint('trainer.pth'),
      '--state-dict',
      'x',
    ],
    ['neither a network nor weights', /give --model, or --weights/, 'run'],
    ['a folder that cannot be written', /give --out a folder/, 'bench', '--out', '/proc/nowhere'],
  ])('%s', (_what, says, ...arguments_) => {
    const { status, stdout, stderr } = run(...arguments_);
    expect(stderr).toMatch(says);
    expect(stderr).not.toMatch(/\n\s+at .*\.[jt]s:\d/); // no stack trace
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });

  test('a config with a negative width, by the field', () => {
    const { status, stderr } = run(
      'audit',
      '-m',
      file('net.json', JSON.stringify({ ...CONFIG, embed_dim: [16, -24, 40] })),
    );
    expect(stderr).toContain('embed_dim[1] is -24');
    expect(status).toBe(2);
  });

  test('a truncated state dict: nothing is written', async () => {
    const whole = encodeSafetensors(await readSafetensors(example('repvit_legacy', 'weights.safetensors')));
    const before = readdirSync(folder);
    const out = join(folder, 'logits.safetensors');
    const { status, stderr } = run(...weights, file('cut.safetensors', whole.subarray(0, whole.length - 5)), '-o', out);
    expect(stderr).toContain('truncated');
    expect(status).toBe(2);
    expect(readdirSync(folder)).toEqual([...before, 'cut.safetensors'].sort());
  });
});

describe('results', () => {
  test.each([
    ['models', (value: { length: number }) => value.length, 17],
    ['audit', (value: { rows: unknown[] }) => value.rows.length, 49],
    ['doctor', (value: { engines: { name: string }[] }) => value.engines.some(({ name }) => name === 'wasm'), true],
  ])('%s --json is one document on stdout', (command, what, expected) => {
    const { status, stdout } = run(command, '--json');
    expect(what(JSON.parse(stdout))).toBe(expected);
    expect(status).toBe(0);
  });

  test.each([
    ['trainer.pth', 'timm_fused.pth', 'deploy'],
    ['official.pth', 'official_fused.pth', 'deploy'],
    ['official_legacy.pth', 'official_legacy_fused.pth', 'deploy'],
    ['repmlpnet.pth', 'repmlpnet_injected.pth', 'deploy-official'],
  ])('verify proves what another project fused: %s and %s', (trained, fused, form) => {
    const options = [
      '--weights',
      checkpoint(trained),
      '--deploy',
      checkpoint(fused),
      '--tier',
      'structure,basis,weights',
    ];
    const { status, stdout, stderr } = run('verify', ...options, '--json');
    const { verifications } = JSON.parse(stdout);
    expect(verifications).toMatchObject([{ form, verdict: 'pass', files: { weights: { path: checkpoint(trained) } } }]);
    expect(verifications[0].tiers.every(({ compared }: { compared: number }) => compared > 0)).toBe(true);
    expect(stderr).toContain(`${trained}: recognised as ${trained.replace('.pth', '')} (`);
    expect(status).toBe(0);
  });

  test('what the files were found to be stands in the report', async () => {
    const fused = new Map(
      [...(await readCheckpoint(checkpoint('timm_fused.pth'))).weights].map(([key, tensor]) => [
        key,
        toFloat64(tensor),
      ]),
    );
    const { stdout, status } = run(
      ...['verify', '--weights', checkpoint('bfloat16.pt'), '--tier', 'structure'],
      ...['--deploy', file('fused64.safetensors', encodeSafetensors(fused))],
    );
    const report = stdout.replaceAll(/\s+/g, ' ');
    expect(report).toContain('bfloat16.pt: PyTorch, timm keys, bfloat16; bfloat16 widened to float32, exactly');
    expect(report).toContain(
      'fused64.safetensors: safetensors, timm keys, float64; float64 compared as rounded to float32',
    );
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(status).toBe(0);
  });

  test('half-precision checkpoints are said to be widened, and another state dict is read by its name', () => {
    const half = run('run', '--size', '32', '--weights', checkpoint('float16.pth'));
    expect(half.stderr).toContain('float16.pth: PyTorch, timm keys, float16; state dict state_dict; float16 widened');
    const ema = run('run', '--size', '32', '--weights', checkpoint('trainer.pth'), '--state-dict', 'model_ema');
    expect(ema.stderr).toContain('state dict model_ema; not read: model');
    expect([half.status, ema.status]).toEqual([0, 0]);
    expect(ema.stdout).toContain('trainer, train form, float64: logits [1, 5]');
  });

  test.each([
    ['repvit_two_heads', 'train', 'train'],
    ['repvit_two_heads', 'deploy', 'deploy'],
    ['repvit_legacy', 'deploy', 'train'],
    ['repmlpnet', 'train', 'train'],
    ['repmlpnet', 'deploy-official', 'deploy'],
    ['repmlpnet', 'deploy', 'deploy'],
  ])("run %s --form %s agrees with PyTorch's float64 %s logits", async (name, form, golden) => {
    const out = join(folder, `${name}.${form}.safetensors`);
    const files = ['--weights', example(name, 'weights.safetensors'), '--input', example(name, 'input.safetensors')];
    const unrounded = form === 'train' ? [] : ['--unrounded'];
    const { status } = run('run', '-m', example(name, 'json'), ...files, '--form', form, ...unrounded, '-o', out);
    expect(status).toBe(0);
    const actual = (await readSafetensors(out)).get('logits')!;
    const expected = (await readSafetensors(example(name, 'logits.safetensors'))).get(golden)!;
    expect(actual.shape).toEqual(expected.shape);
    expect(expected.data.length).toBeGreaterThan(0);
    const largest = Math.max(...Array.from(expected.data, Math.abs));
    const errors = Array.from(expected.data, (value, i) => Math.abs(actual.data[i]! - value) / largest);
    expect(Math.max(...errors)).toBeLessThan(FLOAT64_AGREEMENT);
  });
});

describe('verify', () => {
  test('passes with exit code 0, and says what was compared', () => {
    const { status, stdout } = run('verify', '-m', example('repmlpnet', 'json'), '--size', '32x64', '-e', 'wasm');
    expect(stdout).toContain('2 of 2 deploy forms pass');
    expect(stdout).toMatch(/repmlpnet, deploy-official: pass/);
    expect(status).toBe(0);
  });

  test('the fused checkpoint of a network of other layers: exit code 1', () => {
    const files = ['--reference', checkpoint('trainer.pth'), '--deploy', checkpoint('repmlpnet_injected.pth')];
    const { status, stdout, stderr } = run('verify', ...files, '--tier', 'basis');
    expect(stderr).toMatch(/^mismatch: .*: these are not weights of trainer/);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  });

  test('a stored weight that is off: exit code 1, key and element, and a replay line that fails alike', async () => {
    const config = file('own net.json', JSON.stringify(CONFIG));
    const trained = buildNetwork(await loadConfig(config), { batch: 1, height: 32, width: 32 });
    const { randomWeights } = await import('../src/weights/random.ts');
    const weights = randomWeights(trained, 3);
    const fusion = fuseTo(deployForms(trained)[0], trained);
    const fused = new Map<string, Tensor>(fuseAndRound(fusion, weights));
    const key = 'stages.1.blocks.1.token_mixer.weight';
    const data = new Float32Array(fused.get(key)!.data);
    data[215]! *= 1 + 2 ** -16;
    fused.set(key, { shape: fused.get(key)!.shape, data });
    const files = [
      ...['--weights', file('train.safetensors', encodeSafetensors(weights))],
      ...['--deploy', file('fused.safetensors', encodeSafetensors(fused))],
    ];
    const first = run('verify', '-m', config, '--size', '32', ...files, '-e', 'wasm');
    expect(first.stdout).toContain(`key ${key}`);
    expect(first.stdout).toContain('1 of 216 elements differ');
    expect(first.stdout).toContain('[23, 0, 2, 2]');
    expect(first.status).toBe(1);
    const line = first.stdout.split('\n').find((text) => text.includes('npx fuseproof verify')) ?? '';
    const replay = spawnSync('bash', ['-c', line], { cwd: PROJECT, encoding: 'utf8' });
    expect(replay.stdout).toContain(`key ${key}`);
    expect(replay.status).toBe(1);
  });
});

test('the command was built: this suite runs what users run', () => {
  expect(existsSync(join(PROJECT, 'dist', 'cli', 'main.js'))).toBe(true);
});
