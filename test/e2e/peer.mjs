// Traffic with a checksum, run inside a namespace: peer.mjs tcp-serve PORT | tcp-send HOST PORT BYTES [SECONDS: not sooner] |
// udp-serve PORT | udp-ask HOST PORT BYTES. Each prints one JSON line; servers print "listening" first.
import { createCipheriv, createHash } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const [mode, ...args] = process.argv.slice(2);
const print = (value) => console.log(JSON.stringify(value));
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** Bytes that look random and are the same each time. */
function createBytes() {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}

const modes = {
  async 'tcp-serve'(port) {
    const server = net.createServer().listen(Number(port), '0.0.0.0');
    await once(server, 'listening');
    console.log('listening');
    const [socket] = await once(server, 'connection');
    const hash = createHash('sha256');
    let bytes = 0;
    socket.on('data', (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    await once(socket, 'end');
    print({ bytes, sha256: hash.digest('hex'), from: socket.remoteAddress });
    socket.end();
    server.close();
  },
  async 'tcp-send'(host, port, length, seconds = 0) {
    const socket = net.connect(Number(port), host);
    await once(socket, 'connect');
    const next = createBytes();
    const hash = createHash('sha256');
    const start = performance.now();
    for (let left = Number(length); left > 0; ) {
      const chunk = next(Math.min(left, 1 << 20));
      left -= chunk.length;
      hash.update(chunk);
      if (!socket.write(chunk)) await once(socket, 'drain');
      const due = start + 1000 * seconds * (1 - left / Number(length));
      if (due > performance.now()) await delay(due - performance.now());
    }
    socket.end();
    await once(socket, 'close');
    print({ sha256: hash.digest('hex') });
  },
  async 'udp-serve'(port) {
    const socket = dgram.createSocket('udp4');
    socket.bind(Number(port), '0.0.0.0');
    await once(socket, 'listening');
    console.log('listening');
    const [message, remote] = await once(socket, 'message');
    print({ bytes: message.length, sha256: sha256(message), from: remote.address });
    socket.send(message, remote.port, remote.address, () => socket.close());
  },
  async 'udp-ask'(host, port, length) {
    const socket = dgram.createSocket('udp4');
    const message = createBytes()(Number(length));
    socket.send(message, Number(port), host);
    const timeout = setTimeout(() => process.exit(3), 5000);
    const [reply] = await once(socket, 'message');
    clearTimeout(timeout);
    print({ sha256: sha256(message), echoed: sha256(reply) });
    socket.close();
  },
};
await modes[mode](...args);
