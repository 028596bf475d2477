import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { etcdctl } from '../../src/lab/etcd.js';
import { createLab, labDown } from '../../src/lab/lab.js';
import { launchNode, nodePaths, waitUntilReady } from '../../src/lab/nodes.js';
import { signalProcess } from '../../src/lab/process.js';
import { labDirectory } from '../../src/lab/state.js';
import { waitFor } from '../../src/lab/wait-for.js';
import { describeWith } from '../helpers/requires.js';

const NAME = 'test-notify';

/** Node has no unix datagram sockets; python, which node-gyp needs anyway, plays systemd. */
const RECEIVER = `
import socket, sys, os
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True:
    text = s.recv(4096).decode()
    print(text.replace("\\n", "|") + "|env=" + str(os.path.exists(sys.argv[2])), flush=True)
`;

describeWith(['root', 'tun', 'etcd'], 'systemd', () => {
  afterEach(() => labDown(NAME));

  it('is told READY only when subnet.env is there, and STOPPING at the end', async () => {
    const socket = `${labDirectory(NAME)}/notify.sock`;
    const lab = await createLab({ name: NAME, nodes: 1, daemon: { env: { NOTIFY_SOCKET: socket } } });
    const [node] = lab.nodes;
    const receiver = spawn('python3', ['-c', RECEIVER, socket, nodePaths(lab, node).subnetFile]);
    const messages: string[] = [];
    const lines = createInterface({ input: receiver.stdout });
    await once(lines, 'line');
    lines.on('line', (line) => messages.push(line));

    await launchNode(lab, node);
    await waitFor('the status', () => messages.length > 0, 10_000);
    expect(messages).toEqual(['STATUS=Starting: waiting for etcd and the network config|env=False']);
    await etcdctl(lab, 'put', '/coreos.com/network/config', '{"Network":"10.240.0.0/16"}');
    await waitUntilReady(lab, node);
    signalProcess(node.process!, 'SIGTERM');
    await waitFor('STOPPING', () => messages.some((line) => line.startsWith('STOPPING=1')), 5000);
    receiver.kill('SIGKILL');

    // Before these it says what it waits for.
    expect(messages.slice(-4)).toEqual([
      'STATUS=Starting: leasing a subnet|env=False',
      'STATUS=Starting: waiting for etcd to answer with the routes in place|env=False',
      expect.stringMatching(
        /^READY=1\|STATUS=Subnet 10\.240\.\d+\.0\/24, public address 172\.30\.\d+\.11, MTU 1472\|env=True$/,
      ),
      'STOPPING=1|env=True',
    ]);
    expect(existsSync(nodePaths(lab, node).subnetFile)).toBe(true);
  });
});
