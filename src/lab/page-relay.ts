import { connect, createServer } from 'node:net';

/**
 * Runs in a node's namespace, on a socket that was opened outside of it: what comes in there goes to the node's own page,
 * which nothing outside could reach.
 */
const port = Number(process.argv[2]);

createServer((outside) => {
  const inside = connect(port, '127.0.0.1');
  for (const [from, to] of [
    [outside, inside],
    [inside, outside],
  ]) {
    from.pipe(to);
    from.on('error', () => to.destroy()).on('close', () => to.destroy());
  }
}).listen({ fd: 3 });
