import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { namespaceOf } from '../../src/lab/names.js';
import { execIn } from '../../src/lab/network.js';
import { daemonCommand } from '../../src/lab/nodes.js';
import type { LabNode, LabState } from '../../src/lab/state.js';
import type { Status } from '../../src/ops/status.js';

/** The built program. */
export const RUDDER = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Runs a rudder command in the first node's namespace, with the options that the lab gave this node's daemon. */
export async function cli(
  lab: LabState,
  node: LabNode,
  ...args: string[]
): Promise<{ code: number | undefined; stdout: string; stderr: string }> {
  const command = [...daemonCommand(lab, node), ...args];
  const result = await execa('nsenter', [`--net=/run/netns/${namespaceOf(lab, 'n1')}`, '--', ...command], {
    reject: false,
    stripFinalNewline: false,
    timeout: 20_000,
  });
  return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}

/** What the node's daemon says about itself. */
export async function statusOf(lab: LabState, node: LabNode): Promise<Status> {
  return JSON.parse((await cli(lab, node, 'status', '--json')).stdout) as Status;
}

/** An HTTP answer of n1's daemon, asked on its own loopback: the code and the body. */
export async function httpOf(lab: LabState, url: string): Promise<{ code: number; body: string }> {
  const script = `fetch('${url}').then(async (r) => console.log(JSON.stringify({ code: r.status, body: await r.text() })))`;
  return JSON.parse(await execIn(lab, 'n1', [process.execPath, '-e', script]));
}
