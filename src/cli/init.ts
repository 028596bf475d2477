import { createEtcdRegistry } from '../control/etcd-registry.js';
import { shorten } from '../core/errors.js';
import { parseNetworkConfig } from '../core/network-config.js';
import { formatSubnet } from '../core/subnet.js';
import { type RawEtcdOptions, toEtcdOptions } from './etcd-options.js';
import { EXIT_OK } from './exit-codes.js';

/** `rudder init JSON`: creates the network config unless there is one, as `etcdctl mk` did in 2014. */
export async function init(json: string, raw: RawEtcdOptions): Promise<number> {
  const config = parseNetworkConfig(json);
  const etcd = toEtcdOptions(raw);
  const registry = createEtcdRegistry(etcd);
  try {
    const created = await registry.createConfig(json);
    const key = `${etcd.prefix}/config`;
    process.stdout.write(
      created
        ? `created ${key}: Network ${formatSubnet(config.network)}, a /${config.subnetLength} for each node\n`
        : `${key} exists already and is left as it is: ${shorten((await registry.getConfig()) ?? '', 500)}\n`,
    );
    return EXIT_OK;
  } finally {
    registry.close();
  }
}
