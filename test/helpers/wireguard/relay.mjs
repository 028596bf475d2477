import { createSocket } from 'node:dgram';

/** A socket in the namespace that this runs in, for a test that does not: datagrams go by the channel to it. */
const [address, port] = process.argv.slice(2);
let socket;

function bind(to) {
  socket?.close();
  socket = createSocket('udp4');
  socket.on('message', (bytes, from) => process.connected && process.send({ bytes, from }));
  socket.bind(to, address, () => process.send({ bound: to }));
}

process.on('message', (message) => {
  if (message.bind !== undefined) bind(message.bind);
  else socket.send(message.bytes, message.port, message.address);
});
process.on('disconnect', () => process.exit());
bind(Number(port));
