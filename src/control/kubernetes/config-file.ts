import { readFile } from 'node:fs/promises';
import { parseSubnet } from '../../core/address-text.js';
import { errnoOf, messageOf, RudderError } from '../../core/errors.js';
import { formatIpv4 } from '../../core/ipv4.js';
import type { Logger } from '../../core/logger.js';
import { createRepeatLimit } from '../../core/rate-limit.js';
import type { Subnet } from '../../core/subnet.js';

/** The text of the network config's file; undefined: there is none. @throws RudderError `file` */
export async function readConfigFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new RudderError(
      'file',
      `cannot read the network config ${path}: ${messageOf(error)}; expected a file such as a ConfigMap's, choose another with --net-config-path`,
      { cause: error },
    );
  }
}

/**
 * What the file says, with what Kubernetes says of subnets: it hands them out, all of one length, the first of the Network
 * too. What the file has of that is without a meaning there, as in flannel.
 */
export function withPodSubnets(json: string, own: Subnet): string {
  let config: unknown;
  try {
    config = JSON.parse(json);
  } catch {
    return json; // refused where it is parsed
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return json;
  const kept = Object.entries(config).filter(([key]) => !/^subnet(len|min|max)$/i.test(key));
  const network = kept.find(([key]) => key.toLowerCase() === 'network')?.[1];
  const first = typeof network === 'string' ? parseSubnet(network) : undefined;
  const SubnetMin = first === undefined ? {} : { SubnetMin: formatIpv4(first.address) };
  return JSON.stringify({ ...Object.fromEntries(kept), SubnetLen: own.prefixLength, ...SubnetMin });
}

/** Tells the file's text whenever it is another one. A ConfigMap is replaced by links, which no notification follows. */
export function followConfigFile(
  path: string,
  everyMs: number,
  log: Logger,
  onText: (json: string | undefined) => void,
): { stop(): void } {
  const limit = createRepeatLimit();
  let told: { text: string | undefined } | undefined;
  let isStopped = false;
  let timer = setTimeout(look, 0);
  function look(): void {
    readConfigFile(path)
      .then(
        (text) => {
          if (isStopped || (told !== undefined && told.text === text)) return;
          told = { text };
          onText(text);
        },
        (error: unknown) =>
          limit((suppressed) =>
            log.warn({ reason: messageOf(error), suppressed }, 'the network config cannot be read again'),
          ),
      )
      .finally(() => {
        if (!isStopped) timer = setTimeout(look, everyMs);
      });
  }
  return {
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
