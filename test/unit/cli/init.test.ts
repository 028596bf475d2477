import { beforeEach, describe, expect, it } from 'vitest';
import { parseNewNetworkConfig } from '../../../src/backend/new-config.js';
import { createConfig } from '../../../src/cli/init.js';
import { createMemoryRegistry, type MemoryRegistry } from '../../helpers/memory-registry.js';

const KEY = '/x/config';
const JSON_TEXT = '{"Network":"10.240.0.0/16"}';

let registry: MemoryRegistry;
beforeEach(() => {
  registry = createMemoryRegistry();
});
const create = (json: string) =>
  createConfig({ ...registry, configPlace: { key: KEY } }, parseNewNetworkConfig(json), json);

describe('rudder init', () => {
  it('creates the config as it was given', async () => {
    expect(await create(JSON_TEXT)).toBe('created /x/config: Network 10.240.0.0/16, a /24 for each node');
    expect(await registry.getConfig()).toBe(JSON_TEXT);
  });

  it.each([
    JSON_TEXT,
    ' { "network" : "10.240.0.0/16" } ',
    '{"Network":"10.240.0.0/16","SubnetLen":24,"SubnetMin":"10.240.1.0","Backend":{"Type":"UDP","Port":8285}}',
  ])('is content with one that means the same: %s', async (json) => {
    await create(JSON_TEXT);
    expect(await create(json)).toBe('/x/config holds this config already: Network 10.240.0.0/16, a /24 for each node');
    expect(await registry.getConfig()).toBe(JSON_TEXT);
  });

  it.each([
    '{"Network":"10.99.0.0/16"}',
    '{"Network":"10.240.0.0/16","SubnetLen":26}',
    '{"Network":"10.240.0.0/16","SubnetMin":"10.240.2.0"}',
    '{"Network":"10.240.0.0/16","Backend":{"Port":8286}}',
    '{"Network":"10.240.0.0/16","Backend":{"MTU":1400}}',
  ])('refuses, and leaves the one that is there, if it is asked for %s', async (json) => {
    await create(JSON_TEXT);
    await expect(create(json)).rejects.toMatchObject({
      code: 'config-exists',
      message: `/x/config holds another config, ${JSON_TEXT}: expected none, or the same one; it is left as it is; change it with rudder config set KEY VALUE, and restart every node`,
    });
    expect(await registry.getConfig()).toBe(JSON_TEXT);
  });

  it('says so if what is there is no config', async () => {
    registry.putRaw('config', '{"Network":"nonsense"}');
    await expect(create(JSON_TEXT)).rejects.toMatchObject({
      code: 'config-exists',
      message: expect.stringMatching(
        /^\/x\/config holds what is no config \(network config: Network "nonsense" is not /,
      ),
    });
  });
});
