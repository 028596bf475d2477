// `exec.mjs ADDRESS COMMAND ...`: runs a command in the guest there, as if it ran here.
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

const PORT = 9999;
const [address, ...command] = process.argv.slice(2);

const socket = connect(PORT, address, () => socket.write(`${JSON.stringify(command)}\n`));
socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 126;
});
for await (const line of createInterface({ input: socket })) {
  const { out, err, code } = JSON.parse(line);
  if (out !== undefined) process.stdout.write(Buffer.from(out, 'base64'));
  if (err !== undefined) process.stderr.write(Buffer.from(err, 'base64'));
  if (code !== undefined) {
    process.exitCode = code;
    socket.end();
  }
}
