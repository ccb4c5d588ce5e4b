import { describe, expect, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import { commandsFor, medianSeconds, timeAgainst, timeProcess } from './harness-against.ts';

const node = (script: string) => ({ file: process.execPath, args: ['-e', script] });

describe('timeAgainst', () => {
  const commands = { pytorch: { file: 'a', args: [] }, fuseproof: { file: 'b', args: [] } };

  test('runs one of each first, then quads ABBA, and counts these alone', async () => {
    const order: string[] = [];
    const clock: Record<string, number> = { a: 6, b: 2 };
    const result = await timeAgainst('nets', commands, 2, async ({ file }) => {
      order.push(file);
      return { wall: order.length <= 2 ? 1000 : clock[file]!, cpu: null };
    });
    expect(order.join('')).toBe('ababbaabba');
    expect(result.pytorch.map(({ wall }) => wall)).toEqual([6, 6, 6, 6]);
    expect(result.fuseproof.map(({ wall }) => wall)).toEqual([2, 2, 2, 2]);
    expect(result.logRatio.estimate).toBe(Math.log(6) - Math.log(2));
    expect(result.logRatio.level).toBe(0.5); // all that two quads can give
  });
});

describe('commandsFor', () => {
  test('names the same networks to both, and the original source to PyTorch alone', () => {
    const { pytorch, fuseproof } = commandsFor(['x', 'y'], '/venv/python', 'repmlpnet.py');
    expect(pytorch.file).toBe('/venv/python');
    expect(pytorch.args.slice(1)).toEqual(['x', 'y', '--repmlpnet', 'repmlpnet.py']);
    expect(fuseproof.args.slice(1)).toEqual([
      'verify',
      '--json',
      '--model',
      'x,y',
      '--tier',
      'structure,basis,weights,algebra',
    ]);
  });
});

describe('timeProcess', () => {
  test('takes as long as the process, and counts its CPU time on Linux', async () => {
    const { wall, cpu } = await timeProcess(node('const end = Date.now() + 300; while (Date.now() < end);'));
    expect(wall).toBeGreaterThanOrEqual(0.3);
    if (process.platform === 'linux') expect(cpu).toBeGreaterThan(0);
    else expect(cpu).toBe(null);
  });

  test('of one that fails is an error with its exit code and what it said', async () => {
    const failing = timeProcess(node('console.error("no torch"); process.exit(3)'));
    await expect(failing).rejects.toThrow(/ended with code 3: no torch/);
  });

  test('of one that is not there is an error of the input', async () => {
    await expect(timeProcess({ file: '/no/such/python', args: [] })).rejects.toThrow(InputError);
  });
});

describe('medianSeconds', () => {
  test('leaves out what the system does not say', () => {
    const times = [
      { wall: 1, cpu: 5 },
      { wall: 3, cpu: null },
    ];
    expect(medianSeconds(times, 'wall')).toBe(2);
    expect(medianSeconds(times, 'cpu')).toBe(5);
    expect(medianSeconds([{ wall: 3, cpu: null }], 'cpu')).toBe(null);
  });
});
