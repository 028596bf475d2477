import { describe, expect, it } from 'vitest';
import { examine } from '../../../../src/cli/doctor/doctor.js';
import { checksOf, codeOf, type Needs } from '../../../../src/cli/join/checks.js';
import { createHost, type Differences, ENDPOINT } from '../fake-host.js';

const NEEDS: Needs = { firewall: true, files: ['/etc/rudder/ca.pem'], user: 'rudder' };

/** A host without a node. */
async function look(differences: Differences = {}, needs: Partial<Needs> = {}) {
  const host = createHost({ status: undefined, ...differences });
  return examine(host, checksOf({ ...NEEDS, ...needs }));
}
const problemIn = async (...of: Parameters<typeof look>) => {
  const found = (await look(...of)).find(({ state }) => state === 'problem');
  return found && { code: codeOf(found, 'registry-refused'), text: `${found.detail} -> ${found.remedy}` };
};

describe('what a host needs before a node can start', () => {
  it('is there', async () => {
    const findings = await look();
    expect(findings.map(({ check }) => check)).toEqual(['permissions', 'firewall', 'etcd', 'tunnel port', 'files']);
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([]);
  });

  it.each<[string, Differences, Partial<Needs>, string, RegExp]>([
    ['TUN', { exists: async () => false }, {}, 'device', /modprobe tun/],
    ['iptables', { succeeds: async (command) => command !== 'iptables' }, {}, 'firewall', /apt-get install iptables,/],
    [
      'etcd',
      { probes: { [ENDPOINT]: { failure: { step: 'write', reason: 'x' } } } },
      {},
      'registry-refused',
      /writing fails: x/,
    ],
    ['a config', { probes: { [ENDPOINT]: { config: { json: undefined } } } }, {}, 'network-config', /rudder init /],
    ['a file to read', { failing: ['/etc/rudder/ca.pem'] }, {}, 'file', /by the user rudder.*chgrp rudder \/etc/],
    ['a home to read', {}, { files: ['/home/a/ca.pem'] }, 'file', /sees nothing of .*\/etc\/rudder/],
    ['a place that is its own', {}, { files: ['/tmp/ca.pem'] }, 'file', /sees nothing/],
  ])('but for %s', async (_, differences, needs, code, text) => {
    expect(await problemIn(differences, needs)).toEqual({ code, text: expect.stringMatching(text) });
  });

  it.each<[string, Differences, Partial<Needs>]>([
    ['commands of the firewall, for a node that leaves it alone', { failing: ['--version'] }, { firewall: false }],
    ['files for a user, where there is no service', { failing: ['/etc/rudder/ca.pem'] }, { user: undefined }],
    ['a place for files, without files', {}, { files: [] }],
  ])('not %s', async (_, differences, needs) => {
    expect(await problemIn(differences, needs)).toBeUndefined();
  });
});
