import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { FLOAT32 } from '../network/precision.ts';
import { type EngineProvider, EngineUnavailable, type Precision } from './engine.ts';
import { tfjsEngine } from './tfjs.ts';

/** What is used of an adapter's description (GPUAdapterInfo). */
interface AdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly isFallbackAdapter?: boolean;
}

/** What is used of the package webgpu: Dawn, as Chromium has it. */
interface Dawn {
  create(flags: readonly string[]): {
    requestAdapter(options: object): Promise<{ readonly info: AdapterInfo } | null>;
  };
  readonly globals: object;
}

/** WGSL, 15.7.4: accuracy of its built-in functions. */
const precision: Precision = {
  ...FLOAT32,
  // Sums and products are rounded correctly; of what a network needs, division is the least accurate: 2.5 units in the last place.
  unitRoundoff: 2.5 * 2 ** -23,
  // It may flush subnormals to zero.
  underflow: 2 ** -126,
  // Abramowitz and Stegun 7.1.26, |error| <= 1.5e-7, evaluated in float32: 5.5e-7 on SwiftShader, beyond its rounding.
  erf: 2 ** -20,
};

const FIX =
  "install a driver for Vulkan; without a GPU a software adapter: a recent Mesa (Debian, Ubuntu: apt install libvulkan1 mesa-vulkan-drivers), or the SwiftShader of Debian's chromium (VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json)";

/** Where Linux has its libraries. */
const LIBRARIES = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib'];

/** Dawn complains on stderr where it finds no Vulkan, so it is looked for before. */
function hasVulkan(): boolean {
  if (process.platform !== 'linux') return true;
  const triplet = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const folders = [
    ...(process.env.LD_LIBRARY_PATH ?? '').split(':').filter((folder) => folder !== ''),
    ...LIBRARIES.flatMap((folder) => [folder, join(folder, triplet)]),
  ];
  return folders.some((folder) => existsSync(join(folder, 'libvulkan.so.1')));
}

/** Kept for the life of the process: Dawn ends with it. */
let adapter: Promise<AdapterInfo> | undefined;

/** Starts Dawn and puts it where tfjs looks for it. */
async function startDawn(): Promise<AdapterInfo> {
  let dawn: Dawn;
  try {
    // A name that TypeScript does not follow: the package is optional, and its types are those of a browser.
    dawn = await import('webgpu' as string);
  } catch (error) {
    throw doesNotLoad('webgpu', error);
  }
  const gpu = dawn.create([]);
  // As tfjs asks for it.
  const found = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (found === null) throw new EngineUnavailable('Dawn finds no adapter', FIX);
  Object.assign(globalThis, dawn.globals);
  // Node has a navigator from version 21 on.
  const navigator = (globalThis as { navigator?: object }).navigator ?? { hardwareConcurrency: availableParallelism() };
  Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true, writable: true });
  return found.info;
}

/** Registers tfjs' backend, and returns its version. */
async function loadBackend(): Promise<string> {
  // Literal names inside of the try: bundlers then know that it may be absent.
  try {
    const manifest = await import('@tensorflow/tfjs-backend-webgpu/package.json', { with: { type: 'json' } });
    await import('@tensorflow/tfjs-backend-webgpu');
    return manifest.default.version;
  } catch (error) {
    throw doesNotLoad('@tensorflow/tfjs-backend-webgpu', error);
  }
}

function doesNotLoad(name: string, error: unknown): EngineUnavailable {
  const isMissing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
  const reason = isMissing ? 'not installed' : error instanceof Error ? error.message.split('\n')[0] : String(error);
  return new EngineUnavailable(`${name} does not load: ${reason}`, `npm install ${name}`);
}

/** Drivers that run on a CPU. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** tfjs on WebGPU, through Dawn; optional. */
export const webgpu: EngineProvider = {
  name: 'webgpu',
  summary: 'tfjs on WebGPU, through Dawn; optional. An adapter in software is said to be one',
  async open() {
    if (!hasVulkan()) throw new EngineUnavailable('there is no Vulkan here', FIX);
    adapter ??= startDawn().catch((error: unknown) => {
      adapter = undefined;
      throw error;
    });
    const { vendor, architecture, description, isFallbackAdapter } = await adapter;
    const tf = await import('@tensorflow/tfjs-core');
    tf.enableProdMode();
    const version = await loadBackend();
    // Else small tensors are computed on tfjs' JavaScript backend.
    tf.env().set('WEBGPU_CPU_FORWARD', false);
    const driver = description || `${vendor} ${architecture}`;
    const isSoftware = isFallbackAdapter === true || SOFTWARE.test(`${driver} ${architecture}`);
    return tfjsEngine({
      tf,
      backend: 'webgpu',
      isSynchronous: false,
      info: {
        name: 'webgpu',
        version: `tfjs ${version}`,
        device: isSoftware ? `CPU, as a software adapter (${driver}, WebGPU)` : `GPU (${driver}, WebGPU)`,
        threads: 1,
        ...(isSoftware && { software: true as const }),
        precision,
      },
    });
  },
};
