import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const PROJECT = resolve(import.meta.dirname, '..');
const BIN = join(PROJECT, 'node_modules', '.bin');

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fuseproof-lint-'));
  for (const file of ['.dependency-cruiser.cjs', 'biome.json', 'tsconfig.json', 'package.json']) {
    cpSync(join(PROJECT, file), join(folder, file));
  }
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
});

afterEach(() => rmSync(folder, { recursive: true }));

function write(path: string, text: string): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function run(command: string, ...arguments_: string[]) {
  const { status, stdout, stderr } = spawnSync(join(BIN, command), arguments_, { cwd: folder, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

const cruise = () => run('depcruise', '--config', '.dependency-cruiser.cjs', 'src');

describe('the import direction is enforced', () => {
  const forbidden: readonly (readonly [from: string, to: string, rule: string])[] = [
    ['src/network/a.ts', 'src/verify/b.ts', 'network-imports'],
    ['src/reference/a.ts', 'src/fused/b.ts', 'reference-imports'],
    ['src/interpreters/a.ts', 'src/reference/b.ts', 'interpreters-imports'],
    ['src/interpreters/magnitude.ts', 'src/interpreters/float64.ts', 'interpreters-are-independent'],
    ['src/engines/a.ts', 'src/interpreters/b.ts', 'engines-imports'],
    ['src/engines/onnxruntime.ts', 'src/engines/tfjs-cpu.ts', 'engines-are-independent'],
    ['src/report/a.ts', 'src/engines/b.ts', 'report-imports'],
    ['src/verify/a.ts', 'src/reference/b.ts', 'verify-imports'],
    ['src/verify/faults/a.ts', 'src/bench/b.ts', 'faults-imports'],
    ['src/verify/b.ts', 'properties/b.ts', 'source-stands-alone'],
  ];

  test('each planted import is an error by its own rule', () => {
    for (const [, to] of forbidden) write(to, 'export const b = 1;\n');
    for (const [from, to] of forbidden) {
      write(from, `import { b } from '${'../'.repeat(from.split('/').length - 1)}${to}';\n\nexport const a = b;\n`);
    }
    const { status, output } = cruise();
    const found = output
      .split('\n')
      .filter((line) => forbidden.some(([from, to, rule]) => new RegExp(`error ${rule}: ${from} → ${to}`).test(line)));
    expect(found).toHaveLength(forbidden.length);
    expect(status).toBe(forbidden.length);
  });

  test('what is allowed passes', () => {
    write('src/network/b.ts', 'export const b = 1;\n');
    write('src/verify/a.ts', "import { b } from '../network/b.ts';\n\nexport const a = b;\n");
    expect(cruise()).toMatchObject({ status: 0 });
  });
});

describe('the linter is on', () => {
  test('console output in the source is an error', () => {
    write('src/a.ts', "console.log('a');\n");
    const { status, output } = run('biome', 'check', 'src');
    expect(output).toContain('noConsole');
    expect(status).not.toBe(0);
  });
});
