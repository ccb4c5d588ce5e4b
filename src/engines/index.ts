import { closest } from 'fastest-levenshtein';
import { InputError } from '../network/errors.ts';
import { type Engine, type EngineOptions, type EngineProvider, EngineUnavailable, TakenInProcess } from './engine.ts';
import { onnxruntime } from './onnxruntime.ts';
import { onnxruntimeWeb } from './onnxruntime-web.ts';
import { cpu } from './tfjs-cpu.ts';
import { tfjsNode } from './tfjs-node.ts';
import { tfjsNodeGpu } from './tfjs-node-gpu.ts';
import { wasm } from './tfjs-wasm.ts';
import { webgpu } from './tfjs-webgpu.ts';

/** Every engine there is, here or not. Nothing is loaded before one is opened. */
export const providers: readonly EngineProvider[] = [
  onnxruntime,
  onnxruntimeWeb,
  wasm,
  cpu,
  webgpu,
  tfjsNodeGpu,
  tfjsNode,
];

export const engineNames: readonly string[] = providers.map(({ name }) => name);

/** An engine that is not here, why, and what would mend it. */
export interface AbsentEngine {
  readonly name: string;
  readonly reason: string;
  readonly fix: string;
}

/** @throws InputError where there is no engine of that name */
function providerOf(name: string): EngineProvider {
  const provider = providers.find((candidate) => candidate.name === name);
  if (provider === undefined) {
    throw new InputError(
      `engine ${name} is unknown; did you mean ${closest(name, engineNames)}? There are ${engineNames.join(', ')}`,
    );
  }
  return provider;
}

/**
 * Opens one engine.
 * @throws InputError where there is no engine of that name
 * @throws EngineUnavailable where it is not here
 */
export async function openEngine(name: string, options: EngineOptions = {}): Promise<Engine> {
  return providerOf(name).open(options);
}

/**
 * Opens the named engines; without names, every one of `usual` that is here.
 * @param takeElsewhere what to do with an engine that only another process can have, instead of calling it absent
 * @returns the engines in the order of `names` (of {@link providers}), and those that are absent
 * @throws InputError where a named engine is unknown or absent
 */
export async function openAvailable(
  names: readonly string[] | undefined,
  options: EngineOptions = {},
  usual: readonly string[] = engineNames,
  takeElsewhere?: (name: string, error: TakenInProcess) => void,
): Promise<{ engines: readonly Engine[]; absent: readonly AbsentEngine[] }> {
  const engines: Engine[] = [];
  const absent: AbsentEngine[] = [];
  for (const provider of (names ?? usual).map(providerOf)) {
    try {
      engines.push(await provider.open(options));
    } catch (error) {
      if (!(error instanceof EngineUnavailable)) throw error;
      if (takeElsewhere !== undefined && error instanceof TakenInProcess) {
        takeElsewhere(provider.name, error);
        continue;
      }
      if (names !== undefined) throw new InputError(`engine ${provider.name}: ${error.message}; ${error.fix}`);
      absent.push({ name: provider.name, reason: error.message, fix: error.fix });
    }
  }
  return { engines, absent };
}
