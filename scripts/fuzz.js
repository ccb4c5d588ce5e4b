/**
 * Mutated files through every reader: `npm run fuzz -- [--files N] [--seed N] [--target NAMES]`. Each must end in a result or
 * in an InputError, in two seconds of the processor's time (and thirty by the clock, for a busy machine), within four times
 * the file's size plus a constant of memory, and leave no trace in JavaScript's prototypes. What fails is named with the
 * command that replays it.
 */
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { Command, CommanderError, InvalidArgumentError } from 'commander';

/** Memory beyond four times the file: the readers' own limits on objects (PICKLE_LIMITS, MAX_HEADER_BYTES) and garbage. */
const CONSTANT_BYTES = 2 ** 28;
const TIMES_FILE = 4;
/** JavaScript's heap; what it cannot do within this ends the worker. */
const HEAP_MB = 192;
/** A file may wait this much longer than it computes: for a busy machine, but not for a pipe that nobody writes to. */
const WAITING = 15;
/** How often the watching thread looks. */
const WATCH_MS = 100;
/** At most so many mutations of one file. */
const MOST_MUTATIONS = 6;
/** Failures that are shown; the rest are counted. */
const SHOWN = 10;

const EXIT = { pass: 0, failure: 1, usage: 2 };

const DIST = new URL('../dist/', import.meta.url).href;
const GOLDEN = new URL('../golden/', import.meta.url);
const golden = (name) => readFileSync(new URL(name, GOLDEN));
/** As PyTorch writes checkpoints and exports. */
const WRITTEN = new URL('../properties/', import.meta.url);
const written = (name) => readFileSync(new URL(name, WRITTEN));
const checkpoint = (name) => written(`checkpoints/${name}`);

/** Uniform numbers of 32 bits from a seed: mulberry32. */
function generator(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (limit) => next() % Math.max(1, limit);
  const pick = (items) => items[below(items.length)];
  return { next, below, pick };
}

const text = (string) => Buffer.from(string, 'latin1');

/** Whole numbers at which readers go wrong. */
const NUMBERS = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0xffffn,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
];
const STRINGS = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  '',
  '..',
  '../../../etc/passwd',
  '/etc/passwd',
  'a\\u0000b',
  '\\ud800',
  'NaN',
  '1e999',
  '-0',
  'x'.repeat(300),
];

/** Instructions that make trouble: programs, references to oneself, growth without end. */
const PICKLES = [
  text('cos\nsystem\n'),
  text('cbuiltins\neval\n'),
  text('c__builtin__\nexec\n'),
  text('ccollections\nOrderedDict\n)R'),
  text('ctorch\nFloatStorage\n'),
  text('ctorch._utils\n_rebuild_tensor_v2\n'),
  Buffer.from([0x7d, 0x94, 0x68, 0, 0x68, 0, 0x73]), // a dict in itself
  Buffer.from([0x5d, 0x71, 0, 0x68, 0, 0x61]), // a list in itself
  Buffer.from([0x28, 0x68, 0, 0x68, 0, 0x68, 0, 0x68, 0, 0x74, 0x71, 0]), // a tuple of four times the last
  Buffer.from([0x32, 0x32, 0x32, 0x32]),
  Buffer.from([0x28, 0x74]),
  Buffer.from([0x85, 0x85, 0x85, 0x85, 0x85]),
  Buffer.from([0x8b, 0xff, 0xff, 0xff, 0x7f]),
  Buffer.from([0x8a, 0xff]),
  Buffer.from([0x58, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0x8d, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0x72, 0xff, 0xff, 0xff, 0x7f]),
  Buffer.from([0x51]),
  Buffer.from([0x52]),
  Buffer.from([0x81]),
  Buffer.from([0x62]),
  Buffer.from([0x75]),
  Buffer.from([0x2e]),
];

/** What may be done to any file. `hot` are the ranges in which its structure lies. */
const BYTES = [
  (file, random, at) => {
    file[at()] ^= 1 << random.below(8);
    return file;
  },
  (file, random, at) => {
    file[at()] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
    return file;
  },
  (file, random, at) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(random.pick([...NUMBERS, BigInt(file.length), BigInt(file.length - 1)]));
    bytes.copy(file, at(), 0, random.pick([1, 2, 4, 8]));
    return file;
  },
  (file, _random, at) => Buffer.from(file.subarray(0, at())),
  (file, random, at) => {
    const begin = at();
    return Buffer.concat([file.subarray(0, begin), file.subarray(begin + 1 + random.below(random.pick([2, 16, 256])))]);
  },
  (file, random, at) => {
    const begin = at();
    const end = begin + 1 + random.below(random.pick([2, 16, 256, 4096]));
    return Buffer.concat([file.subarray(0, end), file.subarray(begin)]);
  },
  (file, random, at) => {
    const from = at();
    file.copy(file, at(), from, from + 1 + random.below(64));
    return file;
  },
  (file, random, at, other) => {
    const begin = at();
    const from = random.below(other.length);
    const part = other.subarray(from, from + random.below(random.pick([16, 256, 8192])));
    return Buffer.concat([file.subarray(0, begin), part, file.subarray(begin)]);
  },
];

/** What may be done to a pickle beside: instructions put in. */
const INSTRUCTIONS = (file, random, at) => {
  const begin = at();
  const times = random.pick([1, 1, 1, 2, 20, 2000]);
  return Buffer.concat([file.subarray(0, begin), ...Array(times).fill(random.pick(PICKLES)), file.subarray(begin)]);
};

/** What may be done to JSON beside: its numbers and strings replaced, members repeated, values nested. */
const JSON_TEXT = (file, random) => {
  const source = file.toString('latin1');
  const replace = (pattern, by) => {
    const found = [...source.matchAll(pattern)];
    if (found.length === 0) return file;
    const match = random.pick(found);
    return text(source.slice(0, match.index) + by(match[0]) + source.slice(match.index + match[0].length));
  };
  const value = () =>
    random.pick([
      () => String(random.pick(NUMBERS)),
      () => String(random.below(9)),
      () => `-${random.pick(NUMBERS)}`,
      () => random.pick(['1.5', '1e308', '1e999', 'null', 'true', '{}', '[]', '[[[]]]', '{"__proto__":{"a":1}}']),
      () => `"${random.pick(STRINGS)}"`,
      () => '['.repeat(1000) + ']'.repeat(1000),
    ])();
  return random.pick([
    () => replace(/-?\d+(\.\d+)?/g, value),
    () => replace(/"[^"]*"(?=\s*:)/g, () => `"${random.pick(STRINGS)}"`),
    () => replace(/"[^"]*"(?!\s*:)/g, value),
    () => replace(/"[^"]*"\s*:\s*[^,{}[\]]+/g, (member) => `${member},${member}`),
    () => replace(/[{[]/g, (open) => (open === '{' ? `{"__proto__":${value()},` : `[${value()},`)),
    () => replace(/[[{]\s*[^[\]{}]*[\]}]/g, value),
  ])();
};

/** The header of a safetensors file with its length made right again. */
const SAFETENSORS_HEADER = (file, random) => {
  if (file.length < 8) return file;
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON_TEXT(file.subarray(8, 8 + length), random);
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([count, header, file.subarray(8 + length)]);
};

/** A protobuf message with one of its fields changed, and written again. */
function messages(type) {
  return (file, random) => {
    let message;
    try {
      message = type.toObject(type.decode(file), { longs: Number, arrays: true, bytes: Buffer });
    } catch {
      return file;
    }
    // Down to a leaf; one in four stops on the way, at a list.
    let holder = message;
    let key = 'graph';
    for (let depth = 0; depth < 12; depth++) {
      const value = holder[key];
      if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) break;
      const keys = Object.keys(value);
      if (keys.length === 0 || (Array.isArray(value) && random.below(4) === 0)) break;
      holder = value;
      key = random.pick(keys);
    }
    const value = holder[key];
    if (Array.isArray(value)) {
      const at = random.below(value.length);
      random.pick([
        () => value.splice(at, 1),
        () => value.length > 0 && value.splice(at, 0, value[random.below(value.length)]),
        () => value.length > 0 && value.push(...Array(random.pick([1, 100, 10_000])).fill(value[at])),
        () => value.reverse(),
      ])();
    } else if (typeof value === 'number') {
      holder[key] =
        Number(BigInt.asIntN(63, random.pick([...NUMBERS, 3n, 4n, 5n, 10n, 16n]))) * random.pick([1, 1, 1, -1]);
    } else if (typeof value === 'string') {
      holder[key] = random.pick([...STRINGS, 'Reshape', 'Transpose', 'Conv', 'MatMul', 'Add', 'Mul', 'location']);
    } else if (Buffer.isBuffer(value)) {
      holder[key] = random.pick([
        () => value.subarray(random.below(value.length)),
        () => Buffer.alloc(random.below(64), 0xff),
      ])();
    }
    try {
      return Buffer.from(type.encode(type.fromObject(message)).finish());
    } catch {
      return file;
    }
  };
}

/** Every target: files to begin with, what may be done to them, and the reader. @param name the only one that is used */
async function readers(dist, name) {
  const module = (name) => import(new URL(name, dist).href);
  const [{ InputError }, { parseCheckpoint }, { recognise }, { parseConfigText }] = await Promise.all(
    ['network/errors.js', 'weights/checkpoint.js', 'reference/recognise.js', 'reference/config.js'].map(module),
  );
  const folder = mkdtempSync(join(tmpdir(), 'fuseproof-fuzz-'));
  for (const name of readdirSync(new URL('checkpoints/', WRITTEN))) {
    if (name.startsWith('sharded-')) writeFileSync(join(folder, name), checkpoint(name));
  }
  const read = async (file) => {
    const { weights } = await parseCheckpoint(file, join(folder, 'file'));
    await recognise(weights, 'file', 'file');
  };
  const { unzipSync, zipSync } = await import('fflate');
  const [{ parseOnnxFile }, { networkOfOnnx }, { onnxMessages }, { parseCertificate, certificateText }] =
    await Promise.all(
      [
        'artefacts/onnx-file.js',
        'artefacts/onnx-network.js',
        'artefacts/onnx-messages.js',
        'certify/certificate.js',
      ].map(module),
    );
  const onnx = [
    'repvit.fused.dynamo20.onnx',
    'repvit.train.legacy11.onnx',
    'repmlpnet.fused.dynamo20.onnx',
    'repmlpnet.train.legacy17_dynamic.onnx',
    'repvit.fused.legacy17_dynamic.onnx',
  ];
  for (const name of onnx) {
    const data = new URL(`onnx/${name}.data`, WRITTEN);
    if (existsSync(data)) copyFileSync(data, join(folder, `${name}.data`));
  }
  symlinkSync('/dev/zero', join(folder, 'zero.data'));
  const { default: protobuf } = await import('protobufjs/light.js');
  const model = protobuf.Root.fromJSON(onnxMessages).lookupType('ModelProto');
  const readOnnx = async (file) => {
    networkOfOnnx(await parseOnnxFile(file, join(folder, 'file')), 'file', { batch: 1, height: 32, width: 32 });
  };
  /** The text of a certificate of a fusion made for it, which takes a second. */
  const certified = async () => {
    const [{ fuseFile }, { openEngine }] = await Promise.all(['certify/fuse-file.js', 'engines/index.js'].map(module));
    const { certificate } = await fuseFile({
      input: fileURLToPath(new URL('checkpoints/trainer.pth', WRITTEN)),
      output: join(folder, 'fused.safetensors'),
      format: 'safetensors',
      options: {},
      engines: [await openEngine('onnxruntime', {})],
    });
    return Buffer.from(certificateText(certificate));
  };
  const { parseReportFile } = await module('report/validate.js');

  const all = (file) => [[0, file.length]];
  const behind = (file, mark) => [
    [0, 2048],
    [Math.max(0, file.indexOf(mark)), file.length],
  ];
  const pickled = ['float16.pth', 'views.pth', 'trainer.pth', 'repmlpnet_injected.pth'].map((name) => {
    const files = unzipSync(checkpoint(name));
    const name_ = Object.keys(files).find((entry) => entry.endsWith('/data.pkl'));
    return {
      pickle: Buffer.from(files[name_]),
      zip: (pickle) => Buffer.from(zipSync({ ...files, [name_]: pickle }, { level: 0 })),
    };
  });

  const targets = {
    safetensors: {
      seeds: [checkpoint('float16.safetensors'), golden('examples/repmlpnet.weights.safetensors')],
      hot: (file) => [
        [0, 8 + Number(file.readBigUInt64LE(0))],
        [0, 8],
      ],
      mutations: [...BYTES, SAFETENSORS_HEADER, SAFETENSORS_HEADER, SAFETENSORS_HEADER],
      read,
    },
    index: {
      seeds: [checkpoint('sharded.safetensors.index.json')],
      hot: all,
      mutations: [...BYTES, JSON_TEXT, JSON_TEXT, JSON_TEXT, JSON_TEXT],
      read,
    },
    zip: {
      seeds: ['repmlpnet_injected.pth', 'official_fused.pth', 'no_checksums.pth', 'refused_torchscript.pt'].map(
        checkpoint,
      ),
      hot: (file) => behind(file, 'PK\x01\x02'),
      mutations: BYTES,
      read,
    },
    'zip-pickle': {
      seeds: pickled.map(({ pickle }) => pickle),
      hot: all,
      mutations: [...BYTES, INSTRUCTIONS, INSTRUCTIONS],
      finish: (file, seed) => pickled[seed].zip(file),
      read,
    },
    legacy: {
      seeds: ['trainer_legacy.pth', 'views_legacy.pth', 'bfloat16_legacy.pth'].map(checkpoint),
      hot: () => [
        [0, 24_000],
        [0, 200],
      ],
      mutations: [...BYTES, INSTRUCTIONS],
      read,
    },
    onnx: {
      seeds: onnx.map((name) => written(`onnx/${name}`)),
      hot: (file) => [
        [0, 4096],
        [Math.max(0, file.length - 8192), file.length],
      ],
      mutations: BYTES,
      read: readOnnx,
    },
    'onnx-graph': {
      seeds: onnx.map((name) => written(`onnx/${name}`)),
      hot: all,
      mutations: [messages(model)],
      read: readOnnx,
    },
    config: {
      seeds: ['repmlpnet', 'repvit_legacy', 'repvit_two_heads'].map((name) => golden(`examples/${name}.json`)),
      hot: all,
      mutations: [...BYTES, JSON_TEXT, JSON_TEXT, JSON_TEXT, JSON_TEXT],
      read: (file) => parseConfigText(file.toString(), 'file'),
    },
    certificate: {
      seeds: name === 'certificate' ? [await certified()] : [],
      hot: all,
      mutations: [...BYTES, JSON_TEXT, JSON_TEXT, JSON_TEXT, JSON_TEXT],
      read: (file) => parseCertificate(file, 'file'),
    },
    report: {
      seeds: [readFileSync(new URL('../reports/sample/latest.json', import.meta.url))],
      hot: all,
      mutations: [...BYTES, JSON_TEXT, JSON_TEXT, JSON_TEXT, JSON_TEXT],
      read: (file) => parseReportFile(file.toString(), 'file'),
    },
  };
  return { targets, InputError, remove: () => rmSync(folder, { recursive: true }) };
}

/** The file of a number, always the same. */
function fileOf(target, name, seed, index) {
  const random = generator(
    Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b) ^ (name.length * 0x1b873593),
  );
  for (let i = 0; i < 4; i++) random.next();
  const chosen = random.below(target.seeds.length);
  let file = Buffer.from(target.seeds[chosen]);
  const ranges = target.hot(file);
  const at = () => {
    // One in eight anywhere.
    const [begin, end] = random.below(8) === 0 ? [0, file.length] : random.pick(ranges);
    return Math.min(begin + random.below(Math.max(1, end - begin)), Math.max(0, file.length - 1));
  };
  const times = 1 + random.below(random.pick([1, 1, 1, 2, MOST_MUTATIONS]));
  for (let i = 0; i < times && file.length > 0; i++) {
    file = random.pick(target.mutations)(file, random, at, random.pick(target.seeds));
  }
  return target.finish === undefined ? file : target.finish(file, chosen);
}

/** What JavaScript's own objects have; a file that changes it has polluted them. */
function prototypes() {
  return [Object, Array, Map, Set, String, Number, Function, Uint8Array, Promise]
    .map((type) => Reflect.ownKeys(type.prototype).length)
    .join();
}

/** Of the file that is being read, or 0: since when, in milliseconds, and of the processor's time in microseconds; its number. */
const SINCE = 0;
const COMPUTED = 1;
const INDEX = 2;

/** Microseconds that this process has computed. Beside the worker it only waits. */
function computed() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** In the worker: reads file after file, and says what came of them. */
async function work({ dist, name, begin, end, seed, shared }) {
  const { targets, InputError, remove } = await readers(dist, name);
  const target = targets[name];
  const clean = prototypes();
  const state = new BigInt64Array(shared);
  // Readers load what they need at their first file; that is not the file's doing.
  for (const [i, file] of target.seeds.entries()) {
    await target.read(target.finish?.(file, i) ?? file).catch(() => undefined);
  }
  const baseline = process.resourceUsage().maxRSS * 1024;
  const seen = { files: 0, read: 0, refused: 0, slowest: 0, peak: 0 };
  const refusals = new Set();
  for (let index = begin; index < end; index++) {
    const file = fileOf(target, name, seed, index);
    const size = file.length;
    const before = Date.now();
    Atomics.store(state, INDEX, BigInt(index));
    Atomics.store(state, COMPUTED, BigInt(computed()));
    Atomics.store(state, SINCE, BigInt(before));
    let problem;
    try {
      await target.read(file);
      seen.read += 1;
    } catch (error) {
      if (error instanceof InputError) {
        seen.refused += 1;
        refusals.add(
          error.message
            .replace(/"[^"]*"/g, '""')
            .replace(/\d+/g, '0')
            .slice(0, 60),
        );
      } else problem = `${error?.stack ?? error}`;
    }
    Atomics.store(state, SINCE, 0n);
    const memory = process.resourceUsage().maxRSS * 1024 - baseline;
    seen.files += 1;
    seen.slowest = Math.max(seen.slowest, Date.now() - before);
    seen.peak = Math.max(seen.peak, memory);
    // What lasts would be laid to the files behind it, so these go to another worker.
    let lasting;
    if (memory > TIMES_FILE * size + CONSTANT_BYTES) {
      lasting = `${Math.round(memory / 2 ** 20)} MiB of memory for a file of ${size} bytes`;
    }
    if (prototypes() !== clean) lasting = "JavaScript's prototypes were changed";
    problem ??= lasting;
    if (problem !== undefined) parentPort.postMessage({ kind: 'failure', index, problem });
    if (lasting !== undefined) return remove();
    if (index % 1000 === 999) parentPort.postMessage({ kind: 'progress', done: index + 1 });
  }
  remove();
  parentPort.postMessage({ kind: 'done', ...seen, refusals: refusals.size });
}

function number(least, most) {
  return (given) => {
    const value = Number(given);
    if (!/^\d+$/.test(given) || value < least || value > most) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

/** Runs a worker, and ends it where a file takes too long. @returns whether it came to its end by itself */
function watch(job, limit, tell) {
  return new Promise((resolve) => {
    const shared = new SharedArrayBuffer(24);
    const state = new BigInt64Array(shared);
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { ...job, dist: DIST, shared },
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    let isDone = false;
    const fail = (problem) => tell({ kind: 'failure', index: Number(state[INDEX]), problem });
    const timer = setInterval(() => {
      const since = Number(Atomics.load(state, SINCE));
      const busy = (computed() - Number(Atomics.load(state, COMPUTED))) / 1e6;
      const waiting = (Date.now() - since) / 1000;
      if (since === 0 || (busy < limit && waiting < WAITING * limit)) return;
      clearInterval(timer);
      fail(busy < limit ? `waits for more than ${WAITING * limit} s` : `computes for more than ${limit} s`);
      worker.terminate();
    }, WATCH_MS);
    worker.on('message', (message) => {
      isDone ||= message.kind === 'done';
      tell(message);
    });
    worker.on('error', (error) => fail(String(error)));
    worker.on('exit', () => {
      clearInterval(timer);
      resolve(isDone);
    });
  });
}

async function main() {
  const program = new Command('npm run fuzz --')
    .description('Mutated files through every reader: each must be read or refused, quickly and in little memory.')
    .option('--files <number>', 'how many, over all targets', number(1, 1e9), 210_000)
    .option('--seed <number>', 'of the mutations', number(0, 2 ** 31 - 1), 1)
    .option('--target <names>', 'only these, with commas between')
    .option('--limit <seconds>', 'that a file may compute', number(1, 3600), 2)
    .option(
      '--replay <index>',
      'only this file of the one --target; written to --out where that is given',
      number(0, 1e9),
    )
    .option('--out <file>', 'with --replay')
    .exitOverride()
    .parse();
  const { files, seed, target: asked, limit, replay, out } = program.opts();
  const { targets, remove } = await readers(DIST, replay === undefined ? undefined : asked);
  remove();
  const names = asked === undefined ? Object.keys(targets) : asked.split(',');
  const unknown = names.find((name) => targets[name] === undefined);
  if (unknown !== undefined)
    program.error(`error: no target ${unknown}; there are: ${Object.keys(targets).join(', ')}`);
  if (replay !== undefined && names.length !== 1)
    program.error('error: --replay is of one target; give it with --target');
  if (out !== undefined && replay === undefined)
    program.error('error: --out is for the file of --replay; give that, too');
  if (out !== undefined) writeFileSync(out, fileOf(targets[names[0]], names[0], seed, replay));

  const each = Math.ceil(files / names.length);
  const range = replay === undefined ? { begin: 0, end: each } : { begin: replay, end: replay + 1 };
  let failures = 0;
  const columns = [
    'target'.padEnd(14),
    ...['files', 'read', 'refused', 'reasons', 'slowest ms', 'MiB'].map((name) => name.padStart(11)),
  ];
  process.stdout.write(`seed ${seed}\n${columns.join('')}\n`);
  for (const name of names) {
    let { begin } = range;
    const tell = (message) => {
      if (message.kind === 'progress') process.stderr.write(`\r${name} ${message.done} of ${range.end}  `);
      else if (message.kind === 'failure') {
        failures += 1;
        begin = message.index + 1;
        if (failures > SHOWN) return;
        process.stdout.write(
          `failure: ${message.problem}\n  replay: npm run fuzz -- --target ${name} --seed ${seed} --replay ${message.index}\n`,
        );
      } else {
        const { files: count, read, refused, refusals, slowest, peak } = message;
        const row = [count, read, refused, refusals, slowest, Math.ceil(peak / 2 ** 20)];
        process.stderr.write('\r');
        process.stdout.write(`${name.padEnd(14)}${row.map((value) => String(value).padStart(11)).join('')}\n`);
      }
    };
    // A file that ends its worker is left behind, and another worker goes on.
    for (let isDone = false; !isDone && begin < range.end; ) {
      isDone = await watch({ name, begin, end: range.end, seed }, limit, tell);
    }
  }
  if (failures > 0) process.stdout.write(`${failures} failures\n`);
  process.exitCode = failures > 0 ? EXIT.failure : EXIT.pass;
}

if (!isMainThread) await work(workerData);
else {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.pass : EXIT.usage;
  }
}
