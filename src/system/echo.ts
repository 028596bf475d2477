import { errnoOf, messageOf, RudderError } from '../core/errors.js';
import { formatIpv4, type Ipv4, NO_ADDRESS } from '../core/ipv4.js';
import { native } from './native.js';

export interface EchoOptions {
  /** What requests come from, and what is received is sent to; undefined: any address of this host. */
  readonly address?: Ipv4 | undefined;
  /** By which rules tell what this socket sends (SO_MARK); undefined: none. */
  readonly mark?: number | undefined;
  /** Requests have DF: what the path does not carry whole gets no answer. A path MTU told by ICMP is not believed. */
  readonly dontFragment?: boolean | undefined;
  /** How many hosts may handle a request: with 1 no router forwards it. Undefined: what is usual on this host. */
  readonly ttl?: number | undefined;
}

/** One that was received. Anybody can send any: a reply is one's own if sender, id and sequence are those of a request. */
export interface Echo {
  readonly type: 'request' | 'reply';
  readonly source: Ipv4;
  readonly id: number;
  readonly sequence: number;
  readonly payloadBytes: number;
  /** By the kernel, in microseconds of CLOCK_REALTIME: when it is read does not matter. */
  readonly receivedAt: number;
}

/** ICMP echo requests, and whatever echoes come to this host. */
export interface EchoSocket {
  /**
   * @param id 0 to 65535, as `sequence` is @param payloadBytes behind the ICMP header, 28 bytes less than the packet
   * @returns when, in microseconds of CLOCK_REALTIME
   * @throws what the kernel says, with its `code`: ENETUNREACH (no route), EHOSTUNREACH, EPERM (a firewall's drop), EMSGSIZE
   */
  send(destination: Ipv4, id: number, sequence: number, payloadBytes?: number): number;
  /** What has come since the last time, which has to be asked for before the kernel's buffer is full: see ECHOES_HELD. */
  receive(): Echo[];
  close(): void;
}

/** IPv4 and ICMP, around the payload: all that a request without one has. */
export const ECHO_HEADER_BYTES = 28;

/** Of requests without payload. */
export const ECHOES_HELD = 256;
/** The kernel counts a small packet as 768 bytes, and doubles what is asked for. */
const BUFFER_BYTES = 128 * 1024;

const ECHO_TYPE = 0;
const ECHO_SOURCE = 1;
const ECHO_ID = 2;
const ECHO_SEQUENCE = 3;
const ECHO_LENGTH = 4;
const ECHO_RECEIVED = 5;
const ECHO_FIELDS = 6;

const ICMP_ECHO = 8;
/** Echoes for which there is room in one call, and calls in a row: a flood does not keep the thread. */
const BATCH = 256;
const MAX_BATCHES = 8;

/** @throws RudderError `socket` */
export function openEchoSocket(options: EchoOptions = {}): EchoSocket {
  const fd = open(options);
  const records = new Float64Array(BATCH * ECHO_FIELDS);

  function echoAt(at: number): Echo {
    return {
      type: records[at + ECHO_TYPE] === ICMP_ECHO ? 'request' : 'reply',
      source: records[at + ECHO_SOURCE],
      id: records[at + ECHO_ID],
      sequence: records[at + ECHO_SEQUENCE],
      payloadBytes: records[at + ECHO_LENGTH],
      receivedAt: records[at + ECHO_RECEIVED],
    };
  }

  return {
    send: (destination, id, sequence, payloadBytes = 0) => native.sendEcho(fd, destination, id, sequence, payloadBytes),
    receive() {
      const echoes: Echo[] = [];
      for (let batches = 0; batches < MAX_BATCHES; batches++) {
        const count = native.receiveEchoes(fd, records);
        for (let i = 0; i < count; i++) echoes.push(echoAt(i * ECHO_FIELDS));
        if (count < BATCH) break;
      }
      return echoes;
    },
    close: () => native.close(fd),
  };
}

/** A socket for as long as that work takes. @throws RudderError `socket`, or what the work throws */
export async function withEchoSocket<T>(dontFragment: boolean, work: (socket: EchoSocket) => Promise<T>): Promise<T> {
  const socket = openEchoSocket({ dontFragment });
  try {
    return await work(socket);
  } finally {
    socket.close();
  }
}

function open({ address = NO_ADDRESS, mark = 0, dontFragment = false, ttl = 0 }: EchoOptions): number {
  try {
    return native.openEcho(address, mark, dontFragment ? 1 : 0, ttl, BUFFER_BYTES);
  } catch (error) {
    const from = address === NO_ADDRESS ? '' : ` from ${formatIpv4(address)}`;
    throw new RudderError('socket', `cannot send ICMP echoes${from}: ${explain(error)}`, { cause: error });
  }
}

function explain(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EACCES':
    case 'EPERM':
      return 'no permission, expected the capabilities CAP_NET_RAW and CAP_NET_ADMIN; run as root or through rudder.service';
    case 'EADDRNOTAVAIL':
      return 'the address is not on this host, expected one of its own';
    default:
      return messageOf(error);
  }
}
