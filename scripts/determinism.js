/**
 * Fuses on several versions of Node.js and compares every byte: `npm run determinism`, or `-- --node /path/to/node ...` for
 * binaries that are there. By default npm's `node` package gives Node 20, 22 and 24. Development only.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const PROJECT = resolve(import.meta.dirname, '..');
const MAJORS = [20, 22, 24];
const OUTPUTS = ['fused.safetensors', 'fused.pth', 'fused.onnx', 'fused'];
/** Checkpoint, its config, and a size that the network takes. */
const INPUTS = [
  ['repvit_two_heads', '64x64'],
  ['repvit_legacy', '64x96'],
  ['repmlpnet', '32x64'],
];

const { values } = parseArgs({ options: { node: { type: 'string', multiple: true } } });
const place = mkdtempSync(join(tmpdir(), 'fuseproof-nodes-'));
try {
  const binaries = values.node ?? MAJORS.map(installed);
  const results = binaries.map((binary) => ({
    version: execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim(),
    files: fused(binary),
  }));
  const [first, ...others] = results;
  const count = Object.keys(first.files).length;
  let differing = 0;
  for (const { version, files } of others) {
    const names = Object.keys({ ...first.files, ...files }).filter((name) => files[name] !== first.files[name]);
    differing += names.length;
    process.stdout.write(`${version} against ${first.version}: ${names.length} of ${count} files differ\n`);
    for (const name of names) process.stdout.write(`  ${name}\n`);
  }
  if (differing > 0 || count === 0 || others.length === 0) process.exitCode = 1;
} finally {
  rmSync(place, { recursive: true });
}

/** A Node.js of this major version, from npm. */
function installed(major) {
  const folder = join(place, `node${major}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { node: true } }));
  execFileSync('npm', ['install', '--no-audit', '--no-fund', `node@${major}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return join(folder, 'node_modules/node/bin/node');
}

/** SHA-256 of everything that is written, by name; each time in a folder of the same name. */
function fused(binary) {
  const folder = join(place, 'work');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, size] of INPUTS) {
    const own = join(folder, name);
    mkdirSync(own);
    for (const part of ['json', 'weights.safetensors'])
      cpSync(join(PROJECT, 'golden/examples', `${name}.${part}`), join(own, `trained.${part}`));
    for (const output of OUTPUTS) {
      const options = ['trained.weights.safetensors', '-o', output, '--model', 'trained.json', '--size', size];
      execFileSync(binary, [join(PROJECT, 'bin/fuseproof.js'), 'fuse', ...options], {
        cwd: own,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
    }
  }
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [relative(folder, path), createHash('sha256').update(readFileSync(path)).digest('hex')];
    }),
  );
}
