// In the guest: runs the commands that `exec.mjs` brings, one for each connection, and ends with the connection.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

const PORT = 9999;

// A connection that is cut off ends its command, and nothing else: this is all that runs in the guest.
process.on('uncaughtException', (error) => process.stdout.write(`${error.stack}\n`));

createServer(async (socket) => {
  let child;
  const tell = (message) => socket.writable && socket.write(`${JSON.stringify(message)}\n`);
  socket.on('error', () => undefined);
  socket.on('close', () => child?.kill('SIGKILL'));
  for await (const line of createInterface({ input: socket })) {
    const [program, ...args] = JSON.parse(line);
    child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (data) => tell({ out: data.toString('base64') }));
    child.stderr.on('data', (data) => tell({ err: data.toString('base64') }));
    child.on('error', (error) => tell({ err: Buffer.from(error.message).toString('base64'), code: 127 }));
    child.on('close', (code) => tell({ code: code ?? 255 }));
  }
}).listen(PORT, () => process.stdout.write('the agent listens\n'));
