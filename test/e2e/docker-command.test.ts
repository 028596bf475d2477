import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES, EXIT_OK } from '../../src/cli/exit-codes.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';
import { RUDDER } from './cli.js';

/**
 * `rudder docker` on a host of its own: mounts and a network that nobody else sees, and a systemd that is a script, which
 * says what its files say and starts a "Docker" that is a bridge. With a real one: machines/docker-packages.
 */
const SYSTEMCTL = `#!/bin/sh
say() { cat "$STATE/$1.$2" 2>/dev/null || echo "$3"; }
verb=$1; shift
case $verb in
  show)
    echo "LoadState=$(say "$2" load loaded)"
    echo "ActiveState=$(say "$2" active inactive)"
    echo "Result=$(say "$2" result success)" ;;
  daemon-reload) ls /etc/systemd/system/docker.service.d/*.conf >"$STATE/drop-ins" 2>/dev/null || : ;;
  cat)
    for file in "$STATE/docker.service" $(cat "$STATE/drop-ins" 2>/dev/null); do
      echo "# $file"; cat "$file" || exit 1
    done ;;
  start | restart)
    [ "$1" = docker.service ] || exit 0
    if [ -e "$STATE/fails" ]; then echo "Job for docker.service failed." >&2; exit 1; fi
    if [ -e "$STATE/skips" ]; then echo inactive >"$STATE/docker.service.active"; exit 0; fi
    echo active >"$STATE/docker.service.active"
    address=172.17.0.1/16
    if [ -e /etc/systemd/system/docker.service.d/rudder.conf ]; then
      cp /run/rudder/subnet.env /run/rudder-docker.env
      address=$(sed -n s/^RUDDER_SUBNET=//p /run/rudder/subnet.env)
    fi
    rm -f /etc/systemd/system/docker.service.d/rudder-once.conf
    [ -e "$STATE/bridge" ] && address=$(cat "$STATE/bridge")
    ip link del docker0 2>/dev/null
    [ "$address" = none ] || { ip link add docker0 type bridge; ip address add "$address" dev docker0; } ;;
esac
`;
const SUBNET = '10.240.26.1/24';
const ENV = `RUDDER_SUBNET=${SUBNET}\nRUDDER_MTU=1472\nRUDDER_NETWORK=10.240.0.0/16\nRUDDER_IPMASQ=false\n`;
const DROP_IN = '/etc/systemd/system/docker.service.d/rudder.conf';
const SOCKET_DROP_IN = '/etc/systemd/system/docker.socket.d/rudder.conf';
const MADE = `Docker takes its subnet from Rudder now: made ${DROP_IN} and ${SOCKET_DROP_IN}\n`;
const ALREADY = `Docker takes its subnet from Rudder already, by ${DROP_IN}\n`;
const REMOVED = `Docker takes no subnet from Rudder any more: removed ${DROP_IN} and ${SOCKET_DROP_IN}\n`;
const NOT_ENABLED = 'Docker takes no subnet from Rudder';

describeWith(['root'], 'rudder docker', () => {
  let directory: string;
  let state: string;
  let holder: ChildProcess;
  let server: Server | undefined;

  /** Runs a command on that host. */
  async function run(command: string[], options: { path?: string } = {}) {
    const { path = `${directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin` } = options;
    const env = { PATH: path, STATE: state };
    const inside = ['-t', String(holder.pid), '-m', '-n', '--', ...command];
    const result = await execa('nsenter', inside, { env, extendEnv: false, reject: false, stripFinalNewline: false });
    return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }
  const rudder = (...args: string[]) => run([process.execPath, RUDDER, ...args]);
  const docker = (...args: string[]) => rudder('docker', ...args);
  const inside = (path: string) => `/proc/${holder.pid}/root${path}`;
  const write = (path: string, text: string) => {
    mkdirSync(inside(path).replace(/\/[^/]*$/, ''), { recursive: true });
    writeFileSync(inside(path), text);
  };
  const told = (name: string, text = '') => writeFileSync(`${state}/${name}`, `${text}\n`);
  const dockerIs = (active: string, result = 'success') => {
    told('docker.service.active', active);
    told('docker.service.result', result);
  };
  const fine = (stdout: string) => ({ code: EXIT_OK, stdout, stderr: '' });
  const refused = (reason: RegExp, code: number = EXIT_CODES.usage, stdout: string | RegExp = '') => ({
    code,
    stdout: typeof stdout === 'string' ? stdout : expect.stringMatching(stdout),
    stderr: expect.stringMatching(new RegExp(`^rudder: ${reason.source}\\n$`)),
  });
  /** A Docker that was started by its unit, with ours or without. */
  const startDocker = () => run(['systemctl', 'start', 'docker.service']);

  beforeEach(async () => {
    directory = mkdtempSync(`${tmpdir()}/rudder-docker-command-`);
    state = `${directory}/state`;
    for (const name of ['state', 'bin', 'etc', 'run']) mkdirSync(`${directory}/${name}`);
    writeFileSync(`${directory}/bin/systemctl`, SYSTEMCTL, { mode: 0o755 });
    writeFileSync(`${state}/docker.service`, '[Service]\nExecStart=/usr/sbin/dockerd -H fd://\n');
    for (const name of ['passwd', 'group', 'nsswitch.conf']) cpSync(`/etc/${name}`, `${directory}/etc/${name}`);
    const mounts = ['etc', 'run'].map((name) => `mount --bind ${directory}/${name} /${name}`).join(' && ');
    const ready = `${directory}/ready`;
    const script = `${mounts} && ip link set lo up && mkdir -p /run/systemd/system && touch ${ready} && exec sleep infinity`;
    holder = spawn('unshare', ['-m', '-n', 'sh', '-c', script]);
    await waitFor('the host to be there', () => existsSync(ready), 10_000);
  });
  afterEach(async () => {
    holder.kill('SIGKILL');
    server?.close();
    server = undefined;
    rmSync(directory, { recursive: true });
  });

  describe('enable', () => {
    it.each<[string, string, string, string]>([
      [
        'runs',
        'active',
        'success',
        'runs on as it was started, and is restarted on the subnet as soon as there is one',
      ],
      ['waits', 'inactive', 'exec-condition', 'is started as soon as there is one'],
      ['has failed', 'failed', 'exit-code', 'is started as soon as there is one'],
      ['is stopped', 'inactive', 'success', 'is not running, and waits for one when it is started'],
    ])('says what follows without a subnet, of a Docker that %s', async (_, active, result, what) => {
      dockerIs(active, result);
      expect(await docker('enable')).toEqual(fine(`${MADE}Rudder has no subnet yet: Docker ${what}\n`));
      expect(readFileSync(inside(DROP_IN), 'utf8')).toMatch(
        /^ExecStart=\/usr\/sbin\/dockerd -H fd:\/\/ --bip=\$\{RUDDER_SUBNET\} --mtu=\$\{RUDDER_MTU\}$/m,
      );
    });

    it('restarts a Docker that runs when told so, and says where it is then', async () => {
      await startDocker();
      write('/run/rudder/subnet.env', ENV);
      const step = `Docker runs on as it was started and takes ${SUBNET} when it is restarted: "rudder docker enable --now" does so\n`;
      expect(await docker('enable')).toEqual(fine(MADE + step));
      expect(await docker('enable', '--now')).toEqual(fine(`${ALREADY}Docker is restarted on ${SUBNET}\n`));
      expect(await docker('enable', '--now')).toEqual(fine(`${ALREADY}Docker runs on ${SUBNET}\n`));
    });

    it('starts one that waits, and leaves one that is stopped', async () => {
      write('/run/rudder/subnet.env', ENV);
      expect(await docker('enable')).toEqual(fine(`${MADE}Docker is not running, and takes ${SUBNET} when it is\n`));
      dockerIs('inactive', 'exec-condition');
      expect(await docker('enable')).toEqual(fine(`${ALREADY}Docker is started on ${SUBNET}\n`));
    });

    it('goes by the drop-ins that are there, not by those that systemd has read', async () => {
      const flannels = '/etc/systemd/system/docker.service.d/flannel.conf';
      write(flannels, '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --bip=$FLANNEL_SUBNET\n');
      await run(['systemctl', 'daemon-reload']);
      rmSync(inside(flannels));
      expect((await docker('enable')).stdout).toContain(MADE);
      expect(readFileSync(inside(DROP_IN), 'utf8')).not.toContain('FLANNEL');
    });

    it('says that Docker was skipped again', async () => {
      write('/run/rudder/subnet.env', ENV);
      dockerIs('failed', 'exit-code');
      told('skips');
      expect(await docker('enable')).toEqual(fine(`${MADE}Docker was to start on ${SUBNET}, and is inactive\n`));
    });

    it.each([
      ['172.17.0.1/16', '172.17.0.1/16'],
      ['10.240.26.1/16', '10.240.26.1/16'],
      ['none', 'no bridge'],
    ])('does not believe a Docker that was started on it and is on %s', async (bridge, found) => {
      write('/run/rudder/subnet.env', ENV);
      await startDocker();
      told('bridge', bridge);
      const elsewhere = (what: string) =>
        refused(
          new RegExp(
            `Docker ${what}, but its bridge docker0 is on ${found}: expected ${SUBNET}; see "systemctl cat docker" and /etc/docker/daemon\\.json; with live-restore .*`,
          ),
          EXIT_CODES['not-ready'],
          /^Docker takes its subnet .*\n$/,
        );
      expect(await docker('enable', '--now')).toEqual(elsewhere('is restarted'));
      expect(await docker('enable')).toEqual(elsewhere('runs'));
      // Once more, since it may help.
      rmSync(`${state}/bridge`);
      expect(await docker('enable', '--now')).toEqual(fine(`${ALREADY}Docker is restarted on ${SUBNET}\n`));
    });

    it("refuses an operator's drop-in that would take its place", async () => {
      const file = '/etc/systemd/system/docker.service.d/zz-proxy.conf';
      write(file, '[Service]\nExecStart=\nExecStart=/opt/dockerd\n');
      expect(await docker('enable')).toEqual(
        refused(
          /\S+zz-proxy\.conf has ExecStart= and comes behind Rudder's .*; rename that file, say to 10-zz-proxy\.conf, .*/,
        ),
      );
      expect(existsSync(inside(DROP_IN))).toBe(false);
      await run(['mv', file, file.replace('zz', '10')]);
      expect((await docker('enable')).stdout).toContain(MADE);
      expect(readFileSync(inside(DROP_IN), 'utf8')).toContain('ExecStart=/opt/dockerd --bip=');
    });

    it.each<[string, () => void, RegExp]>([
      [
        'Docker is not installed',
        () => told('docker.service.load', 'not-found'),
        /docker\.service is not-found: expected the unit of Docker's package; install that first/,
      ],
      [
        "Rudder's unit is masked",
        () => told('rudder-docker.path.load', 'masked'),
        /rudder-docker\.path is masked: expected the unit of Rudder's package; .*/,
      ],
      [
        'the unit starts nothing',
        () => writeFileSync(`${state}/docker.service`, '[Service]\n'),
        /docker\.service has no ExecStart=: expected one that starts dockerd; mend the unit/,
      ],
      [
        'Docker has an address of its own',
        () => write('/etc/docker/daemon.json', '{"bip":"10.9.0.1/24"}'),
        /Docker has settings of its own: \/etc\/docker\/daemon\.json has "bip": "10\.9\.0\.1\/24"; expected to give it --bip and --mtu; .*/,
      ],
    ])('refuses, and changes nothing, if %s', async (_, change, reason) => {
      change();
      expect(await docker('enable')).toEqual(refused(reason));
      expect(existsSync(inside(DROP_IN))).toBe(false);
    });

    it.each<[string, string, RegExp]>([
      [
        'another file',
        'RUDDERD_SUBNET_FILE=/run/other/subnet.env',
        /the node keeps its subnet in \/run\/other\/subnet\.env, as \/etc\/default\/rudder says: expected \/run\/rudder\/subnet\.env, which Docker's unit reads; take RUDDERD_SUBNET_FILE out of .*/,
      ],
      [
        'other names',
        'RUDDERD_SUBNET_ENV_PREFIX=FLANNEL',
        /the names in \/run\/rudder\/subnet\.env begin with FLANNEL, as \/etc\/default\/rudder says: expected RUDDER, .*; take RUDDERD_SUBNET_ENV_PREFIX out of .*/,
      ],
      [
        'names that cannot be',
        'RUDDERD_SUBNET_ENV_PREFIX=7',
        /\/etc\/default\/rudder has RUDDERD_SUBNET_ENV_PREFIX wrong: .*/,
      ],
    ])('refuses a node whose settings say %s: Docker would be on what is left elsewhere', async (_, settings, reason) => {
      write('/run/rudder/subnet.env', ENV);
      write('/etc/default/rudder', `${settings}\n`);
      expect(await docker('enable', '--now')).toEqual(refused(reason));
      expect(existsSync(inside(DROP_IN))).toBe(false);
    });

    it.each<[string, object, RegExp, number]>([
      [
        'another file',
        { subnet: '10.240.26.0/24', subnetFile: '/run/rudder/mine.env' },
        /the node keeps its subnet in \/run\/rudder\/mine\.env, as the running daemon says: .*/,
        EXIT_CODES.usage,
      ],
      [
        'another subnet',
        { subnet: '10.240.77.0/24', subnetFile: '/run/rudder/subnet.env' },
        /\/run\/rudder\/subnet\.env is of 10\.240\.26\.0\/24, and the running daemon has 10\.240\.77\.0\/24: .*/,
        EXIT_CODES['not-ready'],
      ],
    ])('goes by the running daemon, which has %s', async (_, node, reason, code) => {
      write('/run/rudder/subnet.env', ENV);
      server = createServer((_, response) => response.end(JSON.stringify({ node })));
      await new Promise<void>((resolve) => server!.listen(inside('/run/rudder/rudder.sock'), resolve));
      expect(await docker('enable')).toEqual(refused(reason, code));
      expect(existsSync(inside(DROP_IN))).toBe(false);
    });

    it('tells what systemd cannot do', async () => {
      write('/run/rudder/subnet.env', ENV);
      dockerIs('failed', 'exit-code');
      told('fails');
      expect(await docker('enable')).toEqual(
        refused(
          /systemctl: Job for docker\.service failed\.; see "systemctl status docker\.service"/,
          EXIT_CODES['not-ready'],
          MADE,
        ),
      );
    });
  });

  describe('disable', () => {
    it('leaves a Docker that is not ours', async () => {
      await startDocker();
      expect(await docker('disable', '--now')).toEqual(fine(`${NOT_ENABLED}: nothing to remove\n`));
    });

    it('lets Docker choose anew at its next start, or at once', async () => {
      write('/run/rudder/subnet.env', ENV);
      dockerIs('inactive', 'exec-condition');
      await docker('enable');
      const keeps = `Docker keeps ${SUBNET} until it is restarted: "rudder docker disable --now" does so\n`;
      expect(await docker('disable')).toEqual(fine(REMOVED + keeps));
      // Enabled again it is as it was, and not as for that one start.
      expect((await docker('enable')).stdout).toContain(MADE);
      expect(readFileSync(inside(DROP_IN), 'utf8')).not.toContain('default-address-pool');
      expect(await docker('disable', '--now')).toEqual(fine(`${REMOVED}Docker is restarted on 172.17.0.1/16\n`));
    });

    it('starts one that waits, whose bridge may be none', async () => {
      await docker('enable');
      dockerIs('inactive', 'exec-condition');
      told('bridge', 'none');
      expect(await docker('disable')).toEqual(fine(`${REMOVED}Docker is started on no bridge\n`));
    });

    it('leaves one that is stopped', async () => {
      await docker('enable');
      expect(await docker('disable', '--now')).toEqual(fine(REMOVED));
    });
  });

  describe('follow', () => {
    it('does nothing where Docker is not ours', async () => {
      expect(await docker('follow')).toEqual(fine(`${NOT_ENABLED}\n`));
    });

    it('restarts Docker on another subnet, and not on the same', async () => {
      write('/run/rudder/subnet.env', ENV);
      dockerIs('inactive', 'exec-condition');
      await docker('enable');
      expect(await docker('follow')).toEqual(fine(''));
      write('/run/rudder/subnet.env', ENV.replace('26', '77'));
      expect(await docker('follow')).toEqual(fine('Docker is restarted on 10.240.77.1/24\n'));
    });

    it('fails, so that systemd shows it, if Docker is elsewhere then', async () => {
      write('/run/rudder/subnet.env', ENV);
      await docker('enable');
      dockerIs('inactive', 'exec-condition');
      told('bridge', '172.17.0.1/16');
      const reason =
        /Docker is started, but its bridge docker0 is on 172\.17\.0\.1\/16: expected 10\.240\.26\.1\/24; .*/;
      expect(await docker('follow')).toEqual(refused(reason, EXIT_CODES['not-ready']));
    });
  });

  it('needs root and systemd', async () => {
    const asNobody = ['setpriv', '--reuid=65534', '--clear-groups', process.execPath, RUDDER, 'docker', 'enable'];
    expect(await run(asNobody)).toEqual(refused(/rudder docker is run as user 65534: expected root; use sudo/));
    rmSync(inside('/run/systemd'), { recursive: true });
    for (const command of ['enable', 'disable', 'follow']) {
      expect(await docker(command)).toEqual(
        refused(
          /systemd does not run this host: expected it, since it starts Docker; without it give dockerd --bip and .*/,
        ),
      );
    }
  });
});
