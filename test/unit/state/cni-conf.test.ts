import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseSubnet } from '../../../src/core/address-text.js';
import {
  formatCniConf,
  isCniConfOf,
  parseCniConf,
  readCniConf,
  removeCniConf,
  writeCniConf,
} from '../../../src/state/cni-conf.js';

const NETWORK = { subnet: parseSubnet('10.244.3.0/24')!, mtu: 1450 };
const ISTIO = { type: 'istio-cni', kubernetes: { kubeconfig: '/etc/cni/net.d/ZZZ' } };

describe('the CNI configuration', () => {
  it('connects pods by bridge and portmap, with addresses of the subnet and the MTU of the overlay', () => {
    expect(JSON.parse(formatCniConf(NETWORK))).toEqual({
      cniVersion: '0.4.0',
      name: 'cbr0',
      comment: expect.stringMatching(/^written by rudder/),
      plugins: [
        {
          type: 'bridge',
          bridge: 'cni0',
          isDefaultGateway: true,
          forceAddress: true,
          hairpinMode: true,
          mtu: 1450,
          ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.3.0/24' }]] },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    });
  });

  it('is known again, however others write what they have added', () => {
    const conf = JSON.parse(formatCniConf(NETWORK));
    conf.plugins.push(ISTIO);
    const found = parseCniConf(JSON.stringify(conf));
    expect(found).toMatchObject({ is: 'ours', chained: [ISTIO] });
    expect(isCniConfOf(found, NETWORK)).toBe(true);
    expect(isCniConfOf(found, { ...NETWORK, mtu: 1400 })).toBe(false);
    expect(isCniConfOf(found, { ...NETWORK, subnet: parseSubnet('10.244.4.0/24')! })).toBe(false);
    conf.plugins[0].hairpinMode = false;
    expect(isCniConfOf(parseCniConf(JSON.stringify(conf)), NETWORK)).toBe(false);
    conf.plugins = [ISTIO, ...JSON.parse(formatCniConf(NETWORK)).plugins];
    expect(isCniConfOf(parseCniConf(JSON.stringify(conf)), NETWORK), 'before ours').toBe(false);
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '7',
    '{"name":"cbr0","plugins":[{"type":"flannel"}]}',
    '{"comment":"written by rudder"}',
    '{"comment":7,"plugins":[]}',
  ])('is not taken for ours where it is %s', (text) => {
    expect(parseCniConf(text).is).toBe('not ours');
  });

  it('survives plugins that are none', () => {
    const text = '{"comment":"written by rudder","plugins":[null,7,[],{"type":7},{}]}';
    expect(parseCniConf(text)).toMatchObject({ is: 'ours', chained: [] });
  });
});

describe('its file', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(`${tmpdir()}/rudder-cni-conf-`);
    path = `${directory}/net.d/10-rudder.conflist`;
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is written, with its directory, and removed', async () => {
    expect([await readCniConf(path), await removeCniConf(path)]).toEqual([{ is: 'absent' }, 'absent']);
    await writeCniConf(path, NETWORK, [ISTIO]);
    expect(readFileSync(path, 'utf8')).toBe(formatCniConf(NETWORK, [ISTIO]));
    expect(await removeCniConf(path)).toBe('removed');
    expect(await readCniConf(path)).toEqual({ is: 'absent' });
  });

  it('of somebody else stays', async () => {
    const other = `${directory}/10-flannel.conflist`;
    writeFileSync(other, '{"name":"cbr0","plugins":[{"type":"flannel"}]}');
    expect(await removeCniConf(other)).toBe('not ours');
    symlinkSync(other, `${directory}/link`);
    expect(await readCniConf(`${directory}/link`)).toEqual({ is: 'not ours', what: 'it is a symbolic link' });
    expect(await removeCniConf(`${directory}/link`)).toBe('not ours');
  });

  it('that cannot be written is told with the flag', async () => {
    writeFileSync(`${directory}/file`, '');
    await expect(writeCniConf(`${directory}/file/10-rudder.conflist`, NETWORK, [])).rejects.toThrow(
      /^cannot write the CNI configuration .*; expected a writable directory, choose another with --cni-conf$/,
    );
  });
});
