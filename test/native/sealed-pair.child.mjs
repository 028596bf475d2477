// Two packet paths with a sealed wire, each in a process and a namespace of its own, with sessions that nobody had to shake
// hands for: this script is both. What the second one is told comes by its stdin, what it says by its stdout.
import { spawn } from 'node:child_process';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { enableOffloads } from '../../dist/backend/packet-path/offload-probe.js';
import { startPacketPath } from '../../dist/backend/packet-path/packet-path.js';
import { nowMs } from '../../dist/backend/packet-path/tables/clock.js';
import { readAll } from '../../dist/backend/packet-path/tables/counters.js';
import { createMembers } from '../../dist/backend/packet-path/tables/members.js';
import { createSharedMemory, sharedInts } from '../../dist/backend/packet-path/tables/memory.js';
import { OFFLOADS } from '../../dist/backend/packet-path/tables/offloads.js';
import { createPeerCounters } from '../../dist/backend/packet-path/tables/peer-counters.js';
import { createSelves } from '../../dist/backend/packet-path/tables/peers.js';
import { createRouteTable, setEntry } from '../../dist/backend/packet-path/tables/routes.js';
import { waitingMail } from '../../dist/backend/wireguard/sessions/mailbox.js';
import { createSessionTable } from '../../dist/backend/wireguard/sessions/session-table.js';
import { writeTunMessage } from '../../dist/system/tun-device.js';
import { ip, native } from './setup.mjs';

const PORT = 51820;
const MTU = 1420;
const MEGABYTES = Number(process.env.RUDDER_TEST_MEGABYTES ?? 64);
const role = process.env.RUDDER_TEST_ROLE ?? 'a';
const [own, theirs] = role === 'a' ? [1, 2] : [2, 1];
const address = (...bytes) => bytes.reduce((all, byte) => (all << 8) | byte, 0);
const _text = (...bytes) => bytes.join('.');

/** Both know all keys: the n-th session's, by who sends. */
const keyOf = (sender, n) => createHash('sha256').update(`${sender} ${n}`).digest();
/** And its indices: both tables are used alike, so they are those that the other one has. */
const sessions = new Map();

async function openNode() {
  native.useCipherThreads(Number(process.env.RUDDER_TEST_THREADS ?? 0));
  ip('link', 'set', 'lo', 'up');
  ip('address', 'add', `10.9.0.${own}/24`, 'dev', 'eth0');
  ip('link', 'set', 'eth0', 'up');
  const tun = native.openTun('t0');
  ip('link', 'set', 't0', 'addrgenmode', 'none', 'mtu', String(MTU));
  ip('address', 'add', `10.240.${own}.1/16`, 'dev', 't0');
  ip('link', 'set', 't0', 'up');
  const udp = native.openUdp(address(10, 9, 0, own), PORT, 1 << 22);
  const memory = createSharedMemory();
  const table = createSessionTable(4);
  table.configure({ mtu: MTU, rejectAfterMs: 180_000, macKey: Buffer.alloc(32, own) });
  const line = table.addPeer();
  table.setEndpoint(line, { address: address(10, 9, 0, theirs), port: PORT });
  const routes = createRouteTable({ network: { address: address(10, 240, 0, 0), prefixLength: 16 }, subnetLength: 24 });
  setEntry(routes, theirs, line);
  const wanted = new Set(process.env.RUDDER_TEST_OFFLOADS === '0' ? [] : OFFLOADS);
  const log = { info() {}, warn() {}, debug() {} };
  enableOffloads(
    { native, writeTun: (bytes) => writeTunMessage(tun, bytes) },
    { tun, udp },
    memory.offloads,
    wanted,
    log,
  );
  const settings = {
    routes,
    peers: createSelves(4, sharedInts),
    members: createMembers(4, sharedInts),
    portMapped: createMembers(4, sharedInts),
    traffic: createPeerCounters(routes, sharedInts),
    ownAddress: address(10, 240, own, 0),
    ownMask: -256,
    port: PORT,
    localAddress: address(10, 9, 0, own),
    checkSource: true,
    sealed: table.memory,
  };
  let failure;
  const path = await startPacketPath({ tun, udp }, memory, settings, (error) => {
    failure = error.message;
    console.error(failure);
  });
  table.onWake(path.wake);
  return { path, memory, table, line, udp, failure: () => failure, counters: () => readAll(memory.counters) };
}

/** The n-th session: the first node is its initiator. */
function install({ table, line }, n, _role) {
  const index = table.reserve(line);
  sessions.set(n, { index });
  return index;
}
function publish({ table }, n, others) {
  const { index } = sessions.get(n);
  const keys = { sendKey: keyOf(own, n), receiveKey: keyOf(theirs, n) };
  sessions.get(n).others = others;
  table.install(index, { ...keys, remoteIndex: others, bornAt: nowMs(), role: role === 'a' ? 'current' : 'next' });
}

function takeConfirmed({ table }) {
  for (let found = table.takeAttention(); found !== undefined; found = table.takeAttention()) {
    for (const index of found.confirmed) table.setRole(index, 'current');
  }
}

/** What a node that has session 3 can be sent, by turns; the first ones bring each number of the window once. */
function createForger() {
  const nonce = Buffer.alloc(12);
  const seal = (counter) => {
    const header = Buffer.alloc(16);
    header.writeUInt32LE(4, 0);
    header.writeInt32LE(sessions.get(3).others, 4);
    header.writeBigUInt64LE(BigInt(counter), 8);
    nonce.writeBigUInt64LE(BigInt(counter), 4);
    const cipher = createCipheriv('chacha20-poly1305', keyOf(own, 3), nonce, { authTagLength: 16 });
    return Buffer.concat([header, cipher.final(), cipher.getAuthTag()]);
  };
  const withMac = (type, size) => {
    const bytes = Buffer.concat([Buffer.from([type, 0, 0, 0]), randomBytes(size - 4)]);
    native.mac(Buffer.alloc(32, theirs), bytes.subarray(0, size - 32), bytes.subarray(size - 32, size - 16));
    return bytes;
  };
  const genuine = [];
  const noise = randomBytes(1 << 20);
  const some = (i, length) => Buffer.from(noise.subarray((i * 31) % 100_000, ((i * 31) % 100_000) + length));
  const kinds = [
    (i) => genuine[i % genuine.length], // replayed, and in another order than it was sent in
    (i) => {
      const bytes = Buffer.from(genuine[i % genuine.length]);
      bytes[8 + (i % 24)] ^= 1 << (i % 8);
      return bytes;
    },
    (i) => {
      const bytes = some(i, 32 + (i % 1440));
      bytes.set([4, 0, 0, 0]);
      if (i % 2 === 0) bytes.writeInt32LE(sessions.get(3).others, 4);
      return bytes;
    },
    (i) => genuine[i % genuine.length].subarray(0, i % 32),
    (i) => some(i, i % 1500),
    (i) => withMac(1, 148, i),
    (i) => withMac(2, 92, i),
    (i) => Buffer.concat([Buffer.from([1 + (i % 3), 0, 0, 0]), some(i, [144, 88, 60][i % 3])]),
  ];
  return (i) => {
    if (genuine.length < 2000) {
      genuine.push(seal(1_000_000 + genuine.length));
      return genuine.at(-1);
    }
    return kinds[i % kinds.length]((i / kinds.length) | 0);
  };
}

async function second() {
  const node = await openNode();
  const follow = async () => {
    for (;;) {
      await node.table.news();
      takeConfirmed(node);
    }
  };
  void follow();
  // Takes what comes, says what it was, and sends as much.
  const server = net.createServer((socket) => {
    const hash = createHash('sha256');
    let left = MEGABYTES << 20;
    socket.on('data', (chunk) => {
      hash.update(chunk);
      left -= chunk.length;
      if (left === 0) {
        const answer = randomBytes(1 << 20);
        const sum = createHash('sha256');
        for (let i = 0; i < MEGABYTES; i++) {
          sum.update(answer);
          socket.write(answer);
        }
        socket.end(Buffer.concat([hash.digest(), sum.digest()]));
      }
    });
    socket.on('error', () => undefined);
  });
  server.listen(7000, '10.240.2.1');
  const echo = dgram.createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
  echo.on('message', (message, { port, address: from }) => echo.send(message, port, from));
  echo.bind(7001, '10.240.2.1');
  await once(echo, 'listening');
  const attacker = dgram.createSocket({ type: 'udp4' });
  attacker.bind(0, '10.9.0.2');
  await once(attacker, 'listening');
  // Who knows the keys forges best: of an empty packet, which is never delivered, what was not sent by it, and all else.
  const forge = createForger();
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  const answers = {
    reserve: (n) => install(node, n),
    publish: (n, others) => publish(node, n, others),
    release: (n) => node.table.release(sessions.get(n).index),
    counters: () => node.counters(),
    failure: () => node.failure() ?? null,
    async attack(datagrams) {
      for (const hex of datagrams) {
        await new Promise((resolve) => attacker.send(Buffer.from(hex, 'hex'), PORT, '10.9.0.1', resolve));
      }
    },
    async flood(count) {
      for (let sent = 0; sent < count; sent += 100) {
        const some = Array.from({ length: Math.min(100, count - sent) }, (_, i) => forge(sent + i));
        await Promise.all(
          some.map((bytes) => new Promise((resolve) => attacker.send(bytes, PORT, '10.9.0.1', resolve))),
        );
      }
    },
    async stop() {
      await node.path.stop();
      setImmediate(() => process.exit(0));
    },
  };
  say('ready');
  for await (const line of createInterface(process.stdin)) {
    const [name, ...args] = JSON.parse(line);
    say((await answers[name](...args)) ?? null);
  }
}

async function first() {
  const out = {};
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far');
  const child = spawn('unshare', ['--net', '--', process.execPath, fileURLToPath(import.meta.url)], {
    env: { ...process.env, RUDDER_TEST_ROLE: 'b', RUDDER_TEST_PARENT: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const hear = async () => JSON.parse((await lines.next()).value);
  const ask = async (...command) => {
    child.stdin.write(`${JSON.stringify(command)}\n`);
    return hear();
  };
  // It waits for its end of the cable, which can be given to it when it has its namespace.
  await hear();
  ip('link', 'set', 'far', 'netns', String(child.pid), 'name', 'eth0');
  child.stdin.write('\n');
  await hear();
  const node = await openNode();
  const { table } = node;

  async function session(n) {
    const ours = install(node, n);
    const others = await ask('reserve', n);
    await ask('publish', n, ours);
    publish(node, n, others);
  }

  // --- packets wait for the session ---
  const ping = (...args) => {
    const process_ = spawn('ping', [...args, '10.240.2.1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    process_.stdout.on('data', (chunk) => {
      said += chunk;
    });
    return once(process_, 'close').then(() => Number(/(\d+) received/.exec(said)?.[1]));
  };
  const early = ping('-c', '3', '-i', '0.2', '-W', '5');
  await table.news();
  out.attention = table.takeAttention();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await session(1);
  out.early = await early;
  out.sizes = [];
  for (const size of ['0', '1', '36', '100', '1391', '1392', '5000', '60000'])
    out.sizes.push(await ping('-c', '2', '-i', '0.02', '-W', '10', '-s', size));

  // --- TCP both ways with a checksum, and the key changes twice on the way ---
  async function transfer(onMiddle) {
    const socket = net.connect(7000, '10.240.2.1');
    await once(socket, 'connect');
    const block = randomBytes(1 << 20);
    const hash = createHash('sha256');
    const back = createHash('sha256');
    let received = 0;
    let tail = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      const rest = Buffer.concat([tail, chunk]);
      const isEnd = Math.max(0, (MEGABYTES << 20) - received);
      back.update(rest.subarray(0, Math.min(rest.length, isEnd)));
      received += Math.min(rest.length, isEnd);
      tail = rest.subarray(Math.min(rest.length, isEnd));
    });
    for (let i = 0; i < MEGABYTES; i++) {
      hash.update(block);
      if (!socket.write(block)) await once(socket, 'drain');
      if (i === MEGABYTES >> 1) await onMiddle();
    }
    await once(socket, 'end');
    return tail.equals(Buffer.concat([hash.digest(), back.digest()])) && received === MEGABYTES << 20;
  }
  out.transfer = await transfer(async () => {
    await session(2);
    table.setRole(sessions.get(1).index, 'previous');
  });
  table.release(sessions.get(1).index);
  await ask('release', 1);
  out.secondTransfer = await transfer(() => session(3));
  for (const n of [2]) table.release(sessions.get(n).index);
  await ask('release', 2);

  // --- a flood of small packets, and what comes back ---
  const flood = dgram.createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
  flood.bind(0, '10.240.1.1');
  await once(flood, 'listening');
  let answered = 0;
  let isWrong = false;
  flood.on('message', (message) => {
    answered++;
    if (message.length !== 64) isWrong = true;
  });
  for (let i = 0; i < 200; i++) {
    const sends = Array.from(
      { length: 50 },
      () => new Promise((resolve) => flood.send(Buffer.alloc(64, i), 7001, '10.240.2.1', resolve)),
    );
    await Promise.all(sends);
  }
  // How many a busy machine loses is the benchmark's affair.
  const deadline = Date.now() + 5000;
  while (answered < 100 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  // All of it has come, or never will.
  for (let last = -1; last !== node.counters().in_packets; ) {
    last = node.counters().in_packets;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  out.flood = { some: answered >= 100, isWrong };

  const dropsOf = (counters) =>
    Object.fromEntries(Object.entries(counters).filter(([name, value]) => name.includes('_drop') && value > 0));
  out.drops = [dropsOf(node.counters()), dropsOf(await ask('counters'))];

  // --- hostile datagrams of all four types from the link: none of them is delivered, each has one reason ---
  const before = node.counters();
  const current = sessions.get(3).index;
  const hostile = [];
  for (let i = 0; i < 500; i++) {
    const data = Buffer.concat([Buffer.from([4, 0, 0, 0]), Buffer.alloc(12), randomBytes(16 + (i % 1400))]);
    if (i % 2 === 0) data.writeInt32LE(current, 4);
    else data.writeInt32LE(randomBytes(4).readInt32LE(0), 4);
    data.writeBigUInt64LE(2n ** 40n + BigInt(i), 8);
    const other = Buffer.concat([Buffer.from([1 + (i % 3), 0, 0, 0]), randomBytes([144, 88, 60][i % 3])]);
    hostile.push(data, other, randomBytes(i % 200));
  }
  for (let at = 0; at < hostile.length; at += 50)
    await ask(
      'attack',
      hostile.slice(at, at + 50).map((bytes) => bytes.toString('hex')),
    );
  const drops = (counters) => Object.entries(counters).filter(([name]) => name.startsWith('in_drop_'));
  const dropped = () => {
    const after = node.counters();
    return Object.fromEntries(
      drops(after)
        .map(([name, value]) => [name, value - before[name]])
        .filter(([, value]) => value > 0),
    );
  };
  const sum = () => Object.values(dropped()).reduce((all, value) => all + value, 0);
  const until = Date.now() + 5000;
  while (sum() < hostile.length && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  out.hostile = {
    sent: hostile.length,
    dropped: sum(),
    reasons: Object.keys(dropped()).sort(),
    delivered: node.counters().in_packets - before.in_packets,
    mail: waitingMail(table.memory),
  };
  out.stillThere = await ping('-c', '2', '-i', '0.02', '-W', '2');

  // --- and many of them ---
  const many = Number(process.env.RUDDER_TEST_HOSTILE ?? 0);
  if (many > 0) {
    const start = { ...node.counters() };
    const rss = process.memoryUsage().rss;
    // The main thread is as it always is: whatever comes, it is asked at most so often.
    let longest = 0;
    let last = performance.now();
    const beat = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 20);
    await ask('flood', many);
    clearInterval(beat);
    const since = () => {
      const now = node.counters();
      return Object.fromEntries(
        Object.entries(now)
          .map(([name, value]) => [name, value - start[name]])
          .filter(([name, value]) => value > 0 && name.startsWith('in_')),
      );
    };
    const lost = () => native.udpDrops(node.udp);
    const accounted = () => Object.values(since()).reduce((all, value) => all + value, 0) + lost();
    const patience = Date.now() + 10_000;
    while (accounted() < many && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 50));
    // Who has the keys has led us astray, and to numbers that the peer is far from: with its next key all is well.
    table.setEndpoint(node.line, { address: address(10, 9, 0, theirs), port: PORT });
    const { in_packets: delivered = 0, ...rest } = since();
    const accounts = accounted();
    await session(4);
    out.million = {
      sent: many,
      accounted: accounts,
      lost: lost(),
      delivered,
      rest,
      longest,
      grown: process.memoryUsage().rss - rss,
      stillThere: await ping('-c', '3', '-i', '0.02', '-W', '2'),
    };
  }

  const counters = await ask('counters');
  out.trains = {
    sent: counters.out_packets > counters.out_datagrams,
    merged: counters.in_packets > counters.in_writes,
  };
  out.failures = [node.failure() ?? null, await ask('failure')];
  await node.path.stop();
  await ask('stop');
  child.stdin.end();
  await once(child, 'exit');
  process.stdout.write(JSON.stringify(out), () => process.exit(0));
}

if (role === 'a') await first();
else {
  // First its end of the cable.
  process.stdout.write('"here"\n');
  await once(process.stdin, 'data');
  await second();
}
