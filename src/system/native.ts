import { createRequire } from 'node:module';
import type { Ipv4 } from '../core/ipv4.js';

/**
 * The typed arrays, all on shared memory, that the batch calls read and write. native/src/rudder.h names the fields of
 * their records. attach() refuses slabs that have no slot for each record of `tunPackets` or `datagrams`.
 */
export interface PathMemory {
  /** Packets read from TUN, one slot each. */
  readonly outboundSlab: Uint8Array;
  /** Datagrams received, one slot each, the first one at a page. */
  readonly inboundSlab: Uint8Array;
  /** Headers that we write ourselves. */
  readonly headers: Uint8Array;
  readonly tunPackets: Int32Array;
  readonly datagrams: Int32Array;
  readonly sends: Int32Array;
  readonly sendIovecs: Int32Array;
  readonly writes: Int32Array;
  readonly writeIovecs: Int32Array;
  readonly checksums: Int32Array;
  /** One number: milliseconds of a monotonic clock as of the last wait(), wrapping at 2^31. */
  readonly clock: Int32Array;
}

/** The sessions of a sealed wire, on shared memory: native/src/sessions.h. */
export interface SealedMemory {
  /** A header, and a line for each peer. */
  readonly sessions: Int32Array;
  /** Which packets have been received, by each key. */
  readonly windows: Int32Array;
  /** Messages of handshakes, for the main thread. */
  readonly mailbox: Int32Array;
  /** Peers that the main thread shall look at. */
  readonly attention: Int32Array;
  /** Peers that the worker shall look at. */
  readonly requests: Int32Array;
  /** Packets that receiveSealed() has opened. */
  readonly opened: Int32Array;
}

export interface PathHandles {
  readonly tun: number;
  readonly udp: number;
  readonly event: number;
}

/**
 * The addon. Set-up calls throw `{code, errno, syscall}`. Batch calls work on what this thread attached, return the
 * number of records done, or -errno if the first one failed.
 */
export interface Native {
  openTun(name: string): number;
  setTunPersistent(fd: number, on: 0 | 1): void;
  /** @param bits OFFLOAD_...; EINVAL if the kernel does not know one of them */
  setTunOffload(fd: number, bits: number): void;
  openUdp(address: Ipv4, port: number, bufferBytes: number): number;
  /** Datagrams and trains that found the socket's buffer full since it was opened. */
  udpDrops(fd: number): number;
  setUdpGro(fd: number, on: 0 | 1): void;
  /** Throws if the kernel does not know UDP_SEGMENT. */
  probeUdpGso(fd: number): void;
  /** Throws if TUN cannot be read through a ring of io_uring(7): then it cannot be written either, the flag is one. */
  probeRing(tun: number): void;
  openEvent(): number;
  /** Notifications of NETLINK_ROUTE, for fs.readSync(). @param groups bit n - 1 for RTNLGRP n */
  openNetlink(groups: number, bufferBytes: number): number;
  /**
   * A raw socket for ICMP echo.
   * @param address its own, 0: any of this host's
   * @param mark of what it sends, 0: none
   * @param ttl 0: what is usual on this host
   */
  openEcho(address: Ipv4, mark: number, dontFragment: 0 | 1, ttl: number, bufferBytes: number): number;
  /** Sends a request. @returns when, in microseconds of CLOCK_REALTIME */
  sendEcho(fd: number, destination: Ipv4, id: number, sequence: number, payloadBytes: number): number;
  /** Requests and replies that are there, as many as fit (echo.ts names the fields). @returns how many */
  receiveEchoes(fd: number, records: Float64Array): number;
  signalEvent(fd: number): void;
  close(fd: number): void;
  /** One datagram to a unix socket: sd_notify(3). */
  notify(path: string, text: string): void;
  /** Of this process, and of those that it starts: they would hold what is secret. */
  forbidCoreDumps(): void;

  /**
   * In place of what this thread had attached; if it throws, that stays. The arrays have to lie on SharedArrayBuffers
   * that cannot grow, since the addon keeps their addresses.
   */
  attach(path: PathMemory & PathHandles): void;
  detach(): void;
  /** From now on readTun() and writeTun() of this thread take one system call for many packets, through a ring. */
  openRing(): void;
  closeRing(): void;
  /**
   * Waits for the interest bits or the stop event; returns the bits that are true.
   * @param spinMicroseconds how long to look again and again, yielding the core, before sleeping
   */
  wait(interest: number, timeoutMs: number, spinMicroseconds: number): number;
  /**
   * Reads into the first `limit` bytes of the outbound slab; RING_FAILED if it is not the device that failed.
   * @param enough after so many bytes no more are asked for
   * @param header, segment spread super-packets: before each `segment` bytes of payload a copy of the first `header` bytes;
   *   segment 0: each packet in one piece
   */
  readTun(max: number, limit: number, enough: number, header: number, segment: number): number;
  sendUdp(first: number, count: number): number;
  receiveUdp(max: number): number;
  /** RING_FAILED if it is not the device that failed. */
  writeTun(first: number, count: number): number;
  /** Writes the checksums of packets in the outbound slab into their fields. */
  finishChecksums(count: number): number;
  /** Tells in each record whether its range of the inbound slab is wrong; returns how many are. */
  verifyChecksums(count: number): number;

  /** Of the attached path: the wire is a sealed one from now on. */
  attachSealed(memory: SealedMemory): void;
  /** Seals messages, the first of them at least; those before are forgotten. @returns how many */
  sealUdp(first: number, count: number): number;
  /** Sends what was sealed. -ENOKEY: that one has no session, and waits or was dropped. */
  sendSealed(first: number, count: number): number;
  /** @returns how many packets were opened */
  receiveSealed(max: number): number;
  /** Does what the main thread has asked for, and forgets that the event was signalled. */
  attend(): void;
  /** One datagram, from any thread. */
  sendDatagram(fd: number, address: Ipv4, port: number, bytes: Uint8Array): void;

  /** Keyed BLAKE2s of 16 bytes: mac1, mac2 and cookies. @param key 1 to 32 bytes @param result 16 bytes */
  mac(key: Uint8Array, message: Uint8Array, result: Uint8Array): void;
  /** From now on all threads use that code. @param code CIPHER_..., -1 for the best. @returns which, -1 if this CPU cannot */
  useCipher(code: number): number;
  /** So many threads, 0 at first, help this process with large batches. @returns how many there are */
  useCipherThreads(count: number): number;
  /** The code in use. */
  cipher(): number;
  /** ChaCha20-Poly1305 over packets in any memory: for tests and measurements. At most 1024. */
  sealAll(bytes: Uint8Array, jobs: Int32Array, count: number): number;
  /** Tells in each record whether the packet is authentic; returns how many are. */
  openAll(bytes: Uint8Array, jobs: Int32Array, count: number): number;

  /** The C side's view of the constants below. */
  readonly layout: Readonly<Record<string, number>>;
}

/** Constants of native/src/rudder.h; a test compares them with what was compiled. */
export const RECORD_INTS = 8;
export const IOVEC_INTS = 3;
export const CHECKSUM_INTS = 5;
export const SLOT_BYTES = 65536;
export const PAGE_BYTES = 4096;
/** Between slots, which are whole pages in the outbound slab. */
export const OUTBOUND_SKEW_BYTES = 1600;
export const INBOUND_SKEW_BYTES = 1536;
export const MAX_MESSAGES = 256;
export const MAX_DATAGRAMS = 64;
export const MAX_SPREAD_HEADER = 120;
export const MIN_SPREAD_SEGMENT = 512;

export const SLAB_OUTBOUND = 0;
export const SLAB_INBOUND = 1;
export const SLAB_HEADERS = 2;

export const TUN_READABLE = 1;
export const UDP_READABLE = 2;
export const UDP_WRITABLE = 4;
export const STOP_SIGNALLED = 8;
export const TUN_FAILED = 16;
/** Beside a bit above: looking had found nothing, and the thread has slept. */
export const SPUN_IN_VAIN = 32;

/** linux/if_tun.h: what TUN may hand over unfinished. The two USO bits have to be asked for together. */
export const OFFLOAD_CHECKSUM = 0x01;
export const OFFLOAD_TSO4 = 0x02;
export const OFFLOAD_TSO_ECN = 0x08;
export const OFFLOAD_USO = 0x60;

/** linux/virtio_net.h: the vnet header before each packet of the TUN device, and its fields. */
export const VNET_BYTES = 10;
export const VNET_NEEDS_CHECKSUM = 1;
export const GSO_NONE = 0;
export const GSO_TCP4 = 1;
export const GSO_UDP = 5;
export const GSO_ECN = 0x80;

/** The device behind a TUN descriptor is gone. Node's own table of errnos has no such name. */
export const EBADFD = 77;

/** No key to seal by. Node's own table of errnos has no such name. */
export const ENOKEY = 126;

/** No -errno: the ring is of no use any more, and nothing was read or written. */
export const RING_FAILED = -4096;

/** Names of the cipher's codes, by their numbers. */
export const CIPHERS = ['portable', 'avx2', 'avx512'] as const;
export type Cipher = (typeof CIPHERS)[number];
export const JOB_INTS = 8;

/** `Debug` is the build with sanitizers. Source and built files lie equally deep, so one path serves both. */
const configuration = process.env.RUDDER_NATIVE_BUILD === 'Debug' ? 'Debug' : 'Release';

export const native: Native = createRequire(import.meta.url)(
  `../../native/build/${configuration}/rudder_native.node`,
) as Native;
