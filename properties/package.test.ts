/** The package as its users get it: what `npm pack` puts in, and the library from a project outside of this one. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import manifest from '../package.json' with { type: 'json' };

const PROJECT = resolve(import.meta.dirname, '..');
const run = promisify(execFile);

/** Everything that may be in the package, and nothing else. */
const ALLOWED = [
  /^(README\.md|LICENSE|package\.json)$/,
  /^bin\/fuseproof\.js$/,
  /^docs\/[\w-]+\.md$/,
  /^dist\/[\w./-]+\.(js|d\.ts|json)$/,
];
const NEEDED = [
  'README.md',
  'package.json',
  'bin/fuseproof.js',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/cli/main.js',
];

let project = '';
let packed: readonly string[] = [];

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'fuseproof outside '));
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], {
    cwd: PROJECT,
    maxBuffer: 2 ** 26,
  });
  const [entry] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  packed = entry.files.map(({ path }) => path);
  const modules = join(project, 'node_modules');
  await mkdir(modules);
  await run('tar', ['xzf', join(project, entry.filename), '-C', modules]);
  await cp(join(modules, 'package'), join(modules, 'fuseproof'), { recursive: true });
  // As npm would install them, without the network.
  for (const name of Object.keys(manifest.dependencies)) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(PROJECT, 'node_modules', name), join(modules, name));
  }
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'outside', private: true, type: 'module' }));
  for (const part of ['json', 'weights.safetensors']) {
    await cp(join(PROJECT, 'golden/examples', `repvit_two_heads.${part}`), join(project, `trained.${part}`));
  }
}, 120_000);
afterAll(() => rm(project, { recursive: true }));

async function node(source: string): Promise<unknown> {
  const path = join(project, `try-${Math.random().toString(36).slice(2)}.js`);
  await writeFile(path, source);
  return JSON.parse((await run(process.execPath, [path], { cwd: project })).stdout);
}

describe('npm pack', () => {
  test('puts in what is needed', () => expect(packed).toEqual(expect.arrayContaining(NEEDED)));

  test('and nothing else', () => {
    expect(packed.filter((path) => !ALLOWED.some((pattern) => pattern.test(path)))).toEqual([]);
    expect(packed.filter((path) => /\.test\.|^golden|fixtures/.test(path))).toEqual([]);
  });
});

describe('package-lock.json', () => {
  const lock = () => readFile(join(PROJECT, 'package-lock.json'), 'utf8');

  test('names no registry', async () => expect(await lock()).not.toMatch(/"resolved": "https?:/));

  // It downloads CUDA parts, and `npm ci` fails where it cannot. npm 11 asks allowScripts in package.json; older ones run what
  // the lock file says has a script. `npm install` writes it back: take the line out again.
  test('tells no npm to run the install script of onnxruntime-node', async () => {
    const { packages } = JSON.parse(await lock()) as {
      packages: Record<string, { version?: string; hasInstallScript?: true }>;
    };
    expect(packages['node_modules/onnxruntime-node']?.version).toBe(manifest.dependencies['onnxruntime-node']);
    expect(packages['node_modules/onnxruntime-node']?.hasInstallScript).toBeUndefined();
    expect(manifest.allowScripts['onnxruntime-node']).toBe(false);
  });
});

describe('from a project outside', () => {
  test('fuses, verifies, checks and audits', async () => {
    const found = await node(`
      import { audit, check, fuse, InputError, verify } from 'fuseproof';
      const size = { height: 32, width: 32 };
      const { certificate } = await fuse('trained.weights.safetensors', { output: 'fused.onnx', engines: ['wasm'], size });
      const inMemory = await fuse('trained.weights.safetensors', { engines: ['wasm'], size });
      const verification = await verify('trained.weights.safetensors', 'fused.onnx', { engines: ['wasm'] });
      const checked = await check('fused.onnx.certificate.json');
      const { rows } = await audit(['repvit_m0_9']);
      const refusal = await verify('trained.json', 'fused.onnx').catch((error) => error);
      console.log(JSON.stringify({
        claim: certificate.claim,
        bytes: inMemory.files.get('').length,
        layers: verification.layers.length,
        verdicts: [certificate.verdict, verification.verdict, checked.verdict],
        parameters: rows[0].parameters,
        refused: refusal instanceof InputError,
      }));
    `);
    expect(found).toMatchObject({
      verdicts: ['pass', 'pass', 'pass'],
      parameters: 5_489_328,
      refused: true,
      claim: expect.stringMatching(/half a unit in the last place/),
    });
    expect((await readdir(project)).filter((name) => name.startsWith('fused'))).toEqual([
      'fused.onnx',
      'fused.onnx.certificate.json',
    ]);
  }, 120_000);

  test('without sharp, an optional dependency, evaluate says in a line what is missing', async () => {
    const message = await node(`
      import { evaluate, InputError } from 'fuseproof';
      const refusal = await evaluate('trained.weights.safetensors', '.', { engine: 'wasm' }).catch((error) => error);
      console.log(JSON.stringify(refusal instanceof InputError && refusal.message));
    `);
    expect(message).toMatch(/^sharp, which decodes images, is not here: .*; it is an optional dependency: npm install/);
  });

  test('importing it loads no engine, no parser and no command line', async () => {
    const loaded = (await node(`
      import { createRequire } from 'node:module';
      await import('fuseproof');
      const paths = Object.keys(createRequire(import.meta.url).cache ?? {});
      const { default: { _cache } } = await import('node:module');
      console.log(JSON.stringify([...paths, ...Object.keys(_cache)]));
    `)) as string[];
    expect(
      loaded.filter((path) => /onnxruntime|tfjs|protobufjs|mathjs|ajv|commander|yauzl|fflate|sharp/.test(path)),
    ).toEqual([]);
  });

  test("its types are those of a strict TypeScript project, Node's types or not", async () => {
    await writeFile(
      join(project, 'use.ts'),
      `import { audit, fuse, verify, type Certificate, type Verdict } from 'fuseproof';
      export async function use(path: string): Promise<Verdict> {
        const { certificate } = await fuse(path, { format: 'onnx', opset: 17 });
        const stated: Certificate | undefined = certificate;
        const { verdict, layers } = await verify(path, 'fused.onnx', { tiers: ['basis'] });
        const ulps: number = layers[0]?.ulps ?? 0;
        const parameters: number = (await audit())?.rows[0]?.parameters ?? 0;
        // @ts-expect-error there is no such format
        await fuse(path, { format: 'caffe' });
        return stated !== undefined && ulps + parameters > 0 ? verdict : 'fail';
      }`,
    );
    const options = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022'];
    const tsc = join(PROJECT, 'node_modules/typescript/bin/tsc');
    const done = run(process.execPath, [tsc, ...options, 'use.ts'], { cwd: project });
    await done.catch(({ stdout }: { stdout: string }) => expect(stdout).toBe(''));
  }, 120_000);

  test('the command runs', async () => {
    const { stdout } = await run(process.execPath, [
      join(project, 'node_modules/fuseproof/bin/fuseproof.js'),
      '--version',
    ]);
    expect(stdout.trim()).toBe(manifest.version);
  });
});
