import { lstatSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import type { HttpServer } from './http-server.js';

/** How often it is looked whether the socket is where it was made. */
const SOCKET_LOOK_MS = 5000;

/**
 * Listens on the control socket, and makes it anew when somebody has deleted it, as a clean-up of /run does: the node
 * would run on and be taken for stopped. @throws RudderError `file` if it cannot be made the first time
 */
export async function keepOnSocket(
  open: () => HttpServer,
  path: string,
  log: Logger,
  lookMs = SOCKET_LOOK_MS,
): Promise<{ close(): void }> {
  const limit = createRepeatLimit();
  let isClosed = false;
  let http = open();
  let made = await listen();
  let timer = setTimeout(look, lookMs).unref();

  async function listen(): Promise<string | undefined> {
    await listenOnSocket(http.server, path);
    return idOf(path);
  }

  async function look(): Promise<void> {
    if (idOf(path) !== made || made === undefined) await makeAnew();
    if (!isClosed) timer = setTimeout(look, lookMs).unref();
  }

  async function makeAnew(): Promise<void> {
    try {
      // Closing ours removes whatever is at that path.
      await refuseAnswered(path);
      if (isClosed) return;
      http.close();
      made = undefined;
      http = open();
      made = await listen();
      log.warn({ path }, 'the control socket was gone: made anew');
    } catch (error) {
      const reason = messageOf(error);
      limit((suppressed) => log.warn({ reason, suppressed }, 'the control socket is gone, and cannot be made anew'));
    }
    if (isClosed) http.close();
  }

  return {
    close() {
      isClosed = true;
      clearTimeout(timer);
      http.close();
    },
  };
}

/** Which file is there; undefined: none, or it cannot be looked at. */
function idOf(path: string): string | undefined {
  try {
    const { dev, ino } = lstatSync(path);
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}

/** A socket left by a daemon that was killed is replaced; one that somebody answers on is not. @throws RudderError `file` */
async function listenOnSocket(server: Server, path: string): Promise<void> {
  await refuseAnswered(path);
  try {
    rmSync(path, { force: true });
    // The mode must be right from the first moment, and listen() binds before it returns; it rejects and never throws.
    const before = process.umask(0o177);
    const listening = started(server, () => server.listen(path));
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
    await started(server, () => server.listen(port, address));
  } catch (error) {
    const reason = errnoOf(error) === 'EADDRINUSE' ? 'somebody listens there already' : messageOf(error);
    throw new RudderError(
      'socket',
      `cannot listen on ${address}:${port}: ${reason}; choose others with --healthz-ip and --healthz-port`,
      { cause: error },
    );
  }
}

function started(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve).once('error', reject);
    start();
  });
}

async function refuseAnswered(path: string): Promise<void> {
  if (!(await isAnswered(path))) return;
  throw new RudderError(
    'file',
    `another rudder answers on ${path}: expected none; stop it, or give this one another --subnet-file`,
  );
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
