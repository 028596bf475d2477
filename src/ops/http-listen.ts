import { rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';

/** A socket left by a daemon that was killed is replaced; one that somebody answers on is not. @throws RudderError `file` */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  if (await isAnswered(path)) {
    throw new RudderError(
      'file',
      `another rudder answers on ${path}: expected none; stop it, or give this one another --subnet-file`,
    );
  }
  try {
    rmSync(path, { force: true });
    // The mode must be right from the first moment, and listen() binds before it returns; it rejects and never throws.
    const before = process.umask(0o177);
    const listening = listen(server, () => server.listen(path));
    process.umask(before);
    await listening;
  } catch (error) {
    throw new RudderError(
      'file',
      `cannot make the control socket beside the subnet file, in ${dirname(path)}: ${messageOf(error)}; expected a writable directory, choose another with --subnet-file`,
      { cause: error },
    );
  }
}

/** @throws RudderError `socket` */
export async function listenOnTcp(
  server: Server,
  { address, port }: { readonly address: string; readonly port: number },
): Promise<void> {
  try {
    await listen(server, () => server.listen(port, address));
  } catch (error) {
    const reason = errnoOf(error) === 'EADDRINUSE' ? 'somebody listens there already' : messageOf(error);
    throw new RudderError(
      'socket',
      `cannot listen on ${address}:${port}: ${reason}; choose others with --healthz-ip and --healthz-port`,
      { cause: error },
    );
  }
}

function listen(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve).once('error', reject);
    start();
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path)
      .once('connect', () => done(true))
      .once('error', () => done(false));
    function done(answered: boolean): void {
      probe.destroy();
      resolve(answered);
    }
  });
}
