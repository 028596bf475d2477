// Sends datagrams and trains exactly as told, from a node's own address and port, in place of its daemon:
// datagrams.mjs ADDRESS PORT TARGET, with [{"bytes": base64, "segment": 0 or a size, "times": n}, ...] on standard input.
import { text } from 'node:stream/consumers';
import { createSharedMemory } from '../../dist/backend/packet-path/tables/memory.js';
import { native } from '../../dist/system/native.js';

const [address, port, target] = process.argv.slice(2);
const number = (dotted) => dotted.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);

const memory = createSharedMemory();
const tun = native.openTun('unused'); // a path needs one
const udp = native.openUdp(number(address), Number(port), 1 << 22);
native.attach({ ...memory, tun, udp, event: native.openEvent() });

let sent = 0;
for (const { bytes, segment, times } of JSON.parse(await text(process.stdin))) {
  const data = Buffer.from(bytes, 'base64');
  memory.outboundSlab.set(data, 0);
  memory.sendIovecs.set([0, 0, data.length], 0);
  memory.sends.set([0, 1, number(target), Number(port), segment], 0);
  for (let i = 0; i < times; i++) {
    const result = native.sendUdp(0, 1);
    if (result === 1) sent++;
    else if (result !== -11) throw new Error(`sendUdp: ${result}`);
  }
}
console.log(sent);
