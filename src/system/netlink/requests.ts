import { Protocol, RawNetlinkSocket } from 'netlink';
import { createOneAtATime } from '../../core/one-at-a-time.js';
import { NetlinkError } from './error.js';
import { eachMessage, type Message, request } from './messages.js';

const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** Since the last message: the kernel answers as fast as it is read. */
const SILENCE_MS = 2000;
const BUFFERS = { recvBufferSize: 1 << 20, sendBufferSize: 1 << 16 };

/** linux/netlink.h: what a change may do. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

/** Questions to the kernel, whose answers are looked at message by message: nothing is kept that `handle` does not keep. */
export interface Requests {
  /** By which the kernel says who has changed something. */
  readonly port: number;
  /** A list. @throws NetlinkError */
  dump(what: string, type: number, body: Buffer, handle: (message: Message) => void): Promise<void>;
  /** One answer. @throws NetlinkError */
  ask(what: string, type: number, body: Buffer): Promise<Message>;
  /** A change, which the kernel confirms. @param flags such as CREATE @throws NetlinkError */
  change(what: string, type: number, flags: number, body: Buffer): Promise<void>;
  close(): void;
}

/** @param family `route`: links, addresses, routes; `generic`: what has a family of its own, see generic.ts */
export function openRequests(family: 'route' | 'generic' = 'route'): Requests {
  const socket = new RawNetlinkSocket(family === 'route' ? Protocol.ROUTE : Protocol.GENERIC, BUFFERS);
  socket.unref();
  // A request that is under way listens too.
  socket.on('error', () => undefined);
  const oneAtATime = createOneAtATime();
  let sequence = 0;

  /** @param handle given each message of the answer; true ends the request */
  function run(
    what: string,
    type: number,
    flags: number,
    body: Buffer,
    handle: (message: Message) => boolean,
  ): Promise<void> {
    const own = ++sequence;
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(silent, SILENCE_MS);
      socket.ref();

      function settle(error?: NetlinkError): void {
        clearTimeout(timer);
        socket.off('message', received);
        socket.off('error', failed);
        socket.unref();
        if (error === undefined) resolve();
        else reject(error);
      }
      function silent(): void {
        settle(new NetlinkError(`netlink: ${what}: Timeout has been reached`, 'ETIMEDOUT'));
      }
      function failed(error: { code: string }): void {
        settle(new NetlinkError(`netlink: ${what}: ${error.code}`, error.code));
      }
      function received(bytes: Buffer): void {
        timer.refresh();
        eachMessage(bytes, (message) => {
          if (message.sequence !== own) return;
          if (message.type === NLMSG_ERROR) settle(errorIn(what, message));
          else if (message.type === NLMSG_DONE) settle(errorIn(what, message));
          else if (handle(message)) settle();
        });
      }

      socket.on('message', received);
      socket.on('error', failed);
      const bytes = request(type, NLM_F_REQUEST | flags, own, body);
      socket.send(bytes, {}, (error) => {
        // There may be a key in it.
        bytes.fill(0);
        if (error) failed(error);
      });
    });
  }

  return {
    port: socket.address().port,
    dump: (what, type, body, handle) =>
      oneAtATime(() =>
        run(what, type, NLM_F_DUMP, body, (message) => {
          handle(message);
          return false;
        }),
      ),
    ask: (what, type, body) =>
      oneAtATime(async () => {
        let answer: Message | undefined;
        await run(what, type, 0, body, (message) => {
          answer = message;
          return true;
        });
        return answer!;
      }),
    change: (what, type, flags, body) => oneAtATime(() => run(what, type, NLM_F_ACK | flags, body, () => false)),
    close: () => socket.close(),
  };
}

/** Of errno 0, as of a change that was made or a list that has come to its end, there is none. */
function errorIn(what: string, { body }: Message): NetlinkError | undefined {
  const errno = body.length < 4 ? 0 : body.readInt32LE(0);
  return errno === 0 ? undefined : NetlinkError.fromErrno(what, errno);
}
