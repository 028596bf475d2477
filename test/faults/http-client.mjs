// A client that asks without waiting: pipelines a request as fast as the connection takes it.
// Arguments: port, path, seconds, "reads" or "deaf".
import { connect } from 'node:net';

const [port, path, seconds, manner] = process.argv.slice(2);
const requests = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(2000));
let received = 0;

function flood() {
  const socket = connect(Number(port), '127.0.0.1', pour);
  function pour() {
    while (!socket.destroyed && socket.write(requests));
  }
  socket.on('drain', pour);
  if (manner === 'reads') socket.on('data', (chunk) => (received += chunk.length));
  socket.on('error', () => undefined);
  // Cut off: it comes back at once.
  socket.on('close', flood);
}

flood();
setTimeout(() => {
  console.log(received);
  process.exit();
}, 1000 * Number(seconds));
