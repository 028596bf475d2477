import { describe, expect, it } from 'vitest';
import { createKernelSync } from '../../../../src/backend/kernel/sync.js';
import { forwardToPeers } from '../../../../src/backend/kernel/wanted.js';
import { createFakeForwarding, ETH0, VXLAN } from '../../../helpers/fake-forwarding.js';
import { cases } from '../../../kernel/sync-cases.mjs';

describe('the engine of kernel backends, over a fake', () => {
  it.each(cases)('$name', async ({ run, expected }) => {
    const ground = { underlay: { index: ETH0, name: 'eth0' }, tunnel: VXLAN };
    const host = { netlink: createFakeForwarding(), ground, createKernelSync, forwardToPeers };
    expect(await run(host)).toEqual(expected);
  });
});
