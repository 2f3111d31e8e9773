import type { SoftpackError } from '../../errors.js';
import { applyGlobal, applyState, isAllowed, storageOf } from './globals.js';
import { MAX_NAME, PickleBytes } from './pickle-bytes.js';
import {
  describeValue,
  PickleDict,
  PickleGlobal,
  PickleTuple,
  type PickleValue,
} from './values.js';

/** Largest pickle: 300 epochs of 50,000 sample ids are 45 MB. */
export const MAX_PICKLE = 64 * 2 ** 20;
/** Pickles are written in batches of 1,000 items: the stack never holds many. */
const MAX_STACK = 1 << 16;
/** Numbers and texts in lists and dicts, and everything that is an object of its own. */
const MAX_ITEMS = 1 << 24;
const MAX_OBJECTS = 1 << 20;

export interface Unpickled {
  readonly value: PickleValue;
  /** Bytes after the pickle's end. */
  readonly rest: Uint8Array;
}

/**
 * Reads one pickle by an allow-list of opcodes and names. Names only select one of a few conversions to plain data;
 * nothing that the file names is looked up or called. `INVALID_FILE` naming the byte for everything else.
 *
 * @throws {PickleEndsEarly} if the bytes end before the pickle does.
 */
export function unpickle(file: string, field: string, bytes: Uint8Array): Unpickled {
  const operands = new PickleBytes(file, field, bytes);
  const value = new PickleMachine(operands).run();
  return { value, rest: bytes.subarray(operands.position) };
}

const MARK = Symbol('mark');
type StackItem = PickleValue | typeof MARK;

class PickleMachine {
  readonly in: PickleBytes;
  readonly #stack: StackItem[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #items = 0;
  #objects = 0;
  /** Bytes made of text by `_codecs.encode`: more than the pickle has would be an amplification. */
  #encoded = 0;

  constructor(bytes: PickleBytes) {
    this.in = bytes;
  }

  run(): PickleValue {
    for (;;) {
      const code = this.in.opcode();
      if (code === STOP) {
        const value = this.pop();
        if (this.#stack.length > 0) this.fail('values left over', 'one value', this.#stack.length);
        return value;
      }
      const operation = OPERATIONS[code];
      if (operation === undefined) {
        this.fail('opcode is not allowed', 'opcodes of data', `0x${code.toString(16)}`);
      }
      operation?.(this);
      if (this.#stack.length > MAX_STACK) this.fail('stack is too deep', MAX_STACK, 'more');
    }
  }

  fail(message: string, expected?: unknown, found?: unknown): never {
    return this.in.fail(message, expected, found);
  }

  error(message: string, expected?: unknown, found?: unknown): SoftpackError {
    return this.in.error(message, expected, found);
  }

  push(value: PickleValue): void {
    // Numbers, booleans and None are counted where a list or dict keeps them.
    const small = value === null || typeof value === 'number' || typeof value === 'boolean';
    if (!small) this.#count('object', 1);
    this.#stack.push(value);
  }

  mark(): void {
    this.#stack.push(MARK);
  }

  #count(kind: 'object' | 'item', count: number): void {
    if (kind === 'object') this.#objects += count;
    else this.#items += count;
    if (this.#objects > MAX_OBJECTS) this.fail('too many objects', `at most ${MAX_OBJECTS}`);
    if (this.#items > MAX_ITEMS) this.fail('too many items', `at most ${MAX_ITEMS}`);
  }

  pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined || value === MARK) return this.fail('stack is empty', 'a value');
    return value;
  }

  top(): PickleValue {
    const value = this.#stack.at(-1);
    if (value === undefined || value === MARK) return this.fail('stack is empty', 'a value');
    return value;
  }

  popMark(): PickleValue[] {
    const at = this.#stack.lastIndexOf(MARK);
    if (at < 0) this.fail('no mark on the stack');
    const items = this.#stack.splice(at) as PickleValue[];
    items.shift();
    return items;
  }

  popTuple(): PickleTuple {
    const value = this.pop();
    return value instanceof PickleTuple
      ? value
      : this.fail('wrong arguments', 'a tuple', describeValue(value));
  }

  remember(key: number): void {
    this.#memo.set(key, this.top());
    if (this.#memo.size > MAX_OBJECTS) this.fail('memo is too large', MAX_OBJECTS, 'more');
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(key: number): void {
    const value = this.#memo.get(key);
    if (value === undefined) this.fail('memo has no such entry', undefined, key);
    else this.#stack.push(value);
  }

  append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.error('not a list', 'a list', describeValue(list));
    this.#count('item', items.length);
    for (const item of items) list.push(item);
  }

  setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof PickleDict)) {
      throw this.error('not a dict', 'a dict', describeValue(dict));
    }
    if (items.length % 2 !== 0) throw this.error('key without a value');
    this.#count('item', items.length);
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== 'string' && typeof key !== 'number') {
        throw this.error('wrong key', 'text or a number', describeValue(key));
      }
      dict.set(key, items[i + 1]);
    }
  }

  global(module: string, name: string): void {
    const full = `${module}.${name}`;
    if (!isAllowed(full)) this.fail('name is not allowed', 'torch tensors and numpy arrays', full);
    this.push(new PickleGlobal(full));
  }

  stackGlobal(): void {
    const name = this.pop();
    const module = this.pop();
    if (typeof name !== 'string' || typeof module !== 'string') {
      throw this.error('name is not text', 'two texts', describeValue(name));
    }
    if (name.length + module.length > MAX_NAME) {
      throw this.error('name is too long', `at most ${MAX_NAME} bytes`, name.length);
    }
    this.global(module, name);
  }

  reduce(): void {
    const args = this.popTuple().items;
    const callee = this.pop();
    if (!(callee instanceof PickleGlobal)) {
      throw this.error('not a name that can be applied', 'a name', describeValue(callee));
    }
    this.push(applyGlobal(callee.name, args, this));
  }

  build(): void {
    const state = this.pop();
    applyState(this.top(), state, this);
  }

  persistent(): void {
    this.push(storageOf(this.popTuple().items, this));
  }

  requireRoomFor(count: number): void {
    this.#encoded += count;
    if (this.#encoded <= 2 * this.in.length) return;
    this.fail('bytes repeat too often', `at most ${2 * this.in.length} bytes`, this.#encoded);
  }
}

const STOP = 0x2e;

/** By opcode: those of protocol 2 that data needs, and their forms in protocols 3 to 5. */
const OPERATIONS: Readonly<Record<number, (machine: PickleMachine) => void>> = {
  // PROTO
  128: (m) => {
    const protocol = m.in.u8();
    if (protocol < 2 || protocol > 5) m.fail('unknown protocol', '2 to 5', protocol);
  },
  // FRAME
  149: (m) => void m.in.bytes(8),
  // MARK
  40: (m) => m.mark(),
  // NONE, NEWTRUE, NEWFALSE
  78: (m) => m.push(null),
  136: (m) => m.push(true),
  137: (m) => m.push(false),
  // BININT, BININT1, BININT2, LONG1, BINFLOAT
  74: (m) => m.push(m.in.i32()),
  75: (m) => m.push(m.in.u8()),
  77: (m) => m.push(m.in.u16()),
  138: (m) => m.push(m.in.long()),
  71: (m) => m.push(m.in.f64()),
  // BINUNICODE, SHORT_BINUNICODE, BINBYTES, SHORT_BINBYTES
  88: (m) => m.push(m.in.text(m.in.u32())),
  140: (m) => m.push(m.in.text(m.in.u8())),
  66: (m) => m.push(m.in.bytes(m.in.u32())),
  67: (m) => m.push(m.in.bytes(m.in.u8())),
  // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
  41: (m) => m.push(new PickleTuple([])),
  133: (m) => pushTuple(m, 1),
  134: (m) => pushTuple(m, 2),
  135: (m) => pushTuple(m, 3),
  116: (m) => m.push(new PickleTuple(m.popMark())),
  // EMPTY_LIST, APPEND, APPENDS
  93: (m) => m.push([]),
  97: (m) => appendOne(m),
  101: (m) => m.append(m.popMark()),
  // EMPTY_DICT, SETITEM, SETITEMS
  125: (m) => m.push(new PickleDict()),
  115: (m) => setOne(m),
  117: (m) => m.setItems(m.popMark()),
  // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
  113: (m) => m.remember(m.in.u8()),
  114: (m) => m.remember(m.in.u32()),
  148: (m) => m.rememberNext(),
  104: (m) => m.recall(m.in.u8()),
  106: (m) => m.recall(m.in.u32()),
  // GLOBAL, STACK_GLOBAL, REDUCE, BUILD, BINPERSID
  99: (m) => m.global(m.in.line(), m.in.line()),
  147: (m) => m.stackGlobal(),
  82: (m) => m.reduce(),
  98: (m) => m.build(),
  81: (m) => m.persistent(),
};

function pushTuple(m: PickleMachine, count: number): void {
  const items = Array.from({ length: count }, () => m.pop()).reverse();
  m.push(new PickleTuple(items));
}

function appendOne(m: PickleMachine): void {
  const item = m.pop();
  m.append([item]);
}

function setOne(m: PickleMachine): void {
  const value = m.pop();
  const key = m.pop();
  m.setItems([key, value]);
}
