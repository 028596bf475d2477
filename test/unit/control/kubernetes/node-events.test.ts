import { expect, it } from 'vitest';
import type { ApiRequest } from '../../../../src/control/kubernetes/api.js';
import { ApiError } from '../../../../src/control/kubernetes/errors.js';
import { createNodeEvents } from '../../../../src/control/kubernetes/node-events.js';
import { createRecordingLog } from '../../../helpers/recording-log.js';

function events(fails?: Error) {
  const asked: ApiRequest[] = [];
  let time = 0;
  const api = {
    ask: async (request: ApiRequest) => {
      asked.push(request);
      if (fails !== undefined) throw fails;
      return {};
    },
  };
  const { note } = createNodeEvents(
    api,
    () => 'n1',
    createRecordingLog(),
    () => time,
  );
  return { note, asked, pass: (ms: number) => (time += ms) };
}

it('what goes wrong is an event of the Node, as kubectl finds it', () => {
  const { note, asked } = events();
  note('host.problem', 'rudder0 is gone');
  expect(asked[0]).toMatchObject({
    method: 'POST',
    path: '/api/v1/namespaces/default/events',
    body: {
      involvedObject: { kind: 'Node', name: 'n1', uid: 'n1' },
      type: 'Warning',
      reason: 'RudderHostProblem',
      message: 'rudder0 is gone',
    },
  });
});

it('what goes well, and what concerns others, is none', () => {
  const { note, asked } = events();
  for (const kind of ['node.ready', 'peer.silent', 'registry.lost', 'host.restored'] as const) note(kind, 'x');
  expect(asked).toEqual([]);
});

it('there are few of them, and of one reason even fewer', () => {
  const { note, asked, pass } = events();
  for (let i = 0; i < 100; i++) note('host.problem', `${i}`);
  expect(asked).toHaveLength(2);
  for (let i = 0; i < 100; i++) {
    for (const kind of ['firewall.problem', 'lease.lost', 'config.invalid'] as const) note(kind, `${i}`);
  }
  expect(asked).toHaveLength(6);
  pass(601_000);
  note('host.problem', 'again');
  expect(asked).toHaveLength(7);
});

it('who may not write them does not try again, until the interval is over', async () => {
  const { note, asked, pass } = events(new ApiError('registry-refused', 'no', 403));
  note('host.problem', 'x');
  await new Promise(setImmediate);
  note('firewall.problem', 'x');
  expect(asked).toHaveLength(1);
  pass(601_000);
  note('firewall.problem', 'x');
  expect(asked).toHaveLength(2);
});
