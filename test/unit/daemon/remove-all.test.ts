import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import { removeAll } from '../../../src/daemon/daemon.js';
import type { DaemonOptions } from '../../../src/daemon/options.js';
import { writeCniConf } from '../../../src/state/cni-conf.js';
import { createRecordingLog } from '../../helpers/recording-log.js';

it('a node that cleans up has taken the CNI configuration away before it leaves', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'remove-all-'));
  try {
    const cniConf = join(directory, '10-rudder.conflist');
    const [subnet, network] = [parseSubnet('10.240.7.0/24')!, parseSubnet('10.240.0.0/16')!];
    await writeCniConf(cniConf, { subnet, network, mtu: 1450, ipMasq: true } as never, []);
    const options = { cniConf, firewall: false, subnetFile: join(directory, 'subnet.env') } as DaemonOptions;
    let wasThere: boolean | undefined;
    const leave = async () => {
      wasThere = existsSync(cniConf);
    };
    const log = createRecordingLog();
    await removeAll(options, { leave }, log);
    expect([wasThere, log.lines]).toEqual([false, []]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
