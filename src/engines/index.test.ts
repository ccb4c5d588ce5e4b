import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { InputError } from '../network/errors.ts';
import { engineNames, openAvailable, openEngine } from './index.ts';

/** Paths of the runtimes' CommonJS modules that this process has loaded. */
function loadedRuntimes(): readonly string[] {
  return Object.keys(createRequire(import.meta.url).cache).filter((path) => /tfjs|onnxruntime/.test(path));
}

describe('the engines', () => {
  it('loads a runtime when an engine is opened, not before', async () => {
    expect(loadedRuntimes()).toEqual([]);
    await openEngine('cpu');
    expect(loadedRuntimes()).toContainEqual(expect.stringContaining('tfjs-backend-cpu'));
  });

  it('lists them in a stable order', () => {
    expect(engineNames).toEqual([
      'onnxruntime',
      'onnxruntime-web',
      'wasm',
      'cpu',
      'webgpu',
      'tfjs-node-gpu',
      'tfjs-node',
    ]);
  });

  it('suggests the nearest name for an unknown one and lists all', async () => {
    const message =
      'engine wams is unknown; did you mean wasm? There are onnxruntime, onnxruntime-web, wasm, cpu, webgpu, tfjs-node-gpu, tfjs-node';
    await expect(openEngine('wams')).rejects.toThrow(new InputError(message));
    await expect(openAvailable(['cpu', 'wams'])).rejects.toThrow(new InputError(message));
  });

  it('opens named engines in the order of their names', async () => {
    const { engines, absent } = await openAvailable(['cpu', 'wasm']);
    expect(engines.map(({ info }) => info.name)).toEqual(['cpu', 'wasm']);
    expect(absent).toEqual([]);
  });

  it('says of every engine that it is open or why not, and refuses an absent one that was named', async () => {
    const { engines, absent } = await openAvailable(undefined);
    const names = [...engines.map(({ info }) => info.name), ...absent.map(({ name }) => name)];
    expect(names.sort()).toEqual([...engineNames].sort());
    // TensorFlow starts once in a process: on the CPU, on a GPU, or not at all.
    expect(absent.map(({ name }) => name)).toContainEqual(expect.stringMatching(/^tfjs-node/));
    for (const { name, reason, fix } of absent) {
      await expect(openAvailable([name])).rejects.toThrow(new InputError(`engine ${name}: ${reason}; ${fix}`));
    }
  });

  it('refuses a number of threads that TensorFlow cannot have', async () => {
    await expect(openEngine('tfjs-node', { threads: 0 })).rejects.toThrow(
      new InputError('threads 0 for TensorFlow; a whole number of at least 1 is needed'),
    );
  });
});
