import type { Echo, EchoOptions, EchoSocket } from '../../src/system/echo.js';
import { NetlinkError } from '../../src/system/netlink.js';

export interface SentEcho {
  readonly options: EchoOptions;
  readonly destination: number;
  readonly id: number;
  readonly sequence: number;
  readonly payloadBytes: number;
  readonly sentAt: number;
}

/** A host's ICMP echo without a kernel: a test says who answers, and what time it is. */
export interface FakeEcho {
  /** In place of openEchoSocket(). */
  open(options?: EchoOptions): EchoSocket;
  readonly sent: SentEcho[];
  /** What a request gets: microseconds until the reply, nothing, or what the kernel refuses it with, such as `EPERM`. */
  answer: (request: SentEcho) => number | 'nothing' | { readonly code: string };
  /** For every socket that is open: an echo of somebody else. */
  arrives(echo: Echo): void;
  /** Sockets that are open. */
  openSockets(): number;
}

/** @param now microseconds of CLOCK_REALTIME: replies come when their time has */
export function createFakeEcho(now: () => number = () => Date.now() * 1000): FakeEcho {
  const sockets = new Set<Echo[]>();
  const fake: FakeEcho = {
    sent: [],
    answer: () => 'nothing',
    open(options = {}) {
      const queue: Echo[] = [];
      sockets.add(queue);
      return {
        send(destination, id, sequence, payloadBytes = 0) {
          const request = { options, destination, id, sequence, payloadBytes, sentAt: now() };
          const answer = fake.answer(request);
          if (typeof answer === 'object') throw new NetlinkError(`sendmsg: ${answer.code}, ICMP echo`, answer.code);
          fake.sent.push(request);
          if (answer === 'nothing') return request.sentAt;
          const receivedAt = request.sentAt + answer;
          queue.push({ type: 'reply', source: destination, id, sequence, payloadBytes, receivedAt });
          return request.sentAt;
        },
        receive() {
          const due = queue.filter(({ receivedAt }) => receivedAt <= now());
          for (const echo of due) queue.splice(queue.indexOf(echo), 1);
          return due;
        },
        close: () => void sockets.delete(queue),
      };
    },
    arrives(echo) {
      for (const queue of sockets) queue.push(echo);
    },
    openSockets: () => sockets.size,
  };
  return fake;
}
