// What JavaScript can do to attach(): memory that goes away later, and code that runs while the argument is read.
import { readdirSync } from 'node:fs';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';
import { attempt, bytes, ints, LOOPBACK, native, openPath, setRecord } from './setup.mjs';

const out = {};
const { memory, handles } = openPath(5000);
const { control, counters, offloads, ...attached } = memory;
const good = { ...handles, ...attached };
const other = { ...good, clock: ints(1) };
const arrays = Object.keys(good).filter((name) => !(name in handles));

/** Whether a path is attached, told by the clock that wait() sets. */
function isAttached(path) {
  path.clock[0] = -1;
  const { code } = attempt(() => native.wait(0, 0, 0));
  return code === undefined && path.clock[0] !== -1;
}
/** What attach() does with an argument, and whether `good`, attached before, is still attached. */
function attachBad(path) {
  native.attach(good);
  return { ...attempt(() => native.attach(path)), kept: isAttached(good) };
}
/** `good` with a getter in the place of one property. */
function withGetter(name, get) {
  return Object.defineProperty({ ...good }, name, { get, enumerable: true });
}

// --- memory that is not ours to keep, in the place of each array ---
const BYTES = 4096;
const plain = (Type) => new Type(BYTES / Type.BYTES_PER_ELEMENT);
const resizable = (Type) => new Type(new ArrayBuffer(BYTES, { maxByteLength: 2 * BYTES }));
const growable = (Type) => new Type(new SharedArrayBuffer(BYTES, { maxByteLength: 2 * BYTES }));
const fixed = (Type) => new Type(new SharedArrayBuffer(BYTES));
const bad = {
  plain,
  resizable,
  growable,
  onHeap: (Type) => new Type(2),
  shrunk: (Type) => {
    const array = resizable(Type);
    array.buffer.resize(0);
    return array;
  },
  transferred: (Type) => {
    const array = plain(Type);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    return array;
  },
  growableThatLies: (Type) => {
    const array = growable(Type);
    Object.defineProperty(array.buffer, 'growable', { value: false });
    return array;
  },
  growableOfAnotherKind: (Type) => {
    const array = growable(Type);
    Object.setPrototypeOf(array.buffer, { growable: false });
    return array;
  },
  plainThatLies: (Type) => {
    const array = plain(Type);
    Object.setPrototypeOf(array.buffer, SharedArrayBuffer.prototype);
    return Object.defineProperty(array, 'buffer', { value: new SharedArrayBuffer(BYTES) });
  },
  proxy: (Type) => new Proxy(fixed(Type), {}),
  buffer: () => new SharedArrayBuffer(BYTES),
  view: () => new DataView(new SharedArrayBuffer(BYTES)),
  clamped: () => fixed(Uint8ClampedArray),
  otherType: (Type) => fixed(Type === Uint8Array ? Int32Array : Uint8Array),
  unknownType: () => (globalThis.Float16Array ? fixed(globalThis.Float16Array) : fixed(BigInt64Array)),
  nothing: () => undefined,
};
out.refused = {};
for (const name of arrays) {
  for (const [kind, make] of Object.entries(bad)) {
    out.refused[`${name} ${kind}`] = attachBad({ ...good, [name]: make(good[name].constructor) });
  }
}
const intrinsic = Object.getOwnPropertyDescriptor(SharedArrayBuffer.prototype, 'growable');
Object.defineProperty(SharedArrayBuffer.prototype, 'growable', { configurable: true, get: () => false });
out.refused['sends patched'] = attachBad({ ...good, sends: growable(Int32Array) });
Object.defineProperty(SharedArrayBuffer.prototype, 'growable', intrinsic);

// What was refused is not used either, whatever becomes of it.
const sends = new Int32Array(new ArrayBuffer(1 << 20, { maxByteLength: 1 << 20 }));
attachBad(
  Object.defineProperty({ ...good, sends }, 'clock', {
    get() {
      sends.buffer.resize(0);
      return good.clock;
    },
  }),
);
out.sendAfterShrink = attempt(() => native.sendUdp(200, 1));

// --- memory that is: of no bytes, from anywhere in a buffer, twice the same, of another realm or of WebAssembly ---
const wasm = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
const accepted = {
  empty: { sends: ints(0), headers: bytes(0) },
  within: { headers: memory.inboundSlab.subarray(1, 8), sends: memory.writes.subarray(8) },
  twice: { outboundSlab: memory.inboundSlab, writes: memory.sends, headers: new Uint8Array(memory.sends.buffer) },
  realm: { sends: vm.runInNewContext('new Int32Array(new SharedArrayBuffer(64))') },
  wasm: { sends: new Int32Array(wasm.buffer) },
};
out.accepted = {};
for (const [name, changes] of Object.entries(accepted)) {
  const path = { ...good, ...changes };
  native.detach();
  out.accepted[name] = { ...attempt(() => native.attach(path)), attached: isAttached(path) };
  if (name === 'wasm') wasm.grow(1);
  attempt(() => native.sendUdp(0, 0));
}

// --- code that runs while each property is read ---
const reentrant = {
  attach: () => native.attach(other),
  attachAndDetach: () => {
    native.attach(other);
    native.detach();
  },
  detach: () => native.detach(),
  fail: () => attempt(() => native.attach({ ...other, clock: new Int32Array(1) })),
  again: () =>
    native.attach(
      withGetter('writes', () => {
        native.attach(other);
        return good.writes;
      }),
    ),
};
out.reentrant = {};
for (const name of Object.keys(good)) {
  for (const [kind, act] of Object.entries(reentrant)) {
    native.attach(good);
    const path = withGetter(name, () => {
      act();
      return good[name];
    });
    const result = attempt(() => native.attach(path));
    out.reentrant[`${name} ${kind}`] = { ...result, attached: isAttached(good) };
  }
}
// The outer one fails: what the inner one attached stays.
native.attach(good);
out.innerStays = attempt(() =>
  native.attach({
    ...withGetter('udp', () => 1),
    get tun() {
      native.attach(other);
      return good.tun;
    },
  }),
);
out.innerAttached = isAttached(other);

// --- getters that throw ---
out.thrown = {};
for (const name of Object.keys(good)) {
  out.thrown[name] = attachBad(
    withGetter(name, () => {
      throw Object.assign(new Error('mine'), { code: 'MINE' });
    }),
  );
}
const endless = {
  get tun() {
    return native.attach(endless);
  },
};
out.thrown.endless = attachBad(endless);
const { proxy: revoked, revoke } = Proxy.revocable({}, {});
revoke();
out.thrown.revoked = attachBad(revoked);
// At the end of the stack any call may throw, the addon's own too.
function dive() {
  try {
    dive();
  } catch {}
  if (out.fromTheDeep !== 'attached') {
    out.fromTheDeep = attempt(() => native.attach(other)).isError ? 'thrown' : 'attached';
  }
}
native.attach(good);
dive();

// --- getters that close what was read already ---
const spare = native.openUdp(LOOPBACK, 5005, 65536);
out.closedMeanwhile = attachBad({
  ...handles,
  udp: spare,
  ...memory,
  get clock() {
    native.close(spare);
    return good.clock;
  },
});
const again = native.openUdp(LOOPBACK, 5005, 65536);
out.replacedMeanwhile = attachBad({
  ...handles,
  udp: again,
  ...memory,
  get clock() {
    native.close(again);
    out.sameNumber = native.openEvent() === again;
    return good.clock;
  },
});
native.close(again);

// --- a Proxy as argument: every property is read, once, also if the first one is of no use ---
native.attach(other);
for (const [kind, tun] of Object.entries({ proxyReads: handles.tun, proxyReadsBad: 'tun' })) {
  const reads = [];
  out[`${kind}Result`] = attempt(() =>
    native.attach(
      new Proxy(good, {
        get(target, name) {
          reads.push(name);
          native.detach();
          return name === 'tun' ? tun : target[name];
        },
      }),
    ),
  );
  out[kind] = reads;
}
out.names = Object.keys(good);

// --- code that runs while the addon throws: a setter that errors inherit ---
native.attach(good);
for (const property of ['code', 'errno', 'syscall']) {
  Object.defineProperty(Error.prototype, property, {
    configurable: true,
    set() {
      native.detach();
      native.attach(other);
    },
  });
}
setRecord(memory.sends, 0, [-1, 1, LOOPBACK, 5001, 0]);
const throwing = [
  () => native.attach({ ...good, udp: handles.event }),
  () => native.attach({ ...good, clock: new Int32Array(1) }),
  () => native.close(1),
  () => native.sendUdp(0, 1),
  () => native.sendUdp(0, 1000),
  () => native.openTun(''),
];
out.throwing = throwing.map((call) => attempt(call).isError);
for (const property of ['code', 'errno', 'syscall']) delete Error.prototype[property];
out.afterThrowing = isAttached(other);

// --- a thread that is ended within a getter lets go of what it had attached ---
native.detach();
const openFds = () => readdirSync('/proc/self/fd').length;
const addon = new URL(`../../native/build/${process.env.RUDDER_NATIVE_BUILD}/rudder_native.node`, import.meta.url);
const before = openFds();
const worker = new Worker(
  `const { parentPort, workerData } = require('node:worker_threads');
   const native = require(${JSON.stringify(addon.pathname)});
   native.attach(workerData);
   native.attach({ ...workerData, get clock() {
     parentPort.postMessage('reading');
     for (;;);
   } });`,
  { eval: true, workerData: good },
);
await new Promise((resolve) => worker.once('message', resolve));
out.heldByThread = attempt(() => native.close(handles.tun));
await worker.terminate();
out.leakedFds = openFds() - before;
for (const fd of Object.values(handles)) native.close(fd);

process.stdout.write(JSON.stringify(out));
