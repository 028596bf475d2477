import type { Logger } from '../core/logger.js';
import { createRepeatLimit } from '../core/rate-limit.js';
import { isCniConfOf, type PodNetwork, readCniConf, writeCniConf } from '../state/cni-conf.js';

/** The CNI configuration, by which the kubelet knows that pods may start: so it is not there before the node is ready. */
export interface CniFile {
  /** Writes it if it is not as it should be at the moment. @throws if it cannot be put right */
  look(): Promise<void>;
}

/** In each interval: somebody may write it again and again. */
const CHANGES_TOLD = 3;

/** @param path undefined: somebody else sees to the pods */
export function createCniFile(path: string | undefined, networkNow: () => PodNetwork, log: Logger): CniFile {
  const limit = createRepeatLimit(CHANGES_TOLD);

  async function look(): Promise<void> {
    if (path === undefined) return;
    const found = await readCniConf(path);
    const network = networkNow();
    if (isCniConfOf(found, network)) return;
    await writeCniConf(path, network, found.is === 'ours' ? found.chained : []);
    const before = { absent: 'there was none', ours: 'it said something else' };
    limit((suppressed) =>
      log.info(
        { cniConf: path, before: found.is === 'not ours' ? found.what : before[found.is], suppressed },
        'the CNI configuration is written',
      ),
    );
  }

  return { look };
}
