import { describe, expect, it } from 'vitest';
import {
  bridgeAddressOf,
  choosesItsAddress,
  commandLineOf,
  conflictIn,
  overriderIn,
  stepTo,
  type UnitState,
} from '../../../src/system/docker-unit.js';

const ENV = 'RUDDER_SUBNET=10.240.26.1/24\nRUDDER_MTU=1472\nRUDDER_NETWORK=10.240.0.0/16\nRUDDER_IPMASQ=false\n';
const unit = (active: string, result = 'success'): UnitState => ({ load: 'loaded', active, result });

describe('what has to be done for Docker', () => {
  it.each<[string, UnitState, string | undefined, string]>([
    ['was skipped for want of a subnet', unit('inactive', 'exec-condition'), undefined, 'start'],
    ['has failed', unit('failed', 'exit-code'), ENV, 'start'],
    ['was started too often', unit('failed', 'start-limit-hit'), undefined, 'start'],
    ['was stopped by somebody', unit('inactive'), ENV, 'none'],
    ['was stopped by somebody, on another subnet', unit('inactive'), ENV.replace('26', '27'), 'none'],
    ['is being stopped', unit('deactivating'), ENV.replace('26', '27'), 'none'],
    ['runs on the subnet', unit('active'), ENV, 'none'],
    ['runs on another subnet', unit('active'), ENV.replace('26', '27'), 'restart'],
    ['runs with another MTU', unit('active'), ENV.replace('1472', '1372'), 'restart'],
    ['runs on the subnet of another network', unit('active'), ENV.replace('0.0/16', '0.0/15'), 'none'],
    ['runs as it did before it was ours', unit('active'), undefined, 'restart'],
    ['is being started on another subnet', unit('activating'), ENV.replace('26', '27'), 'restart'],
  ])('that %s', (_, state, startedWith, step) => {
    expect(stepTo(ENV, state, startedWith)).toBe(step);
  });
});

it('the address of the bridge is in the file, unless it is empty or for another', () => {
  expect(bridgeAddressOf(ENV)).toBe('10.240.26.1/24');
  for (const text of [undefined, '', ENV.replaceAll('RUDDER_', 'FLANNEL_')])
    expect(bridgeAddressOf(text)).toBe(undefined);
});

const OWN = '/etc/systemd/system/docker.service.d/rudder.conf';
const ONCE = '/etc/systemd/system/docker.service.d/rudder-once.conf';
const OURS = [OWN, ONCE];

describe('how Docker is started without us', () => {
  const base =
    '# /lib/systemd/system/docker.service\n[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $DOCKER_OPTS\n';
  const dropIn = (path: string, command: string) => `\n# ${path}\n[Service]\nExecStart=\nExecStart=${command}\n`;

  it("is its unit's line, on one line", () => {
    expect(commandLineOf(base, OURS)).toBe('/usr/bin/dockerd -H fd:// $DOCKER_OPTS');
  });

  it("is that of an operator's drop-in, and not our own", () => {
    const cat =
      base + dropIn('/etc/systemd/system/docker.service.d/proxy.conf', '/opt/dockerd') + dropIn(OWN, '/x --bip=');
    expect(commandLineOf(cat, OURS)).toBe('/opt/dockerd');
    expect(commandLineOf(base + dropIn(OWN, '/x --bip='), OURS)).toBe('/usr/bin/dockerd -H fd:// $DOCKER_OPTS');
  });

  it('is not what we have told it for one start', () => {
    expect(commandLineOf(base + dropIn(ONCE, '/x --default-address-pool'), OURS)).toBe(
      '/usr/bin/dockerd -H fd:// $DOCKER_OPTS',
    );
  });

  it('is none if there is none', () => {
    expect(commandLineOf('# /a\n[Service]\nType=notify\nExecStartPre=/bin/true\n', OURS)).toBe(undefined);
  });
});

describe('a drop-in behind ours takes back what ours says', () => {
  const inDropIn = (name: string, ...lines: string[]) =>
    `# /lib/systemd/system/docker.service\n[Service]\nExecStart=/a\n# /etc/systemd/system/docker.service.d/${name}\n[Service]\n${lines.join('\n')}\n`;

  it.each([
    ['sets the command', ['ExecStart=', 'ExecStart=/opt/dockerd'], 'ExecStart='],
    ['has no condition', ['ExecCondition='], 'ExecCondition='],
    ['begins anew what is done before', ['ExecStartPre = ', 'ExecStartPre=/bin/true'], 'ExecStartPre='],
    ['reads no file', ['EnvironmentFile='], 'EnvironmentFile='],
  ])('if it %s', (_, lines, setting) => {
    const file = '/etc/systemd/system/docker.service.d/zz-proxy.conf';
    expect(overriderIn(inDropIn('zz-proxy.conf', ...lines), OWN)).toEqual({ file, setting });
    // As systemd sorts them, by name: capital letters come first.
    for (const before of ['10-proxy.conf', 'ZZ.conf', 'rudder-once.conf'])
      expect(overriderIn(inDropIn(before, ...lines), OWN)).toBe(undefined);
  });

  it.each([
    [
      'adds to what ours says',
      ['ExecStartPre=/bin/true', 'EnvironmentFile=-/etc/default/docker', 'ExecCondition=/bin/true'],
    ],
    ['sets something else', ['LimitNOFILE=', 'Environment=HTTP_PROXY=http://proxy:3128']],
  ])('and not if it %s', (_, lines) => {
    expect(overriderIn(inDropIn('zz.conf', ...lines), OWN)).toBe(undefined);
  });

  it('which the unit itself and our own file are not', () => {
    const own = inDropIn('rudder.conf', 'ExecStart=', 'ExecStart=/a --bip=');
    expect(overriderIn(own.replace('/lib/systemd/system/docker.service', '/etc/systemd/system/zz.service'), OWN)).toBe(
      undefined,
    );
  });
});

describe('what speaks against our flags', () => {
  it.each<[string | undefined, string, RegExp | undefined]>([
    [undefined, '/usr/sbin/dockerd -H fd://', undefined],
    ['{"live-restore":true,"log-driver":"journald"}', '/usr/sbin/dockerd', undefined],
    ['{"bip":"10.9.0.1/24"}', '/usr/sbin/dockerd', /^\/etc\/docker\/daemon\.json has "bip": "10\.9\.0\.1\/24"$/],
    ['{"mtu":1400}', '/usr/sbin/dockerd', /has "mtu": "1400"$/],
    ['{"bridge":"br0"}', '/usr/sbin/dockerd', /has "bridge": "br0"$/],
    ['{', '/usr/sbin/dockerd', /is no JSON object$/],
    ['null', '/usr/sbin/dockerd', /is no JSON object$/],
    [undefined, '/usr/sbin/dockerd --bridge=br0', /^docker\.service starts it with "--bridge=br0"$/],
    [undefined, '/usr/sbin/dockerd -b br0 -H fd://', /"-b br0"$/],
    // Ours come last, and the last one counts.
    [undefined, '/usr/sbin/dockerd --bip=10.9.0.1/24', undefined],
  ])('%s with %s', (json, commandLine, conflict) => {
    const found = conflictIn(json, commandLine);
    if (conflict === undefined) expect(found).toBe(undefined);
    else expect(found).toMatch(conflict);
  });
});

describe('Docker goes by the address of the bridge that it has had', () => {
  it.each<[string | undefined, string, boolean]>([
    [undefined, '/usr/sbin/dockerd -H fd://', true],
    ['{"mtu":1400}', '/usr/sbin/dockerd', true],
    ['{', '/usr/sbin/dockerd', true],
    ['{"default-address-pools":[]}', '/usr/sbin/dockerd', false],
    ['{"bip":"10.9.0.1/24"}', '/usr/sbin/dockerd', false],
    [undefined, '/usr/sbin/dockerd --default-address-pool base=10.0.0.0/8,size=24', false],
    [undefined, '/usr/sbin/dockerd --bip=10.9.0.1/24', false],
  ])('with %s and %s', (json, commandLine, does) => {
    expect(choosesItsAddress(json, commandLine)).toBe(!does);
  });
});
