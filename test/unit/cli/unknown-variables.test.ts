import { Command } from 'commander';
import { expect, it } from 'vitest';
import { addDaemonOptions } from '../../../src/cli/daemon-options.js';
import { addEtcdOptions } from '../../../src/cli/etcd-options.js';
import { variableOf } from '../../../src/cli/option.js';
import { unknownVariables } from '../../../src/cli/unknown-variables.js';

const { options } = addDaemonOptions(addEtcdOptions(new Command('rudder')));

it('every setting is known, given or empty', () => {
  const names = options.map(variableOf);
  expect(names).toEqual(expect.arrayContaining(['RUDDERD_ETCD_PASSWORD', 'RUDDERD_NO_FIREWALL']));
  expect(unknownVariables(options, Object.fromEntries(names.map((name) => [name, 'x'])))).toEqual([]);
  expect(unknownVariables(options, Object.fromEntries(names.map((name) => [name, ''])))).toEqual([]);
});

it('others of our prefix are told, with what was probably meant and without their values', () => {
  const env = {
    RUDDERD_ETCD_PASSWD: 'hunter2',
    RUDDERD_KUBE_SUBNET_MGR: 'true',
    RUDDERD_EMPTY: '',
    RUDDER_SUBNET: '10.240.1.1/24',
    PATH: '/bin',
  };
  expect(unknownVariables(options, env)).toEqual([
    'the variable "RUDDERD_ETCD_PASSWD" is no setting, did you mean RUDDERD_ETCD_PASSWORD?',
    'the variable "RUDDERD_KUBE_SUBNET_MGR" is no setting: see rudder --help',
  ]);
});
