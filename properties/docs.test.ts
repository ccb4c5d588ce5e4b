/** Every command and every program of the guides, run as a reader would: page by page, in a folder of its own. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePth } from '../src/artefacts/pth.ts';
import { fuse } from '../src/index.ts';
import { buildNetwork, parseConfig } from '../src/reference/config.ts';
import { randomWeights } from '../src/weights/random.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const PAGES = ['quick-start', 'evaluate', 'ci', 'own-network', 'own-rule', 'own-engine', 'formats', 'verdict'] as const;
const run = promisify(execFile);

/** Commands of npm that have tests of their own, or take many minutes. */
const ELSEWHERE = /^npm (run|test|ci|install)\b/;

interface Block {
  readonly language: string;
  readonly name: string;
  readonly text: string;
}

function blocksOf(page: string): readonly Block[] {
  return [...page.matchAll(/^```(\w*) ?(\S*)\n([\s\S]*?)^```$/gm)].map(([, language = '', name = '', text = '']) => ({
    language,
    name,
    text,
  }));
}

let place = '';
/** With a shell's `npx` that starts what npm's finds here, but three times as fast; that npm's does is tried once. */
let env: NodeJS.ProcessEnv = {};
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'fuseproof docs '));
  await mkdir(join(place, 'node_modules', '.bin'), { recursive: true });
  await symlink(PROJECT, join(place, 'node_modules', 'fuseproof'));
  await symlink(join(PROJECT, 'bin', 'fuseproof.js'), join(place, 'node_modules', '.bin', 'fuseproof'));
  await writeFile(join(place, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  await mkdir(join(place, 'shell'));
  const program = join(place, 'node_modules', '.bin', 'fuseproof');
  await writeFile(join(place, 'shell', 'npx'), `#!/bin/sh\nshift\nexec '${program}' "$@"\n`, { mode: 0o755 });
  env = { ...process.env, PATH: `${join(place, 'shell')}:${process.env.PATH}` };
});
afterAll(() => rm(place, { recursive: true }));

/** A folder with what the page takes for granted: a trained checkpoint, and for later pages what earlier ones made. */
async function workplace(page: string, blocks: readonly Block[]): Promise<string> {
  const folder = join(place, page);
  await mkdir(folder);
  // Small, so that the page is quick: the network is recognised all the same.
  const config = await parseConfig({ family: 'repvit', embed_dim: [8, 12], depth: [1, 1], num_classes: 5 }, 'docs');
  const trained = buildNetwork(config, { batch: 1, height: 32, width: 32 });
  await writeFile(join(folder, 'trained.pth'), encodePth(randomWeights(trained, 1)));
  for (const { language, name, text } of blocks) {
    if (language !== 'json' || name === '') continue;
    await writeFile(join(folder, name), text);
    if (name !== 'my-config.json') continue;
    const own = buildNetwork(await parseConfig(JSON.parse(text), name), { batch: 1, height: 64, width: 64 });
    await writeFile(join(folder, 'own.pth'), encodePth(randomWeights(own, 2)));
  }
  if (page === 'evaluate') {
    const { files } = await fuse(join(folder, 'trained.pth'), { format: 'onnx', engines: [] });
    await writeFile(join(folder, 'fused.onnx'), files.get('')!);
    const image = join(PROJECT, 'properties', 'images', 'turned_420.jpg');
    const classes = ['ant', 'bee', 'cat', 'dog', 'eel'];
    for (const name of classes) await cp(image, join(folder, 'val', name, 'image.jpg'));
    await cp(image, join(folder, 'photos', 'image.jpg'));
    await writeFile(join(folder, 'classes.txt'), classes.reverse().join('\n'));
  }
  if (page === 'ci') {
    await run('npx', ['fuseproof', 'fuse', 'trained.pth', '-o', 'fused.onnx'], { cwd: folder, env });
    await cp(join(folder, 'fused.onnx'), join(folder, 'exported.onnx'));
  }
  return folder;
}

test("npm's npx finds the program", async () => {
  const { stdout } = await run('npx', ['fuseproof', '--version'], { cwd: place });
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

describe.each(PAGES)('docs/%s.md', (page) => {
  test('its commands and programs run', async () => {
    const blocks = blocksOf(await readFile(join(PROJECT, 'docs', `${page}.md`), 'utf8'));
    const folder = await workplace(page, blocks);
    let tried = 0;
    for (const { language, text } of blocks) {
      if (language === 'js') {
        await writeFile(join(folder, 'program.js'), text);
        const { stdout } = await run(process.execPath, ['program.js'], { cwd: folder });
        expect(stdout).toContain(page === 'evaluate' ? 'pass: agree on 5 of 5' : 'half a unit in the last place');
        tried++;
      }
      if (language !== 'sh') continue;
      for (const line of text.split('\n')) {
        if (line.trim() === '' || ELSEWHERE.test(line)) continue;
        expect(line).toMatch(/^npx fuseproof /);
        await run('bash', ['-c', line], { cwd: folder, env }).catch(
          (error: { code: number; stdout: string; stderr: string }) => {
            throw new Error(`${line}\nended with ${error.code}\n${error.stdout}${error.stderr}`);
          },
        );
        tried++;
      }
    }
    if (page !== 'verdict') expect(tried).toBeGreaterThan(0);
  }, 300_000);

  test('its links lead somewhere', async () => {
    const text = await readFile(join(PROJECT, 'docs', `${page}.md`), 'utf8');
    const files = await readdir(join(PROJECT, 'docs'));
    const links = [...text.matchAll(/\]\(([\w-]+\.md)(?:#[\w-]*)?\)/g)].map(([, link = '']) => link);
    expect(links.filter((link) => !files.includes(link))).toEqual([]);
  });
});
