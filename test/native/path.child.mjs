// The cases of path-cases.mjs over the addon, in a namespace of its own.

import dgram from 'node:dgram';
import { once } from 'node:events';
import { cases } from './path-cases.mjs';
import { attach, LOOPBACK, native, openPath, readTun, setIovec, setRecord, udpPacket } from './setup.mjs';

const TUN_READABLE = 1;
const UDP_READABLE = 2;
const { memory, handles } = openPath(5000);
const hostSide = await listening(6000, '10.99.0.1');
const farSide = await listening(6001, '127.0.0.1');

async function listening(port, address) {
  const socket = dgram.createSocket('udp4').bind(port, address);
  await once(socket, 'listening');
  const received = [];
  socket.on('message', (message) => received.push(message.toString()));
  return {
    socket,
    async received(count) {
      while (received.length < count) await once(socket, 'message');
      return received.splice(0);
    },
  };
}
const sendAll = async ({ socket }, payloads, port, address) => {
  for (const payload of payloads) await new Promise((sent) => socket.send(payload, port, address, sent));
};

const host = {
  native,
  memory,
  async readable(from) {
    native.wait(from === 'tun' ? TUN_READABLE : UDP_READABLE, 2000, 0);
  },
  fromHost: (payloads) => sendAll(hostSide, payloads, 7000, '10.99.0.7'),
  async superFromHost(bytes, segment) {
    native.setTunOffload(handles.tun, 0x01 | 0x60);
    // Of the host's address: our own socket is bound to loopback.
    const sender = native.openUdp(0x0a630001, 0, 1 << 20);
    attach({ ...handles, udp: sender, ...memory });
    memory.inboundSlab.fill(0x61, 0, bytes);
    setIovec(memory.sendIovecs, 0, [1, 0, bytes]);
    setRecord(memory.sends, 0, [0, 1, 0x0a630007, 7000, segment]);
    native.sendUdp(0, 1);
    attach({ ...handles, ...memory });
    native.close(sender);
  },
  packetToHost: (payload) => udpPacket('10.99.0.9', '10.99.0.1', 4000, 6000, Buffer.from(payload)),
  hostReceived: hostSide.received,
  far: { address: LOOPBACK, port: 6001 },
  fromFar: (payloads) => sendAll(farSide, payloads, 5000, '127.0.0.1'),
  farReceived: farSide.received,
};

const out = {};
for (const { name, run } of cases) {
  while (readTun(memory, 64) > 0);
  out[name] = await run(host).catch(({ stack }) => stack);
  native.setTunOffload(handles.tun, 0);
}
hostSide.socket.close();
farSide.socket.close();
process.stdout.write(JSON.stringify(out));
