import { createServer, type Server, type Socket } from 'node:net';
import { BadRequest, formatHead, type HttpAnswer, type HttpRequest, jsonAnswer, parseRequest } from './http-request.js';
import { createTurns } from './turns.js';

/**
 * HTTP/1.1 at a bounded cost, whatever clients do. node's own server makes objects of all requests that have come, which
 * are thousands for each read of a client that does not wait. Here a connection is read no further until its answer is
 * out, so the kernel makes such a client wait.
 */
export interface HttpServer {
  /** Not listening yet. */
  readonly server: Server;
  close(): void;
}

const MAX_CONNECTIONS = 64;
/** For a whole request to come, from when the last one was dealt with. */
const REQUEST_MS = 5000;
/** For a client to take its whole answer. */
const ANSWER_MS = 10_000;
/** A client that is not slow has sent its request so soon after it has connected. */
const PROMPT_MS = 100;
/** Between two answers, whoever gets them: 200 a second are many times what probes, Prometheus and people ask for. */
const TURN_MS = 5;

/** How those are treated who are no guests of everybody's. */
export interface Manners {
  /** Whose connections are taken at all; those of others end before anything is read. */
  readonly admits?: (from: string | undefined) => boolean;
  /** Nonsense is not told what is wrong with it. */
  readonly isSilent?: boolean;
}

interface Connection {
  readonly socket: Socket;
  /** The client's address; undefined: of a unix socket. */
  readonly from: string | undefined;
  /** Since when it is the client that we wait for; undefined while it waits for us. */
  idleSince: number | undefined;
  deadline: NodeJS.Timeout | undefined;
  /** What has come of the next request. */
  bytes: Buffer;
  answers: number;
}

/**
 * @param respond never fails: whatever goes wrong has an answer too. Undefined: the connection ends without one
 */
export function createHttpServer(
  respond: (request: HttpRequest, socket: Socket) => Promise<HttpAnswer | undefined>,
  { admits = () => true, isSilent = false }: Manners = {},
): HttpServer {
  const connections = new Set<Connection>();
  const turns = createTurns<Connection>(TURN_MS);
  // A client that sends a request and then says that no other follows wants its answer nevertheless.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => undefined); // seen by whoever reads or writes it
    const from = socket.remoteAddress;
    if (!admits(from) || !makeRoom(from)) return void socket.destroy();
    const connection = { socket, from, idleSince: undefined, deadline: undefined, bytes: Buffer.alloc(0), answers: 0 };
    connections.add(connection);
    socket.once('close', () => forget(connection));
    void converse(connection);
  });

  /**
   * A new client takes the place of the one that has kept us waiting longest, so nobody can sit on all of them; where all
   * wait for us, of the one that has had the most. One that has just come among these may be about to ask. It is one of the
   * address that has the most connections, so that who asks from one address takes nothing from who asks from another.
   */
  function makeRoom(from: string | undefined): boolean {
    if (connections.size < MAX_CONNECTIONS) return true;
    const held = mostHeld(connections);
    const now = performance.now();
    const idleMs = ({ idleSince = now }: Connection) => now - idleSince;
    const graceMs = held.some(({ idleSince }) => idleSince === undefined) ? PROMPT_MS : 0;
    const own = [...connections].filter((connection) => connection.from === from).length;
    const leaving =
      most(held, (connection) => idleMs(connection) - graceMs) ??
      most(held, ({ answers }) => answers) ??
      (held.length > own + 1 ? held.at(-1) : undefined);
    if (leaving === undefined) return false;
    forget(leaving);
    leaving.socket.destroy();
    return true;
  }

  function forget(connection: Connection): void {
    connections.delete(connection);
    turns.giveUp(connection);
    clearTimeout(connection.deadline);
  }

  async function converse(connection: Connection): Promise<void> {
    try {
      for await (const request of requestsOf(connection, isSilent)) {
        if (!(await turns.take(connection))) break;
        const answer = await respond(request, connection.socket);
        if (answer === undefined) break;
        await send(connection, request, answer);
        if (!request.keepsAlive) break;
        connection.answers++;
      }
    } catch (error) {
      // Anything else is the end of the connection itself.
      if (error instanceof BadRequest && !isSilent) return refuse(connection, error);
    }
    connection.socket.destroy();
  }

  return {
    server,
    close() {
      server.close();
      for (const { socket } of connections) socket.destroy();
    },
  };
}

/** One after the other: while one is dealt with, nothing is read. */
async function* requestsOf(connection: Connection, isSilent: boolean): AsyncGenerator<HttpRequest> {
  const { socket } = connection;
  const tooLate = new BadRequest(408, `no whole request within ${REQUEST_MS / 1000} s`);
  const tooSlow = () => (isSilent ? void socket.destroy() : refuse(connection, tooLate));
  awaitClient(connection, REQUEST_MS, tooSlow);
  // Who sent nonsense is told so before the end.
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    connection.bytes = Buffer.concat([connection.bytes, chunk]);
    for (let parsed = parseRequest(connection.bytes); parsed; parsed = parseRequest(connection.bytes)) {
      connection.bytes = connection.bytes.subarray(parsed.length);
      clientHasActed(connection);
      yield parsed.request;
      awaitClient(connection, REQUEST_MS, tooSlow);
    }
  }
}

/** @throws if the client does not take it in time, or is gone */
function send(connection: Connection, { method, keepsAlive }: HttpRequest, answer: HttpAnswer): Promise<void> {
  const { socket } = connection;
  awaitClient(connection, ANSWER_MS, () => socket.destroy());
  return new Promise((resolve, reject) => {
    socket.cork();
    socket.write(formatHead(answer, keepsAlive));
    socket.write(method === 'HEAD' ? '' : answer.body, (error) => (error ? reject(error) : resolve()));
    socket.uncork();
  });
}

/** The last word on a connection. Who has sent nothing has nothing to be told. */
function refuse(connection: Connection, { code, message }: BadRequest): void {
  const { socket, bytes } = connection;
  if (bytes.length === 0) return void socket.destroy();
  awaitClient(connection, ANSWER_MS, () => socket.destroy());
  const answer = jsonAnswer(code, { error: message });
  socket.write(Buffer.concat([formatHead(answer, false), answer.body]), () => socket.destroy());
}

function awaitClient(connection: Connection, deadlineMs: number, tooLate: () => void): void {
  clientHasActed(connection);
  connection.idleSince = performance.now();
  connection.deadline = setTimeout(tooLate, deadlineMs);
}

function clientHasActed(connection: Connection): void {
  clearTimeout(connection.deadline);
  connection.idleSince = undefined;
}

/** Those of the address that has the most, the oldest first. */
function mostHeld(connections: Iterable<Connection>): Connection[] {
  const byAddress = new Map<string | undefined, Connection[]>();
  for (const connection of connections) {
    const held = byAddress.get(connection.from);
    if (held === undefined) byAddress.set(connection.from, [connection]);
    else held.push(connection);
  }
  return [...byAddress.values()].reduce((most, held) => (held.length > most.length ? held : most));
}

/** The one with the largest measure; undefined if it is above 0 for none. */
function most(connections: Iterable<Connection>, measure: (connection: Connection) => number): Connection | undefined {
  let found: Connection | undefined;
  let largest = 0;
  for (const connection of connections) {
    const value = measure(connection);
    if (value <= largest) continue;
    largest = value;
    found = connection;
  }
  return found;
}
