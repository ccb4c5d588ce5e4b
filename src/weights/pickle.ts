/**
 * A restricted reader of Python's pickle format, protocols 2 to 5 (Lib/pickletools.py): a program for a stack machine, of
 * which only the instructions are known that build data. Nothing is ever imported or executed: a global stands for
 * something in a table that the caller gives, and any other is an error that names it.
 */
import { InputError } from '../network/errors.ts';

/** Limits that bound time and memory whatever the file says; the memory of all together is under 256 MiB. */
export const PICKLE_LIMITS = {
  /** Instructions: a tensor of a state dict takes about 30, so this is a hundred thousand tensors. */
  instructions: 2 ** 22,
  /** Dicts, lists, tuples and objects: a tensor takes about 5. */
  objects: 2 ** 20,
  /** Bytes of one whole number: PyTorch's magic number has 10, a seed of Python's generators up to 32. */
  integerBytes: 64,
} as const;

/** What stands for a global of Python's: `call`, where it is a function or a class that may be called. */
export interface Known {
  readonly call?: (args: readonly unknown[]) => unknown;
}

/** A global as a pickle names it. Two of the same name are the same object. */
export class Global {
  readonly name: string;
  readonly known: Known;

  constructor(name: string, known: Known) {
    this.name = name;
    this.known = known;
  }
}

/** An object that is kept out of sight: it has a class, and nothing is known of its state. */
export class Opaque {
  readonly of: string;

  constructor(of: string) {
    this.of = of;
  }
}

export interface PickleReader {
  /** Names the file in messages. */
  readonly subject: string;
  /** What stands for a global, by `module.name`. */
  readonly globals: ReadonlyMap<string, Known>;
  /** What stands for an object that is stored outside of the pickle. */
  readonly persistent: (id: unknown) => unknown;
}

/** A pickle's value, and where it ends. Dicts are Maps, lists and tuples arrays, sets Sets, whole numbers beyond 2^53 bigints. */
export interface Unpickled {
  readonly value: unknown;
  readonly end: number;
}

/**
 * Reads the pickle that begins at `start`.
 * @throws InputError where it is malformed, needs a global that is not in the table, or exceeds {@link PICKLE_LIMITS}
 */
export function unpickle(bytes: Uint8Array, start: number, reader: PickleReader): Unpickled {
  return new Machine(bytes, start, reader).run();
}

/** Stands on the stack where a tuple, list or dict begins. */
const MARK = Symbol('mark');

const HIGHEST_PROTOCOL = 5;

/** Instructions of protocols 0 and 1, which PyTorch never writes. */
const TEXTUAL = new Set([...'FILSVPgpdlicor'].map((letter) => letter.charCodeAt(0)));

/** As a Python user knows a value. */
function nameOf(value: unknown): string {
  if (value === undefined || value === MARK) return 'nothing';
  if (value === null) return 'None';
  if (value instanceof Map) return 'a dict';
  if (value instanceof Set) return 'a set';
  if (Array.isArray(value)) return 'a list or tuple';
  if (value instanceof Global) return value.name;
  if (value instanceof Opaque) return `a ${value.of}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #reader: PickleReader;
  readonly #start: number;
  readonly #stack: unknown[] = [];
  readonly #memo: unknown[] = [];
  readonly #globals = new Map<string, Global>();
  #position: number;
  #objects = 0;

  constructor(bytes: Uint8Array, start: number, reader: PickleReader) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#reader = reader;
    this.#start = start;
    this.#position = start;
  }

  run(): Unpickled {
    for (let count = 0; count < PICKLE_LIMITS.instructions; count++) {
      const at = this.#position;
      const instruction = this.#bytes[this.#advance(1)]!;
      if (instruction === 0x2e) return { value: this.#pop(), end: this.#position }; // STOP
      if (count === 0 && instruction !== 0x80) {
        this.#fail(`begins with byte 0x${instruction.toString(16)}; a pickle of protocol 2 or newer begins with 0x80`);
      }
      this.#execute(instruction, at);
    }
    return this.#fail(
      `has more than ${PICKLE_LIMITS.instructions} instructions; no state dict of a network needs so many`,
    );
  }

  #fail(what: string): never {
    throw new InputError(`${this.#reader.subject}: its pickle ${what}`);
  }

  /** Moves on, and says from where. */
  #advance(count: number): number {
    const at = this.#position;
    if (count > this.#bytes.length - at) {
      this.#fail(
        `ends in the middle, at byte ${this.#bytes.length}; the file is truncated or damaged, so copy it again`,
      );
    }
    this.#position += count;
    return at;
  }

  #pop(): unknown {
    if (this.#stack.length === 0)
      this.#fail(`takes from an empty stack before byte ${this.#position}; the file is damaged`);
    const value = this.#stack.pop();
    if (value === MARK) this.#fail(`takes a mark for a value before byte ${this.#position}; the file is damaged`);
    return value;
  }

  #top(): unknown {
    return this.#stack.at(-1);
  }

  /** Everything above the last mark, which is taken away, too. */
  #popMarked(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) this.#fail(`misses a mark before byte ${this.#position}; the file is damaged`);
    const items = this.#stack.splice(mark);
    items.shift();
    return items;
  }

  #popMany(count: number): unknown[] {
    const items = Array.from({ length: count }, () => this.#pop());
    return items.reverse();
  }

  /** Puts an object onto the stack, and counts it. */
  #create(value: unknown): void {
    this.#objects += 1;
    if (this.#objects > PICKLE_LIMITS.objects) {
      this.#fail(`makes more than ${PICKLE_LIMITS.objects} objects; no state dict of a network needs so many`);
    }
    this.#stack.push(value);
  }

  #uint8 = () => this.#view.getUint8(this.#advance(1));
  #uint16 = () => this.#view.getUint16(this.#advance(2), true);
  #uint32 = () => this.#view.getUint32(this.#advance(4), true);

  #length64(): number {
    const length = this.#view.getBigUint64(this.#advance(8), true);
    if (length > this.#bytes.length) this.#advance(this.#bytes.length);
    return Number(length);
  }

  #slice(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  #text(length: number): string {
    const bytes = this.#slice(length);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.#fail(`holds text that is not UTF-8, before byte ${this.#position}; the file is damaged`);
    }
  }

  /** The rest of a line, as GLOBAL has it. */
  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end < 0) this.#advance(this.#bytes.length + 1);
    const text = this.#text(end - this.#position);
    this.#advance(1);
    return text;
  }

  /** A whole number of two's complement, little endian. */
  #integer(length: number): number | bigint {
    if (length > PICKLE_LIMITS.integerBytes) {
      this.#fail(`holds a whole number of ${length} bytes; at most ${PICKLE_LIMITS.integerBytes} are read`);
    }
    const bigEndian = Uint8Array.from(this.#slice(length)).reverse();
    const value = BigInt(`0x0${Buffer.from(bigEndian.buffer).toString('hex')}`);
    const signed = BigInt.asIntN(8 * length, value);
    const small = Number(signed);
    return Number.isSafeInteger(small) ? small : signed;
  }

  #remember(index: number): void {
    if (index >= PICKLE_LIMITS.instructions) {
      this.#fail(`memoises under ${index}; the file is damaged`);
    }
    if (this.#stack.length === 0) this.#fail('memoises nothing; the file is damaged');
    this.#memo[index] = this.#top();
  }

  #recall(index: number): void {
    const value = this.#memo[index];
    if (value === undefined) this.#fail(`recalls ${index}, which was never memoised; the file is damaged`);
    this.#stack.push(value);
  }

  #global(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string') {
      this.#fail('names a global by something else than text; the file is damaged');
    }
    const full = `${module}.${name}`;
    let global = this.#globals.get(full);
    if (global === undefined) {
      const known = this.#reader.globals.get(full);
      if (known === undefined) {
        this.#fail(
          `needs ${JSON.stringify(name)} of the Python module ${JSON.stringify(module)}, which a state dict does not need; nothing of a file is executed, so save only tensors: torch.save(model.state_dict(), FILE)`,
        );
      }
      global = new Global(full, known);
      this.#globals.set(full, global);
    }
    this.#stack.push(global);
  }

  #call(callee: unknown, args: unknown): void {
    if (!(callee instanceof Global) || callee.known.call === undefined) {
      this.#fail(`calls ${nameOf(callee)}, which is nothing that a state dict calls; the file is refused`);
    }
    if (!Array.isArray(args)) this.#fail(`calls ${callee.name} with ${nameOf(args)}; arguments are a tuple`);
    this.#create(callee.known.call(args));
  }

  #setItems(items: readonly unknown[]): void {
    const dict = this.#top();
    // The state of an object that is kept out of sight.
    if (dict instanceof Opaque) return;
    if (!(dict instanceof Map)) this.#fail(`sets items of ${nameOf(dict)}; a dict is needed`);
    if (items.length % 2 !== 0) this.#fail('sets a key without a value; the file is damaged');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (dict.has(key)) {
        this.#fail(
          `holds key ${typeof key === 'object' ? nameOf(key) : JSON.stringify(String(key))} twice in one dict; write the file again`,
        );
      }
      dict.set(key, items[i + 1]);
    }
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top();
    if (list instanceof Opaque) return;
    if (!Array.isArray(list)) this.#fail(`appends to ${nameOf(list)}; a list is needed`);
    for (const item of items) list.push(item);
  }

  #addItems(items: readonly unknown[]): void {
    const set = this.#top();
    if (!(set instanceof Set)) this.#fail(`adds to ${nameOf(set)}; a set is needed`);
    for (const item of items) set.add(item);
  }

  #execute(instruction: number, at: number): void {
    const stack = this.#stack;
    switch (instruction) {
      case 0x80: {
        // PROTO
        const protocol = this.#uint8();
        if (protocol < 2 || protocol > HIGHEST_PROTOCOL) {
          this.#fail(`is of protocol ${protocol}; 2 to ${HIGHEST_PROTOCOL} are read`);
        }
        return;
      }
      case 0x95: // FRAME
        this.#length64();
        return;
      case 0x28: // MARK
        stack.push(MARK);
        return;
      case 0x30: // POP
        stack.pop();
        return;
      case 0x31: // POP_MARK
        this.#popMarked();
        return;
      case 0x32: {
        // DUP
        const value = this.#pop();
        stack.push(value, value);
        return;
      }
      case 0x4e: // NONE
        stack.push(null);
        return;
      case 0x88: // NEWTRUE
        stack.push(true);
        return;
      case 0x89: // NEWFALSE
        stack.push(false);
        return;
      case 0x4a: // BININT
        stack.push(this.#view.getInt32(this.#advance(4), true));
        return;
      case 0x4b: // BININT1
        stack.push(this.#uint8());
        return;
      case 0x4d: // BININT2
        stack.push(this.#uint16());
        return;
      case 0x8a: // LONG1
        stack.push(this.#integer(this.#uint8()));
        return;
      case 0x8b: // LONG4
        stack.push(this.#integer(this.#uint32()));
        return;
      case 0x47: // BINFLOAT
        stack.push(this.#view.getFloat64(this.#advance(8)));
        return;
      case 0x8c: // SHORT_BINUNICODE
        stack.push(this.#text(this.#uint8()));
        return;
      case 0x58: // BINUNICODE
        stack.push(this.#text(this.#uint32()));
        return;
      case 0x8d: // BINUNICODE8
        stack.push(this.#text(this.#length64()));
        return;
      case 0x55: // SHORT_BINSTRING: Python 2's str, which its checkpoints use for keys
        stack.push(this.#text(this.#uint8()));
        return;
      case 0x54: // BINSTRING
        stack.push(this.#text(this.#uint32()));
        return;
      case 0x43: // SHORT_BINBYTES
        stack.push(this.#slice(this.#uint8()));
        return;
      case 0x42: // BINBYTES
        stack.push(this.#slice(this.#uint32()));
        return;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        stack.push(this.#slice(this.#length64()));
        return;
      case 0x7d: // EMPTY_DICT
        this.#create(new Map());
        return;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        this.#create([]);
        return;
      case 0x8f: // EMPTY_SET
        this.#create(new Set());
        return;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#create(this.#popMany(instruction - 0x84));
        return;
      case 0x74: // TUPLE
        this.#create(this.#popMarked());
        return;
      case 0x91: // FROZENSET
        this.#create(new Set(this.#popMarked()));
        return;
      case 0x61: // APPEND
        this.#append([this.#pop()]);
        return;
      case 0x65: // APPENDS
        this.#append(this.#popMarked());
        return;
      case 0x90: // ADDITEMS
        this.#addItems(this.#popMarked());
        return;
      case 0x73: // SETITEM
        this.#setItems(this.#popMany(2));
        return;
      case 0x75: // SETITEMS
        this.#setItems(this.#popMarked());
        return;
      case 0x71: // BINPUT
        this.#remember(this.#uint8());
        return;
      case 0x72: // LONG_BINPUT
        this.#remember(this.#uint32());
        return;
      case 0x94: // MEMOIZE
        this.#remember(this.#memo.length);
        return;
      case 0x68: // BINGET
        this.#recall(this.#uint8());
        return;
      case 0x6a: // LONG_BINGET
        this.#recall(this.#uint32());
        return;
      case 0x63: // GLOBAL
        this.#global(this.#line(), this.#line());
        return;
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#popMany(2);
        this.#global(module, name);
        return;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const [callee, args] = this.#popMany(2);
        this.#call(callee, args);
        return;
      }
      case 0x92: {
        // NEWOBJ_EX
        const [callee, args] = this.#popMany(3);
        this.#call(callee, args);
        return;
      }
      case 0x62: // BUILD: attributes, which no weight is made of
        this.#pop();
        if (this.#top() === undefined || this.#top() === MARK)
          this.#fail('sets attributes of nothing; the file is damaged');
        return;
      case 0x51: // BINPERSID
        this.#create(this.#reader.persistent(this.#pop()));
        return;
      default: {
        const byte = `0x${instruction.toString(16).padStart(2, '0')}`;
        const why = TEXTUAL.has(instruction)
          ? 'of protocol 0 or 1, which PyTorch does not write; save it with its default protocol'
          : 'which is none that a state dict needs; the file is damaged, or something else';
        this.#fail(`has the instruction ${byte} at byte ${at - this.#start}, ${why}`);
      }
    }
  }
}
