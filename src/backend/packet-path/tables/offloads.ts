/**
 * The kernel's offloads, each probed at start, each can be switched off, each lowered at run time when the kernel says
 * that it is not there after all:
 *
 *  - tun-tso, tun-uso: TUN hands over TCP and UDP super-packets, and checksums that are not finished
 *  - udp-gso: the socket takes trains (UDP_SEGMENT)
 *  - udp-gro: the socket hands over trains (UDP_GRO)
 *  - tun-gro-tcp, tun-gro-udp: neighbours of a flow are merged into super-packets for TUN
 *  - io-uring: TUN is read and written many packets at a time
 */
export const OFFLOADS = ['tun-tso', 'tun-uso', 'tun-gro-tcp', 'tun-gro-udp', 'udp-gso', 'udp-gro', 'io-uring'] as const;
export type Offload = (typeof OFFLOADS)[number];

const numberOf = (offload: Offload): number => OFFLOADS.indexOf(offload);

export const TUN_TSO = numberOf('tun-tso');
export const TUN_USO = numberOf('tun-uso');
export const TUN_GRO_TCP = numberOf('tun-gro-tcp');
export const TUN_GRO_UDP = numberOf('tun-gro-udp');
export const UDP_GSO = numberOf('udp-gso');
export const UDP_GRO = numberOf('udp-gro');
export const IO_URING = numberOf('io-uring');
