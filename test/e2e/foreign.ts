import type { Finding } from '../../src/cli/doctor/host.js';
import { labStatus } from '../../src/lab/lab.js';
import { execIn } from '../../src/lab/network.js';
import type { LabState } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { cli, statusOf } from './cli.js';

/** A table of nft's with one chain, as firewall managers have it. */
export const foreignTable = (hook: string, rule: string) =>
  `table inet corp { chain own { type ${hook}; policy accept; ${rule}; }; }`;

/** What somebody else's firewall on the first of two nodes does to packets of containers, and what is told of it. */
export function foreignFirewall(lab: LabState) {
  const foreign = labStatus(lab)[1].containerAddress;
  const status = () => statusOf(lab, lab.nodes[0]);
  const passage = async () => (await status()).firewall.forwarding;
  const traffic = () =>
    execIn(lab, 'c1', ['ping', '-n', '-c', '8', '-i', '0.02', '-W', '0.2', foreign]).catch(() => undefined);

  /** Changes rules, and waits until that is noticed: what passed before says nothing any more. */
  async function nft(...args: string[]): Promise<void> {
    const { checks } = (await status()).firewall;
    await execIn(lab, 'n1', ['nft', ...args]);
    await waitFor('the change to be noticed', async () => (await status()).firewall.checks > checks, 10_000);
  }

  async function finding(check: string): Promise<Finding | undefined> {
    const { stdout } = await cli(lab, lab.nodes[0], 'doctor', '--json');
    return (JSON.parse(stdout) as Finding[]).find((one) => one.check === check);
  }

  async function underTraffic(what: string, holds: () => Promise<boolean>): Promise<void> {
    const holdsNow = async () => {
      await traffic();
      return holds();
    };
    await waitFor(what, holdsNow, 15_000);
  }

  return { foreign, status, passage, nft, finding, underTraffic };
}
