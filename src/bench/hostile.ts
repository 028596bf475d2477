import { setTimeout as delay } from 'node:timers/promises';
import { DEFAULT_PORT } from '../backend/udp/kind.js';
import { buildFlood, flood } from '../lab/flood.js';
import { nodeName } from '../lab/names.js';
import { execIn } from '../lab/network.js';
import type { LabState } from '../lab/state.js';
import { type UdpResult, udp } from './measure.js';
import { routeOf, switchTo } from './systems.js';

/**
 * What an attacker costs the others: UDP offered at a quarter of the capacity, beside as many hostile datagrams. The
 * attacker's own program and kernel work share these cores, so the same flood at a closed port is what to compare with.
 */
export interface Hostile {
  /** Packets a second that a flood of good ones delivers. */
  readonly capacity: number;
  readonly rounds: readonly HostileRound[];
}

/** Delivered of offered, each from 0 to 1. */
export interface HostileRound {
  readonly alone: number;
  readonly closedPort: number;
  readonly tunnel: number;
  /** Hostile datagrams a second that were really sent. */
  readonly hostileRate: number;
}

const SMALL_PAYLOAD = 64;
/** Nobody listens there. */
const CLOSED_PORT = DEFAULT_PORT + 1000;
/** The flood begins before the measurement and ends after it. */
const LEAD_SECONDS = 1;

export async function measureHostile(lab: LabState, rounds: number, seconds: number): Promise<Hostile> {
  const program = await buildFlood(lab);
  // The attacker's host is a member's, and our own rules would let nothing of it out; those of an earlier part go too.
  await switchTo(lab, 'rudder', { peers: {}, backend: 'udp', daemonArguments: ['--no-firewall=true'] });
  for (const node of lab.nodes) {
    await execIn(lab, nodeName(node), ['nft', 'delete', 'table', 'ip', 'rudder']).catch(() => undefined);
  }
  const route = routeOf(lab, 'rudder', 'container');
  const capacity = (await udp(lab, route, seconds, SMALL_PAYLOAD, 0)).delivered;
  const rate = capacity / 4;
  const good = () => udp(lab, route, seconds, SMALL_PAYLOAD, rate);
  const share = ({ offered, delivered }: UdpResult) => delivered / offered;

  async function beside(port: number): Promise<{ share: number; hostileRate: number }> {
    const [from, to] = lab.nodes;
    const count = Math.round(rate * (seconds + 2 * LEAD_SECONDS));
    const flooding = flood(lab, program, { from, to, port, count, kind: 'hostile', rate });
    await delay(LEAD_SECONDS * 1000);
    const result = share(await good());
    const { sent, seconds: took } = await flooding;
    return { share: result, hostileRate: sent / took };
  }

  const measured: HostileRound[] = [];
  for (let round = 0; round < rounds; round++) {
    const alone = share(await good());
    // In turns, so that neither is always measured on the warmer machine.
    const order = round % 2 === 0 ? [CLOSED_PORT, DEFAULT_PORT] : [DEFAULT_PORT, CLOSED_PORT];
    const results = new Map<number, { share: number; hostileRate: number }>();
    for (const port of order) results.set(port, await beside(port));
    const tunnel = results.get(DEFAULT_PORT)!;
    measured.push({
      alone,
      closedPort: results.get(CLOSED_PORT)!.share,
      tunnel: tunnel.share,
      hostileRate: tunnel.hostileRate,
    });
  }
  return { capacity, rounds: measured };
}

export function describeHostile({ capacity, rounds }: Hostile): string {
  const percent = (value: number) => `${(value * 100).toFixed(1)} %`;
  const ratios = rounds.map(({ tunnel, closedPort }) => tunnel / closedPort).sort((a, b) => a - b);
  const lines = rounds.map(
    ({ alone, closedPort, tunnel, hostileRate }) =>
      `  delivered of what was offered: ${percent(alone)} alone, ${percent(closedPort)} beside a flood at a closed port, ${percent(tunnel)} beside the same at the tunnel (${Math.round(hostileRate / 1000)} kpps)`,
  );
  return [
    `UDP of ${SMALL_PAYLOAD} bytes at a quarter of the capacity (${Math.round(capacity / 1000)} kpps), as many hostile datagrams beside it:`,
    ...lines,
    `  kept, against the closed port: median ${percent(ratios[Math.floor(ratios.length / 2)])}, least ${percent(ratios[0])}`,
  ].join('\n');
}
