import { askDaemon } from '../ops/control-client.js';
import { controlSocketOf } from '../ops/http.js';
import { etcdctl } from './etcd.js';
import { type Member, nodeName } from './names.js';
import { isConnected } from './network.js';
import { nodePaths } from './nodes.js';
import { isRunning, isStopped, type LabProcess } from './process.js';
import type { LabNode, LabState } from './state.js';

/** How a node's daemon does, in a few words: looked at, and asked. */
export function nodeCondition(lab: LabState, node: LabNode): Promise<string> {
  return conditionOf(lab, nodeName(node), node.process, async () => {
    const { code, body } = await askDaemon(controlSocketOf(nodePaths(lab, node).subnetFile), 'GET', '/readyz');
    if (code === 200) return 'ready';
    const { problems = [] } = body as { problems?: readonly string[] };
    return problems.length === 0 ? 'not ready' : `not ready: ${problems.join('; ')}`;
  });
}

export function etcdCondition(lab: LabState): Promise<string> {
  return conditionOf(lab, 'etcd', lab.etcd, async () => {
    await etcdctl(lab, 'endpoint', 'health', '--command-timeout=2s');
    return 'answers';
  });
}

/** @param ask throws if there is no answer */
async function conditionOf(
  lab: LabState,
  member: Member,
  process: LabProcess | undefined,
  ask: () => Promise<string>,
): Promise<string> {
  const found = async () => {
    if (process === undefined || !isRunning(process)) return 'stopped';
    if (isStopped(process)) return `paused, pid ${process.pid}`;
    const answer = await ask().catch(() => 'does not answer');
    return `${answer}, pid ${process.pid}`;
  };
  const [condition, connected] = await Promise.all([found(), isConnected(lab, member)]);
  return connected ? condition : `partitioned; ${condition}`;
}
